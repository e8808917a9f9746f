//! The status of a LaneDrain. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::{Reason, settle};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::lane_drain::{LaneDrainStatus, Responder};
use kalong_crds::units::Name;
use kalong_crds::wire::event::EventSeverity;
use kalong_rules::capacity::{Lost, Wait, loss};
use kalong_rules::claim::Deadline;

use super::conditions::conditions;
use super::decide::{ActiveHold, Decision, DrainDecision, HeldLane, LATE, LaneEmpty};
use super::observe::Observed;
use super::request::DrainRequest;
use crate::claim::after;
use crate::kit::drains::IN_FLIGHT;
use crate::kit::reconciler::{EventToEmit, ReconcileResult};

/// Waits that are listed; the first is the one to look at.
const LISTED: usize = 8;
/// Characters of a wait's message.
const MESSAGE: usize = 1024;
/// Enough for a moment to lie in the past when it is looked at.
const MOMENT: Duration = Duration::from_millis(100);

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<LaneDrainStatus> {
    ReconcileResult {
        status: published(observed, decision),
        again: again(observed, decision),
        events: event(observed, decision).into_iter().collect(),
        ..ReconcileResult::unchanged()
    }
}

/// The status as it should be; none leaves it as it is.
fn published(observed: &Observed, decision: &Decision) -> Option<LaneDrainStatus> {
    let Decision { outcome, acceptance } = decision;
    if *outcome == DrainDecision::Undecided {
        return None;
    }
    let generation = observed.drain.metadata.generation.unwrap_or_default();
    let old = observed.drain.status.clone().unwrap_or_default();
    let holds = if let DrainDecision::Holds(holds) = outcome { Some(holds) } else { None };
    let mut status = LaneDrainStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &conditions(observed, decision), generation, observed.now),
        accepted_at: acceptance.as_ref().map(|acceptance| acceptance.at.to_string()),
        empty_by: holds.and_then(|holds| holds.empty_by).map(|at| at.to_string()),
        responders: holds.map(|holds| holds.lanes.iter().map(responder).collect()).unwrap_or_default(),
        remaining: holds.map_or(0, |holds| remaining(holds).count().try_into().unwrap_or(i64::MAX)),
        blocked_by: carry_since(&old.blocked_by, blocked_by(observed, outcome)),
    };
    if decision.keeps_what_it_holds() {
        (status.responders, status.empty_by, status.remaining) = (old.responders, old.empty_by, old.remaining);
    }
    Some(status)
}

fn responder(lane: &HeldLane) -> Responder {
    Responder { name: Name(lane.name.clone()), state: lane.state }
}

fn remaining(holds: &ActiveHold) -> impl Iterator<Item = &HeldLane> {
    holds.lanes.iter().filter(|lane| matches!(lane.empty, LaneEmpty::No | LaneEmpty::Unknown))
}

/// One Event for each decision that differs from the stored one.
fn event(observed: &Observed, decision: &Decision) -> Option<EventToEmit> {
    let warning = |reason, note: &String| EventToEmit { reason, severity: EventSeverity::Warning, note: note.clone() };
    match (&observed.stored, &decision.acceptance, &decision.outcome) {
        (Some(_), None, DrainDecision::Abandoned(abandoned)) => Some(warning(abandoned.reason, &abandoned.message)),
        (stored, Some(now), _) if stored.as_ref().is_none_or(|stored| stored.at != now.at) => {
            let accepted =
                EventToEmit { reason: Reason::DrainAccepted, severity: EventSeverity::Normal, note: String::new() };
            Some(now.breaking.as_ref().map_or(accepted, |floors| warning(Reason::EmergencyAccepted, floors)))
        }
        _ => None,
    }
}

/// When time alone changes something.
fn again(observed: &Observed, decision: &Decision) -> Option<Duration> {
    let left = |at: Timestamp| Duration::try_from(at.duration_since(observed.now)).unwrap_or_default() + MOMENT;
    let own = match &decision.outcome {
        DrainDecision::Ending | DrainDecision::Lapsed | DrainDecision::Stuck(..) => return None,
        DrainDecision::Abandoned(abandoned) => Some(left(abandoned.until)),
        DrainDecision::Holds(holds) => holds.empty_by.map(|at| left(after(at, LATE))),
        DrainDecision::Undecided => observed.request.as_ref().and_then(|request| request.unheard),
        DrainDecision::Waits(_) => observed.request.as_ref().and_then(in_flight),
    };
    let end = match observed.deadline {
        Deadline::At(end) => Some(left(end)),
        Deadline::Endless | Deadline::Invalid => None,
    };
    end.into_iter().chain(own).min()
}

/// No event comes when an order that may still be on its way to a lane stops counting.
fn in_flight(request: &DrainRequest) -> Option<Duration> {
    let lanes = &request.snapshot.lanes;
    let groups: BTreeSet<_> =
        request.claim.lanes.iter().filter_map(|name| lanes.get(name)).map(|lane| &lane.group).collect();
    let unconfirmed = lanes
        .iter()
        .filter(|(_, lane)| groups.contains(&lane.group))
        .any(|(name, lane)| loss(&request.snapshot, name, lane) == Some(Lost::Unconfirmed));
    unconfirmed.then(|| Duration::try_from(IN_FLIGHT).unwrap_or_default())
}

fn blocked_by(observed: &Observed, outcome: &DrainDecision) -> Vec<BlockedBy> {
    let block = |code, subject: String, until: Option<String>, message: &str| {
        let message: String = message.chars().take(MESSAGE).collect();
        BlockedBy { until, ..BlockedBy::new(code, subject, message, observed.now) }
    };
    let on = |wait: &Wait| block(wait.code, wait.subject.clone(), observed.drain.spec.deadline.clone(), &wait.message);
    match outcome {
        DrainDecision::Waits(wait) => vec![on(wait)],
        DrainDecision::Abandoned(abandoned) => {
            let until = Some(abandoned.until.to_string());
            vec![block(BlockCode::Retry, abandoned.subject.clone(), until, &abandoned.message)]
        }
        DrainDecision::Stuck(Reason::MissingReference, say) => {
            let target = &observed.drain.spec.target;
            vec![block(BlockCode::MissingReference, format!("{}/{}", target.kind.as_str(), target.name), None, say)]
        }
        DrainDecision::Holds(holds) => {
            let until = holds.empty_by.map(|at| at.to_string());
            let lane = |lane: &HeldLane| match lane.state {
                LaneAdmission::Unknown => block(
                    BlockCode::AgentUnreachable,
                    format!("EdgeAgent/{}", lane.agent),
                    until.clone(),
                    "Look at the box; the lane goes on as it was last told.",
                ),
                _ => block(
                    BlockCode::LaneNotEmpty,
                    format!("Lane/{}", lane.name),
                    until.clone(),
                    "What is inside has to leave; the lane admits nothing new meanwhile, and reopens when it takes too long.",
                ),
            };
            holds.joining.iter().map(on).chain(remaining(holds).take(LISTED).map(lane)).collect()
        }
        DrainDecision::Ending | DrainDecision::Lapsed | DrainDecision::Stuck(..) | DrainDecision::Undecided => {
            Vec::new()
        }
    }
}
