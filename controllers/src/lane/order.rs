//! The order that the agent of the lane's controller gets.

use std::sync::Arc;

use kalong_crds::Device;
use kalong_crds::lane::{Admission, Slot};
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::order::{LaneMember, LaneOrder};
use kube::ResourceExt;

use super::closing;
use super::interlock::InterlockView;
use super::observe::Observed;
use crate::kit::placement::Assignment;

/// The order as it should be now.
pub(super) struct Composed {
    /// What is declared, as far as it can be brought about now; none while the agent keeps the order that it has.
    pub(super) admission: Option<Admission>,
    pub(super) assignment: Assignment,
}

pub(super) fn compose(observed: &Observed) -> Composed {
    let closed = with(observed, Admission::Closed);
    let hash = closed.order().map(|order| &order.hash);
    let admission = if matches!(closed, Assignment::Keep) { None } else { closing::admission(observed, hash) };
    // Without a claim nothing else would keep the lane closed on a device under change.
    let kept_closed = admission == Some(Admission::Closed) || (observed.under_change && observed.hold.is_none());
    let assignment =
        if kept_closed { closed } else { admission.map_or(Assignment::Keep, |admission| with(observed, admission)) };
    Composed { admission, assignment }
}

fn with(observed: &Observed, admission: Admission) -> Assignment {
    let lane = observed.lane.as_ref();
    let Some(controller) = &observed.controller else { return Assignment::Keep };
    let runs_lanes = controller.model.as_ref().is_some_and(|m| m.spec.class.runs_lanes());
    let sound = observed.life.is_live()
        && (!observed.deleting() || closing::declared(observed) == Admission::Closed)
        && observed.crossing.is_some()
        && observed.agent.object.is_some()
        && runs_lanes
        && observed.shared.is_empty();
    if !sound {
        return Assignment::Keep;
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
    Assignment::realise(lane, ItemKind::Lane, &order)
}
