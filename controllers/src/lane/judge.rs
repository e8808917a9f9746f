//! Where the readiness of a Lane is judged.

use kalong_crds::condition::{ConditionType, ConditionUpdate, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, Need, Slot};
use kalong_crds::wire::reported::{ItemState, LaneReport};
use kalong_crds::{Device, LaneDrain};
use kube::ResourceExt;
use std::sync::Arc;

use super::interlock::InterlockView;
use super::observe::Observed;
use super::{claim, closing};
use crate::kit::life::{LifecycleStage, unknown_phase};
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, commissioning, first, ready};

/// Objections that stand whatever an agent says.
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
        observed.controller.as_ref().filter(|c| c.agent.as_ref().is_some_and(|a| a.status.as_ref().is_none_or(|s| s.certificate.is_none()))).map(|c| {
            let agent = &c.device.spec.agent_ref;
            Readiness::Converging(Reason::NotEnrolled, format!("Agent {agent} has not enrolled: run `kubectl kalong enrol {agent}`."))
        }),
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

fn realised(observed: &Observed, known: Liveness) -> Option<Readiness> {
    let agent = observed.controller.as_ref().map(|c| c.device.spec.agent_ref.0.clone()).unwrap_or_default();
    match known {
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
    let Some(report) = &observed.report else {
        return Some(Readiness::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
    };
    let devices: Vec<_> = not(observed, ConditionType::Ready).collect();
    let unknown = observed.devices.iter().any(|(_, d)| {
        d.as_ref().is_some_and(|d| d.condition(ConditionType::Ready).is_some_and(|c| c.status == "Unknown"))
    });
    first([
        (!observed.confirmed()).then(|| {
            Readiness::Converging(Reason::Applying, format!("Waiting for agent {agent} to confirm what it was told."))
        }),
        (report.state == ItemState::Rejected).then(|| stuck(Reason::RejectedByAgent, report.message.clone())),
        interlocked(observed),
        closing::waits(observed).map(|wait| {
            let say = format!("It is closed when it is empty and the floors allow it: {}", wait.message);
            Readiness::Converging(claim::reason(&wait, Reason::Draining), say)
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

/// An interlock keeps the lane closed, whoever saw it first.
fn interlocked(observed: &Observed) -> Option<Readiness> {
    let names: Vec<_> = observed.open_interlocks().map(InterlockView::name).take(8).collect();
    let shut = reported(observed).is_some_and(|lane| lane.closed_by_interlock);
    if closing::declared(observed) == Admission::Closed || (names.is_empty() && !shut) {
        return None;
    }
    let which = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
    let say = format!("Interlock{which} is open: the lane is closed until it is safe, and opens then by itself.");
    Some(Readiness::Converging(Reason::InterlockOpen, say))
}

/// The agent does not empty the lane although it is claimed.
fn refused(observed: &Observed) -> Option<Readiness> {
    let refusal = reported(observed)?.refusal.as_ref().filter(|_| observed.hold.is_some())?;
    let reason = Reason::parse(&refusal.reason).unwrap_or(Reason::DrainRefused);
    Some(Readiness::Converging(reason, refusal.message.clone()))
}

/// Somebody claims the lane empty: who, and until when at the latest.
fn held(observed: &Observed) -> Option<Readiness> {
    if closing::declared(observed) == Admission::Closed {
        return None;
    }
    let reason = match reported(observed).map(|lane| lane.admission) {
        Some(LaneAdmission::Drained | LaneAdmission::Closed) => Reason::Drained,
        _ => Reason::Draining,
    };
    let Some(hold) = &observed.hold else {
        let say = "A device of the lane is being changed; the lane opens when that is done.";
        return observed.in_work.then(|| Readiness::Converging(Reason::Drained, say.to_owned()));
    };
    let who: Vec<_> = observed.claims.iter().map(|drain| claimed_by(drain)).take(4).collect();
    Some(Readiness::Converging(
        reason,
        format!("{} The lane opens again then, at {} at the latest.", who.join(" "), hold.until),
    ))
}

/// Who claims a lane empty, and why.
pub(super) fn claimed_by(drain: &LaneDrain) -> String {
    let spec = &drain.spec;
    format!("LaneDrain {} of {} keeps the lane empty until it ends: {}", drain.name_any(), spec.requester, spec.reason)
}

fn reported(observed: &Observed) -> Option<&LaneReport> {
    observed.report.as_ref()?.lane()
}

/// Names of devices whose condition of this type is not True, at most eight.
fn not(observed: &Observed, kind: ConditionType) -> impl Iterator<Item = String> {
    observed.devices.iter().filter_map(move |(_, d)| d.as_ref().filter(|d| !d.is(kind)).map(|d| d.name_any())).take(8)
}

pub(super) fn conditions(
    observed: &Observed,
    known: Liveness,
    admission: LaneAdmission,
    declared: Option<&Readiness>,
) -> Vec<ConditionUpdate> {
    let verdict = declared.cloned().or_else(|| realised(observed, known));
    let [is_ready, reconciling, stalled] = if observed.life == LifecycleStage::Commissioning {
        commissioning(verdict.as_ref())
    } else {
        ready(verdict.as_ref())
    };
    vec![
        is_ready,
        available(observed, known, admission),
        devices_ready(observed),
        up_to_date(observed),
        reconciling,
        stalled,
    ]
}

fn available(observed: &Observed, known: Liveness, admission: LaneAdmission) -> ConditionUpdate {
    let kind = ConditionType::Available;
    match observed.life {
        LifecycleStage::Planned => return ConditionUpdate::no(kind, Reason::Planned, ""),
        LifecycleStage::Commissioning if closing::is_pending(observed) => {
            return ConditionUpdate::no(kind, Reason::Draining, "Its phase went back: the lane is being closed first.");
        }
        LifecycleStage::Commissioning => return ConditionUpdate::no(kind, Reason::Commissioning, ""),
        LifecycleStage::InService | LifecycleStage::UnknownPhase => {}
    }
    if known == Liveness::Lost {
        return ConditionUpdate::unknown(
            kind,
            Reason::AgentUnreachable,
            "Nobody can tell; the lane goes on as it was last told.",
        );
    }
    let lost: Vec<_> = observed
        .devices
        .iter()
        .filter(|(slot, device)| {
            slot.need == Need::Required && !device.as_ref().is_some_and(|d| d.is(ConditionType::Available))
        })
        .map(|(slot, _)| slot.device_ref.as_str())
        .take(8)
        .collect();
    match admission {
        LaneAdmission::Unknown => {
            ConditionUpdate::unknown(kind, Reason::AdmissionPending, "The lane's controller has not said what it does.")
        }
        _ if closing::is_done(observed) => {
            ConditionUpdate::no(kind, Reason::Closed, "Set `spec.admission` to Open to use the lane.")
        }
        LaneAdmission::Closed if closing::declared(observed) == Admission::Closed => {
            ConditionUpdate::no(kind, Reason::Closed, "Set `spec.admission` to Open to use the lane.")
        }
        LaneAdmission::Closed if interlocked(observed).is_some() => {
            ConditionUpdate::no(kind, Reason::InterlockOpen, "The lane opens by itself when the interlock is safe.")
        }
        LaneAdmission::Draining => {
            ConditionUpdate::no(kind, Reason::Draining, "No more traffic is admitted and what is inside leaves.")
        }
        LaneAdmission::Drained => ConditionUpdate::no(kind, Reason::Drained, "The lane is empty and held."),
        LaneAdmission::Closed => {
            ConditionUpdate::no(kind, Reason::AdmissionPending, "The lane does not admit traffic yet.")
        }
        LaneAdmission::Open if lost.is_empty() => ConditionUpdate::yes(kind, Reason::Open),
        LaneAdmission::Open => ConditionUpdate::no(
            kind,
            Reason::DeviceNotAvailable,
            format!("Required devices cannot serve: {}.", lost.join(", ")),
        ),
    }
}

fn devices_ready(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::DevicesReady;
    if observed.life == LifecycleStage::Planned {
        return ConditionUpdate::unknown(kind, Reason::Planned, "");
    }
    let devices: Vec<_> = not(observed, ConditionType::Ready).collect();
    if devices.is_empty() {
        ConditionUpdate::yes(kind, Reason::AllDevicesReady)
    } else {
        ConditionUpdate::no(kind, Reason::DeviceNotReady, format!("Devices not Ready: {}.", devices.join(", ")))
    }
}

fn up_to_date(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::UpToDate;
    if observed.life == LifecycleStage::Planned {
        return ConditionUpdate::unknown(kind, Reason::Planned, "");
    }
    let devices: Vec<_> = not(observed, ConditionType::FirmwareUpToDate).collect();
    if devices.is_empty() {
        ConditionUpdate::yes(kind, Reason::UpToDate)
    } else {
        ConditionUpdate::no(kind, Reason::DeviceNotReady, format!("Firmware not as declared: {}.", devices.join(", ")))
    }
}
