//! A Lane: the agent of its controller gets the order to admit traffic or not; what the controller reports becomes status.
//!
//! A lane under an accepted claim is held empty by its agent until the last claim ends, and opens again only if it is declared Open.
//! Closing a lane is a claim too, created here and deleted when the lane reports Closed. An open interlock of a station that the lane
//! depends on closes it at once, without a claim. A lane whose device is being changed stays closed until that is done, whatever becomes
//! of the claim.

mod closing;
mod conditions;
mod decide;
mod interlock;
mod observe;
mod order;
mod readiness;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::Lane;
use kalong_crds::lane::LaneStatus;
use kube::ResourceExt;

use self::decide::{Decision, decide};
use self::observe::{Observed, observe};
use self::status::status;
use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

impl Reconcile for Lane {
    async fn reconcile(ctx: &Context, lane: Arc<Self>) -> ReconcileResult<LaneStatus> {
        let observed = observe(ctx, lane);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

async fn act(ctx: &Context, observed: &Observed, decision: &Decision) -> Result<(), Error> {
    let (lane, uid) = (observed.lane.as_ref(), observed.lane.uid().unwrap_or_default());
    if let Some(order) = &decision.order {
        let drains = observed.hold.as_ref().map(|hold| hold.drains.as_slice()).unwrap_or_default();
        let reported = observed.agent.report.as_ref().map(|report| &report.hash);
        ctx.drains.order_sent(&uid, &order.hash, drains, reported, observed.now);
    }
    decision.placement.apply(ctx, lane);
    let claims = decision.claims.apply(ctx).await;
    let finalizers = decision.placement.set_finalizers(ctx, lane).await;
    if finalizers.is_ok() && decision.placement.finalizers.is_some() && observed.deleting() {
        ctx.drains.forget(&uid);
    }
    claims.and(finalizers)
}
