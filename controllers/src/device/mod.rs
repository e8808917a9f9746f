//! A Device: what is declared goes to its agent as one order; what the agent reports becomes status.
//!
//! Deletion sends a tombstone; a device that moved to another agent is taken from the old one the same way. A device of a phase
//! that is not live, and one whose declaration is invalid, is not contacted anew, and what already runs is left alone.

mod act;
mod config;
mod credential;
mod judge;
mod observe;
mod order;
mod permit;
mod plan;
mod report;
mod seen;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::Device;
use kalong_crds::device::DeviceStatus;

use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

impl Controlled for Device {
    async fn pass(world: &World, device: Arc<Self>) -> Report<DeviceStatus> {
        let seen = observe::observe(world, device).await;
        let plan = plan::plan(&seen);
        let done = act::act(world, &seen, &plan).await;
        report::report(seen, plan, done)
    }
}
