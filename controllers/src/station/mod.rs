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

use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for InspectionStation {
    async fn pass(world: &World, station: Arc<Self>) -> Report<InspectionStationStatus> {
        let seen = observe::observe(world, station);
        let plan::Plan { status, again } = plan::plan(&seen);
        Report { again, ..Report::of(status) }
    }
}
