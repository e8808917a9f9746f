//! The other devices of a device's lane.

use std::sync::Arc;

use kalong_crds::units::AgentId;
use kalong_crds::{Device, Lane, Purpose};
use kube::ResourceExt;

use super::stage::{AttemptStage, firmware};
use crate::claim::{self, ClaimProgress};
use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::link::Liveness;

/// Another device of the lane that is at work; after a start also one with an accepted claim whose agent has not reported how far it is.
pub(super) fn blocking_device(ctx: &Context, device: &Device, lane: &Lane) -> Option<String> {
    let (namespace, name) = (device.namespace().unwrap_or_default(), device.name_any());
    let others = lane.spec.slots.iter().map(|slot| slot.device_ref.as_str()).filter(|other| *other != name);
    let is_at_work = |other: &Device| {
        let Ok(agent) = AgentId::new(&namespace, other.spec.agent_ref.as_str()) else { return false };
        let report = ctx.link.report(&agent, &other.uid().unwrap_or_default());
        match firmware(report.as_deref()) {
            Some(firmware) => AttemptStage::of_step(firmware.step) == AttemptStage::AtWork,
            None => ctx.link.facts(&agent).liveness() != Liveness::Live && has_accepted_claim(ctx, other),
        }
    };
    others
        .filter_map(|other| caches::get(&ctx.caches.devices, &namespace, other))
        .find(|other| is_at_work(other))
        .map(|other| other.name_any())
}

/// Whether an attempt at the firmware of this device may have a permit.
fn has_accepted_claim(ctx: &Context, device: &Device) -> bool {
    let namespace = device.namespace().unwrap_or_default();
    claim::own_claims(&ctx.caches, &namespace, &claim::requester(device)).iter().any(|drain| {
        let accepted = matches!(ClaimProgress::of(drain), ClaimProgress::Empties(_) | ClaimProgress::Drained);
        accepted && drain.purpose() == Some(Purpose::Firmware)
    })
}

/// After a permit was given back: the lane opens unless another claim holds it, and its other devices are next.
pub(super) fn wake(ctx: &Context, device: &Device, lanes: &[Arc<Lane>]) {
    let namespace = device.namespace().unwrap_or_default();
    for lane in lanes {
        ctx.wakes.lanes.wake(&namespace, &lane.name_any());
        for slot in lane.spec.slots.iter().filter(|slot| slot.device_ref.as_str() != device.name_any()) {
            ctx.wakes.devices.wake(&namespace, slot.device_ref.as_str());
        }
    }
}
