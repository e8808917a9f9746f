//! Everything that a decision about a Lane rests on, in one struct.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::lane::{Admission, Slot, SlotRole};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::digest::CanonicalError;
use kalong_crds::wire::order::{LaneMember, LaneOrder};
use kalong_crds::wire::reported::ReportedItem;
use kalong_crds::{Crossing, Device, DeviceModel, EdgeAgent, Lane};
use kube::ResourceExt;

use crate::kit::caches::{self, Caches};
use crate::kit::link::{AgentFacts, Hearing, Holding};
use crate::kit::world::World;

/// The world as one Lane sees it.
pub(super) struct Seen {
    pub(super) lane: Arc<Lane>,
    pub(super) now: Timestamp,
    pub(super) live: bool,
    pub(super) crossing: Option<Arc<Crossing>>,
    /// The devices of the slots, in their order.
    pub(super) devices: Vec<(Slot, Option<Arc<Device>>)>,
    pub(super) controller: Option<Controller>,
    /// Devices that another lane names too.
    pub(super) shared: Vec<String>,
    /// A device of the lane may be touched now: the lane must stay closed.
    pub(super) held: bool,
    pub(super) facts: Option<AgentFacts>,
    pub(super) report: Option<Arc<ReportedItem>>,
    pub(super) holding: Holding,
    pub(super) strays: Vec<AgentId>,
    pub(super) order: Option<Result<Item, CanonicalError>>,
    pub(super) patience: Option<Duration>,
}

impl Seen {
    /// What can be said of the agent that runs the lane.
    pub(super) fn hearing(&self) -> Hearing {
        self.facts.as_ref().map_or(Hearing::Wait, AgentFacts::hearing)
    }
}

/// The device that runs the lane.
pub(super) struct Controller {
    pub(super) device: Arc<Device>,
    pub(super) model: Option<Arc<DeviceModel>>,
    pub(super) agent: Option<Arc<EdgeAgent>>,
    pub(super) agent_id: Option<AgentId>,
}

/// The device in the slot with role Controller.
pub(crate) fn controller_device(caches: &Caches, namespace: &str, lane: &Lane) -> Option<Arc<Device>> {
    let slot = lane.spec.slots.iter().find(|s| s.role == SlotRole::Controller)?;
    caches::get(&caches.devices, namespace, slot.device_ref.as_str())
}

pub(super) fn observe(world: &World, lane: Arc<Lane>) -> Seen {
    let namespace = lane.namespace().unwrap_or_default();
    let (uid, name) = (lane.uid().unwrap_or_default(), lane.name_any());
    let device = |slot: &Slot| caches::get(&world.caches.devices, &namespace, slot.device_ref.as_str());
    let devices: Vec<_> = lane.spec.slots.iter().map(|slot| (slot.clone(), device(slot))).collect();
    let controller = controller_device(&world.caches, &namespace, &lane).map(|device| Controller {
        model: caches::get(&world.caches.models, &namespace, device.spec.model_ref.as_str()),
        agent: caches::get(&world.caches.agents, &namespace, device.spec.agent_ref.as_str()),
        agent_id: AgentId::new(&namespace, device.spec.agent_ref.as_str()).ok(),
        device,
    });
    let agent = controller.as_ref().and_then(|c| c.agent_id.clone());
    let shared = lane
        .spec
        .slots
        .iter()
        .filter(|slot| world.caches.lanes_of(&namespace, slot.device_ref.as_str()).len() > 1)
        .map(|slot| slot.device_ref.0.clone())
        .collect();
    let mut seen = Seen {
        now: world.clock.now(),
        live: world.life(&namespace, lane.spec.phase.as_ref()).is_live(),
        crossing: caches::get(&world.caches.crossings, &namespace, lane.spec.crossing_ref.as_str()),
        devices,
        shared,
        held: world.permits.holds_lane(&format!("{namespace}/{name}")),
        facts: agent.as_ref().map(|a| world.link.facts(a)),
        report: agent.as_ref().and_then(|a| world.link.report(a, &uid)),
        holding: agent.as_ref().map_or(Holding::NotHeld, |a| world.link.holding(a, &uid)),
        strays: world.link.holders(&uid).into_iter().filter(|h| Some(h) != agent.as_ref()).collect(),
        controller,
        order: None,
        patience: None,
        lane,
    };
    seen.order = compose(&seen);
    if let Some(Ok(item)) = &seen.order {
        let confirmed = seen.report.as_ref().is_some_and(|r| r.hash == item.hash);
        if confirmed {
            world.patience.over(&uid);
        } else {
            seen.patience = world.patience.left(&uid, &item.hash);
        }
    }
    seen
}

/// What the agent of the controller is told; none while something that it needs is missing: then it keeps what it has.
pub(super) fn compose(seen: &Seen) -> Option<Result<Item, CanonicalError>> {
    let lane = &seen.lane;
    let controller = seen.controller.as_ref()?;
    let runs_lanes = controller.model.as_ref().is_some_and(|m| m.spec.class.runs_lanes());
    let sound = seen.live
        && lane.metadata.deletion_timestamp.is_none()
        && seen.crossing.is_some()
        && controller.agent.is_some()
        && runs_lanes
        && seen.shared.is_empty();
    if !sound {
        return None;
    }
    let member = |(slot, device): &(Slot, Option<Arc<Device>>)| {
        device.as_ref().and_then(|d| d.uid()).map(|uid| LaneMember {
            slot: slot.name.0.clone(),
            role: slot.role,
            need: slot.need,
            uid,
        })
    };
    let order = LaneOrder {
        crossing: lane.spec.crossing_ref.0.clone(),
        direction: lane.spec.direction,
        service: lane.spec.service,
        admission: if seen.held { Admission::Closed } else { lane.spec.admission },
        controller: controller.device.uid().unwrap_or_default(),
        members: seen.devices.iter().filter_map(member).collect(),
        hold: None,
        interlocks: Vec::new(),
        open_interlocks: Vec::new(),
    };
    let (namespace, name, uid) =
        (lane.namespace().unwrap_or_default(), lane.name_any(), lane.uid().unwrap_or_default());
    Some(Item::new(ItemKind::Lane, &namespace, &name, &uid, lane.metadata.generation.unwrap_or_default(), &order))
}
