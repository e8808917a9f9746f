//! What to do about a Device and what to say of it. Pure: no client, no clock, no log.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::device::{DeviceStatus, FirmwareStatus, Step};
use kalong_crds::units::{AgentId, Name};
use kube::ResourceExt;

use super::observed::{Credential, Knowledge, Leave, Observed};
use super::permit::{self, Errands};
use super::{disabling, judge};
use crate::kit::finalizer;
use crate::kit::life::LifecycleStage;
use crate::kit::link::{CONFIRMATION, Holding, Liveness};
use crate::kit::telling::{Assignment, Placement};
use crate::lane::claim::distinct;

/// A state of an attempt that lasts longer than this is worth a status write of its own.
const WORTH_SAYING: Duration = Duration::from_secs(10);

/// When to look again for a credential that cannot be used: Secrets may be read by name alone, so no watch tells when it is right.
const SECRET_LOOK: Duration = Duration::from_secs(15);

/// What to do.
#[derive(Debug)]
pub(super) struct Plan {
    /// What its agent is told.
    pub(super) placement: Placement,
    /// Claims on its lane to make, and to end.
    pub(super) errands: Errands,
    /// What to say; none leaves the status as it is.
    pub(super) status: Option<DeviceStatus>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

/// Decides.
pub(super) fn plan(observed: &Observed) -> Plan {
    let previous_agents =
        observed.previous_agents.iter().map(|(id, _)| id).filter(|id| !observed.wrong_holders.contains(id));
    let order = observed.order.as_ref().and_then(|order| order.as_ref().ok());
    let assignment = Assignment {
        agent: observed.agent_id.as_ref().ok(),
        // Never two agents at one device.
        order: order.filter(|_| !observed.moving()),
        holding: observed.holding,
        leaves: observed.leaves(),
        wrong_holders: observed.wrong_holders.iter().chain(previous_agents).cloned().collect(),
    };
    let placement = Placement::of(observed.device.as_ref(), finalizers(observed), assignment);
    let mut errands = permit::errands(observed);
    if observed.deleting() && placement.finalizers.is_some() {
        errands = Errands { make: Vec::new(), release: observed.made.iter().map(|made| made.drain.clone()).collect() };
    }
    let (status, again) = status(observed, placement.want.is_some());
    // Whoever was never wanted in this process is not woken by the confirmation either.
    let again = if placement.remove.is_empty() {
        again
    } else {
        Some(again.map_or(CONFIRMATION, |again| again.min(CONFIRMATION)))
    };
    Plan { placement, errands, status, again }
}

/// On when the device can be wanted, off when every agent let go of it, or can never say so.
fn finalizers(observed: &Observed) -> Option<Vec<String>> {
    let present = observed.device.finalizers();
    if observed.deleting() {
        finalizer::without(present, observed.holding, observed.agent.as_deref())
            .filter(|_| observed.previous_agents.is_empty())
    } else {
        finalizer::with(present, observed.order.is_some())
    }
}

/// The agent that was told of the device last, for as long as it has not let go of it.
fn holder(observed: &Observed, told: bool) -> Option<Name> {
    let old = observed.device.status.as_ref().and_then(|s| s.agent.clone());
    if observed.moving() {
        old.or_else(|| observed.previous_agents.first().map(|(id, _)| id.name().into()))
    } else if told || observed.holding == Holding::Held {
        Some(observed.device.spec.agent_ref.clone())
    } else if observed.leaves() && observed.holding == Holding::NotHeld {
        None
    } else {
        old
    }
}

fn status(observed: &Observed, told: bool) -> (Option<DeviceStatus>, Option<Duration>) {
    let device = &observed.device;
    let generation = device.metadata.generation.unwrap_or_default();
    let old = device.status.clone().unwrap_or_default();
    let known = observed.knowledge();
    let verdict = judge::declared(observed).or_else(|| judge::realised(observed, known));
    let first_visit = old.conditions.is_empty();
    let waits = matches!(known, Knowledge::Wait) && judge::declared(observed).is_none();
    if waits && !first_visit && old.observed_generation == generation {
        return (None, observed.facts.as_ref().and_then(|f| f.grace_left(observed.now)));
    }
    // A prompt confirmation costs one write, not two; kstatus sees from the generation that work is under way.
    let prompt = !first_visit && judge::declared(observed).is_none() && matches!(known, Knowledge::Heard(_));
    if let Some(left) = observed.debounce.filter(|_| prompt) {
        return (None, Some(left));
    }
    let (firmware, soon) = firmware(observed, &old, known);
    let judged = judge::conditions(observed, known, verdict.as_ref());
    let blocked = blocked(observed, known);
    let report = match known {
        Knowledge::Heard(report) => report,
        Knowledge::Wait | Knowledge::Silent => None,
    };
    let status = DeviceStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        agent: holder(observed, told),
        applied: report.map_or(old.applied, |r| r.applied),
        health: match known {
            Knowledge::Heard(report) => report.and_then(|r| r.device()).and_then(|d| d.health.clone()),
            Knowledge::Wait => old.health.clone(),
            Knowledge::Silent => None,
        },
        firmware,
        guards: match known {
            Knowledge::Heard(report) => report.and_then(|r| r.device()).map(|d| d.guards.clone()).unwrap_or_default(),
            Knowledge::Wait => old.guards.clone(),
            Knowledge::Silent => Vec::new(),
        },
        blocked_by: carry_since(&old.blocked_by, distinct(blocked)),
    };
    let secret = matches!(observed.credential, Credential::Unusable(_)).then_some(SECRET_LOOK);
    (Some(status), soon.or(secret))
}

/// Which firmware facts to publish. A step that passes by in a moment is left to metrics and to the agent's journal.
fn firmware(
    observed: &Observed,
    old: &DeviceStatus,
    known: Knowledge<'_>,
) -> (Option<FirmwareStatus>, Option<Duration>) {
    let Knowledge::Heard(Some(report)) = known else { return (old.firmware.clone(), None) };
    let Some(now) = report.device().and_then(|d| d.firmware.clone()) else {
        return (old.firmware.clone(), None);
    };
    let Some(said) = &old.firmware else { return (Some(now), None) };
    if said == &now {
        return (Some(now), None);
    }
    let waits = matches!(now.step, Step::AwaitingRecertification)
        || (now.step == Step::AwaitingDrain && matches!(observed.permit, Leave::Waits(_)));
    let ended = matches!(now.step, Step::Idle | Step::Failed | Step::Quarantined | Step::Cancelled);
    let begun = now.attempt != said.attempt;
    let turned = now.running != said.running;
    let age =
        now.since.as_deref().and_then(|s| s.parse::<Timestamp>().ok()).map(|since| observed.now.duration_since(since));
    let long = age.is_none_or(|age| age >= SignedDuration::try_from(WORTH_SAYING).unwrap_or_default());
    if waits || ended || begun || turned || long {
        (Some(now), None)
    } else {
        let left = age.and_then(|age| Duration::try_from(age).ok()).and_then(|age| WORTH_SAYING.checked_sub(age));
        (Some(said.clone()), left.map(|l| l + Duration::from_millis(100)))
    }
}

fn blocked(observed: &Observed, known: Knowledge<'_>) -> Vec<BlockedBy> {
    let spec = &observed.device.spec;
    if observed.life == LifecycleStage::Planned && !observed.deleting() {
        return Vec::new();
    }
    let mut blocked = Vec::new();
    if observed.model.is_none() {
        let say = "Declare the model, or name another one.";
        blocked.push(block(observed, BlockCode::MissingReference, format!("DeviceModel/{}", spec.model_ref), say));
    }
    blocked.extend(by_agent(observed, known));
    if observed.moving() || observed.deleting() {
        blocked.extend(observed.previous_agents.iter().map(|(id, liveness)| by_former(observed, id, *liveness)));
    }
    if let Leave::Waits(wait) = &observed.permit {
        blocked.push(wait.clone());
    }
    blocked.extend(disabling::held_back(observed));
    let own = format!("Device/{}", observed.device.name_any());
    match observed.step() {
        Some(Step::Quarantined) => {
            let say = "Look at the device; when it is sound, set the annotation kalong.dev/release-quarantine to `<attempt>, <name>`.";
            blocked.push(block(observed, BlockCode::Quarantine, own, say));
        }
        Some(Step::AwaitingRecertification) => {
            let say = "The metrology authority has to seal the instrument before it may be used for trade.";
            blocked.push(block(observed, BlockCode::Recertification, own, say));
        }
        _ => {}
    }
    blocked
}

fn block(observed: &Observed, code: BlockCode, subject: String, message: &str) -> BlockedBy {
    BlockedBy::new(code, subject, message, observed.now)
}

/// The agent that the device belongs to keeps it waiting.
fn by_agent(observed: &Observed, known: Knowledge<'_>) -> Option<BlockedBy> {
    let name = &observed.device.spec.agent_ref;
    let (code, say) = if observed.agent.is_none() {
        (BlockCode::MissingReference, "Declare the agent, or name another one.".to_owned())
    } else if observed.not_enrolled() {
        let say = format!("Run `kubectl kalong enrol {name}` and the command that it prints on the box.");
        (BlockCode::AgentNotEnrolled, say)
    } else if observed.moving() {
        return None;
    } else if matches!(known, Knowledge::Silent) {
        let say = "Look at the box, its power and its uplink; it goes on by itself meanwhile.";
        (BlockCode::AgentUnreachable, say.to_owned())
    } else if observed.deleting() && observed.holding != Holding::NotHeld {
        let say = "The agent has been told to let go of the device; it confirms when it is reached.";
        (BlockCode::AgentConfirmation, say.to_owned())
    } else {
        return None;
    };
    Some(block(observed, code, format!("EdgeAgent/{name}"), &say))
}

/// The agent that had the device before keeps it waiting.
fn by_former(observed: &Observed, id: &AgentId, liveness: Liveness) -> BlockedBy {
    let name = id.name();
    let (code, say) = match liveness {
        Liveness::Lost => (
            BlockCode::AgentUnreachable,
            format!(
                "Look at box {name}: it still has the device. When it is gone for good, annotate EdgeAgent {name} with kalong.dev/abandon."
            ),
        ),
        Liveness::Live | Liveness::Pending => (
            BlockCode::AgentConfirmation,
            format!("Agent {name} has been told to let go of the device; it confirms when it is reached."),
        ),
    };
    block(observed, code, format!("EdgeAgent/{name}"), &say)
}
