//! What to do about a Device and what to say of it. Pure: no client, no clock, no log.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::FINALIZER;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::device::{DeviceStatus, FirmwareStatus, Step};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::Item;
use kube::ResourceExt;

use super::judge;
use super::seen::{Credential, Knowledge, Leave, Seen};
use crate::kit::finalizer;
use crate::kit::link::{CONFIRMATION, Holding};

/// A state of an attempt that lasts longer than this is worth a status write of its own.
const WORTH_SAYING: Duration = Duration::from_secs(10);

/// When to look again for a credential that cannot be used: Secrets may be read by name alone, so no watch tells when it is right.
const SECRET_LOOK: Duration = Duration::from_secs(15);

/// What to do.
#[derive(Debug)]
pub(super) struct Plan {
    /// The finalizers as they shall be, if they have to change.
    pub(super) finalizers: Option<Vec<String>>,
    /// What the agent shall be told.
    pub(super) want: Option<(AgentId, Item)>,
    /// Agents that shall let go of the device.
    pub(super) remove: Vec<AgentId>,
    /// What to say; none leaves the status as it is.
    pub(super) status: Option<DeviceStatus>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

/// Decides.
pub(super) fn plan(seen: &Seen) -> Plan {
    let deleting = seen.device.metadata.deletion_timestamp.is_some();
    let finalizers = finalizers(seen, deleting);
    let guarded = seen.device.finalizers().iter().any(|f| f == FINALIZER);
    let leaves = deleting || !seen.live;
    let mut remove = seen.strays.clone();
    if leaves && seen.holding != Holding::NotHeld && finalizers.is_none() {
        remove.extend(seen.agent_id.as_ref().ok().cloned());
    }
    let want = match (&seen.order, &seen.agent_id) {
        // First the finalizer, then the order: what an agent holds can always be taken back.
        (Some(Ok(item)), Ok(agent)) if guarded && !leaves => Some((agent.clone(), item.clone())),
        _ => None,
    };
    let (status, again) = status(seen);
    // Whoever was never wanted in this process is not woken by the confirmation either.
    let again =
        if remove.is_empty() { again } else { Some(again.map_or(CONFIRMATION, |again| again.min(CONFIRMATION))) };
    Plan { finalizers, want, remove, status, again }
}

/// On when the device can be wanted, off when its agent let go of it, or can never say so.
fn finalizers(seen: &Seen, deleting: bool) -> Option<Vec<String>> {
    let present = seen.device.finalizers();
    if deleting {
        finalizer::without(present, seen.holding, seen.agent.as_deref())
    } else {
        finalizer::with(present, seen.order.is_some())
    }
}

fn status(seen: &Seen) -> (Option<DeviceStatus>, Option<Duration>) {
    let device = &seen.device;
    let generation = device.metadata.generation.unwrap_or_default();
    let old = device.status.clone().unwrap_or_default();
    let known = seen.knowledge();
    let verdict = judge::declared(seen).or_else(|| judge::realised(seen, known));
    let first_visit = old.conditions.is_empty();
    let waits = matches!(known, Knowledge::Wait) && judge::declared(seen).is_none();
    if waits && !first_visit && old.observed_generation == generation {
        return (None, seen.facts.as_ref().and_then(|f| f.grace_left(seen.now)));
    }
    // A prompt confirmation costs one write, not two; kstatus sees from the generation that work is under way.
    let prompt = !first_visit && judge::declared(seen).is_none() && matches!(known, Knowledge::Heard(_));
    if let Some(left) = seen.patience.filter(|_| prompt) {
        return (None, Some(left));
    }
    let (firmware, soon) = firmware(seen, &old, known);
    let judged = judge::conditions(seen, known, verdict.as_ref());
    let blocked = blocked(seen, known);
    let report = match known {
        Knowledge::Heard(report) => report,
        Knowledge::Wait | Knowledge::Silent => None,
    };
    let status = DeviceStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, seen.now),
        agent: old.agent.clone(),
        applied: report.map_or(old.applied, |r| r.applied),
        health: match known {
            Knowledge::Heard(report) => report.and_then(|r| r.device.as_ref()).and_then(|d| d.health.clone()),
            Knowledge::Wait => old.health.clone(),
            Knowledge::Silent => None,
        },
        firmware,
        guards: match known {
            Knowledge::Heard(report) => {
                report.and_then(|r| r.device.as_ref()).map(|d| d.guards.clone()).unwrap_or_default()
            }
            Knowledge::Wait => old.guards.clone(),
            Knowledge::Silent => Vec::new(),
        },
        blocked_by: carry_since(&old.blocked_by, blocked),
    };
    let secret = matches!(seen.credential, Credential::Unusable(_)).then_some(SECRET_LOOK);
    (Some(status), soon.or(secret))
}

/// Which firmware facts to publish. A step that passes by in a moment is left to metrics and to the agent's journal.
fn firmware(seen: &Seen, old: &DeviceStatus, known: Knowledge<'_>) -> (Option<FirmwareStatus>, Option<Duration>) {
    let Knowledge::Heard(Some(report)) = known else { return (old.firmware.clone(), None) };
    let Some(now) = report.device.as_ref().and_then(|d| d.firmware.clone()) else {
        return (old.firmware.clone(), None);
    };
    let Some(said) = &old.firmware else { return (Some(now), None) };
    if said == &now {
        return (Some(now), None);
    }
    let waits = matches!(now.step, Step::AwaitingRecertification)
        || (now.step == Step::AwaitingDrain && matches!(seen.permit, Leave::Waits(_)));
    let ended = matches!(now.step, Step::Idle | Step::Failed | Step::Quarantined | Step::Cancelled);
    let begun = now.attempt != said.attempt;
    let turned = now.running != said.running;
    let age =
        now.since.as_deref().and_then(|s| s.parse::<Timestamp>().ok()).map(|since| seen.now.duration_since(since));
    let long = age.is_none_or(|age| age >= SignedDuration::try_from(WORTH_SAYING).unwrap_or_default());
    if waits || ended || begun || turned || long {
        (Some(now), None)
    } else {
        let left = age.and_then(|age| Duration::try_from(age).ok()).and_then(|age| WORTH_SAYING.checked_sub(age));
        (Some(said.clone()), left.map(|l| l + Duration::from_millis(100)))
    }
}

fn blocked(seen: &Seen, known: Knowledge<'_>) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: &str| BlockedBy {
        code,
        subject,
        since: Timestamp::from_second(seen.now.as_second()).unwrap_or(seen.now).to_string(),
        until: None,
        message: message.to_owned(),
    };
    let spec = &seen.device.spec;
    let agent = format!("EdgeAgent/{}", spec.agent_ref);
    if !seen.live && seen.device.metadata.deletion_timestamp.is_none() {
        return Vec::new();
    }
    let mut blocked = Vec::new();
    if seen.model.is_none() {
        blocked.push(block(
            BlockCode::MissingReference,
            format!("DeviceModel/{}", spec.model_ref),
            "Declare the model, or name another one.",
        ));
    }
    if seen.agent.is_none() {
        blocked.push(block(BlockCode::MissingReference, agent.clone(), "Declare the agent, or name another one."));
    } else if seen.not_enrolled() {
        let say = format!("Run `kubectl kalong enrol {}` and the command that it prints on the box.", spec.agent_ref);
        blocked.push(block(BlockCode::AgentNotEnrolled, agent.clone(), &say));
    } else if matches!(known, Knowledge::Silent) {
        blocked.push(block(
            BlockCode::AgentUnreachable,
            agent.clone(),
            "Look at the box, its power and its uplink; it goes on by itself meanwhile.",
        ));
    } else if seen.device.metadata.deletion_timestamp.is_some() && seen.holding != Holding::NotHeld {
        blocked.push(block(
            BlockCode::AgentConfirmation,
            agent,
            "The agent has been told to let go of the device; it confirms when it is reached.",
        ));
    }
    if let Leave::Waits(why) = &seen.permit {
        let lane = seen.lanes.first().map_or_else(String::new, |l| format!("Lane/{}", l.name_any()));
        blocked.push(block(BlockCode::LaneDrain, lane, why));
    }
    match seen.step() {
        Some(Step::Quarantined) => {
            let say = "Look at the device; when it is sound, set the annotation kalong.dev/release-quarantine to `<attempt>, <name>`.";
            blocked.push(block(BlockCode::Quarantine, format!("Device/{}", seen.device.name_any()), say));
        }
        Some(Step::AwaitingRecertification) => {
            let say = "The metrology authority has to seal the instrument before it may be used for trade.";
            blocked.push(block(BlockCode::Recertification, format!("Device/{}", seen.device.name_any()), say));
        }
        _ => {}
    }
    blocked
}
