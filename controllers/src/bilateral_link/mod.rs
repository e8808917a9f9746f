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

use crate::kit::Error;
use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for BilateralLink {
    async fn pass(world: &World, link: Arc<Self>) -> Report<BilateralLinkStatus> {
        let seen = observe::observe(world, link);
        let plan = plan::plan(&seen);
        plan.telling.tell(world, seen.link.as_ref());
        let guarded = plan.telling.guard(world, seen.link.as_ref()).await;
        let plan::Plan { telling, status, again } = plan;
        // A changed finalizer brings the object back with a new version; its status is written then.
        let status = status.filter(|_| telling.finalizers.is_none());
        let order = seen.order.and_then(Result::err).map(Error::Order);
        Report { status, again, error: guarded.err().or(order), ..Report::unchanged() }
    }
}
