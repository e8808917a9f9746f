//! Why a Lane is not Ready: ordered chains of small checks; the first that fails gives reason and message.

use std::sync::Arc;

use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, Slot};
use kalong_crds::wire::reported::ItemState;
use kalong_crds::{Device, LaneDrain};
use kalong_rules::lifecycle::{LifecycleStage, unknown_phase};
use kube::ResourceExt;

use super::closing;
use super::decide::Decision;
use super::interlock::InterlockView;
use super::observe::Observed;
use crate::claim::reason_of_wait;
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, first};

/// What is wrong with the declaration, whatever an agent says.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    let spec = &observed.lane.spec;
    if observed.deleting() {
        return Some(Readiness::Converging(
            Reason::Terminating,
            "Being removed: its agent has to let go of it first.".to_owned(),
        ));
    }
    match observed.life {
        LifecycleStage::Planned => return Some(Readiness::Resting(Reason::Planned)),
        LifecycleStage::UnknownPhase => return Some(stuck(Reason::UnknownPhase, unknown_phase(spec.phase.as_ref()))),
        LifecycleStage::Commissioning | LifecycleStage::InService => {}
    }
    let missing: Vec<_> =
        observed.devices.iter().filter(|(_, d)| d.is_none()).map(|(slot, _)| slot.device_ref.as_str()).collect();
    let controller_class = observed.controller.as_ref().and_then(|c| c.model.as_ref()).map(|m| m.spec.class);
    first([
        observed.crossing.is_none().then(|| stuck(Reason::MissingReference, format!("Crossing {} does not exist in this namespace: declare it.", spec.crossing_ref))),
        (!missing.is_empty()).then(|| stuck(Reason::MissingReference, format!("Devices {} do not exist in this namespace: declare them, or correct the slots.", missing.join(", ")))),
        (!observed.shared.is_empty()).then(|| stuck(Reason::SlotConflict, format!("{} fills a slot of another lane too: a device fills one slot.", observed.shared.join(", ")))),
        controller_class.filter(|class| !class.runs_lanes()).map(|class| {
            stuck(Reason::InvalidSpec, format!("The slot with role Controller holds a {class:?}, which cannot run a lane: fill it with a LanePlc or EGate."))
        }),
        planned_member(observed),
        observed.agent.unenrolled(),
    ])
}

fn stuck(reason: Reason, say: String) -> Readiness {
    Readiness::Stuck(reason, say)
}

/// A live lane with a device that may not be contacted can never become Ready.
fn planned_member(observed: &Observed) -> Option<Readiness> {
    let planned = |(_, device): &&(Slot, Option<Arc<Device>>)| {
        device.as_ref().is_some_and(|d| d.reason(ConditionType::Ready) == Reason::Planned.as_str())
    };
    let (slot, device) = observed.devices.iter().find(planned)?;
    let phase = device.as_ref()?.spec.phase.clone()?;
    Some(stuck(
        Reason::InvalidSpec,
        format!(
            "Slot {} is filled by {}, which belongs to phase {phase} and is not live: use a device of the lane's own phase.",
            slot.name, slot.device_ref
        ),
    ))
}

/// What is wrong or under way by what the agent says.
pub(super) fn runtime_verdict(observed: &Observed, decision: &Decision) -> Option<Readiness> {
    let agent = &observed.agent.name;
    match observed.agent.liveness() {
        Liveness::Pending => {
            return Some(Readiness::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")));
        }
        Liveness::Lost => {
            let say = format!(
                "Agent {agent} has been silent for longer than the grace time; the lane goes on as it was last told."
            );
            return Some(Readiness::Unknown(Reason::AgentUnreachable, say));
        }
        Liveness::Live => {}
    }
    let Some(report) = &observed.agent.report else {
        return Some(Readiness::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
    };
    let devices: Vec<_> = devices_without(observed, ConditionType::Ready).collect();
    let unknown = observed.devices.iter().any(|(_, d)| {
        d.as_ref().is_some_and(|d| d.condition(ConditionType::Ready).is_some_and(|c| c.status == "Unknown"))
    });
    first([
        observed.agent.awaiting(decision.order.as_ref(), "what it was told"),
        (report.state == ItemState::Rejected).then(|| stuck(Reason::RejectedByAgent, report.message.clone())),
        interlocked(observed),
        closing::blocked_by(observed, decision.admission).map(|wait| {
            let say = format!("It is closed when it is empty and the floors allow it: {}", wait.message);
            Readiness::Converging(reason_of_wait(&wait, Reason::Draining), say)
        }),
        refused(observed),
        held(observed),
        (report.state != ItemState::Applied)
            .then(|| Readiness::Converging(Reason::AdmissionPending, report.message.clone())),
        (!devices.is_empty()).then(|| {
            let say = format!("Devices not Ready: {}.", devices.join(", "));
            if unknown {
                Readiness::Unknown(Reason::DeviceNotReady, say)
            } else {
                Readiness::Converging(Reason::DeviceNotReady, say)
            }
        }),
    ])
}

/// An interlock keeps the lane closed, whether the operator or the agent saw it first.
pub(super) fn interlocked(observed: &Observed) -> Option<Readiness> {
    let names: Vec<_> = observed.open_interlocks().map(InterlockView::name).take(8).collect();
    let closed_by_agent = observed.reported().is_some_and(|lane| lane.closed_by_interlock);
    if closing::declared(observed) == Admission::Closed || (names.is_empty() && !closed_by_agent) {
        return None;
    }
    let which = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
    let say = format!("Interlock{which} is open: the lane is closed until it is safe, and opens then by itself.");
    Some(Readiness::Converging(Reason::InterlockOpen, say))
}

/// The agent does not empty the lane although it is claimed.
fn refused(observed: &Observed) -> Option<Readiness> {
    let refusal = observed.reported()?.refusal.as_ref().filter(|_| observed.hold.is_some())?;
    let reason = Reason::parse(&refusal.reason).unwrap_or(Reason::DrainRefused);
    Some(Readiness::Converging(reason, refusal.message.clone()))
}

/// A claim holds the lane, or a device of it is under change.
fn held(observed: &Observed) -> Option<Readiness> {
    if closing::declared(observed) == Admission::Closed {
        return None;
    }
    let reason = match observed.reported().map(|lane| lane.admission) {
        Some(LaneAdmission::Drained | LaneAdmission::Closed) => Reason::Drained,
        _ => Reason::Draining,
    };
    let Some(hold) = &observed.hold else {
        let say = "A device of the lane is being changed; the lane opens when that is done.";
        return observed.under_change.then(|| Readiness::Converging(Reason::Drained, say.to_owned()));
    };
    let who: Vec<_> = observed.claims.iter().map(|drain| claimed_by(drain)).take(4).collect();
    Some(Readiness::Converging(
        reason,
        format!("{} The lane opens again then, at {} at the latest.", who.join(" "), hold.until),
    ))
}

pub(super) fn claimed_by(drain: &LaneDrain) -> String {
    let spec = &drain.spec;
    format!("LaneDrain {} of {} keeps the lane empty until it ends: {}", drain.name_any(), spec.requester, spec.reason)
}

/// Names of devices whose condition of this type is not True, at most eight.
pub(super) fn devices_without(observed: &Observed, kind: ConditionType) -> impl Iterator<Item = String> {
    observed.devices.iter().filter_map(move |(_, d)| d.as_ref().filter(|d| !d.is(kind)).map(|d| d.name_any())).take(8)
}
