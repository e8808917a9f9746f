//! A LaneDrain: a claim is accepted when the floors hold with it, and kept until it ends.
//!
//! Whoever acts for a claim looks here: a lane asks [`holds`] for the claims on it and [`hold`] for what its agent is told of them, and
//! says at every pass, before the order goes out, `world.drains.told(uid, hash of the order, names of the claims in it, hash that the
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

use self::observe::Seen;
use self::plan::Plan;
use crate::kit::drains::Ledger;
use crate::kit::driver::{Controlled, News, Report};
use crate::kit::world::World;

pub(crate) use hold::{MADE_BY, OPERATOR, State, hold, holds, state};

impl Controlled for LaneDrain {
    async fn pass(world: &World, drain: Arc<Self>) -> Report<LaneDrainStatus> {
        let Decided { status, again, news } = decide(world, drain);
        Report { status, again, news: news.into_iter().collect(), ..Report::unchanged() }
    }
}

/// What was decided at one moment.
struct Decided {
    status: Option<LaneDrainStatus>,
    again: Option<Duration>,
    news: Option<News>,
}

/// Looks and decides while nobody else does: what is accepted here counts for the next claim before its status is stored.
fn decide(world: &World, drain: Arc<LaneDrain>) -> Decided {
    let mut ledger = world.drains.ledger();
    let seen = observe::observe(world, drain, &ledger);
    let plan = settle(&seen, &mut ledger);
    Decided { status: report::status(&seen, &plan), again: plan.again, news: plan.news(&seen) }
}

/// Decides, and keeps in mind what is not stored yet.
fn settle(seen: &Seen, ledger: &mut Ledger) -> Plan {
    let plan = plan::plan(seen);
    let uid = seen.drain.uid().unwrap_or_default();
    match &plan.acceptance {
        Some(acceptance) if seen.stored.as_ref() != Some(acceptance) => ledger.put(&uid, acceptance.clone()),
        _ => ledger.settle(&uid),
    }
    plan
}
