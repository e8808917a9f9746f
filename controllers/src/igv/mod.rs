//! An IGV: what its agent hears of it over VDA 5050 becomes status.

use std::sync::Arc;

use kalong_crds::IGV;
use kalong_crds::igv::IGVStatus;

use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for IGV {
    async fn pass(_: &World, _: Arc<Self>) -> Report<IGVStatus> {
        Report::unchanged()
    }
}
