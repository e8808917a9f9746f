//! Capacity: which lanes count as open, which floors hold, and which claim is accepted next.
//!
//! Doubt counts as loss: a lane is capacity only while it is in service, declared Open, reported Open by an agent that is heard and has
//! confirmed its last order, Available, and under no accepted claim. A claim is judged by what would be left after it.

mod columns;
mod contention;
mod count;
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

use crate::lifecycle::LifecycleStage;

pub use columns::lane_counts;
pub use contention::{Contention, groups_of, is_waiting};
pub use count::{LaneEvidence, LaneReading, StatusEvidence, available, count, holds};
pub use decide::decide;
pub use floors::{Breach, Lost, floors_broken, loss};

/// What a decision about capacity rests on: lanes of one site at one moment, their floors, and the claims on them.
#[derive(Clone, Debug, Default)]
pub struct CapacitySnapshot {
    /// The floors of crossings that are in service.
    pub floors: Vec<Floor>,
    /// The lanes by name.
    pub lanes: BTreeMap<String, LaneFacts>,
    /// Claims that are accepted and have not ended, each with the lanes that it was accepted for.
    pub accepted: Vec<Claim>,
    /// Claims that wait and could be accepted now, in any order.
    pub waiting: Vec<Claim>,
}

/// What a lane has in common with those that can replace it: crossing, service and direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Name of the crossing.
    pub crossing: String,
    /// Traffic that the lanes take.
    pub service: Service,
    /// Way of travel through the lanes.
    pub direction: Direction,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} at {}", self.service, self.direction, self.crossing)
    }
}

/// The capacity that a group of lanes must keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The lanes that it counts.
    pub group: Group,
    /// Open lanes at least, as a count.
    pub min_lanes: i64,
    /// Rated capacity at least, in passages an hour.
    pub min_passages_per_hour: i64,
}

/// What is known of one lane, from which alone it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneFacts {
    /// The lanes that can replace it.
    pub group: Group,
    /// Rated capacity, in passages an hour.
    pub passages_per_hour: i64,
    /// Whether its phase lets it serve.
    pub life: LifecycleStage,
    /// The admission that its spec declares.
    pub declared: Admission,
    /// The admission that its agent reports; Unknown unless the agent is heard.
    pub reported: LaneAdmission,
    /// Status of its condition Available.
    pub available: ConditionStatus,
    /// Whether an interlock keeps it closed.
    pub interlocked: bool,
    /// Whether its agent has confirmed the last order, and neither that order nor one on its way carries a claim.
    pub orders_confirmed: bool,
    /// Whether it is declared, ordered and reported closed. A lane that an interlock closes may open again at any time.
    pub closed_for_good: bool,
}

/// A LaneDrain as it is weighed against others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Name of the LaneDrain.
    pub name: String,
    /// Whether it waits for the floors or is accepted at once.
    pub class: DrainClass,
    /// The higher one is accepted first.
    pub priority: i64,
    /// When it was created, in seconds of Unix time; of two with one priority the older is accepted first.
    pub created: i64,
    /// Names of the lanes that it concerns.
    pub lanes: BTreeSet<String>,
}

/// Whether a claim is accepted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is accepted, and every floor holds.
    Accept,
    /// It is accepted although these floors break.
    AcceptBreaking(Vec<Breach>),
    /// It waits, and on what.
    Wait(Wait),
}

/// What a claim waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The code of the entry in `status.blockedBy`.
    pub code: BlockCode,
    /// The object that it waits for, as `Kind/name`.
    pub subject: String,
    /// What is missing and what ends the wait, as sentences.
    pub message: String,
}
