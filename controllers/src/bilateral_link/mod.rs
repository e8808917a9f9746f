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
use kube::ResourceExt;

use crate::kit::Error;
use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for BilateralLink {
    async fn pass(world: &World, link: Arc<Self>) -> Report<BilateralLinkStatus> {
        let seen = observe::observe(world, link);
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
    let uid = seen.link.uid().unwrap_or_default();
    // First of all what cuts: nothing may stand between the switch and the gateway.
    if let Some((agent, item)) = &plan.want {
        world.link.want(agent, item.clone());
    }
    for agent in &plan.remove {
        world.link.remove(agent, &uid, seen.link.metadata.generation.unwrap_or_default());
    }
    if let Some(finalizers) = &plan.finalizers {
        world.status.set_finalizers(&world.client, seen.link.as_ref(), finalizers.clone()).await?;
    }
    Ok(())
}
