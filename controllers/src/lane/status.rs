//! The status of a Lane. Pure.

use std::time::Duration;

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::lane::{Admission, LaneAdmission, LaneStatus};
use kalong_crds::units::{Digest, Name};
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::conditions::conditions;
use super::decide::Decision;
use super::observe::Observed;
use super::{closing, readiness};
use crate::kit::blocked::distinct;
use crate::kit::link::{Holding, Liveness};
use crate::kit::readiness::Readiness;
use crate::kit::reconciler::ReconcileResult;

/// How often to look at a lane that an interlock keeps closed: no event comes when its station stops naming it.
const INTERLOCK_LOOK: Duration = Duration::from_secs(30);

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<LaneStatus> {
    let Observed { lane, agent, now, .. } = observed;
    let declared = readiness::declared(observed);
    let kept = if declared.is_none() { agent.keeps_status(lane.as_ref(), decision.order.as_ref(), *now) } else { None };
    let result = kept.unwrap_or_else(|| {
        let result = ReconcileResult::of(written(observed, decision, declared.as_ref()));
        result.sooner(observed.open_interlocks().next().map(|_| INTERLOCK_LOOK))
    });
    decision.placement.finish(result)
}

fn written(observed: &Observed, decision: &Decision, declared: Option<&Readiness>) -> LaneStatus {
    let generation = observed.lane.metadata.generation.unwrap_or_default();
    let old = observed.lane.status.clone().unwrap_or_default();
    let admission = admission(observed, &old);
    let updates = conditions(observed, decision, admission, declared);
    LaneStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &updates, generation, observed.now),
        admission,
        held_by: held_by(observed),
        firmware: firmware(observed),
        blocked_by: carry_since(&old.blocked_by, distinct(blocked_by(observed, decision))),
    }
}

/// What the lane does, as far as that is known.
fn admission(observed: &Observed, old: &LaneStatus) -> LaneAdmission {
    match observed.agent.liveness() {
        _ if observed.life == LifecycleStage::Planned => LaneAdmission::Closed,
        Liveness::Live => observed.reported().map_or(LaneAdmission::Unknown, |lane| lane.admission),
        Liveness::Pending => old.admission,
        Liveness::Lost => LaneAdmission::Unknown,
    }
}

/// Digest over which device runs which version: equal digests mean that two lanes run the same.
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

fn blocked_by(observed: &Observed, decision: &Decision) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: &str| BlockedBy::new(code, subject, message, observed.now);
    if observed.life == LifecycleStage::Planned && !observed.deleting() {
        return Vec::new();
    }
    let missing = observed.devices.iter().filter(|(_, device)| device.is_none()).map(|(slot, _)| {
        let say = "Declare the device, or take it out of the slot.";
        block(BlockCode::MissingReference, format!("Device/{}", slot.device_ref), say)
    });
    let mut blocked: Vec<BlockedBy> = missing.collect();
    if observed.controller.is_some() {
        let agent = &observed.agent;
        if agent.liveness() == Liveness::Lost {
            let say = "Look at the box; the lane goes on as it was last told.";
            blocked.push(agent.blocks(BlockCode::AgentUnreachable, say, observed.now));
        } else if observed.deleting() && agent.holding != Holding::NotHeld {
            let say = "The agent has been told to let go of the lane.";
            blocked.push(agent.blocks(BlockCode::AgentConfirmation, say, observed.now));
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
    blocked.extend(closing::blocked_by(observed, decision.admission));
    if closing::declared(observed) == Admission::Open {
        let until = observed.hold.as_ref().map(|hold| hold.until.clone());
        blocked.extend(observed.claims.iter().map(|drain| BlockedBy {
            until: until.clone(),
            ..block(BlockCode::LaneDrain, format!("LaneDrain/{}", drain.name_any()), &readiness::claimed_by(drain))
        }));
        if observed.under_change && observed.claims.is_empty() {
            let say = "A device of the lane is being changed; the lane opens when that is done.";
            blocked.push(block(BlockCode::LaneDrain, format!("Lane/{}", observed.lane.name_any()), say));
        }
    }
    blocked
}
