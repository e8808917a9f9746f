//! Where the readiness of a Device is judged: ordered chains of small checks.

use jiff::tz::TimeZone;
use kalong_crds::condition::{ConditionType, Conditioned, Judgement, Reason, Truth};
use kalong_crds::device::{FirmwareStatus, HealthState, Step};
use kalong_crds::device_model::{Calibration, UpdateSlots};
use kalong_crds::wire::reported::{DeviceReport, ItemState, ReportedItem};
use kube::ResourceExt;

use super::seen::{Credential, Knowledge, Leave, Seen};
use super::{config, disabling};
use crate::kit::life::{Life, unknown_phase};
use crate::kit::link::Hearing;
use crate::kit::readiness::{Verdict, commissioning, first, ready};
use crate::lane::claim;

/// Objections that stand whatever an agent says.
pub(super) fn declared(seen: &Seen) -> Option<Verdict> {
    let spec = &seen.device.spec;
    let stuck = |reason, message: String| Some(Verdict::Stuck(reason, message));
    if seen.device.metadata.deletion_timestamp.is_some() {
        let say = format!("Being removed: agent {} has to let go of it first.", spec.agent_ref);
        return Some(Verdict::Converging(Reason::Terminating, say));
    }
    match seen.life {
        Life::Planned => return Some(Verdict::Resting(Reason::Planned)),
        Life::UnknownPhase => return stuck(Reason::UnknownPhase, unknown_phase(spec.phase.as_ref())),
        Life::Commissioning | Life::InService => {}
    }
    first([
        seen.agent_id.as_ref().err().and_then(|e| stuck(Reason::IdentityTooLong, e.to_string())),
        (seen.lanes.len() > 1).then(|| {
            let lanes: Vec<_> = seen.lanes.iter().map(|l| l.name_any()).collect();
            Verdict::Stuck(
                Reason::SlotConflict,
                format!(
                    "Lanes {} both name this device: a device fills one slot; remove it from all but one.",
                    lanes.join(" and ")
                ),
            )
        }),
        seen.agent.is_none().then(|| missing("EdgeAgent", spec.agent_ref.as_str(), "spec.agentRef")),
        seen.model.is_none().then(|| missing("DeviceModel", spec.model_ref.as_str(), "spec.modelRef")),
        seen.model
            .as_ref()
            .and_then(|m| config::objection(&spec.config, &m.spec.properties))
            .and_then(|say| stuck(Reason::InvalidConfig, say)),
        match &seen.credential {
            Credential::Unusable(say) => stuck(Reason::MissingReference, say.clone()),
            _ => None,
        },
        release(seen),
        seen.not_enrolled().then(|| {
            let say =
                format!("Agent {} has not enrolled: run `kubectl kalong enrol {}`.", spec.agent_ref, spec.agent_ref);
            Verdict::Converging(Reason::NotEnrolled, say)
        }),
    ])
}

fn missing(kind: &str, name: &str, field: &str) -> Verdict {
    Verdict::Stuck(
        Reason::MissingReference,
        format!("{kind} {name} does not exist in this namespace: declare it, or correct `{field}`."),
    )
}

/// The release that is declared and cannot be used.
fn release(seen: &Seen) -> Option<Verdict> {
    let name = &seen.device.spec.firmware.as_ref()?.release;
    let Some(release) = &seen.release else {
        return Some(missing("FirmwareRelease", name.as_str(), "spec.firmware.release"));
    };
    if !release.spec.models.contains(&seen.device.spec.model_ref) {
        let say = format!("Release {name} is not made for model {}: name another release.", seen.device.spec.model_ref);
        return Some(Verdict::Stuck(Reason::Incompatible, say));
    }
    if let Some(stalled) = release.condition(ConditionType::Stalled) {
        let reason = Reason::parse(&stalled.reason).unwrap_or(Reason::SignatureInvalid);
        return Some(Verdict::Stuck(
            reason,
            format!("Release {name} is refused and the device keeps its firmware: {}", stalled.message),
        ));
    }
    (!release.is(ConditionType::Ready)).then(|| {
        Verdict::Converging(Reason::Fetching, format!("Release {name} is being checked and fetched by the operator."))
    })
}

/// Objections that rest on what the agent says.
pub(super) fn realised(seen: &Seen, known: Knowledge<'_>) -> Option<Verdict> {
    let agent = &seen.device.spec.agent_ref;
    if let Some((former, hearing)) = seen.former.first().filter(|_| seen.moving()) {
        let say = format!("Agent {} still has the device; agent {agent} is told when it let go.", former.name());
        return Some(match hearing {
            Hearing::Silent => Verdict::Unknown(Reason::AgentUnreachable, say),
            Hearing::Heard | Hearing::Wait => Verdict::Converging(Reason::Applying, say),
        });
    }
    let report = match known {
        Knowledge::Silent => {
            let say = format!(
                "Agent {agent} has been silent for longer than the grace time: look at the box, its power and its uplink."
            );
            return Some(Verdict::Unknown(Reason::AgentUnreachable, say));
        }
        Knowledge::Wait => {
            return Some(Verdict::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")));
        }
        Knowledge::Heard(None) => {
            return Some(Verdict::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
        }
        Knowledge::Heard(Some(report)) => report,
    };
    first([
        (!seen.confirmed()).then(|| {
            Verdict::Converging(Reason::Applying, format!("Waiting for agent {agent} to confirm what it was told."))
        }),
        seen.disabled().then_some(Verdict::Resting(Reason::Disabled)),
        disabling::held_back(seen).map(|wait| {
            let reason = claim::reason(&wait, Reason::AwaitingDrain);
            Verdict::Converging(reason, format!("It is switched off when its lane is empty: {}", wait.message))
        }),
        item(report, agent.as_str()),
        attempt(seen, report),
    ])
}

fn item(report: &ReportedItem, agent: &str) -> Option<Verdict> {
    let connected = report.device.as_ref().is_some_and(|d| d.connected);
    match report.state {
        ItemState::Rejected => Some(Verdict::Stuck(reason_of(report, Reason::RejectedByAgent), report.message.clone())),
        _ if in_change(report) => None,
        _ if !connected => {
            let say = if report.message.is_empty() {
                format!(
                    "The device does not answer agent {agent}: check its power, its cabling and `connection.endpoint`."
                )
            } else {
                report.message.clone()
            };
            Some(Verdict::Converging(Reason::DeviceUnreachable, say))
        }
        ItemState::Failed => {
            Some(Verdict::Converging(reason_of(report, Reason::FailedOnDevice), report.message.clone()))
        }
        ItemState::Applying => Some(Verdict::Converging(Reason::Applying, report.message.clone())),
        ItemState::Applied => None,
    }
}

fn in_change(report: &ReportedItem) -> bool {
    report.device.as_ref().and_then(|d| d.firmware.as_ref()).is_some_and(|f| f.step.touches_device())
}

fn reason_of(report: &ReportedItem, otherwise: Reason) -> Reason {
    Reason::parse(&report.reason).unwrap_or(otherwise)
}

/// How far the attempt is, if one is under way or ended without success.
fn attempt(seen: &Seen, report: &ReportedItem) -> Option<Verdict> {
    let wanted = seen.device.spec.firmware.as_ref()?;
    let device = report.device.as_ref()?;
    let firmware = device.firmware.clone().unwrap_or_default();
    let say = |text: &str| format!("Release {}, attempt {}: {text}", wanted.release, firmware.attempt);
    let why = firmware.last_error.clone().unwrap_or_else(|| report.message.clone());
    let under_way = |reason| Some(Verdict::Converging(reason, say(reason.meaning().trim())));
    match firmware.step {
        Step::Idle if runs(seen, device, &firmware) => None,
        Step::Idle if external(seen) => {
            let text =
                format!("the device runs {}; its vendor's tool has to install the declared version.", firmware.running);
            Some(Verdict::Stuck(Reason::WrongVersion, say(&text)))
        }
        Step::Idle => Some(Verdict::Converging(Reason::Verifying, say("the agent is about to begin."))),
        Step::AwaitingDrain => match &seen.permit {
            Leave::Waits(wait) => {
                Some(Verdict::Converging(claim::reason(wait, Reason::AwaitingDrain), say(&wait.message)))
            }
            Leave::Given(_) | Leave::NotAsked => under_way(Reason::AwaitingDrain),
        },
        Step::Failed | Step::Cancelled if reason_of(report, Reason::AttemptFailed) == Reason::FetchFailed => {
            Some(Verdict::Converging(Reason::FetchFailed, say(&format!("{why} The agent tries again by itself."))))
        }
        Step::Failed => Some(Verdict::Stuck(reason_of(report, Reason::AttemptFailed), say(&why))),
        Step::Cancelled => under_way(Reason::Cancelled),
        Step::Quarantined => Some(Verdict::Stuck(Reason::Quarantined, say(&why))),
        // The instrument works and is up to date; that it may not be used for trade is a matter of Available.
        Step::AwaitingRecertification => None,
        step => under_way(reason_of_step(step)),
    }
}

fn external(seen: &Seen) -> bool {
    seen.model.as_ref().is_some_and(|m| m.spec.update.slots == UpdateSlots::External)
}

/// Whether what was read back is what is declared.
fn runs(seen: &Seen, device: &DeviceReport, firmware: &FirmwareStatus) -> bool {
    seen.release.as_ref().is_some_and(|release| {
        release.spec.version == firmware.running
            && device.running_digest.as_ref().is_none_or(|d| *d == release.spec.artifact.digest)
    })
}

fn reason_of_step(step: Step) -> Reason {
    match step {
        Step::Verifying | Step::Idle => Reason::Verifying,
        Step::Downloading => Reason::Downloading,
        Step::Staged => Reason::Staged,
        Step::AwaitingDrain => Reason::AwaitingDrain,
        Step::Draining => Reason::Draining,
        Step::Drained => Reason::Drained,
        Step::Transferring => Reason::Transferring,
        Step::Installing => Reason::Installing,
        Step::Activating => Reason::Activating,
        Step::Probation => Reason::Probation,
        Step::Committing | Step::Undraining => Reason::Committing,
        Step::RollingBack => Reason::RollingBack,
        Step::RolledBack => Reason::RolledBack,
        Step::Cancelled => Reason::Cancelled,
        Step::Failed => Reason::AttemptFailed,
        Step::Quarantined => Reason::Quarantined,
        Step::AwaitingRecertification => Reason::AwaitingRecertification,
    }
}

/// All conditions, in the order for readers.
pub(super) fn conditions(seen: &Seen, known: Knowledge<'_>, verdict: Option<&Verdict>) -> Vec<Judgement> {
    let [is_ready, reconciling, stalled] = match (seen.life, verdict) {
        // Switched off is more than not in service yet.
        (_, Some(Verdict::Resting(Reason::Disabled))) => ready(verdict),
        (Life::Commissioning, _) => commissioning(verdict),
        _ => ready(verdict),
    };
    let mut all =
        vec![is_ready, available(seen, known), connected(seen, known), firmware(seen, known), applied(seen, known)];
    if seen.model.as_ref().is_some_and(|m| m.spec.regulatory.calibration == Calibration::Required) {
        all.push(calibrated(seen, known));
    }
    all.extend([reconciling, stalled]);
    all
}

/// A fact that rests on a report, or what to say without one.
fn fact<'k>(seen: &Seen, known: Knowledge<'k>, kind: ConditionType) -> Result<&'k ReportedItem, Judgement> {
    if seen.life == Life::Planned {
        return Err(Judgement::unknown(kind, Reason::Planned, ""));
    }
    match known {
        Knowledge::Heard(Some(report)) => Ok(report),
        Knowledge::Silent => Err(Judgement::unknown(kind, Reason::AgentUnreachable, "")),
        Knowledge::Heard(None) => Err(Judgement::unknown(kind, Reason::Initializing, "")),
        Knowledge::Wait => Err(seen.carried(kind)),
    }
}

fn connected(seen: &Seen, known: Knowledge<'_>) -> Judgement {
    let kind = ConditionType::Connected;
    match fact(seen, known, kind) {
        Err(otherwise) => otherwise,
        Ok(report) if report.device.as_ref().is_some_and(|d| d.connected) => {
            Judgement::yes(kind, Reason::DeviceConnected)
        }
        Ok(_) if seen.disabled() => {
            Judgement::no(kind, Reason::Disabled, "The device is not contacted while `spec.admin` is Disabled.")
        }
        Ok(_) => Judgement::no(
            kind,
            Reason::DeviceUnreachable,
            "Check the device's power, its cabling and `connection.endpoint`.",
        ),
    }
}

fn available(seen: &Seen, known: Knowledge<'_>) -> Judgement {
    let kind = ConditionType::Available;
    if seen.life == Life::Planned {
        return Judgement::no(kind, Reason::Planned, "");
    }
    if seen.disabled() {
        return Judgement::no(kind, Reason::Disabled, "Set `spec.admin` to Enabled to use the device.");
    }
    if seen.life == Life::Commissioning {
        return Judgement::no(kind, Reason::Commissioning, "");
    }
    let report = match fact(seen, known, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let device = report.device.clone().unwrap_or_default();
    let step = device.firmware.as_ref().map(|f| f.step).unwrap_or_default();
    let health = device.health.clone().unwrap_or_default();
    match step {
        Step::Quarantined => return Judgement::no(kind, Reason::Quarantined, "A person has to look at the device."),
        Step::AwaitingRecertification => {
            return Judgement::no(
                kind,
                Reason::AwaitingRecertification,
                "The new seal has to be recorded before the instrument may be used for trade.",
            );
        }
        Step::Draining | Step::Drained => {
            return Judgement::no(kind, reason_of_step(step), "The device is about to be changed.");
        }
        step if step.touches_device() => {
            return Judgement::no(kind, reason_of_step(step), "The device is being changed.");
        }
        _ => {}
    }
    if !device.connected {
        return Judgement::no(
            kind,
            Reason::DeviceUnreachable,
            "Check the device's power, its cabling and `connection.endpoint`.",
        );
    }
    match health.state {
        HealthState::Faulty => Judgement::no(
            kind,
            Reason::DeviceFaulty,
            format!("The device reports {}: have it repaired.", health.codes.join(", ")),
        ),
        HealthState::Degraded => Judgement {
            message: format!("The device reports {}.", health.codes.join(", ")),
            ..Judgement::yes(kind, Reason::DeviceDegraded)
        },
        HealthState::OK if calibrated(seen, known).status == Truth::False => {
            Judgement::no(kind, Reason::CalibrationExpired, "Have the instrument calibrated and sealed.")
        }
        HealthState::OK => Judgement::yes(kind, Reason::Serving),
    }
}

fn firmware(seen: &Seen, known: Knowledge<'_>) -> Judgement {
    let kind = ConditionType::FirmwareUpToDate;
    let report = match fact(seen, known, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    if seen.device.spec.firmware.is_none() {
        return Judgement::yes(kind, Reason::NotDeclared);
    }
    if seen.step() == Some(Step::Quarantined) {
        return Judgement::unknown(kind, Reason::Quarantined, "Nobody can tell what the device runs.");
    }
    match release(seen).or_else(|| attempt(seen, report)) {
        None => Judgement::yes(kind, Reason::UpToDate),
        Some(Verdict::Converging(reason, say) | Verdict::Stuck(reason, say) | Verdict::Unknown(reason, say)) => {
            Judgement::no(kind, reason, say)
        }
        Some(Verdict::Resting(reason)) => Judgement::yes(kind, reason),
    }
}

fn applied(seen: &Seen, known: Knowledge<'_>) -> Judgement {
    let kind = ConditionType::ConfigApplied;
    let generation = seen.device.metadata.generation.unwrap_or_default();
    match fact(seen, known, kind) {
        Err(otherwise) => otherwise,
        Ok(_) if seen.disabled() => Judgement::unknown(kind, Reason::Disabled, ""),
        Ok(report) if report.applied >= generation => Judgement::yes(kind, Reason::ConfigInForce),
        Ok(report) if report.state == ItemState::Rejected => {
            Judgement::no(kind, reason_of(report, Reason::RejectedByAgent), report.message.clone())
        }
        Ok(report) if report.state == ItemState::Failed => {
            Judgement::no(kind, reason_of(report, Reason::FailedOnDevice), report.message.clone())
        }
        Ok(_) => Judgement::no(kind, Reason::Applying, "The agent is setting the device and reads it back."),
    }
}

fn calibrated(seen: &Seen, known: Knowledge<'_>) -> Judgement {
    let kind = ConditionType::Calibrated;
    if seen.model.as_ref().is_none_or(|m| m.spec.regulatory.calibration == Calibration::NotRequired) {
        return Judgement::yes(kind, Reason::CalibrationValid);
    }
    let report = match fact(seen, known, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let until = report
        .device
        .as_ref()
        .and_then(|d| d.calibrated_until.as_deref())
        .and_then(|d| d.parse::<jiff::civil::Date>().ok());
    // A day that has begun anywhere counts: an hour between two zones must not take an instrument out of use.
    let today = seen.now.to_zoned(TimeZone::UTC).date();
    match until {
        Some(until) if until >= today => Judgement::yes(kind, Reason::CalibrationValid),
        Some(until) => Judgement::no(
            kind,
            Reason::CalibrationExpired,
            format!("The calibration ended on {until}: have the instrument calibrated."),
        ),
        None => Judgement::no(
            kind,
            Reason::CalibrationExpired,
            "The instrument reports no calibration: have it calibrated.",
        ),
    }
}
