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
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

impl Reconcile for IGV {
    async fn reconcile(ctx: &Context, igv: Arc<Self>) -> ReconcileResult<IGVStatus> {
        let observed = observe::observe(ctx, igv);
        let plan = plan::plan(&observed);
        plan.placement.tell(ctx, observed.igv.as_ref());
        let guarded = plan.placement.guard(ctx, observed.igv.as_ref()).await;
        let plan::Plan { placement, status, again } = plan;
        // A changed finalizer brings the object back with a new version; its status is written then.
        let status = status.filter(|_| placement.finalizers.is_none());
        let order = observed.order.and_then(Result::err).map(Error::Order);
        ReconcileResult { status, again, error: guarded.err().or(order), ..ReconcileResult::unchanged() }
    }
}
