//! Gathers what a decision about a Lane needs.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::lane::Slot;
use kalong_crds::wire::order::LaneHold;
use kalong_crds::wire::reported::LaneReport;
use kalong_crds::{Crossing, Device, DeviceModel, Lane, LaneDrain};
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::interlock::{self, InterlockView};
use crate::claim;
use crate::kit::agent_object::AgentView;
use crate::kit::caches;
use crate::kit::context::Context;

/// Everything that a decision about one Lane rests on.
pub(super) struct Observed {
    pub(super) lane: Arc<Lane>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) crossing: Option<Arc<Crossing>>,
    /// The devices of the slots, in their order.
    pub(super) devices: Vec<(Slot, Option<Arc<Device>>)>,
    pub(super) controller: Option<Controller>,
    /// Devices that another lane names too.
    pub(super) shared: Vec<String>,
    /// A device of the lane may be touched now: the lane must stay closed, whatever became of the claim.
    pub(super) under_change: bool,
    /// The accepted claims on the lane.
    pub(super) claims: Vec<Arc<LaneDrain>>,
    /// Their part in the order of the lane.
    pub(super) hold: Option<LaneHold>,
    /// The claims that the operator made in order to close this lane.
    pub(super) own_claims: Vec<Arc<LaneDrain>>,
    pub(super) interlocks: Vec<InterlockView>,
    /// The agent of the controller.
    pub(super) agent: AgentView,
}

/// The device that runs the lane.
pub(super) struct Controller {
    pub(super) device: Arc<Device>,
    pub(super) model: Option<Arc<DeviceModel>>,
}

impl Observed {
    pub(super) fn deleting(&self) -> bool {
        self.lane.metadata.deletion_timestamp.is_some()
    }

    /// What the agent last said of the lane, for however long it has been silent since.
    pub(super) fn reported(&self) -> Option<&LaneReport> {
        self.agent.report.as_ref()?.lane()
    }

    /// Interlocks that keep the lane closed.
    pub(super) fn open_interlocks(&self) -> impl Iterator<Item = &InterlockView> {
        self.interlocks.iter().filter(|interlock| interlock.open)
    }
}

/// Reads caches and memory only.
pub(super) fn observe(ctx: &Context, lane: Arc<Lane>) -> Observed {
    let namespace = lane.namespace().unwrap_or_default();
    let name = lane.name_any();
    let device = |slot: &Slot| caches::get(&ctx.caches.devices, &namespace, slot.device_ref.as_str());
    let devices: Vec<_> = lane.spec.slots.iter().map(|slot| (slot.clone(), device(slot))).collect();
    let controller = ctx.caches.controller_of(&namespace, &lane).map(|device| Controller {
        model: caches::get(&ctx.caches.models, &namespace, device.spec.model_ref.as_str()),
        device,
    });
    let agent = controller.as_ref().map_or("", |controller| controller.device.spec.agent_ref.as_str());
    let shared = lane
        .spec
        .slots
        .iter()
        .filter(|slot| ctx.caches.lanes_of(&namespace, slot.device_ref.as_str()).len() > 1)
        .map(|slot| slot.device_ref.0.clone())
        .collect();
    let claims = claim::on_lane(ctx, &namespace, &name);
    Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, lane.spec.phase.as_ref()),
        crossing: caches::get(&ctx.caches.crossings, &namespace, lane.spec.crossing_ref.as_str()),
        devices,
        shared,
        under_change: ctx.permits.holds_lane(&format!("{namespace}/{name}")),
        hold: claim::hold(ctx, &lane, &claims),
        claims,
        own_claims: claim::own_claims(&ctx.caches, &namespace, &claim::requester(lane.as_ref())),
        interlocks: interlock::of(ctx, &lane),
        agent: AgentView::observe(ctx, lane.as_ref(), agent),
        controller,
        lane,
    }
}
