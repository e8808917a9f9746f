//! An IGV: its agent is told which vehicle to listen to; what it hears over VDA 5050 becomes status. Nothing is sent to the vehicle.
//!
//! A vehicle that is not there is no fault of the declaration: it is Ready, because its agent listens for it, and not Connected.

mod conditions;
mod decide;
mod observe;
mod readiness;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::IGV;
use kalong_crds::igv::IGVStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use decide::{Decision, decide};
use observe::{Observed, observe};
use status::status;

impl Reconcile for IGV {
    async fn reconcile(ctx: &Context, igv: Arc<Self>) -> ReconcileResult<IGVStatus> {
        let observed = observe(ctx, igv);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

async fn act(ctx: &Context, observed: &Observed, decision: &Decision) -> Result<(), Error> {
    decision.placement.apply(ctx, observed.igv.as_ref());
    decision.placement.set_finalizers(ctx, observed.igv.as_ref()).await
}
