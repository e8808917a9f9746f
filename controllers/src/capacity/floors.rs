//! What counts as open, and which floors would break.

use std::collections::BTreeSet;
use std::fmt;

use kalong_crds::condition::ConditionStatus;
use kalong_crds::lane::{Admission, LaneAdmission};

use super::{CapacitySnapshot, Claim, Floor, Group, LaneFacts};
use crate::kit::life::LifecycleStage;

/// Why a lane is no capacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its phase is not open.
    NotInService,
    /// A claim holds it, or is about to.
    Held(String),
    /// It is declared Closed.
    Closed,
    /// An interlock keeps it closed.
    Interlocked,
    /// Nobody can tell what it does.
    Unknown,
    /// It admits no traffic, although it is declared Open.
    NotOpen(LaneAdmission),
    /// It is open and cannot serve.
    Broken,
    /// Its agent has not confirmed yet what it was told last.
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
    /// The floor.
    pub floor: Floor,
    /// Lanes that are left.
    pub lanes: i64,
    /// Rated capacity that is left, in passages an hour.
    pub passages_per_hour: i64,
    /// The lanes in service that do not count, and why.
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

/// Why this lane is no capacity now; none when it is.
pub fn loss(picture: &CapacitySnapshot, name: &str, lane: &LaneFacts) -> Option<Lost> {
    lost(&picture.accepted.iter().collect::<Vec<_>>(), name, lane)
}

/// What is charged first stands first: whatever is broken, unknown, closed or claimed is gone before anybody asks for more.
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
        (LaneAdmission::Open, ConditionStatus::True) => (!lane.settled).then_some(Lost::Unconfirmed),
        (other, _) => Some(Lost::NotOpen(other)),
    }
}

fn holder<'a>(accepted: &[&'a Claim], lane: &str) -> Option<&'a Claim> {
    accepted.iter().find(|claim| claim.lanes.contains(lane)).copied()
}

/// The floors that do not hold once these lanes are taken away too; all floors of the picture are looked at.
pub fn floors_broken(picture: &CapacitySnapshot, taken: &BTreeSet<String>) -> Vec<Breach> {
    let accepted: Vec<_> = picture.accepted.iter().collect();
    picture.floors.iter().filter_map(|floor| breach(picture, &accepted, floor, taken)).collect()
}

/// The floors of these groups that do not hold once these lanes are taken away too.
pub(super) fn broken_among(
    picture: &CapacitySnapshot,
    accepted: &[&Claim],
    groups: &BTreeSet<&Group>,
    taken: &BTreeSet<String>,
) -> Vec<Breach> {
    let concerned = picture.floors.iter().filter(|floor| groups.contains(&floor.group));
    concerned.filter_map(|floor| breach(picture, accepted, floor, taken)).collect()
}

fn breach(picture: &CapacitySnapshot, accepted: &[&Claim], floor: &Floor, taken: &BTreeSet<String>) -> Option<Breach> {
    let (mut lanes, mut passages_per_hour, mut missing) = (0, 0, Vec::new());
    for (name, lane) in picture.lanes.iter().filter(|(_, lane)| lane.group == floor.group) {
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
