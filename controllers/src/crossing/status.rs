//! What the status says of a Crossing. Pure.

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::crossing::CrossingStatus;
use kalong_rules::lifecycle::{LifecycleStage, unknown_phase};

use super::decide::Decision;
use super::observe::Observed;
use super::{conditions, readiness};
use crate::kit::reconciler::ReconcileResult;

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<CrossingStatus> {
    let Decision { lanes, breaches: _ } = decision;
    let generation = observed.crossing.metadata.generation.unwrap_or_default();
    let old = observed.crossing.status.clone().unwrap_or_default();
    let objection = readiness::declared(observed).or_else(|| readiness::realised(observed));
    let judged = conditions::all(observed, decision, objection.as_ref());
    ReconcileResult::of(CrossingStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        open_lanes: lanes.iter().map(|count| count.open).sum(),
        lanes: lanes.clone(),
        igvs_declared: observed.igvs_declared,
        igvs_seen: observed.igvs_seen,
        blocked_by: carry_since(&old.blocked_by, blocked(observed)),
    })
}

fn blocked(observed: &Observed) -> Vec<BlockedBy> {
    let unknown = observed.life == LifecycleStage::UnknownPhase;
    let phase = observed.crossing.spec.phase.as_ref().filter(|_| unknown);
    let block = |phase| {
        let say = unknown_phase(Some(phase));
        BlockedBy::new(BlockCode::MissingReference, format!("Phase/{phase}"), say, observed.now)
    };
    phase.map(block).into_iter().collect()
}
