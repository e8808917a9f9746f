//! Who may touch a device: until lanes can be drained on request, only a device of a Closed lane, or of none.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::device::Step;
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::wire::reported::ReportedItem;
use kalong_crds::{Device, DeviceModel, Lane};
use kube::ResourceExt;

use super::seen::Leave;
use crate::kit::world::World;

/// Leave lasts this much longer than what the model says that the change takes.
const MARGIN: Duration = Duration::from_secs(3600);

/// Whether the attempt that the agent reports may touch the device. Leave once given stays until the attempt ended.
pub(super) fn judge(
    world: &World,
    device: &Device,
    model: Option<&DeviceModel>,
    lanes: &[Arc<Lane>],
    lane_closed: Option<bool>,
    report: Option<&ReportedItem>,
    now: Timestamp,
) -> Leave {
    let uid = device.uid().unwrap_or_default();
    let firmware = report.and_then(|r| r.device.as_ref()).and_then(|d| d.firmware.as_ref());
    let (Some(firmware), Some(model)) = (firmware, model) else {
        return Leave::NotAsked;
    };
    let asks = firmware.step == Step::AwaitingDrain;
    let at_work =
        matches!(firmware.step, Step::Draining | Step::Drained | Step::Undraining) || firmware.step.touches_device();
    if !asks && !at_work {
        if world.permits.give_back(&uid) {
            wake_lane(world, device, lanes);
        }
        return Leave::NotAsked;
    }
    let lane = lanes.first().map(|lane| lane.name_any());
    let needs_lane = model.spec.update.lane_drain == LaneDrainNeed::Needed;
    if asks && needs_lane && lane_closed == Some(false) {
        let lane = lane.unwrap_or_default();
        return Leave::Waits(format!(
            "Lane {lane} is in service: set its `spec.admission` to Closed so that the device may be changed."
        ));
    }
    let takes = model.spec.update.downtime_seconds * 4 + model.spec.update.soak_seconds;
    let until = now
        .checked_add(SignedDuration::from_secs(takes))
        .and_then(|t| t.checked_add(MARGIN))
        .and_then(|t| Timestamp::from_second(t.as_second()))
        .unwrap_or(now);
    let scope =
        lane.as_ref().filter(|_| needs_lane).map(|name| format!("{}/{name}", device.namespace().unwrap_or_default()));
    match world.permits.give(&uid, scope.as_deref(), firmware.attempt, until) {
        Some(permit) => {
            if asks {
                wake_lane(world, device, lanes);
            }
            Leave::Given(permit)
        }
        None => Leave::Waits(format!(
            "Another device of lane {} is being changed; this one is next when that is done.",
            lane.unwrap_or_default()
        )),
    }
}

/// The lane stays closed while leave is given, and its other devices are next when it ends.
fn wake_lane(world: &World, device: &Device, lanes: &[Arc<Lane>]) {
    let namespace = device.namespace().unwrap_or_default();
    for lane in lanes {
        world.wakes.lanes.wake(&namespace, &lane.name_any());
        for slot in lane.spec.slots.iter().filter(|slot| slot.device_ref.as_str() != device.name_any()) {
            world.wakes.devices.wake(&namespace, slot.device_ref.as_str());
        }
    }
}
