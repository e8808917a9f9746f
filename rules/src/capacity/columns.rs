//! A count of lanes as it stands in the status of a Crossing.

use std::collections::BTreeMap;

use kalong_crds::crossing::LaneCount;
use kalong_crds::lane::{Direction, LaneAdmission, Service};

use super::{CapacitySnapshot, LaneFacts, Lost, loss};
use crate::lifecycle::LifecycleStage;

/// The lanes of a snapshot by service and direction: each lane is counted in exactly one column beside `declared`.
pub fn lane_counts(snapshot: &CapacitySnapshot) -> Vec<LaneCount> {
    let mut counts: BTreeMap<(Service, Direction), LaneCount> = BTreeMap::new();
    for (name, lane) in &snapshot.lanes {
        let (service, direction) = (lane.group.service, lane.group.direction);
        let count = counts.entry((service, direction)).or_insert_with(|| LaneCount {
            service,
            direction,
            declared: 0,
            open: 0,
            draining: 0,
            closed: 0,
            failed: 0,
            planned: 0,
            open_passages_per_hour: 0,
        });
        count.declared += 1;
        match column(loss(snapshot, name, lane), lane) {
            Column::Open => {
                count.open += 1;
                count.open_passages_per_hour += lane.passages_per_hour;
            }
            Column::Draining => count.draining += 1,
            Column::Closed => count.closed += 1,
            Column::Failed => count.failed += 1,
            Column::Planned => count.planned += 1,
        }
    }
    counts.into_values().collect()
}

enum Column {
    Open,
    Draining,
    Closed,
    Failed,
    Planned,
}

/// A lane that should be open and cannot serve, or whose state is not known, counts as failed.
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
