//! A Crossing: what its lanes amount to, whether its floors hold, and whether the law lets it operate.

mod conditions;
mod decide;
mod observe;
mod readiness;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::Crossing;
use kalong_crds::crossing::CrossingStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use decide::{Decision, decide};
use observe::{Observed, observe};
use status::status;

impl Reconcile for Crossing {
    async fn reconcile(ctx: &Context, crossing: Arc<Self>) -> ReconcileResult<CrossingStatus> {
        let observed = observe(ctx, crossing);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

/// A crossing changes nothing but its own status.
async fn act(_: &Context, _: &Observed, _: &Decision) -> Result<(), Error> {
    Ok(())
}
