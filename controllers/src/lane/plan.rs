//! What to do about a Lane and what to say of it. Pure.

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::LaneDrain;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::lane::{Admission, LaneAdmission, LaneStatus};
use kalong_crds::units::{Digest, Name};
use kube::ResourceExt;

use super::claim::{Claim, distinct};
use super::observe::Seen;
use super::{closing, judge};
use crate::kit::finalizer;
use crate::kit::life::Life;
use crate::kit::link::{CONFIRMATION, Hearing, Holding};
use crate::kit::telling::{Standing, Telling};

/// How often to look at a lane that an interlock keeps closed: nobody tells when its station does not name it any more.
const INTERLOCK_LOOK: Duration = Duration::from_secs(30);

/// What to do.
pub(super) struct Plan {
    pub(super) telling: Telling,
    /// Claims to make and to end, so that the lane is closed as declared.
    pub(super) make: Option<Claim>,
    pub(super) release: Vec<Arc<LaneDrain>>,
    pub(super) status: Option<LaneStatus>,
    pub(super) again: Option<Duration>,
}

pub(super) fn plan(seen: &Seen) -> Plan {
    let standing = Standing {
        agent: seen.controller.as_ref().and_then(|c| c.agent_id.as_ref()),
        order: seen.order.as_ref().and_then(|order| order.as_ref().ok()),
        holding: seen.holding,
        leaves: seen.leaves(),
        strays: seen.strays.clone(),
    };
    let telling = Telling::of(seen.lane.as_ref(), finalizers(seen), standing);
    let (make, release) = if seen.deleting() && telling.finalizers.is_some() {
        (None, seen.made.clone())
    } else {
        closing::errands(seen)
    };
    let (status, again) = status(seen);
    // Whoever was never wanted in this process is not woken by the confirmation either.
    let again = if telling.remove.is_empty() {
        again
    } else {
        Some(again.map_or(CONFIRMATION, |again| again.min(CONFIRMATION)))
    };
    Plan { telling, make, release, status, again }
}

fn finalizers(seen: &Seen) -> Option<Vec<String>> {
    let present = seen.lane.finalizers();
    if seen.deleting() {
        finalizer::without(present, seen.holding, seen.controller.as_ref().and_then(|c| c.agent.as_deref()))
    } else {
        finalizer::with(present, seen.order.is_some())
    }
}

fn status(seen: &Seen) -> (Option<LaneStatus>, Option<Duration>) {
    let generation = seen.lane.metadata.generation.unwrap_or_default();
    let old = seen.lane.status.clone().unwrap_or_default();
    let known = seen.hearing();
    let first_visit = old.conditions.is_empty();
    let declared = judge::declared(seen);
    if known == Hearing::Wait && declared.is_none() && !first_visit && old.observed_generation == generation {
        return (None, seen.facts.as_ref().and_then(|f| f.grace_left(seen.now)));
    }
    if let Some(left) = seen.patience.filter(|_| !first_visit && declared.is_none() && known == Hearing::Heard) {
        return (None, Some(left));
    }
    let admission = admission(seen, known, &old);
    let judged = judge::conditions(seen, known, admission, declared.as_ref());
    let status = LaneStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, seen.now),
        admission,
        held_by: held_by(seen),
        firmware: firmware(seen),
        blocked_by: carry_since(&old.blocked_by, distinct(blocked(seen, known))),
    };
    let again = seen.open_interlocks().next().map(|_| INTERLOCK_LOOK);
    (Some(status), again)
}

fn admission(seen: &Seen, known: Hearing, old: &LaneStatus) -> LaneAdmission {
    match known {
        _ if seen.life == Life::Planned => LaneAdmission::Closed,
        Hearing::Heard => {
            seen.report.as_ref().and_then(|r| r.lane.as_ref()).map_or(LaneAdmission::Unknown, |l| l.admission)
        }
        Hearing::Wait => old.admission,
        Hearing::Silent => LaneAdmission::Unknown,
    }
}

/// Digest over which device runs which version, for lanes to be compared by.
fn firmware(seen: &Seen) -> Option<Digest> {
    let mut set: Vec<String> = seen
        .devices
        .iter()
        .filter_map(|(slot, device)| {
            let running = device.as_ref()?.status.as_ref()?.firmware.as_ref()?.running.clone();
            let model = &device.as_ref()?.spec.model_ref;
            (!running.is_empty()).then(|| format!("{} {model} {running}", slot.name))
        })
        .collect();
    set.sort();
    (!set.is_empty()).then(|| Digest::of(set.join("\n").as_bytes()))
}

/// The accepted claims on the lane.
fn held_by(seen: &Seen) -> Vec<Name> {
    const LISTED: usize = 16;
    seen.claims.iter().map(|drain| Name::from(drain.name_any())).take(LISTED).collect()
}

fn blocked(seen: &Seen, known: Hearing) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: &str| BlockedBy::new(code, subject, message, seen.now);
    if seen.life == Life::Planned && !seen.deleting() {
        return Vec::new();
    }
    let missing = seen.devices.iter().filter(|(_, device)| device.is_none()).map(|(slot, _)| {
        let say = "Declare the device, or take it out of the slot.";
        block(BlockCode::MissingReference, format!("Device/{}", slot.device_ref), say)
    });
    let mut blocked: Vec<BlockedBy> = missing.collect();
    if let Some(controller) = &seen.controller {
        let agent = format!("EdgeAgent/{}", controller.device.spec.agent_ref);
        if known == Hearing::Silent {
            let say = "Look at the box; the lane goes on as it was last told.";
            blocked.push(block(BlockCode::AgentUnreachable, agent, say));
        } else if seen.deleting() && seen.holding != Holding::NotHeld {
            blocked.push(block(BlockCode::AgentConfirmation, agent, "The agent has been told to let go of the lane."));
        }
    }
    blocked.extend(seen.open_interlocks().map(|interlock| {
        let say = format!(
            "Interlock {} is open: make it safe at the device, and the lane opens by itself. Suspend InspectionStation {} if its device is gone for good.",
            interlock.name(),
            interlock.station
        );
        block(BlockCode::InterlockOpen, interlock.subject(), &say)
    }));
    blocked.extend(closing::waits(seen));
    if closing::declared(seen) == Admission::Open {
        let until = seen.hold.as_ref().map(|hold| hold.until.clone());
        blocked.extend(seen.claims.iter().map(|drain| BlockedBy {
            until: until.clone(),
            ..block(BlockCode::LaneDrain, format!("LaneDrain/{}", drain.name_any()), &judge::claimed_by(drain))
        }));
        if seen.in_work && seen.claims.is_empty() {
            let say = "A device of the lane is being changed; the lane opens when that is done.";
            blocked.push(block(BlockCode::LaneDrain, format!("Lane/{}", seen.lane.name_any()), say));
        }
    }
    blocked
}
