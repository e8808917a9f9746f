//! An InspectionStation: what its devices amount to, and which lanes an open interlock closes.
//!
//! Nothing is sent from here: the lanes that depend on a station look at its devices themselves, and their controllers act.

mod conditions;
mod decide;
pub mod licence;
mod observe;
mod readiness;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::InspectionStation;
use kalong_crds::inspection_station::InspectionStationStatus;

use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use decide::{Decision, decide};
use observe::{Observed, observe};
use status::status;

impl Reconcile for InspectionStation {
    async fn reconcile(ctx: &Context, station: Arc<Self>) -> ReconcileResult<InspectionStationStatus> {
        let observed = observe(ctx, station);
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done)
    }
}

/// A station changes nothing but its own status.
async fn act(_: &Context, _: &Observed, _: &Decision) -> Result<(), Error> {
    Ok(())
}
