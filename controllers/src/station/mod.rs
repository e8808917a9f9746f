//! An InspectionStation: what its devices amount to, and which lanes an open interlock closes.

use std::sync::Arc;

use kalong_crds::InspectionStation;
use kalong_crds::inspection_station::InspectionStationStatus;

use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for InspectionStation {
    async fn pass(_: &World, _: Arc<Self>) -> Report<InspectionStationStatus> {
        Report::unchanged()
    }
}
