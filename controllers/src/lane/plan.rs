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
use super::observe::Observed;
use super::{closing, judge};
use crate::kit::finalizer;
use crate::kit::life::LifecycleStage;
use crate::kit::link::{CONFIRMATION, Holding, Liveness};
use crate::kit::telling::{Assignment, Placement};

/// How often to look at a lane that an interlock keeps closed: nobody tells when its station does not name it any more.
const INTERLOCK_LOOK: Duration = Duration::from_secs(30);

/// What to do.
pub(super) struct Plan {
    pub(super) placement: Placement,
    /// Claims to make and to end, so that the lane is closed as declared.
    pub(super) make: Option<Claim>,
    pub(super) release: Vec<Arc<LaneDrain>>,
    pub(super) status: Option<LaneStatus>,
    pub(super) again: Option<Duration>,
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let assignment = Assignment {
        agent: observed.controller.as_ref().and_then(|c| c.agent_id.as_ref()),
        order: observed.order.as_ref().and_then(|order| order.as_ref().ok()),
        holding: observed.holding,
        leaves: observed.leaves(),
        wrong_holders: observed.wrong_holders.clone(),
    };
    let placement = Placement::of(observed.lane.as_ref(), finalizers(observed), assignment);
    let (make, release) = if observed.deleting() && placement.finalizers.is_some() {
        (None, observed.made.clone())
    } else {
        closing::errands(observed)
    };
    let (status, again) = status(observed);
    // Whoever was never wanted in this process is not woken by the confirmation either.
    let again = if placement.remove.is_empty() {
        again
    } else {
        Some(again.map_or(CONFIRMATION, |again| again.min(CONFIRMATION)))
    };
    Plan { placement, make, release, status, again }
}

fn finalizers(observed: &Observed) -> Option<Vec<String>> {
    let present = observed.lane.finalizers();
    if observed.deleting() {
        finalizer::without(present, observed.holding, observed.controller.as_ref().and_then(|c| c.agent.as_deref()))
    } else {
        finalizer::with(present, observed.order.is_some())
    }
}

fn status(observed: &Observed) -> (Option<LaneStatus>, Option<Duration>) {
    let generation = observed.lane.metadata.generation.unwrap_or_default();
    let old = observed.lane.status.clone().unwrap_or_default();
    let known = observed.liveness();
    let first_visit = old.conditions.is_empty();
    let declared = judge::declared(observed);
    if known == Liveness::Pending && declared.is_none() && !first_visit && old.observed_generation == generation {
        return (None, observed.facts.as_ref().and_then(|f| f.grace_left(observed.now)));
    }
    if let Some(left) = observed.debounce.filter(|_| !first_visit && declared.is_none() && known == Liveness::Live) {
        return (None, Some(left));
    }
    let admission = admission(observed, known, &old);
    let judged = judge::conditions(observed, known, admission, declared.as_ref());
    let status = LaneStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        admission,
        held_by: held_by(observed),
        firmware: firmware(observed),
        blocked_by: carry_since(&old.blocked_by, distinct(blocked(observed, known))),
    };
    let again = observed.open_interlocks().next().map(|_| INTERLOCK_LOOK);
    (Some(status), again)
}

fn admission(observed: &Observed, known: Liveness, old: &LaneStatus) -> LaneAdmission {
    match known {
        _ if observed.life == LifecycleStage::Planned => LaneAdmission::Closed,
        Liveness::Live => {
            observed.report.as_ref().and_then(|r| r.lane()).map_or(LaneAdmission::Unknown, |l| l.admission)
        }
        Liveness::Pending => old.admission,
        Liveness::Lost => LaneAdmission::Unknown,
    }
}

/// Digest over which device runs which version, for lanes to be compared by.
fn firmware(observed: &Observed) -> Option<Digest> {
    let mut set: Vec<String> = observed
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
fn held_by(observed: &Observed) -> Vec<Name> {
    const LISTED: usize = 16;
    observed.claims.iter().map(|drain| Name::from(drain.name_any())).take(LISTED).collect()
}

fn blocked(observed: &Observed, known: Liveness) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: &str| BlockedBy::new(code, subject, message, observed.now);
    if observed.life == LifecycleStage::Planned && !observed.deleting() {
        return Vec::new();
    }
    let missing = observed.devices.iter().filter(|(_, device)| device.is_none()).map(|(slot, _)| {
        let say = "Declare the device, or take it out of the slot.";
        block(BlockCode::MissingReference, format!("Device/{}", slot.device_ref), say)
    });
    let mut blocked: Vec<BlockedBy> = missing.collect();
    if let Some(controller) = &observed.controller {
        let agent = format!("EdgeAgent/{}", controller.device.spec.agent_ref);
        if known == Liveness::Lost {
            let say = "Look at the box; the lane goes on as it was last told.";
            blocked.push(block(BlockCode::AgentUnreachable, agent, say));
        } else if observed.deleting() && observed.holding != Holding::NotHeld {
            blocked.push(block(BlockCode::AgentConfirmation, agent, "The agent has been told to let go of the lane."));
        }
    }
    blocked.extend(observed.open_interlocks().map(|interlock| {
        let say = format!(
            "Interlock {} is open: make it safe at the device, and the lane opens by itself. Suspend InspectionStation {} if its device is gone for good.",
            interlock.name(),
            interlock.station
        );
        block(BlockCode::InterlockOpen, interlock.subject(), &say)
    }));
    blocked.extend(closing::waits(observed));
    if closing::declared(observed) == Admission::Open {
        let until = observed.hold.as_ref().map(|hold| hold.until.clone());
        blocked.extend(observed.claims.iter().map(|drain| BlockedBy {
            until: until.clone(),
            ..block(BlockCode::LaneDrain, format!("LaneDrain/{}", drain.name_any()), &judge::claimed_by(drain))
        }));
        if observed.in_work && observed.claims.is_empty() {
            let say = "A device of the lane is being changed; the lane opens when that is done.";
            blocked.push(block(BlockCode::LaneDrain, format!("Lane/{}", observed.lane.name_any()), say));
        }
    }
    blocked
}
