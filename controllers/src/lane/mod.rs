//! A Lane: the agent of its controller gets the order to admit traffic or not; what the controller says becomes status.
//!
//! A lane whose device is being changed stays closed until that is done, whatever is declared meanwhile.

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
        let plan::Plan { finalizers, want: _, remove: _, status, again } = plan;
        // A changed finalizer brings the object back with a new version; its status is written then.
        let status = status.filter(|_| finalizers.is_none());
        let order = seen.order.and_then(Result::err).map(Error::Order);
        Report { status, again, error: done.err().or(order), ..Report::unchanged() }
    }
}

async fn act(world: &World, seen: &observe::Seen, plan: &plan::Plan) -> Result<(), Error> {
    let uid = seen.lane.uid().unwrap_or_default();
    for agent in &plan.remove {
        world.link.remove(agent, &uid, seen.lane.metadata.generation.unwrap_or_default());
    }
    if let Some((agent, item)) = &plan.want {
        world.link.want(agent, item.clone());
    }
    if let Some(finalizers) = &plan.finalizers {
        world.status.set_finalizers(&world.client, seen.lane.as_ref(), finalizers.clone()).await?;
    }
    Ok(())
}
