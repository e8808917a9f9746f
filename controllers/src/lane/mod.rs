//! A Lane: the agent of its controller gets the order to admit traffic or not; what the controller says becomes status.
//!
//! A lane that somebody claims empty is held by its agent until the last claim ends, and opens again only if it is declared Open.
//! Closing it is a claim too, made here and ended when the lane reports Closed. An open interlock of a station that the lane depends
//! on closes it at once, without a claim. A lane whose device is being changed stays closed until that is done, whatever becomes of
//! the claim.

pub(crate) mod claim;
mod closing;
mod interlock;
mod judge;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::Lane;
use kalong_crds::lane::LaneStatus;
use kube::ResourceExt;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

pub(crate) use observe::controller_device;

impl Reconcile for Lane {
    async fn reconcile(ctx: &Context, lane: Arc<Self>) -> ReconcileResult<LaneStatus> {
        let observed = observe::observe(ctx, lane);
        let plan = plan::plan(&observed);
        let done = act(ctx, &observed, &plan).await;
        let plan::Plan { placement, make: _, release: _, status, again } = plan;
        // A changed finalizer brings the object back with a new version; its status is written then.
        let status = status.filter(|_| placement.finalizers.is_none());
        let order = observed.order.and_then(Result::err).map(Error::Order);
        ReconcileResult { status, again, error: done.err().or(order), ..ReconcileResult::unchanged() }
    }
}

async fn act(ctx: &Context, observed: &observe::Observed, plan: &plan::Plan) -> Result<(), Error> {
    plan.placement.tell(ctx, observed.lane.as_ref());
    let mut result = Ok(());
    for drain in &plan.release {
        result = result.and(claim::release(ctx, drain).await);
    }
    if let Some(claim) = &plan.make {
        result = result.and(claim.make(ctx).await);
    }
    let guarded = plan.placement.guard(ctx, observed.lane.as_ref()).await;
    if guarded.is_ok() && plan.placement.finalizers.is_some() && observed.deleting() {
        ctx.drains.forget(&observed.lane.uid().unwrap_or_default());
    }
    result.and(guarded)
}
