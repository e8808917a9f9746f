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

use crate::kit::context::Context;
use crate::kit::life::{LifecycleStage, unknown_phase};
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use observe::Observed;

impl Reconcile for Crossing {
    async fn reconcile(ctx: &Context, crossing: Arc<Self>) -> ReconcileResult<CrossingStatus> {
        ReconcileResult::of(plan(&observe::observe(ctx, crossing)))
    }
}

fn plan(observed: &Observed) -> CrossingStatus {
    let generation = observed.crossing.metadata.generation.unwrap_or_default();
    let old = observed.crossing.status.clone().unwrap_or_default();
    let lanes = count::lanes(observed);
    let judged = judge::conditions(observed, &lanes);
    CrossingStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        open_lanes: lanes.iter().map(|c| c.open).sum(),
        lanes,
        igvs_declared: observed.igvs_declared,
        igvs_seen: observed.igvs_seen,
        blocked_by: carry_since(&old.blocked_by, blocked(observed)),
    }
}

fn blocked(observed: &Observed) -> Vec<BlockedBy> {
    let Some(phase) = observed.crossing.spec.phase.as_ref().filter(|_| observed.life == LifecycleStage::UnknownPhase)
    else {
        return Vec::new();
    };
    let subject = format!("Phase/{phase}");
    vec![BlockedBy::new(BlockCode::MissingReference, subject, unknown_phase(Some(phase)), observed.now)]
}
