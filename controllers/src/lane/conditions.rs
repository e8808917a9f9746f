//! The conditions of a Lane.

use kalong_crds::condition::{ConditionType, ConditionUpdate, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, Need};
use kalong_rules::lifecycle::LifecycleStage;

use super::closing;
use super::decide::Decision;
use super::observe::Observed;
use super::readiness::{devices_without, interlocked, runtime_verdict};
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, commissioning, ready};

/// All conditions, in the order for readers. `admission` is what the lane does, and `declared` what is wrong with its declaration.
pub(super) fn conditions(
    observed: &Observed,
    decision: &Decision,
    admission: LaneAdmission,
    declared: Option<&Readiness>,
) -> Vec<ConditionUpdate> {
    let verdict = declared.cloned().or_else(|| runtime_verdict(observed, decision));
    let [is_ready, reconciling, stalled] = if observed.life == LifecycleStage::Commissioning {
        commissioning(verdict.as_ref())
    } else {
        ready(verdict.as_ref())
    };
    vec![
        is_ready,
        available(observed, decision, admission),
        devices_ready(observed),
        up_to_date(observed),
        reconciling,
        stalled,
    ]
}

fn available(observed: &Observed, decision: &Decision, admission: LaneAdmission) -> ConditionUpdate {
    let kind = ConditionType::Available;
    match observed.life {
        LifecycleStage::Planned => return ConditionUpdate::no(kind, Reason::Planned, ""),
        LifecycleStage::Commissioning if closing::is_pending(observed, decision.admission) => {
            return ConditionUpdate::no(kind, Reason::Draining, "Its phase went back: the lane is being closed first.");
        }
        LifecycleStage::Commissioning => return ConditionUpdate::no(kind, Reason::Commissioning, ""),
        LifecycleStage::InService | LifecycleStage::UnknownPhase => {}
    }
    if observed.agent.liveness() == Liveness::Lost {
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
        _ if closing::is_done(observed, decision.admission) => {
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
    let devices: Vec<_> = devices_without(observed, ConditionType::Ready).collect();
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
    let devices: Vec<_> = devices_without(observed, ConditionType::FirmwareUpToDate).collect();
    if devices.is_empty() {
        ConditionUpdate::yes(kind, Reason::UpToDate)
    } else {
        ConditionUpdate::no(kind, Reason::DeviceNotReady, format!("Firmware not as declared: {}.", devices.join(", ")))
    }
}
