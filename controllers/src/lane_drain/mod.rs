//! A LaneDrain: a claim is accepted when the floors hold with it, and kept until it ends.
//!
//! What other controllers read from claims, and the claims that they make for themselves, is in [`claim`](crate::claim).

mod conditions;
mod decide;
mod lane;
mod observe;
mod request;
mod status;
mod terms;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::LaneDrain;
use kalong_crds::lane_drain::LaneDrainStatus;
use kube::ResourceExt;

use self::decide::{Decision, decide};
use self::observe::{Observed, observe};
use self::status::status;
use crate::kit::context::Context;
use crate::kit::drains::Ledger;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

impl Reconcile for LaneDrain {
    async fn reconcile(ctx: &Context, drain: Arc<Self>) -> ReconcileResult<LaneDrainStatus> {
        // Locked from observation to act: what is accepted here counts for the next claim before its status is stored.
        let mut ledger = ctx.drains.ledger();
        let observed = observe(ctx, drain, &ledger);
        let decision = decide(&observed);
        act(&mut ledger, &observed, &decision);
        status(&observed, &decision)
    }
}

/// Notes an acceptance that is not stored yet.
fn act(ledger: &mut Ledger, observed: &Observed, decision: &Decision) {
    let uid = observed.drain.uid().unwrap_or_default();
    match &decision.acceptance {
        Some(acceptance) if observed.stored.as_ref() != Some(acceptance) => ledger.put(&uid, acceptance.clone()),
        _ => ledger.settle(&uid),
    }
}
