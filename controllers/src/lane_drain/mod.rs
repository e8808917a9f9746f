//! A LaneDrain: a claim is accepted when the floors hold with it, and kept until it ends.
//!
//! Whoever acts for a claim looks here: a lane asks [`holds`] for the claims on it and [`hold`] for what its agent is told of them, and
//! says at every pass, before the order goes out, `world.drains.told(uid, hash of the order, names of the claims in it, hash that the
//! agent reports, now)`. Without that word the lane counts neither as capacity nor as drained. A device asks [`state`] of its own claim.

mod hold;

use std::sync::Arc;

use kalong_crds::LaneDrain;
use kalong_crds::lane_drain::LaneDrainStatus;

use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

pub(crate) use hold::{MADE_BY, OPERATOR, State, hold, holds, state};

impl Controlled for LaneDrain {
    async fn pass(_: &World, _: Arc<Self>) -> Report<LaneDrainStatus> {
        Report::unchanged()
    }
}
