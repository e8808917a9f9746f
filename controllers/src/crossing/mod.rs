//! A Crossing: what its lanes amount to, whether its floors hold, and whether the law lets it operate.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::condition::{ConditionType, Conditioned, settle};
use kalong_crds::crossing::{CrossingStatus, Direction, LaneCount};
use kalong_crds::lane::{LaneAdmission, Service};
use kalong_crds::{Crossing, Lane};
use kube::ResourceExt;

use crate::kit::caches;
use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

/// The world as one Crossing sees it.
struct Seen {
    crossing: Arc<Crossing>,
    now: Timestamp,
    live: bool,
    lanes: Vec<(Arc<Lane>, Life)>,
}

/// Whether a lane takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Live,
    Planned,
}

impl Controlled for Crossing {
    async fn pass(world: &World, crossing: Arc<Self>) -> Report<CrossingStatus> {
        let (namespace, name) = (crossing.namespace().unwrap_or_default(), crossing.name_any());
        let life = |lane: &Lane| {
            if world.life(&namespace, lane.spec.phase.as_ref()).is_live() { Life::Live } else { Life::Planned }
        };
        let lanes = caches::select(&world.caches.lanes, &namespace, |lane| lane.spec.crossing_ref.as_str() == name);
        let seen = Seen {
            now: world.clock.now(),
            live: world.life(&namespace, crossing.spec.phase.as_ref()).is_live(),
            lanes: lanes
                .into_iter()
                .map(|lane| {
                    let life = life(&lane);
                    (lane, life)
                })
                .collect(),
            crossing,
        };
        Report::of(plan(&seen))
    }
}

fn plan(seen: &Seen) -> CrossingStatus {
    let generation = seen.crossing.metadata.generation.unwrap_or_default();
    let old = seen.crossing.status.clone().unwrap_or_default();
    let counts = count(seen);
    let judged = judge::conditions(seen, &counts);
    CrossingStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, seen.now),
        open_lanes: counts.iter().map(|c| c.open).sum(),
        lanes: counts,
        igvs_declared: 0,
        igvs_seen: 0,
        blocked_by: Vec::new(),
    }
}

/// Lanes by service and direction. A lane that should be open and cannot serve, or of which nobody can tell, is failed.
fn count(seen: &Seen) -> Vec<LaneCount> {
    let mut counts: BTreeMap<(Service, Direction), LaneCount> = BTreeMap::new();
    for (lane, life) in &seen.lanes {
        let key = (lane.spec.service, lane.spec.direction);
        let entry = counts.entry(key).or_insert_with(|| LaneCount {
            service: key.0,
            direction: key.1,
            declared: 0,
            open: 0,
            draining: 0,
            closed: 0,
            failed: 0,
            planned: 0,
            open_passages_per_hour: 0,
        });
        entry.declared += 1;
        let admission = lane.status.as_ref().map(|s| s.admission).unwrap_or_default();
        match (life, admission) {
            (Life::Planned, _) => entry.planned += 1,
            (Life::Live, LaneAdmission::Open) if lane.is(ConditionType::Available) => {
                entry.open += 1;
                entry.open_passages_per_hour += lane.spec.rated_passages_per_hour;
            }
            (Life::Live, LaneAdmission::Draining | LaneAdmission::Drained) => entry.draining += 1,
            (Life::Live, LaneAdmission::Closed) => entry.closed += 1,
            (Life::Live, LaneAdmission::Open | LaneAdmission::Unknown) => entry.failed += 1,
        }
    }
    counts.into_values().collect()
}
