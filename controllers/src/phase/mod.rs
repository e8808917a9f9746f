//! A Phase: the state asked for comes into force when its gates are met, and a stage that opened never closes by itself.
//!
//! Only [`life`](crate::kit::life) reads the state in force; every other kind obeys that. Going back is done in two steps, so that lanes
//! are emptied under the floors while their devices are still in contact.

mod gates;
mod inventory;
mod judge;
mod members;
mod observe;
mod plan;
mod progress;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::Phase;
use kalong_crds::phase::PhaseStatus;
use kube::ResourceExt;

use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

/// Moments farther away than this are found by the ordinary resync.
const SOON: Duration = Duration::from_secs(600);

impl Reconcile for Phase {
    async fn reconcile(ctx: &Context, phase: Arc<Self>) -> ReconcileResult<PhaseStatus> {
        let observed = observe::observe(ctx, phase);
        let plan::Plan { status, events, again } = plan::plan(&observed);
        let again = again.filter(|again| *again < SOON);
        let uid = observed.phase.uid().unwrap_or_default();
        let old = observed.phase.status.as_ref();
        if old == Some(&status) {
            return ReconcileResult { again, ..ReconcileResult::unchanged() };
        }
        let slow = old.is_some_and(|old| plan::is_only_progress(old, &status));
        if let Some(left) = ctx.throttle.left(&uid).filter(|_| slow) {
            return ReconcileResult {
                again: Some(again.map_or(left, |again| again.min(left))),
                ..ReconcileResult::unchanged()
            };
        }
        ctx.throttle.told(&uid);
        ReconcileResult { again, events, ..ReconcileResult::of(status) }
    }
}
