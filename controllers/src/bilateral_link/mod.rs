//! A BilateralLink: whether anything may be said to the other side, and whether it answers.

use std::sync::Arc;

use kalong_crds::BilateralLink;
use kalong_crds::bilateral_link::BilateralLinkStatus;

use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for BilateralLink {
    async fn pass(_: &World, _: Arc<Self>) -> Report<BilateralLinkStatus> {
        Report::unchanged()
    }
}
