//! What a claim takes from the floors, by the operator's own count of lanes. A preview for a person who decides: the operator
//! judges again, with what is true then.

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::{Lane, Reference};

use crate::site::{Site, named};

/// What stays of one floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    pub(super) crossing: String,
    /// Service and direction.
    pub(super) class: String,
    pub(super) open_before: i64,
    pub(super) open_after: i64,
    pub(super) open_needed: i64,
    pub(super) hourly_after: i64,
    pub(super) hourly_needed: i64,
}

impl Floor {
    /// Whether less stays than must.
    pub(super) fn is_broken(&self) -> bool {
        self.open_after < self.open_needed || self.hourly_after < self.hourly_needed
    }

    /// The floor as a sentence.
    pub(super) fn sentence(&self) -> String {
        format!(
            "{} {}: {} of {} open lanes stay, {} needed; {} passages an hour stay, {} needed",
            self.crossing,
            self.class,
            self.open_after,
            self.open_before,
            self.open_needed,
            self.hourly_after,
            self.hourly_needed
        )
    }
}

/// The floors that a claim on this target takes from.
pub(super) fn floors(site: &Site, target: &Reference) -> Vec<Floor> {
    let lanes = site.concerned(target);
    let mut crossings: Vec<&str> = lanes.iter().map(|l| l.spec.crossing_ref.as_str()).collect();
    crossings.sort_unstable();
    crossings.dedup();
    let mut floors = Vec::new();
    for crossing in crossings.into_iter().filter_map(|name| named(&site.crossings, name)) {
        for floor in &crossing.spec.capacity_floors {
            let same = |lane: &&&Lane| {
                crossing.metadata.name.as_deref() == Some(lane.spec.crossing_ref.as_str())
                    && lane.spec.service == floor.service
                    && lane.spec.direction == floor.direction
            };
            let taken: Vec<&&Lane> = lanes.iter().filter(same).filter(|lane| counts(lane)).collect();
            if taken.is_empty() {
                continue;
            }
            let counted = crossing.status.as_ref().and_then(|status| {
                status.lanes.iter().find(|c| c.service == floor.service && c.direction == floor.direction)
            });
            let (open, hourly) = counted.map_or((0, 0), |c| (c.open, c.open_passages_per_hour));
            let lost: i64 = taken.iter().map(|lane| lane.spec.rated_passages_per_hour).sum();
            floors.push(Floor {
                crossing: format!("Crossing/{}", crossing.metadata.name.as_deref().unwrap_or_default()),
                class: format!("{:?} {:?}", floor.service, floor.direction),
                open_before: open,
                open_after: open - i64::try_from(taken.len()).unwrap_or(i64::MAX),
                open_needed: floor.min_open_lanes,
                hourly_after: hourly - lost,
                hourly_needed: floor.min_passages_per_hour,
            });
        }
    }
    floors
}

/// Whether a lane is part of the operator's count of open lanes now.
fn counts(lane: &Lane) -> bool {
    let status = lane.status.as_ref();
    status.is_some_and(|s| s.admission == LaneAdmission::Open && s.held_by.is_empty())
        && lane.is(ConditionType::Available)
}
