//! A LaneDrain: a claim is accepted when the floors hold with it, and kept until it ends.
//!
//! Whoever acts for a claim looks here: a lane asks [`holds`] for the claims on it and [`hold`] for what its agent is told of them, and
//! says at every pass, before the order goes out, `ctx.drains.told(uid, hash of the order, names of the claims in it, hash that the
//! agent reports, now)`. Without that word the lane counts neither as capacity nor as drained. A device asks [`state`] of its own claim.

mod hold;
mod observe;
mod plan;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::LaneDrain;
use kalong_crds::lane_drain::LaneDrainStatus;
use kube::ResourceExt;

use self::observe::Observed;
use self::plan::Plan;
use crate::kit::context::Context;
use crate::kit::drains::Ledger;
use crate::kit::reconciler::{EventToEmit, Reconcile, ReconcileResult};

pub(crate) use hold::{MADE_BY, OPERATOR, State, hold, holds, state};

impl Reconcile for LaneDrain {
    async fn reconcile(ctx: &Context, drain: Arc<Self>) -> ReconcileResult<LaneDrainStatus> {
        let Decided { status, again, events } = decide(ctx, drain);
        ReconcileResult { status, again, events: events.into_iter().collect(), ..ReconcileResult::unchanged() }
    }
}

/// What was decided at one moment.
struct Decided {
    status: Option<LaneDrainStatus>,
    again: Option<Duration>,
    events: Option<EventToEmit>,
}

/// Looks and decides while nobody else does: what is accepted here counts for the next claim before its status is stored.
fn decide(ctx: &Context, drain: Arc<LaneDrain>) -> Decided {
    let mut ledger = ctx.drains.ledger();
    let observed = observe::observe(ctx, drain, &ledger);
    let plan = settle(&observed, &mut ledger);
    Decided { status: report::status(&observed, &plan), again: plan.again, events: plan.events(&observed) }
}

/// Decides, and keeps in mind what is not stored yet.
fn settle(observed: &Observed, ledger: &mut Ledger) -> Plan {
    let plan = plan::plan(observed);
    let uid = observed.drain.uid().unwrap_or_default();
    match &plan.acceptance {
        Some(acceptance) if observed.stored.as_ref() != Some(acceptance) => ledger.put(&uid, acceptance.clone()),
        _ => ledger.settle(&uid),
    }
    plan
}
