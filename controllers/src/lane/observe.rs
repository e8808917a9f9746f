//! Everything that a decision about a Lane rests on, in one struct.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::lane::{Admission, Slot, SlotRole};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::digest::CanonicalError;
use kalong_crds::wire::order::{LaneHold, LaneMember, LaneOrder};
use kalong_crds::wire::reported::ReportedItem;
use kalong_crds::{Crossing, Device, DeviceModel, EdgeAgent, Lane, LaneDrain};
use kube::ResourceExt;

use super::interlock::{self, SeenInterlock};
use super::{claim, closing};
use crate::kit::caches::{self, Caches};
use crate::kit::life::Life;
use crate::kit::link::{AgentFacts, Hearing, Holding};
use crate::kit::world::World;
use crate::lane_drain;

/// The world as one Lane sees it.
pub(super) struct Seen {
    pub(super) lane: Arc<Lane>,
    pub(super) now: Timestamp,
    pub(super) life: Life,
    pub(super) crossing: Option<Arc<Crossing>>,
    /// The devices of the slots, in their order.
    pub(super) devices: Vec<(Slot, Option<Arc<Device>>)>,
    pub(super) controller: Option<Controller>,
    /// Devices that another lane names too.
    pub(super) shared: Vec<String>,
    /// A device of the lane may be touched now: the lane must stay closed, whatever became of the claim.
    pub(super) in_work: bool,
    /// The accepted claims on the lane, and what its agent is told of them.
    pub(super) claims: Vec<Arc<LaneDrain>>,
    pub(super) hold: Option<LaneHold>,
    /// What the operator claims in order to close this lane.
    pub(super) made: Vec<Arc<LaneDrain>>,
    pub(super) interlocks: Vec<SeenInterlock>,
    pub(super) facts: Option<AgentFacts>,
    pub(super) report: Option<Arc<ReportedItem>>,
    pub(super) holding: Holding,
    pub(super) strays: Vec<AgentId>,
    /// The admission in that order.
    pub(super) admission: Option<Admission>,
    pub(super) order: Option<Result<Item, CanonicalError>>,
    pub(super) patience: Option<Duration>,
}

impl Seen {
    /// What can be said of the agent that runs the lane.
    pub(super) fn hearing(&self) -> Hearing {
        self.facts.as_ref().map_or(Hearing::Wait, AgentFacts::hearing)
    }

    /// Whether the lane is being deleted.
    pub(super) fn deleting(&self) -> bool {
        self.lane.metadata.deletion_timestamp.is_some()
    }

    /// Whether the agent has to let go of the lane. One that is deleted as soon as it was declared Closed is still closed first.
    pub(super) fn leaves(&self) -> bool {
        self.life == Life::Planned || (self.deleting() && !closing::is_pending(self))
    }

    /// Whether the agent holds exactly the order as it is now.
    pub(super) fn confirmed(&self) -> bool {
        matches!((&self.order, &self.report), (Some(Ok(item)), Some(report)) if item.hash == report.hash)
    }

    /// Interlocks that keep the lane closed.
    pub(super) fn open_interlocks(&self) -> impl Iterator<Item = &SeenInterlock> {
        self.interlocks.iter().filter(|interlock| interlock.open)
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
    let claims = lane_drain::holds(world, &namespace, &name);
    let mut seen = Seen {
        now: world.clock.now(),
        life: world.life(&namespace, lane.spec.phase.as_ref()),
        crossing: caches::get(&world.caches.crossings, &namespace, lane.spec.crossing_ref.as_str()),
        devices,
        shared,
        in_work: world.permits.holds_lane(&format!("{namespace}/{name}")),
        hold: lane_drain::hold(world, &lane, &claims),
        claims,
        made: claim::made_for(&world.caches, &namespace, &claim::requester(lane.as_ref())),
        interlocks: interlock::of(world, &lane),
        facts: agent.as_ref().map(|a| world.link.facts(a)),
        report: agent.as_ref().and_then(|a| world.link.report(a, &uid)),
        holding: agent.as_ref().map_or(Holding::NotHeld, |a| world.link.holding(a, &uid)),
        strays: world.link.holders(&uid).into_iter().filter(|h| Some(h) != agent.as_ref()).collect(),
        controller,
        admission: None,
        order: None,
        patience: None,
        lane,
    };
    decide(&mut seen);
    if let Some(Ok(item)) = &seen.order {
        let names: Vec<String> = seen.hold.as_ref().map(|hold| hold.drains.clone()).unwrap_or_default();
        let reported = seen.report.as_ref().map(|report| &report.hash);
        world.drains.told(&uid, &item.hash, &names, reported, seen.now);
        if seen.confirmed() {
            world.patience.over(&uid);
        } else {
            seen.patience = world.patience.left(&uid, &item.hash);
        }
    }
    seen
}

/// What the agent of the controller is told; none while something that it needs is missing: then it keeps what it has.
pub(super) fn decide(seen: &mut Seen) {
    let closed = compose(seen, Admission::Closed);
    let hash = closed.as_ref().and_then(|item| item.as_ref().ok()).map(|item| &item.hash);
    seen.admission = closed.as_ref().and_then(|_| closing::admission(seen, hash));
    // Without a claim nothing else would keep the lane closed on a device at work.
    let shut = seen.admission == Some(Admission::Closed) || (seen.in_work && seen.hold.is_none());
    seen.order = if shut { closed } else { seen.admission.and_then(|admission| compose(seen, admission)) };
}

fn compose(seen: &Seen, admission: Admission) -> Option<Result<Item, CanonicalError>> {
    let lane = &seen.lane;
    let controller = seen.controller.as_ref()?;
    let runs_lanes = controller.model.as_ref().is_some_and(|m| m.spec.class.runs_lanes());
    let sound = seen.life.is_live()
        && (!seen.deleting() || closing::declared(seen) == Admission::Closed)
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
        admission,
        controller: controller.device.uid().unwrap_or_default(),
        members: seen.devices.iter().filter_map(member).collect(),
        hold: seen.hold.clone(),
        interlocks: seen.interlocks.iter().map(|interlock| interlock.order.clone()).collect(),
        open_interlocks: seen.open_interlocks().map(SeenInterlock::name).collect(),
    };
    let (namespace, name, uid) =
        (lane.namespace().unwrap_or_default(), lane.name_any(), lane.uid().unwrap_or_default());
    Some(Item::new(ItemKind::Lane, &namespace, &name, &uid, lane.metadata.generation.unwrap_or_default(), &order))
}
