//! Why a Device is not Ready: ordered chains of small checks; the first that fails gives reason and message.

use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::device::{FirmwareStatus, Step};
use kalong_crds::device_model::UpdateSlots;
use kalong_crds::wire::reported::{DeviceReport, ItemState, ReportedItem};
use kalong_rules::lifecycle::{LifecycleStage, unknown_phase};
use kube::ResourceExt;

use super::credential::Credential;
use super::decide::Decision;
use super::observe::Observed;
use super::permit::PermitState;
use super::{config, disabling};
use crate::claim::reason_of_wait;
use crate::kit::agent_object::{reason_of, rejected};
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, first, missing};

/// What is wrong with the declaration, whatever an agent says.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    let spec = &observed.device.spec;
    let stuck = |reason, message: String| Some(Readiness::Stuck(reason, message));
    if observed.device.metadata.deletion_timestamp.is_some() {
        return Some(observed.agent.terminating());
    }
    match observed.life {
        LifecycleStage::Planned => return Some(Readiness::Resting(Reason::Planned)),
        LifecycleStage::UnknownPhase => return stuck(Reason::UnknownPhase, unknown_phase(spec.phase.as_ref())),
        LifecycleStage::Commissioning | LifecycleStage::InService => {}
    }
    first([
        observed.agent.impossible(),
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
        observed.agent.missing(),
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
        observed.agent.unenrolled(),
    ])
}

/// The release that is declared and cannot be used.
pub(super) fn release(observed: &Observed) -> Option<Readiness> {
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

/// What is wrong or under way by what the agent says.
pub(super) fn runtime_verdict(observed: &Observed, decision: &Decision) -> Option<Readiness> {
    let agent = &observed.device.spec.agent_ref;
    if let Some((previous, liveness)) = observed.previous_agents.first().filter(|_| observed.moving()) {
        let say = format!("Agent {} still has the device; agent {agent} is told when it let go.", previous.name());
        return Some(match liveness {
            Liveness::Lost => Readiness::Unknown(Reason::AgentUnreachable, say),
            Liveness::Live | Liveness::Pending => Readiness::Converging(Reason::Applying, say),
        });
    }
    let report = match observed.agent.report() {
        Ok(report) => report,
        Err(objection) => return Some(objection),
    };
    first([
        observed.agent.awaiting(decision.placement.order(), "what it was told"),
        disabling::is_disabled(observed).then_some(Readiness::Resting(Reason::Disabled)),
        disabling::blocked_by(observed).map(|wait| {
            let reason = reason_of_wait(&wait, Reason::AwaitingDrain);
            Readiness::Converging(reason, format!("It is switched off when its lane is empty: {}", wait.message))
        }),
        item(report, agent.as_str()),
        attempt(observed, decision, report),
    ])
}

fn item(report: &ReportedItem, agent: &str) -> Option<Readiness> {
    let connected = report.device().is_some_and(|d| d.connected);
    match report.state {
        ItemState::Rejected => rejected(report),
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

/// How far the attempt is, if one is under way or ended without success.
pub(super) fn attempt(observed: &Observed, decision: &Decision, report: &ReportedItem) -> Option<Readiness> {
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
        Step::AwaitingDrain => match &decision.permit {
            PermitState::Waits(wait) => {
                Some(Readiness::Converging(reason_of_wait(wait, Reason::AwaitingDrain), say(&wait.message)))
            }
            PermitState::Granted { .. } | PermitState::NotAsked => under_way(Reason::AwaitingDrain),
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

pub(super) fn reason_of_step(step: Step) -> Reason {
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
