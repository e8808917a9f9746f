//! A Phase: the state asked for comes into force when its gates are met.

use std::sync::Arc;

use kalong_crds::Phase;
use kalong_crds::phase::PhaseStatus;

use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for Phase {
    async fn pass(_: &World, _: Arc<Self>) -> Report<PhaseStatus> {
        Report::unchanged()
    }
}
