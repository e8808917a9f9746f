//! A Device: what is declared goes to its agent as one order; what the agent reports becomes status.
//!
//! Deletion sends a tombstone; a device that moved to another agent is taken from the old one the same way, and the new one is told
//! when the old one let go. A device whose declaration is invalid, or whose phase does not exist, is not contacted anew, and what
//! already runs is left alone. Whatever needs an empty lane, a change of firmware or switching a device off, claims the lane first:
//! a LaneDrain that the device makes, waits for, and ends. A change costs four writes for that claim (made, accepted, drained, ended),
//! three on the lane (draining, drained, open again), and one on the device for each thing that it waits for.

mod act;
mod config;
mod credential;
mod disabling;
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
