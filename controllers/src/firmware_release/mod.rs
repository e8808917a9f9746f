//! A FirmwareRelease: whether its authors signed it, and whether its bytes are in the operator's cache.

mod decide;
mod observe;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::FirmwareRelease;
use kalong_crds::firmware_release::FirmwareReleaseStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use decide::{Decision, decide};
use kube::ResourceExt;
use observe::{Observed, observe};
use status::status;

impl Reconcile for FirmwareRelease {
    async fn reconcile(ctx: &Context, release: Arc<Self>) -> ReconcileResult<FirmwareReleaseStatus> {
        let observed = observe(ctx, release);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

/// Asks for the bytes, at every pass: it begins a download that is missing, and keeps them from being evicted.
async fn act(ctx: &Context, observed: &Observed, decision: &Decision) -> Result<(), Error> {
    if decision.wants_artifact {
        ctx.mirror.want(&observed.release.name_any(), &observed.release.spec.artifact);
    }
    Ok(())
}
