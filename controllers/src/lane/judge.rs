//! Where the readiness of a Lane is judged.

use kalong_crds::condition::{ConditionType, Conditioned, Judgement, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, Need, Slot};
use kalong_crds::wire::reported::{ItemState, LaneReport};
use kalong_crds::{Device, LaneDrain};
use kube::ResourceExt;
use std::sync::Arc;

use super::interlock::SeenInterlock;
use super::observe::Seen;
use super::{claim, closing};
use crate::kit::life::{Life, unknown_phase};
use crate::kit::link::Hearing;
use crate::kit::readiness::{Verdict, commissioning, first, ready};

/// Objections that stand whatever an agent says.
pub(super) fn declared(seen: &Seen) -> Option<Verdict> {
    let spec = &seen.lane.spec;
    if seen.deleting() {
        return Some(Verdict::Converging(
            Reason::Terminating,
            "Being removed: its agent has to let go of it first.".to_owned(),
        ));
    }
    match seen.life {
        Life::Planned => return Some(Verdict::Resting(Reason::Planned)),
        Life::UnknownPhase => return Some(stuck(Reason::UnknownPhase, unknown_phase(spec.phase.as_ref()))),
        Life::Commissioning | Life::InService => {}
    }
    let missing: Vec<_> =
        seen.devices.iter().filter(|(_, d)| d.is_none()).map(|(slot, _)| slot.device_ref.as_str()).collect();
    let controller_class = seen.controller.as_ref().and_then(|c| c.model.as_ref()).map(|m| m.spec.class);
    first([
        seen.crossing.is_none().then(|| stuck(Reason::MissingReference, format!("Crossing {} does not exist in this namespace: declare it.", spec.crossing_ref))),
        (!missing.is_empty()).then(|| stuck(Reason::MissingReference, format!("Devices {} do not exist in this namespace: declare them, or correct the slots.", missing.join(", ")))),
        (!seen.shared.is_empty()).then(|| stuck(Reason::SlotConflict, format!("{} fills a slot of another lane too: a device fills one slot.", seen.shared.join(", ")))),
        controller_class.filter(|class| !class.runs_lanes()).map(|class| {
            stuck(Reason::InvalidSpec, format!("The slot with role Controller holds a {class:?}, which cannot run a lane: fill it with a LanePlc or EGate."))
        }),
        planned_member(seen),
        seen.controller.as_ref().filter(|c| c.agent.as_ref().is_some_and(|a| a.status.as_ref().is_none_or(|s| s.certificate.is_none()))).map(|c| {
            let agent = &c.device.spec.agent_ref;
            Verdict::Converging(Reason::NotEnrolled, format!("Agent {agent} has not enrolled: run `kubectl kalong enrol {agent}`."))
        }),
    ])
}

fn stuck(reason: Reason, say: String) -> Verdict {
    Verdict::Stuck(reason, say)
}

/// A live lane with a device that may not be contacted can never become Ready.
fn planned_member(seen: &Seen) -> Option<Verdict> {
    let planned = |(_, device): &&(Slot, Option<Arc<Device>>)| {
        device.as_ref().is_some_and(|d| d.reason(ConditionType::Ready) == Reason::Planned.as_str())
    };
    let (slot, device) = seen.devices.iter().find(planned)?;
    let phase = device.as_ref()?.spec.phase.clone()?;
    Some(stuck(
        Reason::InvalidSpec,
        format!(
            "Slot {} is filled by {}, which belongs to phase {phase} and is not live: use a device of the lane's own phase.",
            slot.name, slot.device_ref
        ),
    ))
}

fn realised(seen: &Seen, known: Hearing) -> Option<Verdict> {
    let agent = seen.controller.as_ref().map(|c| c.device.spec.agent_ref.0.clone()).unwrap_or_default();
    match known {
        Hearing::Wait => {
            return Some(Verdict::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")));
        }
        Hearing::Silent => {
            let say = format!(
                "Agent {agent} has been silent for longer than the grace time; the lane goes on as it was last told."
            );
            return Some(Verdict::Unknown(Reason::AgentUnreachable, say));
        }
        Hearing::Heard => {}
    }
    let Some(report) = &seen.report else {
        return Some(Verdict::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
    };
    let devices: Vec<_> = not(seen, ConditionType::Ready).collect();
    let unknown = seen.devices.iter().any(|(_, d)| {
        d.as_ref().is_some_and(|d| d.condition(ConditionType::Ready).is_some_and(|c| c.status == "Unknown"))
    });
    first([
        (!seen.confirmed()).then(|| {
            Verdict::Converging(Reason::Applying, format!("Waiting for agent {agent} to confirm what it was told."))
        }),
        (report.state == ItemState::Rejected).then(|| stuck(Reason::RejectedByAgent, report.message.clone())),
        interlocked(seen),
        closing::waits(seen).map(|wait| {
            let say = format!("It is closed when it is empty and the floors allow it: {}", wait.message);
            Verdict::Converging(claim::reason(&wait, Reason::Draining), say)
        }),
        refused(seen),
        held(seen),
        (report.state != ItemState::Applied)
            .then(|| Verdict::Converging(Reason::AdmissionPending, report.message.clone())),
        (!devices.is_empty()).then(|| {
            let say = format!("Devices not Ready: {}.", devices.join(", "));
            if unknown {
                Verdict::Unknown(Reason::DeviceNotReady, say)
            } else {
                Verdict::Converging(Reason::DeviceNotReady, say)
            }
        }),
    ])
}

/// An interlock keeps the lane closed, whoever saw it first.
fn interlocked(seen: &Seen) -> Option<Verdict> {
    let names: Vec<_> = seen.open_interlocks().map(SeenInterlock::name).take(8).collect();
    let shut = reported(seen).is_some_and(|lane| lane.closed_by_interlock);
    if closing::declared(seen) == Admission::Closed || (names.is_empty() && !shut) {
        return None;
    }
    let which = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
    let say = format!("Interlock{which} is open: the lane is closed until it is safe, and opens then by itself.");
    Some(Verdict::Converging(Reason::InterlockOpen, say))
}

/// The agent does not empty the lane although it is claimed.
fn refused(seen: &Seen) -> Option<Verdict> {
    let refusal = reported(seen)?.refusal.as_ref().filter(|_| seen.hold.is_some())?;
    let reason = Reason::parse(&refusal.reason).unwrap_or(Reason::DrainRefused);
    Some(Verdict::Converging(reason, refusal.message.clone()))
}

/// Somebody claims the lane empty: who, and until when at the latest.
fn held(seen: &Seen) -> Option<Verdict> {
    if closing::declared(seen) == Admission::Closed {
        return None;
    }
    let reason = match reported(seen).map(|lane| lane.admission) {
        Some(LaneAdmission::Drained | LaneAdmission::Closed) => Reason::Drained,
        _ => Reason::Draining,
    };
    let Some(hold) = &seen.hold else {
        let say = "A device of the lane is being changed; the lane opens when that is done.";
        return seen.in_work.then(|| Verdict::Converging(Reason::Drained, say.to_owned()));
    };
    let who: Vec<_> = seen.claims.iter().map(|drain| claimed_by(drain)).take(4).collect();
    Some(Verdict::Converging(
        reason,
        format!("{} The lane opens again then, at {} at the latest.", who.join(" "), hold.until),
    ))
}

/// Who claims a lane empty, and why.
pub(super) fn claimed_by(drain: &LaneDrain) -> String {
    let spec = &drain.spec;
    format!("LaneDrain {} of {} keeps the lane empty until it ends: {}", drain.name_any(), spec.requester, spec.reason)
}

fn reported(seen: &Seen) -> Option<&LaneReport> {
    seen.report.as_ref()?.lane.as_ref()
}

/// Names of devices whose condition of this type is not True, at most eight.
fn not(seen: &Seen, kind: ConditionType) -> impl Iterator<Item = String> {
    seen.devices.iter().filter_map(move |(_, d)| d.as_ref().filter(|d| !d.is(kind)).map(|d| d.name_any())).take(8)
}

pub(super) fn conditions(
    seen: &Seen,
    known: Hearing,
    admission: LaneAdmission,
    declared: Option<&Verdict>,
) -> Vec<Judgement> {
    let verdict = declared.cloned().or_else(|| realised(seen, known));
    let [is_ready, reconciling, stalled] =
        if seen.life == Life::Commissioning { commissioning(verdict.as_ref()) } else { ready(verdict.as_ref()) };
    vec![is_ready, available(seen, known, admission), devices_ready(seen), up_to_date(seen), reconciling, stalled]
}

fn available(seen: &Seen, known: Hearing, admission: LaneAdmission) -> Judgement {
    let kind = ConditionType::Available;
    match seen.life {
        Life::Planned => return Judgement::no(kind, Reason::Planned, ""),
        Life::Commissioning if closing::is_pending(seen) => {
            return Judgement::no(kind, Reason::Draining, "Its phase went back: the lane is being closed first.");
        }
        Life::Commissioning => return Judgement::no(kind, Reason::Commissioning, ""),
        Life::InService | Life::UnknownPhase => {}
    }
    if known == Hearing::Silent {
        return Judgement::unknown(
            kind,
            Reason::AgentUnreachable,
            "Nobody can tell; the lane goes on as it was last told.",
        );
    }
    let lost: Vec<_> = seen
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
            Judgement::unknown(kind, Reason::AdmissionPending, "The lane's controller has not said what it does.")
        }
        _ if closing::is_done(seen) => {
            Judgement::no(kind, Reason::Closed, "Set `spec.admission` to Open to use the lane.")
        }
        LaneAdmission::Closed if closing::declared(seen) == Admission::Closed => {
            Judgement::no(kind, Reason::Closed, "Set `spec.admission` to Open to use the lane.")
        }
        LaneAdmission::Closed if interlocked(seen).is_some() => {
            Judgement::no(kind, Reason::InterlockOpen, "The lane opens by itself when the interlock is safe.")
        }
        LaneAdmission::Draining => {
            Judgement::no(kind, Reason::Draining, "No more traffic is admitted and what is inside leaves.")
        }
        LaneAdmission::Drained => Judgement::no(kind, Reason::Drained, "The lane is empty and held."),
        LaneAdmission::Closed => Judgement::no(kind, Reason::AdmissionPending, "The lane does not admit traffic yet."),
        LaneAdmission::Open if lost.is_empty() => Judgement::yes(kind, Reason::Open),
        LaneAdmission::Open => Judgement::no(
            kind,
            Reason::DeviceNotAvailable,
            format!("Required devices cannot serve: {}.", lost.join(", ")),
        ),
    }
}

fn devices_ready(seen: &Seen) -> Judgement {
    let kind = ConditionType::DevicesReady;
    if seen.life == Life::Planned {
        return Judgement::unknown(kind, Reason::Planned, "");
    }
    let devices: Vec<_> = not(seen, ConditionType::Ready).collect();
    if devices.is_empty() {
        Judgement::yes(kind, Reason::AllDevicesReady)
    } else {
        Judgement::no(kind, Reason::DeviceNotReady, format!("Devices not Ready: {}.", devices.join(", ")))
    }
}

fn up_to_date(seen: &Seen) -> Judgement {
    let kind = ConditionType::UpToDate;
    if seen.life == Life::Planned {
        return Judgement::unknown(kind, Reason::Planned, "");
    }
    let devices: Vec<_> = not(seen, ConditionType::FirmwareUpToDate).collect();
    if devices.is_empty() {
        Judgement::yes(kind, Reason::UpToDate)
    } else {
        Judgement::no(kind, Reason::DeviceNotReady, format!("Firmware not as declared: {}.", devices.join(", ")))
    }
}
