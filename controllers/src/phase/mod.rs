//! A Phase: the state asked for comes into force when its gates are met, and a stage that opened never closes by itself.
//!
//! Only [`lifecycle`](kalong_rules::lifecycle) reads the state in force; every other kind obeys that. Going back is done in two steps, so that lanes
//! are emptied under the floors while their devices are still in contact.

mod conditions;
mod decide;
mod observe;
mod progress;
mod readiness;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::Phase;
use kalong_crds::phase::PhaseStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use decide::{Decision, decide};
use observe::{Observed, observe};
use status::status;

impl Reconcile for Phase {
    async fn reconcile(ctx: &Context, phase: Arc<Self>) -> ReconcileResult<PhaseStatus> {
        let observed = observe(ctx, phase);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

/// A phase changes nothing but its own status, from which every member reads the state in force.
async fn act(_: &Context, _: &Observed, _: &Decision) -> Result<(), Error> {
    Ok(())
}
