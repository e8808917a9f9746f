//! A DeviceModel: whether its properties, registers and codes fit together, and how many devices use it.

mod decide;
mod observe;
mod status;

use std::sync::Arc;

use kalong_crds::DeviceModel;
use kalong_crds::device_model::DeviceModelStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use decide::{Decision, decide};
use observe::{Observed, observe};
use status::status;

impl Reconcile for DeviceModel {
    async fn reconcile(ctx: &Context, model: Arc<Self>) -> ReconcileResult<DeviceModelStatus> {
        let observed = observe(ctx, model);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

/// A model changes nothing but its own status.
async fn act(_: &Context, _: &Observed, _: &Decision) -> Result<(), Error> {
    Ok(())
}
