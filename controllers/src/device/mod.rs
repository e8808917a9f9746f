//! A Device: what is declared goes to its agent as one order; what the agent reports becomes status.
//!
//! Deletion sends a tombstone; a device that moved to another agent is taken from the old one the same way, and the new one gets its order
//! when the old one let go. A device whose declaration is invalid, or whose phase does not exist, gets no new order, and what already
//! runs is left alone. What needs an empty lane, a change of firmware or switching a device off, claims the lane first: a LaneDrain that
//! the device creates, waits for, and deletes. A change costs four writes for that claim (created, accepted, drained, deleted), three on
//! the lane (draining, drained, open again), and one on the device for each thing that it waits for.

mod blocked;
mod claims;
mod conditions;
mod config;
mod credential;
mod decide;
mod disabling;
mod firmware;
mod neighbours;
mod observe;
mod order;
mod permit;
mod readiness;
mod stage;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::Device;
use kalong_crds::device::DeviceStatus;
use kube::ResourceExt;

use self::decide::{Decision, decide};
use self::observe::{Observed, observe};
use self::permit::PermitState;
use self::status::status;
use crate::kit::Error;
use crate::kit::context::Context;
use crate::kit::reconciler::{Reconcile, ReconcileResult};

impl Reconcile for Device {
    async fn reconcile(ctx: &Context, device: Arc<Self>) -> ReconcileResult<DeviceStatus> {
        let observed = observe(ctx, device).await;
        let decision = decide(&observed);
        let done = act(ctx, &observed, &decision).await;
        status(&observed, &decision).after(done).after(observed.gathered())
    }
}

/// Takes the permit first: an order that carries one goes out only once the device has it.
async fn act(ctx: &Context, observed: &Observed, decision: &Decision) -> Result<(), Error> {
    let uid = observed.device.uid().unwrap_or_default();
    match &decision.permit {
        PermitState::Granted { permit, lane } => {
            if !ctx.permits.take(&uid, lane.as_deref(), permit) {
                // Another device of the lane took its permit since the observation: the next reconcile waits for that one.
                let namespace = observed.device.namespace().unwrap_or_default();
                ctx.wakes.devices.wake(&namespace, &observed.device.name_any());
                return Ok(());
            }
        }
        PermitState::NotAsked | PermitState::Waits(_) => {
            if ctx.permits.give_back(&uid) {
                neighbours::wake(ctx, &observed.device, &observed.lanes);
            }
        }
    }
    decision.placement.apply(ctx, observed.device.as_ref());
    let claims = decision.claims.apply(ctx).await;
    let finalizers = decision.placement.set_finalizers(ctx, observed.device.as_ref()).await;
    if finalizers.is_ok() && decision.placement.finalizers.is_some() && observed.deleting() {
        ctx.permits.give_back(&uid);
    }
    finalizers.and(claims)
}
