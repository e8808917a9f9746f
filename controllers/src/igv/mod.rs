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

use crate::kit::Error;
use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for IGV {
    async fn pass(world: &World, igv: Arc<Self>) -> Report<IGVStatus> {
        let seen = observe::observe(world, igv);
        let plan = plan::plan(&seen);
        plan.telling.tell(world, seen.igv.as_ref());
        let guarded = plan.telling.guard(world, seen.igv.as_ref()).await;
        let plan::Plan { telling, status, again } = plan;
        // A changed finalizer brings the object back with a new version; its status is written then.
        let status = status.filter(|_| telling.finalizers.is_none());
        let order = seen.order.and_then(Result::err).map(Error::Order);
        Report { status, again, error: guarded.err().or(order), ..Report::unchanged() }
    }
}
