//! The conditions of a LaneDrain.

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Conditioned, Reason};
use kalong_rules::capacity::Wait;

use super::decide::{ActiveHold, Decision, DrainDecision, LaneEmpty};
use super::observe::Observed;
use crate::kit::drains::Acceptance;
use crate::kit::readiness::{Readiness, ready};

/// Lanes that a message names.
const LISTED: usize = 8;

/// All conditions, in the order for readers.
pub(super) fn conditions(observed: &Observed, decision: &Decision) -> Vec<ConditionUpdate> {
    let Decision { outcome, acceptance } = decision;
    let kept = decision.keeps_what_it_holds();
    let verdict = verdict(outcome);
    let [is_ready, reconciling, stalled] = ready(Some(&verdict));
    let (reason, message) = match &verdict {
        Readiness::Resting(reason) => (*reason, ""),
        Readiness::Converging(reason, say) | Readiness::Stuck(reason, say) | Readiness::Unknown(reason, say) => {
            (*reason, say.as_str())
        }
    };
    let no = |kind| ConditionUpdate::no(kind, reason, message);
    let over = matches!(outcome, DrainDecision::Ending | DrainDecision::Lapsed);
    let accepted = match outcome {
        DrainDecision::Holds(_) => accepted(acceptance.as_ref()),
        DrainDecision::Stuck(..) if kept => {
            unchanged(observed, ConditionType::Accepted).unwrap_or_else(|| no(ConditionType::Accepted))
        }
        _ => no(ConditionType::Accepted),
    };
    let drained = match outcome {
        DrainDecision::Holds(holds) => drained(holds),
        DrainDecision::Stuck(..) if kept => {
            unchanged(observed, ConditionType::Drained).unwrap_or_else(|| no(ConditionType::Drained))
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

/// The condition as it was last written.
fn unchanged(observed: &Observed, kind: ConditionType) -> Option<ConditionUpdate> {
    let old = observed.drain.condition(kind)?;
    let status = match old.status.as_str() {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    };
    Some(ConditionUpdate { kind, status, reason: Reason::parse(&old.reason)?, message: old.message.clone() })
}

/// Why the claim is not in force, or why it is without having emptied anything.
fn verdict(outcome: &DrainDecision) -> Readiness {
    match outcome {
        DrainDecision::Ending => {
            Readiness::Converging(Reason::Terminating, "Being removed; it holds nothing any more.".to_owned())
        }
        DrainDecision::Lapsed => Readiness::Resting(Reason::DrainLapsed),
        DrainDecision::Stuck(reason, say) => Readiness::Stuck(*reason, say.clone()),
        DrainDecision::Waits(wait) => waiting(wait),
        DrainDecision::Abandoned(abandoned) => Readiness::Converging(abandoned.reason, abandoned.message.clone()),
        DrainDecision::Holds(holds) => match (&holds.joining, drained(holds)) {
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
        DrainDecision::Undecided => Readiness::Converging(Reason::Applying, String::new()),
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

fn drained(holds: &ActiveHold) -> ConditionUpdate {
    let kind = ConditionType::Drained;
    if holds.lanes.iter().all(|lane| lane.empty == LaneEmpty::NotInUse) {
        return ConditionUpdate::yes(kind, Reason::NothingToDrain);
    }
    let names = |empty| {
        let lanes = holds.lanes.iter().filter(|lane| lane.empty == empty).take(LISTED);
        lanes.map(|lane| lane.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (open, unknown) = (names(LaneEmpty::No), names(LaneEmpty::Unknown));
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
