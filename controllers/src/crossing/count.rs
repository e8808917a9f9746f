//! What the lanes of a Crossing amount to. What counts as open is said by [`capacity`](crate::capacity) alone.

use std::collections::BTreeMap;

use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::crossing::LaneCount;
use kalong_crds::lane::{Admission, Direction, LaneAdmission, Service};
use kalong_crds::lane_drain::DrainClass;
use kube::ResourceExt;

use super::observe::{CountedLane, Observed};
use crate::capacity::{Breach, CapacitySnapshot, Claim, Floor, Group, LaneFacts, Lost, floors_broken, loss};
use crate::kit::life::LifecycleStage;

/// Lanes by service and direction.
pub(super) fn lanes(observed: &Observed) -> Vec<LaneCount> {
    let picture = picture(observed);
    let mut counts: BTreeMap<(Service, Direction), LaneCount> = BTreeMap::new();
    for lane in &observed.lanes {
        let spec = &lane.lane.spec;
        let entry = counts.entry((spec.service, spec.direction)).or_insert_with(|| LaneCount {
            service: spec.service,
            direction: spec.direction,
            declared: 0,
            open: 0,
            draining: 0,
            closed: 0,
            failed: 0,
            planned: 0,
            open_passages_per_hour: 0,
        });
        entry.declared += 1;
        let facts = facts(observed, lane);
        match column(loss(&picture, &lane.lane.name_any(), &facts), &facts) {
            Column::Open => {
                entry.open += 1;
                entry.open_passages_per_hour += spec.rated_passages_per_hour;
            }
            Column::Draining => entry.draining += 1,
            Column::Closed => entry.closed += 1,
            Column::Failed => entry.failed += 1,
            Column::Planned => entry.planned += 1,
        }
    }
    counts.into_values().collect()
}

/// The floors that do not hold now.
pub(super) fn broken(observed: &Observed) -> Vec<Breach> {
    floors_broken(&picture(observed), &Default::default())
}

/// Where a lane is counted.
enum Column {
    Open,
    Draining,
    Closed,
    Failed,
    Planned,
}

/// A lane that should be open and cannot serve, or of which nobody can tell, is failed.
fn column(lost: Option<Lost>, lane: &LaneFacts) -> Column {
    match lost {
        None => Column::Open,
        Some(Lost::NotInService) if lane.life == LifecycleStage::UnknownPhase => Column::Failed,
        Some(Lost::NotInService) => Column::Planned,
        Some(Lost::Held(_)) => Column::Draining,
        Some(Lost::Closed) => match lane.reported {
            LaneAdmission::Closed => Column::Closed,
            LaneAdmission::Open | LaneAdmission::Draining | LaneAdmission::Drained => Column::Draining,
            LaneAdmission::Unknown => Column::Failed,
        },
        Some(Lost::NotOpen(LaneAdmission::Draining | LaneAdmission::Drained)) => Column::Draining,
        Some(Lost::NotOpen(_) | Lost::Interlocked | Lost::Unknown | Lost::Broken | Lost::Unconfirmed) => Column::Failed,
    }
}

/// The lanes as their statuses show them: a count that speaks of what agents have confirmed.
fn picture(observed: &Observed) -> CapacitySnapshot {
    let name = observed.crossing.name_any();
    let floor = |floor: &kalong_crds::crossing::CapacityFloor| Floor {
        group: Group { crossing: name.clone(), service: floor.service, direction: floor.direction },
        min_lanes: floor.min_open_lanes,
        min_passages_per_hour: floor.min_passages_per_hour,
    };
    CapacitySnapshot {
        floors: observed.crossing.spec.capacity_floors.iter().map(floor).collect(),
        lanes: observed.lanes.iter().map(|lane| (lane.lane.name_any(), facts(observed, lane))).collect(),
        accepted: observed
            .lanes
            .iter()
            .flat_map(|lane| lane.held_by.iter().map(|claim| held(claim, lane.lane.name_any())))
            .collect(),
        waiting: Vec::new(),
    }
}

/// A claim as far as counting is concerned: it holds this lane. Its rank decides nothing any more.
fn held(claim: &str, lane: String) -> Claim {
    Claim { name: claim.to_owned(), class: DrainClass::Change, priority: 0, created: 0, lanes: [lane].into() }
}

fn facts(observed: &Observed, lane: &CountedLane) -> LaneFacts {
    let (spec, status) = (&lane.lane.spec, lane.lane.status.as_ref());
    let available = lane.lane.condition(ConditionType::Available).map(|c| c.status.as_str());
    let reported = status.map(|s| s.admission).unwrap_or_default();
    LaneFacts {
        group: Group { crossing: observed.crossing.name_any(), service: spec.service, direction: spec.direction },
        passages_per_hour: spec.rated_passages_per_hour,
        life: lane.life,
        declared: spec.admission,
        reported,
        available: match available {
            Some("True") => ConditionStatus::True,
            Some("False") => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        },
        interlocked: lane.lane.reason(ConditionType::Available) == Reason::InterlockOpen.as_str(),
        settled: true,
        shut: spec.admission == Admission::Closed && reported == LaneAdmission::Closed,
    }
}
