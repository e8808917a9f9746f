//! What is said of a LaneDrain. Pure.

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Conditioned, Reason, settle};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::lane_drain::{LaneDrainStatus, Responder};
use kalong_crds::units::Name;

use super::observe::Observed;
use super::plan::{Course, Emptiness, Held, Holds, Plan};
use crate::capacity::Wait;
use crate::kit::drains::Acceptance;
use crate::kit::readiness::{Readiness, ready};

/// Waits that are listed; the first is the one to look at.
const LISTED: usize = 8;

/// The status as it shall be; none leaves it as it is.
pub(super) fn status(observed: &Observed, plan: &Plan) -> Option<LaneDrainStatus> {
    let Plan { course, acceptance, again: _ } = plan;
    if *course == Course::Patience {
        return None;
    }
    let generation = observed.drain.metadata.generation.unwrap_or_default();
    let old = observed.drain.status.clone().unwrap_or_default();
    let holds = if let Course::Holds(holds) = course { Some(holds) } else { None };
    let kept = matches!(course, Course::Stuck(..)) && acceptance.is_some();
    let mut status = LaneDrainStatus {
        observed_generation: generation,
        conditions: settle(
            &old.conditions,
            &judge(observed, course, acceptance.as_ref(), kept),
            generation,
            observed.now,
        ),
        accepted_at: acceptance.as_ref().map(|acceptance| acceptance.at.to_string()),
        empty_by: holds.and_then(|holds| holds.empty_by).map(|at| at.to_string()),
        responders: holds.map(|holds| holds.lanes.iter().map(responder).collect()).unwrap_or_default(),
        remaining: holds.map_or(0, |holds| remaining(holds).count().try_into().unwrap_or(i64::MAX)),
        blocked_by: carry_since(&old.blocked_by, blocked(observed, course)),
    };
    if kept {
        (status.responders, status.empty_by, status.remaining) = (old.responders, old.empty_by, old.remaining);
    }
    Some(status)
}

fn responder(lane: &Held) -> Responder {
    Responder { name: Name(lane.name.clone()), state: lane.state }
}

fn remaining(holds: &Holds) -> impl Iterator<Item = &Held> {
    holds.lanes.iter().filter(|lane| matches!(lane.emptiness, Emptiness::Not | Emptiness::Unknown))
}

fn judge(observed: &Observed, course: &Course, acceptance: Option<&Acceptance>, kept: bool) -> Vec<ConditionUpdate> {
    let verdict = verdict(course);
    let [is_ready, reconciling, stalled] = ready(Some(&verdict));
    let (reason, message) = match &verdict {
        Readiness::Resting(reason) => (*reason, ""),
        Readiness::Converging(reason, say) | Readiness::Stuck(reason, say) | Readiness::Unknown(reason, say) => {
            (*reason, say.as_str())
        }
    };
    let no = |kind| ConditionUpdate::no(kind, reason, message);
    let over = matches!(course, Course::Ending | Course::Lapsed);
    let accepted = match course {
        Course::Holds(_) => accepted(acceptance),
        Course::Stuck(..) if kept => {
            as_before(observed, ConditionType::Accepted).unwrap_or_else(|| no(ConditionType::Accepted))
        }
        _ => no(ConditionType::Accepted),
    };
    let drained = match course {
        Course::Holds(holds) => drained(holds),
        Course::Stuck(..) if kept => {
            as_before(observed, ConditionType::Drained).unwrap_or_else(|| no(ConditionType::Drained))
        }
        _ => no(ConditionType::Drained),
    };
    let released = if over {
        ConditionUpdate::yes(ConditionType::Released, reason)
    } else {
        ConditionUpdate::no(ConditionType::Released, reason, "")
    };
    vec![is_ready, accepted, drained, released, reconciling, stalled]
}

/// A condition that stays as it was.
fn as_before(observed: &Observed, kind: ConditionType) -> Option<ConditionUpdate> {
    let old = observed.drain.condition(kind)?;
    let status = match old.status.as_str() {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    };
    Some(ConditionUpdate { kind, status, reason: Reason::parse(&old.reason)?, message: old.message.clone() })
}

/// Why the claim is not in force, or why it is without having emptied anything.
fn verdict(course: &Course) -> Readiness {
    match course {
        Course::Ending => {
            Readiness::Converging(Reason::Terminating, "Being removed; it holds nothing any more.".to_owned())
        }
        Course::Lapsed => Readiness::Resting(Reason::DrainLapsed),
        Course::Stuck(reason, say) => Readiness::Stuck(*reason, say.clone()),
        Course::Waits(wait) => waiting(wait),
        Course::GivenUp(given_up) => Readiness::Converging(given_up.reason, given_up.message.clone()),
        Course::Holds(holds) => match (&holds.more, drained(holds)) {
            (Some(wait), _) => waiting(wait),
            (None, ConditionUpdate { status: ConditionStatus::True, reason: Reason::NothingToDrain, .. }) => {
                Readiness::Resting(Reason::NothingToDrain)
            }
            (None, ConditionUpdate { status: ConditionStatus::True, .. }) => Readiness::Resting(Reason::DrainHolds),
            (None, ConditionUpdate { status: ConditionStatus::Unknown, reason, message, .. }) => {
                Readiness::Unknown(reason, message)
            }
            (None, ConditionUpdate { reason, message, .. }) => Readiness::Converging(reason, message),
        },
        Course::Patience => Readiness::Converging(Reason::Applying, String::new()),
    }
}

fn waiting(wait: &Wait) -> Readiness {
    let reason = match wait.code {
        BlockCode::DrainInProgress => Reason::DrainInProgress,
        BlockCode::MissingReference => Reason::UnknownPhase,
        _ => Reason::CapacityFloor,
    };
    Readiness::Converging(reason, wait.message.clone())
}

/// What an emergency broke is said as it was when it was accepted: the page names it, and it must not change under the reader.
fn accepted(acceptance: Option<&Acceptance>) -> ConditionUpdate {
    let kind = ConditionType::Accepted;
    match acceptance.and_then(|acceptance| acceptance.breaking.as_ref()) {
        None => ConditionUpdate::yes(kind, Reason::DrainAccepted),
        Some(message) => ConditionUpdate {
            kind,
            status: ConditionStatus::True,
            reason: Reason::EmergencyAccepted,
            message: message.clone(),
        },
    }
}

fn drained(holds: &Holds) -> ConditionUpdate {
    let kind = ConditionType::Drained;
    if holds.lanes.iter().all(|lane| lane.emptiness == Emptiness::Nobody) {
        return ConditionUpdate::yes(kind, Reason::NothingToDrain);
    }
    let names = |emptiness| {
        let lanes = holds.lanes.iter().filter(|lane| lane.emptiness == emptiness).take(LISTED);
        lanes.map(|lane| lane.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (open, unknown) = (names(Emptiness::Not), names(Emptiness::Unknown));
    if !open.is_empty() {
        let by =
            holds.empty_by.map(|at| format!(" Until {at} they are given time; then they reopen.")).unwrap_or_default();
        ConditionUpdate::no(kind, Reason::Draining, format!("Not empty yet: {open}.{by}"))
    } else if !unknown.is_empty() {
        ConditionUpdate::unknown(
            kind,
            Reason::AgentUnreachable,
            format!(
                "Nobody can tell whether these are empty: {unknown}. Look at their agents; they go on as they were last told."
            ),
        )
    } else {
        ConditionUpdate::yes(kind, Reason::Drained)
    }
}

fn blocked(observed: &Observed, course: &Course) -> Vec<BlockedBy> {
    let block = |code, subject: String, until: Option<String>, message: &str| {
        let message: String = message.chars().take(1024).collect();
        BlockedBy { until, ..BlockedBy::new(code, subject, message, observed.now) }
    };
    let on = |wait: &Wait| block(wait.code, wait.subject.clone(), observed.drain.spec.deadline.clone(), &wait.message);
    match course {
        Course::Waits(wait) => vec![on(wait)],
        Course::GivenUp(given_up) => {
            let until = Some(given_up.until.to_string());
            vec![block(BlockCode::Retry, given_up.subject.clone(), until, &given_up.message)]
        }
        Course::Stuck(Reason::MissingReference, say) => {
            let target = &observed.drain.spec.target;
            vec![block(BlockCode::MissingReference, format!("{}/{}", target.kind.as_str(), target.name), None, say)]
        }
        Course::Holds(holds) => {
            let until = holds.empty_by.map(|at| at.to_string());
            let lane = |lane: &Held| match lane.state {
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
            holds.more.iter().map(on).chain(remaining(holds).take(LISTED).map(lane)).collect()
        }
        Course::Ending | Course::Lapsed | Course::Stuck(..) | Course::Patience => Vec::new(),
    }
}
