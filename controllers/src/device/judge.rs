//! Where the readiness of a Device is judged: ordered chains of small checks.

use jiff::tz::TimeZone;
use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Conditioned, Reason};
use kalong_crds::device::{FirmwareStatus, HealthState, Step};
use kalong_crds::device_model::{Calibration, UpdateSlots};
use kalong_crds::wire::reported::{DeviceReport, ItemState, ReportedItem};
use kube::ResourceExt;

use super::observed::{Credential, Knowledge, Leave, Observed};
use super::{config, disabling};
use crate::kit::life::{LifecycleStage, unknown_phase};
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, commissioning, first, ready};
use crate::lane::claim;

/// Objections that stand whatever an agent says.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    let spec = &observed.device.spec;
    let stuck = |reason, message: String| Some(Readiness::Stuck(reason, message));
    if observed.device.metadata.deletion_timestamp.is_some() {
        let say = format!("Being removed: agent {} has to let go of it first.", spec.agent_ref);
        return Some(Readiness::Converging(Reason::Terminating, say));
    }
    match observed.life {
        LifecycleStage::Planned => return Some(Readiness::Resting(Reason::Planned)),
        LifecycleStage::UnknownPhase => return stuck(Reason::UnknownPhase, unknown_phase(spec.phase.as_ref())),
        LifecycleStage::Commissioning | LifecycleStage::InService => {}
    }
    first([
        observed.agent_id.as_ref().err().and_then(|e| stuck(Reason::IdentityTooLong, e.to_string())),
        (observed.lanes.len() > 1).then(|| {
            let lanes: Vec<_> = observed.lanes.iter().map(|l| l.name_any()).collect();
            Readiness::Stuck(
                Reason::SlotConflict,
                format!(
                    "Lanes {} both name this device: a device fills one slot; remove it from all but one.",
                    lanes.join(" and ")
                ),
            )
        }),
        observed.agent.is_none().then(|| missing("EdgeAgent", spec.agent_ref.as_str(), "spec.agentRef")),
        observed.model.is_none().then(|| missing("DeviceModel", spec.model_ref.as_str(), "spec.modelRef")),
        observed
            .model
            .as_ref()
            .and_then(|m| config::objection(&spec.config, &m.spec.properties))
            .and_then(|say| stuck(Reason::InvalidConfig, say)),
        match &observed.credential {
            Credential::Unusable(say) => stuck(Reason::MissingReference, say.clone()),
            _ => None,
        },
        release(observed),
        observed.not_enrolled().then(|| {
            let say =
                format!("Agent {} has not enrolled: run `kubectl kalong enrol {}`.", spec.agent_ref, spec.agent_ref);
            Readiness::Converging(Reason::NotEnrolled, say)
        }),
    ])
}

fn missing(kind: &str, name: &str, field: &str) -> Readiness {
    Readiness::Stuck(
        Reason::MissingReference,
        format!("{kind} {name} does not exist in this namespace: declare it, or correct `{field}`."),
    )
}

/// The release that is declared and cannot be used.
fn release(observed: &Observed) -> Option<Readiness> {
    let name = &observed.device.spec.firmware.as_ref()?.release;
    let Some(release) = &observed.release else {
        return Some(missing("FirmwareRelease", name.as_str(), "spec.firmware.release"));
    };
    if !release.spec.models.contains(&observed.device.spec.model_ref) {
        let say =
            format!("Release {name} is not made for model {}: name another release.", observed.device.spec.model_ref);
        return Some(Readiness::Stuck(Reason::Incompatible, say));
    }
    if let Some(stalled) = release.condition(ConditionType::Stalled) {
        let reason = Reason::parse(&stalled.reason).unwrap_or(Reason::SignatureInvalid);
        return Some(Readiness::Stuck(
            reason,
            format!("Release {name} is refused and the device keeps its firmware: {}", stalled.message),
        ));
    }
    (!release.is(ConditionType::Ready)).then(|| {
        Readiness::Converging(Reason::Fetching, format!("Release {name} is being checked and fetched by the operator."))
    })
}

/// Objections that rest on what the agent says.
pub(super) fn realised(observed: &Observed, known: Knowledge<'_>) -> Option<Readiness> {
    let agent = &observed.device.spec.agent_ref;
    if let Some((previous_agents, liveness)) = observed.previous_agents.first().filter(|_| observed.moving()) {
        let say =
            format!("Agent {} still has the device; agent {agent} is told when it let go.", previous_agents.name());
        return Some(match liveness {
            Liveness::Lost => Readiness::Unknown(Reason::AgentUnreachable, say),
            Liveness::Live | Liveness::Pending => Readiness::Converging(Reason::Applying, say),
        });
    }
    let report = match known {
        Knowledge::Silent => {
            let say = format!(
                "Agent {agent} has been silent for longer than the grace time: look at the box, its power and its uplink."
            );
            return Some(Readiness::Unknown(Reason::AgentUnreachable, say));
        }
        Knowledge::Wait => {
            return Some(Readiness::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")));
        }
        Knowledge::Heard(None) => {
            return Some(Readiness::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
        }
        Knowledge::Heard(Some(report)) => report,
    };
    first([
        (!observed.confirmed()).then(|| {
            Readiness::Converging(Reason::Applying, format!("Waiting for agent {agent} to confirm what it was told."))
        }),
        observed.disabled().then_some(Readiness::Resting(Reason::Disabled)),
        disabling::held_back(observed).map(|wait| {
            let reason = claim::reason(&wait, Reason::AwaitingDrain);
            Readiness::Converging(reason, format!("It is switched off when its lane is empty: {}", wait.message))
        }),
        item(report, agent.as_str()),
        attempt(observed, report),
    ])
}

fn item(report: &ReportedItem, agent: &str) -> Option<Readiness> {
    let connected = report.device().is_some_and(|d| d.connected);
    match report.state {
        ItemState::Rejected => {
            Some(Readiness::Stuck(reason_of(report, Reason::RejectedByAgent), report.message.clone()))
        }
        _ if in_change(report) => None,
        _ if !connected => {
            let say = if report.message.is_empty() {
                format!(
                    "The device does not answer agent {agent}: check its power, its cabling and `connection.endpoint`."
                )
            } else {
                report.message.clone()
            };
            Some(Readiness::Converging(Reason::DeviceUnreachable, say))
        }
        ItemState::Failed => {
            Some(Readiness::Converging(reason_of(report, Reason::FailedOnDevice), report.message.clone()))
        }
        ItemState::Applying => Some(Readiness::Converging(Reason::Applying, report.message.clone())),
        ItemState::Applied => None,
    }
}

fn in_change(report: &ReportedItem) -> bool {
    report.device().and_then(|d| d.firmware.as_ref()).is_some_and(|f| f.step.touches_device())
}

fn reason_of(report: &ReportedItem, otherwise: Reason) -> Reason {
    Reason::parse(&report.reason).unwrap_or(otherwise)
}

/// How far the attempt is, if one is under way or ended without success.
fn attempt(observed: &Observed, report: &ReportedItem) -> Option<Readiness> {
    let wanted = observed.device.spec.firmware.as_ref()?;
    let device = report.device()?;
    let firmware = device.firmware.clone().unwrap_or_default();
    let say = |text: &str| format!("Release {}, attempt {}: {text}", wanted.release, firmware.attempt);
    let why = firmware.last_error.clone().unwrap_or_else(|| report.message.clone());
    let under_way = |reason| Some(Readiness::Converging(reason, say(reason.meaning().trim())));
    match firmware.step {
        Step::Idle if runs(observed, device, &firmware) => None,
        Step::Idle if external(observed) => {
            let text =
                format!("the device runs {}; its vendor's tool has to install the declared version.", firmware.running);
            Some(Readiness::Stuck(Reason::WrongVersion, say(&text)))
        }
        Step::Idle => Some(Readiness::Converging(Reason::Verifying, say("the agent is about to begin."))),
        Step::AwaitingDrain => match &observed.permit {
            Leave::Waits(wait) => {
                Some(Readiness::Converging(claim::reason(wait, Reason::AwaitingDrain), say(&wait.message)))
            }
            Leave::Given(_) | Leave::NotAsked => under_way(Reason::AwaitingDrain),
        },
        Step::Failed | Step::Cancelled if reason_of(report, Reason::AttemptFailed) == Reason::FetchFailed => {
            Some(Readiness::Converging(Reason::FetchFailed, say(&format!("{why} The agent tries again by itself."))))
        }
        Step::Failed => Some(Readiness::Stuck(reason_of(report, Reason::AttemptFailed), say(&why))),
        Step::Cancelled => under_way(Reason::Cancelled),
        Step::Quarantined => Some(Readiness::Stuck(Reason::Quarantined, say(&why))),
        // The instrument works and is up to date; that it may not be used for trade is a matter of Available.
        Step::AwaitingRecertification => None,
        step => under_way(reason_of_step(step)),
    }
}

fn external(observed: &Observed) -> bool {
    observed.model.as_ref().is_some_and(|m| m.spec.update.slots == UpdateSlots::External)
}

/// Whether what was read back is what is declared.
fn runs(observed: &Observed, device: &DeviceReport, firmware: &FirmwareStatus) -> bool {
    observed.release.as_ref().is_some_and(|release| {
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
pub(super) fn conditions(
    observed: &Observed,
    known: Knowledge<'_>,
    verdict: Option<&Readiness>,
) -> Vec<ConditionUpdate> {
    let [is_ready, reconciling, stalled] = match (observed.life, verdict) {
        // Switched off is more than not in service yet.
        (_, Some(Readiness::Resting(Reason::Disabled))) => ready(verdict),
        (LifecycleStage::Commissioning, _) => commissioning(verdict),
        _ => ready(verdict),
    };
    let mut all = vec![
        is_ready,
        available(observed, known),
        connected(observed, known),
        firmware(observed, known),
        applied(observed, known),
    ];
    if observed.model.as_ref().is_some_and(|m| m.spec.regulatory.calibration == Calibration::Required) {
        all.push(calibrated(observed, known));
    }
    all.extend([reconciling, stalled]);
    all
}

/// A fact that rests on a report, or what to say without one.
fn fact<'k>(
    observed: &Observed,
    known: Knowledge<'k>,
    kind: ConditionType,
) -> Result<&'k ReportedItem, ConditionUpdate> {
    if observed.life == LifecycleStage::Planned {
        return Err(ConditionUpdate::unknown(kind, Reason::Planned, ""));
    }
    match known {
        Knowledge::Heard(Some(report)) => Ok(report),
        Knowledge::Silent => Err(ConditionUpdate::unknown(kind, Reason::AgentUnreachable, "")),
        Knowledge::Heard(None) => Err(ConditionUpdate::unknown(kind, Reason::Initializing, "")),
        Knowledge::Wait => Err(observed.carried(kind)),
    }
}

fn connected(observed: &Observed, known: Knowledge<'_>) -> ConditionUpdate {
    let kind = ConditionType::Connected;
    match fact(observed, known, kind) {
        Err(otherwise) => otherwise,
        Ok(report) if report.device().is_some_and(|d| d.connected) => {
            ConditionUpdate::yes(kind, Reason::DeviceConnected)
        }
        Ok(_) if observed.disabled() => {
            ConditionUpdate::no(kind, Reason::Disabled, "The device is not contacted while `spec.admin` is Disabled.")
        }
        Ok(_) => ConditionUpdate::no(
            kind,
            Reason::DeviceUnreachable,
            "Check the device's power, its cabling and `connection.endpoint`.",
        ),
    }
}

fn available(observed: &Observed, known: Knowledge<'_>) -> ConditionUpdate {
    let kind = ConditionType::Available;
    if observed.life == LifecycleStage::Planned {
        return ConditionUpdate::no(kind, Reason::Planned, "");
    }
    if observed.disabled() {
        return ConditionUpdate::no(kind, Reason::Disabled, "Set `spec.admin` to Enabled to use the device.");
    }
    if observed.life == LifecycleStage::Commissioning {
        return ConditionUpdate::no(kind, Reason::Commissioning, "");
    }
    let report = match fact(observed, known, kind) {
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
        HealthState::OK if calibrated(observed, known).status == ConditionStatus::False => {
            ConditionUpdate::no(kind, Reason::CalibrationExpired, "Have the instrument calibrated and sealed.")
        }
        HealthState::OK => ConditionUpdate::yes(kind, Reason::Serving),
    }
}

fn firmware(observed: &Observed, known: Knowledge<'_>) -> ConditionUpdate {
    let kind = ConditionType::FirmwareUpToDate;
    let report = match fact(observed, known, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    if observed.device.spec.firmware.is_none() {
        return ConditionUpdate::yes(kind, Reason::NotDeclared);
    }
    if observed.step() == Some(Step::Quarantined) {
        return ConditionUpdate::unknown(kind, Reason::Quarantined, "Nobody can tell what the device runs.");
    }
    match release(observed).or_else(|| attempt(observed, report)) {
        None => ConditionUpdate::yes(kind, Reason::UpToDate),
        Some(Readiness::Converging(reason, say) | Readiness::Stuck(reason, say) | Readiness::Unknown(reason, say)) => {
            ConditionUpdate::no(kind, reason, say)
        }
        Some(Readiness::Resting(reason)) => ConditionUpdate::yes(kind, reason),
    }
}

fn applied(observed: &Observed, known: Knowledge<'_>) -> ConditionUpdate {
    let kind = ConditionType::ConfigApplied;
    let generation = observed.device.metadata.generation.unwrap_or_default();
    match fact(observed, known, kind) {
        Err(otherwise) => otherwise,
        Ok(_) if observed.disabled() => ConditionUpdate::unknown(kind, Reason::Disabled, ""),
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

fn calibrated(observed: &Observed, known: Knowledge<'_>) -> ConditionUpdate {
    let kind = ConditionType::Calibrated;
    if observed.model.as_ref().is_none_or(|m| m.spec.regulatory.calibration == Calibration::NotRequired) {
        return ConditionUpdate::yes(kind, Reason::CalibrationValid);
    }
    let report = match fact(observed, known, kind) {
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
