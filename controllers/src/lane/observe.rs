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

use super::interlock::{self, InterlockView};
use super::{claim, closing};
use crate::kit::caches::{self, Caches};
use crate::kit::context::Context;
use crate::kit::life::LifecycleStage;
use crate::kit::link::{AgentFacts, Holding, Liveness};
use crate::lane_drain;

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
    pub(super) in_work: bool,
    /// The accepted claims on the lane, and what its agent is told of them.
    pub(super) claims: Vec<Arc<LaneDrain>>,
    pub(super) hold: Option<LaneHold>,
    /// What the operator claims in order to close this lane.
    pub(super) made: Vec<Arc<LaneDrain>>,
    pub(super) interlocks: Vec<InterlockView>,
    pub(super) facts: Option<AgentFacts>,
    pub(super) report: Option<Arc<ReportedItem>>,
    pub(super) holding: Holding,
    pub(super) wrong_holders: Vec<AgentId>,
    /// The admission in that order.
    pub(super) admission: Option<Admission>,
    pub(super) order: Option<Result<Item, CanonicalError>>,
    pub(super) debounce: Option<Duration>,
}

impl Observed {
    /// What can be said of the agent that runs the lane.
    pub(super) fn liveness(&self) -> Liveness {
        self.facts.as_ref().map_or(Liveness::Pending, AgentFacts::liveness)
    }

    /// Whether the lane is being deleted.
    pub(super) fn deleting(&self) -> bool {
        self.lane.metadata.deletion_timestamp.is_some()
    }

    /// Whether the agent has to let go of the lane. One that is deleted as soon as it was declared Closed is still closed first.
    pub(super) fn leaves(&self) -> bool {
        self.life == LifecycleStage::Planned || (self.deleting() && !closing::is_pending(self))
    }

    /// Whether the agent holds exactly the order as it is now.
    pub(super) fn confirmed(&self) -> bool {
        matches!((&self.order, &self.report), (Some(Ok(item)), Some(report)) if item.hash == report.hash)
    }

    /// Interlocks that keep the lane closed.
    pub(super) fn open_interlocks(&self) -> impl Iterator<Item = &InterlockView> {
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

pub(super) fn observe(ctx: &Context, lane: Arc<Lane>) -> Observed {
    let namespace = lane.namespace().unwrap_or_default();
    let (uid, name) = (lane.uid().unwrap_or_default(), lane.name_any());
    let device = |slot: &Slot| caches::get(&ctx.caches.devices, &namespace, slot.device_ref.as_str());
    let devices: Vec<_> = lane.spec.slots.iter().map(|slot| (slot.clone(), device(slot))).collect();
    let controller = controller_device(&ctx.caches, &namespace, &lane).map(|device| Controller {
        model: caches::get(&ctx.caches.models, &namespace, device.spec.model_ref.as_str()),
        agent: caches::get(&ctx.caches.agents, &namespace, device.spec.agent_ref.as_str()),
        agent_id: AgentId::new(&namespace, device.spec.agent_ref.as_str()).ok(),
        device,
    });
    let agent = controller.as_ref().and_then(|c| c.agent_id.clone());
    let shared = lane
        .spec
        .slots
        .iter()
        .filter(|slot| ctx.caches.lanes_of(&namespace, slot.device_ref.as_str()).len() > 1)
        .map(|slot| slot.device_ref.0.clone())
        .collect();
    let claims = lane_drain::holds(ctx, &namespace, &name);
    let mut observed = Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, lane.spec.phase.as_ref()),
        crossing: caches::get(&ctx.caches.crossings, &namespace, lane.spec.crossing_ref.as_str()),
        devices,
        shared,
        in_work: ctx.permits.holds_lane(&format!("{namespace}/{name}")),
        hold: lane_drain::hold(ctx, &lane, &claims),
        claims,
        made: claim::made_for(&ctx.caches, &namespace, &claim::requester(lane.as_ref())),
        interlocks: interlock::of(ctx, &lane),
        facts: agent.as_ref().map(|a| ctx.link.facts(a)),
        report: agent.as_ref().and_then(|a| ctx.link.report(a, &uid)),
        holding: agent.as_ref().map_or(Holding::NotHeld, |a| ctx.link.holding(a, &uid)),
        wrong_holders: ctx.link.holders(&uid).into_iter().filter(|h| Some(h) != agent.as_ref()).collect(),
        controller,
        admission: None,
        order: None,
        debounce: None,
        lane,
    };
    decide(&mut observed);
    if let Some(Ok(item)) = &observed.order {
        let names: Vec<String> = observed.hold.as_ref().map(|hold| hold.drains.clone()).unwrap_or_default();
        let reported = observed.report.as_ref().map(|report| &report.hash);
        ctx.drains.told(&uid, &item.hash, &names, reported, observed.now);
        if observed.confirmed() {
            ctx.debounce.over(&uid);
        } else {
            observed.debounce = ctx.debounce.left(&uid, &item.hash);
        }
    }
    observed
}

/// What the agent of the controller is told; none while something that it needs is missing: then it keeps what it has.
pub(super) fn decide(observed: &mut Observed) {
    let closed = compose(observed, Admission::Closed);
    let hash = closed.as_ref().and_then(|item| item.as_ref().ok()).map(|item| &item.hash);
    observed.admission = closed.as_ref().and_then(|_| closing::admission(observed, hash));
    // Without a claim nothing else would keep the lane closed on a device at work.
    let shut = observed.admission == Some(Admission::Closed) || (observed.in_work && observed.hold.is_none());
    observed.order = if shut { closed } else { observed.admission.and_then(|admission| compose(observed, admission)) };
}

fn compose(observed: &Observed, admission: Admission) -> Option<Result<Item, CanonicalError>> {
    let lane = &observed.lane;
    let controller = observed.controller.as_ref()?;
    let runs_lanes = controller.model.as_ref().is_some_and(|m| m.spec.class.runs_lanes());
    let sound = observed.life.is_live()
        && (!observed.deleting() || closing::declared(observed) == Admission::Closed)
        && observed.crossing.is_some()
        && controller.agent.is_some()
        && runs_lanes
        && observed.shared.is_empty();
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
        members: observed.devices.iter().filter_map(member).collect(),
        hold: observed.hold.clone(),
        interlocks: observed.interlocks.iter().map(|interlock| interlock.order.clone()).collect(),
        open_interlocks: observed.open_interlocks().map(InterlockView::name).collect(),
    };
    let (namespace, name, uid) =
        (lane.namespace().unwrap_or_default(), lane.name_any(), lane.uid().unwrap_or_default());
    Some(Item::new(ItemKind::Lane, &namespace, &name, &uid, lane.metadata.generation.unwrap_or_default(), &order))
}
