//! The conditions of a Device.

use jiff::tz::TimeZone;
use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Reason};
use kalong_crds::device::{HealthState, Step};
use kalong_crds::device_model::Calibration;
use kalong_crds::wire::reported::{ItemState, ReportedItem};
use kalong_rules::lifecycle::LifecycleStage;

use super::decide::Decision;
use super::observe::Observed;
use super::readiness::{attempt, reason_of_step, release};
use super::{disabling, stage};
use crate::kit::agent_object::reason_of;
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, carried, commissioning, ready};

/// All conditions, in the order for readers.
pub(super) fn conditions(
    observed: &Observed,
    decision: &Decision,
    verdict: Option<&Readiness>,
) -> Vec<ConditionUpdate> {
    let [is_ready, reconciling, stalled] = match (observed.life, verdict) {
        // Switched off is more than not in service yet.
        (_, Some(Readiness::Resting(Reason::Disabled))) => ready(verdict),
        (LifecycleStage::Commissioning, _) => commissioning(verdict),
        _ => ready(verdict),
    };
    let mut all =
        vec![is_ready, available(observed), connected(observed), firmware(observed, decision), applied(observed)];
    if observed.model.as_ref().is_some_and(|m| m.spec.regulatory.calibration == Calibration::Required) {
        all.push(calibrated(observed));
    }
    all.extend([reconciling, stalled]);
    all
}

/// The report that a condition rests on, or the condition without one.
fn report(observed: &Observed, kind: ConditionType) -> Result<&ReportedItem, ConditionUpdate> {
    if observed.life == LifecycleStage::Planned {
        return Err(ConditionUpdate::unknown(kind, Reason::Planned, ""));
    }
    match (observed.agent.liveness(), &observed.agent.report) {
        (Liveness::Live, Some(report)) => Ok(report),
        (Liveness::Live, None) => Err(ConditionUpdate::unknown(kind, Reason::Initializing, "")),
        (Liveness::Lost, _) => Err(ConditionUpdate::unknown(kind, Reason::AgentUnreachable, "")),
        (Liveness::Pending, _) => Err(carried(observed.device.as_ref(), kind)),
    }
}

fn connected(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Connected;
    match report(observed, kind) {
        Err(otherwise) => otherwise,
        Ok(report) if report.device().is_some_and(|d| d.connected) => {
            ConditionUpdate::yes(kind, Reason::DeviceConnected)
        }
        Ok(_) if disabling::is_disabled(observed) => {
            ConditionUpdate::no(kind, Reason::Disabled, "The device is not contacted while `spec.admin` is Disabled.")
        }
        Ok(_) => ConditionUpdate::no(
            kind,
            Reason::DeviceUnreachable,
            "Check the device's power, its cabling and `connection.endpoint`.",
        ),
    }
}

fn available(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Available;
    if observed.life == LifecycleStage::Planned {
        return ConditionUpdate::no(kind, Reason::Planned, "");
    }
    if disabling::is_disabled(observed) {
        return ConditionUpdate::no(kind, Reason::Disabled, "Set `spec.admin` to Enabled to use the device.");
    }
    if observed.life == LifecycleStage::Commissioning {
        return ConditionUpdate::no(kind, Reason::Commissioning, "");
    }
    let report = match report(observed, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let device = report.device().cloned().unwrap_or_default();
    let step = device.firmware.as_ref().map(|f| f.step).unwrap_or_default();
    let health = device.health.clone().unwrap_or_default();
    match step {
        Step::Quarantined => {
            return ConditionUpdate::no(kind, Reason::Quarantined, "A person has to look at the device.");
        }
        Step::AwaitingRecertification => {
            return ConditionUpdate::no(
                kind,
                Reason::AwaitingRecertification,
                "The new seal has to be recorded before the instrument may be used for trade.",
            );
        }
        Step::Draining | Step::Drained => {
            return ConditionUpdate::no(kind, reason_of_step(step), "The device is about to be changed.");
        }
        step if step.touches_device() => {
            return ConditionUpdate::no(kind, reason_of_step(step), "The device is being changed.");
        }
        _ => {}
    }
    if !device.connected {
        return ConditionUpdate::no(
            kind,
            Reason::DeviceUnreachable,
            "Check the device's power, its cabling and `connection.endpoint`.",
        );
    }
    match health.state {
        HealthState::Faulty => ConditionUpdate::no(
            kind,
            Reason::DeviceFaulty,
            format!("The device reports {}: have it repaired.", health.codes.join(", ")),
        ),
        HealthState::Degraded => ConditionUpdate {
            message: format!("The device reports {}.", health.codes.join(", ")),
            ..ConditionUpdate::yes(kind, Reason::DeviceDegraded)
        },
        HealthState::OK if calibrated(observed).status == ConditionStatus::False => {
            ConditionUpdate::no(kind, Reason::CalibrationExpired, "Have the instrument calibrated and sealed.")
        }
        HealthState::OK => ConditionUpdate::yes(kind, Reason::Serving),
    }
}

fn firmware(observed: &Observed, decision: &Decision) -> ConditionUpdate {
    let kind = ConditionType::FirmwareUpToDate;
    let report = match report(observed, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    if observed.device.spec.firmware.is_none() {
        return ConditionUpdate::yes(kind, Reason::NotDeclared);
    }
    if stage::firmware(Some(report)).is_some_and(|f| f.step == Step::Quarantined) {
        return ConditionUpdate::unknown(kind, Reason::Quarantined, "Nobody can tell what the device runs.");
    }
    match release(observed).or_else(|| attempt(observed, decision, report)) {
        None => ConditionUpdate::yes(kind, Reason::UpToDate),
        Some(Readiness::Converging(reason, say) | Readiness::Stuck(reason, say) | Readiness::Unknown(reason, say)) => {
            ConditionUpdate::no(kind, reason, say)
        }
        Some(Readiness::Resting(reason)) => ConditionUpdate::yes(kind, reason),
    }
}

fn applied(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::ConfigApplied;
    let generation = observed.device.metadata.generation.unwrap_or_default();
    match report(observed, kind) {
        Err(otherwise) => otherwise,
        Ok(_) if disabling::is_disabled(observed) => ConditionUpdate::unknown(kind, Reason::Disabled, ""),
        Ok(report) if report.applied >= generation => ConditionUpdate::yes(kind, Reason::ConfigInForce),
        Ok(report) if report.state == ItemState::Rejected => {
            ConditionUpdate::no(kind, reason_of(report, Reason::RejectedByAgent), report.message.clone())
        }
        Ok(report) if report.state == ItemState::Failed => {
            ConditionUpdate::no(kind, reason_of(report, Reason::FailedOnDevice), report.message.clone())
        }
        Ok(_) => ConditionUpdate::no(kind, Reason::Applying, "The agent is setting the device and reads it back."),
    }
}

fn calibrated(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Calibrated;
    if observed.model.as_ref().is_none_or(|m| m.spec.regulatory.calibration == Calibration::NotRequired) {
        return ConditionUpdate::yes(kind, Reason::CalibrationValid);
    }
    let report = match report(observed, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let until =
        report.device().and_then(|d| d.calibrated_until.as_deref()).and_then(|d| d.parse::<jiff::civil::Date>().ok());
    // A day that has begun anywhere counts: an hour between two zones must not take an instrument out of use.
    let today = observed.now.to_zoned(TimeZone::UTC).date();
    match until {
        Some(until) if until >= today => ConditionUpdate::yes(kind, Reason::CalibrationValid),
        Some(until) => ConditionUpdate::no(
            kind,
            Reason::CalibrationExpired,
            format!("The calibration ended on {until}: have the instrument calibrated."),
        ),
        None => ConditionUpdate::no(
            kind,
            Reason::CalibrationExpired,
            "The instrument reports no calibration: have it calibrated.",
        ),
    }
}
