//! Capacity: what counts as open, which floors hold, and who may drain next. Pure: no client, no clock, no log.
//!
//! Everything doubtful counts as lost: a lane is capacity only while it is in service, declared Open, reported Open by an agent that is
//! heard and holds its last order, Available, and under no accepted claim. A claim is judged against what is left after it.

mod decide;
mod floors;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::ConditionStatus;
use kalong_crds::lane::{Admission, Direction, LaneAdmission, Service};
use kalong_crds::lane_drain::DrainClass;

use crate::kit::life::LifecycleStage;

pub use decide::decide;
pub use floors::{Breach, Lost, floors_broken, loss};

/// Everything that a decision about capacity rests on. One namespace, at one moment.
#[derive(Clone, Debug, Default)]
pub struct CapacitySnapshot {
    /// The floors of crossings that are in service.
    pub floors: Vec<Floor>,
    /// The lanes, by name.
    pub lanes: BTreeMap<String, LaneFacts>,
    /// Claims that are accepted and have not ended, each with the lanes for which it was accepted.
    pub accepted: Vec<Claim>,
    /// Claims that wait to be accepted and may be asked now, in any order.
    pub waiting: Vec<Claim>,
}

/// Lanes that stand in for one another: those of one crossing, service and direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Name of the crossing.
    pub crossing: String,
    /// Kind of traffic.
    pub service: Service,
    /// Way of travel.
    pub direction: Direction,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} at {}", self.service, self.direction, self.crossing)
    }
}

/// What must stay open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Of which lanes.
    pub group: Group,
    /// Lanes, as a count.
    pub min_lanes: i64,
    /// Rated capacity, in passages an hour.
    pub min_passages_per_hour: i64,
}

/// What is known of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneFacts {
    /// The lanes that stand in for it.
    pub group: Group,
    /// Rated capacity, in passages an hour.
    pub passages_per_hour: i64,
    /// How far it is in its life.
    pub life: LifecycleStage,
    /// Whether it is meant to admit traffic.
    pub declared: Admission,
    /// What its agent says that it does; Unknown unless the agent is heard.
    pub reported: LaneAdmission,
    /// Its condition Available.
    pub available: ConditionStatus,
    /// Whether an interlock keeps it closed.
    pub interlocked: bool,
    /// Whether its agent holds the last order, and no claim is in that order or on its way.
    pub settled: bool,
    /// Whether it is closed for good: declared, told and reported so. What an interlock closes may be open again at any time.
    pub shut: bool,
}

/// A claim that lanes be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Name of the LaneDrain.
    pub name: String,
    /// Whether it waits for the floors.
    pub class: DrainClass,
    /// The higher one goes first.
    pub priority: i64,
    /// When it was made, in seconds; among equals the older one goes first.
    pub created: i64,
    /// Names of the lanes that it concerns.
    pub lanes: BTreeSet<String>,
}

/// What becomes of a claim now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is accepted.
    Accept,
    /// It is accepted although these floors break.
    AcceptBreaking(Vec<Breach>),
    /// It waits.
    Wait(Wait),
}

/// On whom a claim waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What kind of thing is waited for.
    pub code: BlockCode,
    /// The object that is waited for, as `Kind/name`.
    pub subject: String,
    /// What is missing, and what ends the wait.
    pub message: String,
}
