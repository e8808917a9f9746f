//! An InspectionStation: what its devices amount to, and which lanes an open interlock closes.
//!
//! Nothing is sent from here: the lanes that depend on a station look at its devices themselves, and their controllers act.

mod judge;
pub mod licence;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::InspectionStation;
use kalong_crds::inspection_station::InspectionStationStatus;

use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

impl Reconcile for InspectionStation {
    async fn reconcile(ctx: &Context, station: Arc<Self>) -> ReconcileResult<InspectionStationStatus> {
        let observed = observe::observe(ctx, station);
        let plan::Plan { status, again } = plan::plan(&observed);
        ReconcileResult { again, ..ReconcileResult::of(status) }
    }
}
