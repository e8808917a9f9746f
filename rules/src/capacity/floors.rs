//! Which lanes count as open, and which floors break.

use std::collections::BTreeSet;
use std::fmt;

use kalong_crds::condition::ConditionStatus;
use kalong_crds::lane::{Admission, LaneAdmission};

use super::{CapacitySnapshot, Claim, Floor, Group, LaneFacts};
use crate::lifecycle::LifecycleStage;

/// Why a lane does not count as capacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its phase is not open.
    NotInService,
    /// This claim holds it, or is about to.
    Held(String),
    /// Its spec declares it Closed.
    Closed,
    /// An open interlock keeps it closed.
    Interlocked,
    /// Its agent is not heard, or does not know what its controller does.
    Unknown,
    /// It is declared Open and reports this instead.
    NotOpen(LaneAdmission),
    /// It is open and its condition Available is False.
    Broken,
    /// Its agent has not confirmed its last order.
    Unconfirmed,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInService => f.write_str("not in service"),
            Self::Held(by) => write!(f, "held by LaneDrain {by}"),
            Self::Closed => f.write_str("declared Closed"),
            Self::Interlocked => f.write_str("closed by an interlock"),
            Self::Unknown => f.write_str("unknown"),
            Self::NotOpen(admission) => write!(f, "{admission:?}"),
            Self::Broken => f.write_str("not Available"),
            Self::Unconfirmed => f.write_str("order not confirmed"),
        }
    }
}

/// A floor that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The floor that breaks.
    pub floor: Floor,
    /// Open lanes that are left, as a count.
    pub lanes: i64,
    /// Rated capacity that is left, in passages an hour.
    pub passages_per_hour: i64,
    /// Lanes of its group that are in service and do not count, with the reason.
    pub lost: Vec<(String, Lost)>,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} lanes and {} of {} passages an hour would be left",
            self.floor.group,
            self.lanes,
            self.floor.min_lanes,
            self.passages_per_hour,
            self.floor.min_passages_per_hour
        )
    }
}

/// Why this lane does not count as capacity now; none when it does.
pub fn loss(snapshot: &CapacitySnapshot, name: &str, lane: &LaneFacts) -> Option<Lost> {
    lost(&snapshot.accepted.iter().collect::<Vec<_>>(), name, lane)
}

/// The first reason that applies: a lane that is claimed, closed, broken or unknown is charged before any claim asks for more.
pub(super) fn lost(accepted: &[&Claim], name: &str, lane: &LaneFacts) -> Option<Lost> {
    if lane.life != LifecycleStage::InService {
        return Some(Lost::NotInService);
    }
    if let Some(claim) = holder(accepted, name) {
        return Some(Lost::Held(claim.name.clone()));
    }
    if lane.declared == Admission::Closed {
        return Some(Lost::Closed);
    }
    if lane.interlocked {
        return Some(Lost::Interlocked);
    }
    match (lane.reported, lane.available) {
        (LaneAdmission::Unknown, _) => Some(Lost::Unknown),
        (LaneAdmission::Open, ConditionStatus::Unknown) => Some(Lost::Unknown),
        (LaneAdmission::Open, ConditionStatus::False) => Some(Lost::Broken),
        (LaneAdmission::Open, ConditionStatus::True) => (!lane.orders_confirmed).then_some(Lost::Unconfirmed),
        (other, _) => Some(Lost::NotOpen(other)),
    }
}

fn holder<'a>(accepted: &[&'a Claim], lane: &str) -> Option<&'a Claim> {
    accepted.iter().find(|claim| claim.lanes.contains(lane)).copied()
}

/// The floors that do not hold once these lanes are taken away too; judges every floor of the snapshot.
pub fn floors_broken(snapshot: &CapacitySnapshot, taken: &BTreeSet<String>) -> Vec<Breach> {
    let accepted: Vec<_> = snapshot.accepted.iter().collect();
    snapshot.floors.iter().filter_map(|floor| breach(snapshot, &accepted, floor, taken)).collect()
}

/// The floors of these groups that do not hold once these lanes are taken away too.
pub(super) fn broken_among(
    snapshot: &CapacitySnapshot,
    accepted: &[&Claim],
    groups: &BTreeSet<&Group>,
    taken: &BTreeSet<String>,
) -> Vec<Breach> {
    let concerned = snapshot.floors.iter().filter(|floor| groups.contains(&floor.group));
    concerned.filter_map(|floor| breach(snapshot, accepted, floor, taken)).collect()
}

fn breach(snapshot: &CapacitySnapshot, accepted: &[&Claim], floor: &Floor, taken: &BTreeSet<String>) -> Option<Breach> {
    let (mut lanes, mut passages_per_hour, mut missing) = (0, 0, Vec::new());
    for (name, lane) in snapshot.lanes.iter().filter(|(_, lane)| lane.group == floor.group) {
        match lost(accepted, name, lane) {
            Some(Lost::NotInService) => {}
            Some(why) => missing.push((name.clone(), why)),
            None if taken.contains(name) => {}
            None => {
                lanes += 1;
                passages_per_hour += lane.passages_per_hour;
            }
        }
    }
    let holds = lanes >= floor.min_lanes && passages_per_hour >= floor.min_passages_per_hour;
    (!holds).then(|| Breach { floor: floor.clone(), lanes, passages_per_hour, lost: missing })
}
