//! An IGV: its agent is told which vehicle to listen to; what it hears over VDA 5050 becomes status. Nothing is sent to the vehicle.
//!
//! A vehicle that is not there is no fault of the declaration: it is Ready, because its agent listens for it, and not Connected.

mod judge;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::IGV;
use kalong_crds::igv::IGVStatus;
use kube::ResourceExt;

use crate::kit::Error;
use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for IGV {
    async fn pass(world: &World, igv: Arc<Self>) -> Report<IGVStatus> {
        let seen = observe::observe(world, igv);
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
    let uid = seen.igv.uid().unwrap_or_default();
    for agent in &plan.remove {
        world.link.remove(agent, &uid, seen.igv.metadata.generation.unwrap_or_default());
    }
    if let Some((agent, item)) = &plan.want {
        world.link.want(agent, item.clone());
    }
    if let Some(finalizers) = &plan.finalizers {
        world.status.set_finalizers(&world.client, seen.igv.as_ref(), finalizers.clone()).await?;
    }
    Ok(())
}
