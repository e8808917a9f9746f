//! A BilateralLink: whether anything may be said to the other side, and whether it answers.
//!
//! Every doubt cuts: the gateway box is told to reach the peer only while the link is in service, nobody suspended it, and an agreement
//! is in force today. No inbound path exists: nothing that the other side says becomes an object.

mod agreement;
mod judge;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::BilateralLink;
use kalong_crds::bilateral_link::BilateralLinkStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

impl Reconcile for BilateralLink {
    async fn reconcile(ctx: &Context, link: Arc<Self>) -> ReconcileResult<BilateralLinkStatus> {
        let observed = observe::observe(ctx, link);
        let plan = plan::plan(&observed);
        plan.placement.tell(ctx, observed.link.as_ref());
        let guarded = plan.placement.guard(ctx, observed.link.as_ref()).await;
        let plan::Plan { placement, status, again } = plan;
        // A changed finalizer brings the object back with a new version; its status is written then.
        let status = status.filter(|_| placement.finalizers.is_none());
        let order = observed.order.and_then(Result::err).map(Error::Order);
        ReconcileResult { status, again, error: guarded.err().or(order), ..ReconcileResult::unchanged() }
    }
}
