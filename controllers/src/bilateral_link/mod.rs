//! A BilateralLink: whether anything may be said to the other side, and whether it answers.
//!
//! Every doubt cuts: the gateway box is told to reach the peer only while the link is in service, is not suspended, and an agreement
//! is in force today. No inbound path exists: nothing that the other side says becomes an object.

mod conditions;
mod decide;
mod observe;
mod readiness;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::BilateralLink;
use kalong_crds::bilateral_link::BilateralLinkStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use decide::{Decision, decide};
use observe::{Observed, observe};
use status::status;

impl Reconcile for BilateralLink {
    async fn reconcile(ctx: &Context, link: Arc<Self>) -> ReconcileResult<BilateralLinkStatus> {
        let observed = observe(ctx, link);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

async fn act(ctx: &Context, observed: &Observed, decision: &Decision) -> Result<(), Error> {
    decision.placement.apply(ctx, observed.link.as_ref());
    decision.placement.set_finalizers(ctx, observed.link.as_ref()).await
}
