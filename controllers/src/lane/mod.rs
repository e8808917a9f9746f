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
use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

pub(crate) use observe::controller_device;

impl Controlled for Lane {
    async fn pass(world: &World, lane: Arc<Self>) -> Report<LaneStatus> {
        let seen = observe::observe(world, lane);
        let plan = plan::plan(&seen);
        let done = act(world, &seen, &plan).await;
        let plan::Plan { telling, make: _, release: _, status, again } = plan;
        // A changed finalizer brings the object back with a new version; its status is written then.
        let status = status.filter(|_| telling.finalizers.is_none());
        let order = seen.order.and_then(Result::err).map(Error::Order);
        Report { status, again, error: done.err().or(order), ..Report::unchanged() }
    }
}

async fn act(world: &World, seen: &observe::Seen, plan: &plan::Plan) -> Result<(), Error> {
    plan.telling.tell(world, seen.lane.as_ref());
    let mut result = Ok(());
    for drain in &plan.release {
        result = result.and(claim::release(world, drain).await);
    }
    if let Some(claim) = &plan.make {
        result = result.and(claim.make(world).await);
    }
    let guarded = plan.telling.guard(world, seen.lane.as_ref()).await;
    if guarded.is_ok() && plan.telling.finalizers.is_some() && seen.deleting() {
        world.drains.forget(&seen.lane.uid().unwrap_or_default());
    }
    result.and(guarded)
}
