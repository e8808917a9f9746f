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
mod observed;
mod order;
mod permit;
mod plan;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::Device;
use kalong_crds::device::DeviceStatus;

use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

impl Reconcile for Device {
    async fn reconcile(ctx: &Context, device: Arc<Self>) -> ReconcileResult<DeviceStatus> {
        let observed = observe::observe(ctx, device).await;
        let plan = plan::plan(&observed);
        let done = act::act(ctx, &observed, &plan).await;
        report::report(observed, plan, done)
    }
}
