//! A LaneDrain: a claim is accepted when the floors hold with it, and kept until it ends.

use std::sync::Arc;

use kalong_crds::LaneDrain;
use kalong_crds::lane_drain::LaneDrainStatus;

use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for LaneDrain {
    async fn pass(_: &World, _: Arc<Self>) -> Report<LaneDrainStatus> {
        Report::unchanged()
    }
}
