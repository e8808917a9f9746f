//! A Crossing: what its lanes amount to, whether its floors hold, and whether the law lets it operate.

mod count;
mod judge;
mod observe;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::Crossing;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::crossing::CrossingStatus;

use crate::kit::driver::{Controlled, Report};
use crate::kit::life::{Life, unknown_phase};
use crate::kit::world::World;
use observe::Seen;

impl Controlled for Crossing {
    async fn pass(world: &World, crossing: Arc<Self>) -> Report<CrossingStatus> {
        Report::of(plan(&observe::observe(world, crossing)))
    }
}

fn plan(seen: &Seen) -> CrossingStatus {
    let generation = seen.crossing.metadata.generation.unwrap_or_default();
    let old = seen.crossing.status.clone().unwrap_or_default();
    let lanes = count::lanes(seen);
    let judged = judge::conditions(seen, &lanes);
    CrossingStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, seen.now),
        open_lanes: lanes.iter().map(|c| c.open).sum(),
        lanes,
        igvs_declared: seen.igvs_declared,
        igvs_seen: seen.igvs_seen,
        blocked_by: carry_since(&old.blocked_by, blocked(seen)),
    }
}

fn blocked(seen: &Seen) -> Vec<BlockedBy> {
    let Some(phase) = seen.crossing.spec.phase.as_ref().filter(|_| seen.life == Life::UnknownPhase) else {
        return Vec::new();
    };
    let subject = format!("Phase/{phase}");
    vec![BlockedBy::new(BlockCode::MissingReference, subject, unknown_phase(Some(phase)), seen.now)]
}
