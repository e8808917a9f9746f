//! An EdgeAgent: whether the box may talk, which settings it gets, and whether it is there.

mod conditions;
mod decide;
mod observe;
mod readiness;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::EdgeAgent;
use kalong_crds::edge_agent::EdgeAgentStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use crate::kit::status::WriteResult;
use decide::{Decision, decide};
use observe::{Observed, observe};
use status::status;

impl Reconcile for EdgeAgent {
    async fn reconcile(ctx: &Context, agent: Arc<Self>) -> ReconcileResult<EdgeAgentStatus> {
        let observed = observe(ctx, agent);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

/// Lets the box in or shuts it out, tells it its settings, and keeps the object while anything names it.
async fn act(ctx: &Context, observed: &Observed, decision: &Decision) -> Result<(), Error> {
    let Decision { admittance, assignment, finalizers } = decision;
    let id = observed.id.as_ref().ok();
    if let Some(id) = id {
        ctx.link.admit(id, *admittance);
        if let Some(item) = assignment.order() {
            ctx.link.want(id, item.clone());
        }
    }
    let Some(finalizers) = finalizers else { return Ok(()) };
    let written = ctx.status.set_finalizers(&ctx.client, observed.agent.as_ref(), finalizers.clone()).await?;
    if let (true, WriteResult::Changed, Some(id)) = (observed.deleting(), written, id) {
        ctx.link.forget(id);
    }
    Ok(())
}
