//! What the status says of a Phase. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason, settle};
use kalong_crds::phase::{PhaseState, PhaseStatus};
use kalong_crds::wire::event::EventSeverity;
use kalong_rules::gates::{JudgedGate, LaneClosure, MemberLane};

use super::decide::{Blocker, Decision};
use super::observe::Observed;
use super::{conditions, progress, readiness};
use crate::kit::reconciler::{EventToEmit, ReconcileResult};

/// Moments farther away than this are found by the ordinary resync.
const SOON: Duration = Duration::from_secs(600);
/// Progress of many devices is written together: at bring-up each of hundreds would cost a write otherwise.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// The bound of `status.blockedBy` in the CRD.
const BLOCKS: usize = 16;

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<PhaseStatus> {
    let status = written(observed, decision);
    let again = progress::next_end(observed).filter(|again| *again < SOON);
    match progress_waits(observed, &status) {
        Some(left) => ReconcileResult { again, ..ReconcileResult::unchanged() }.sooner(Some(left)),
        None => {
            let events = events(observed, decision, &status);
            ReconcileResult { again, events, ..ReconcileResult::of(status) }
        }
    }
}

fn written(observed: &Observed, decision: &Decision) -> PhaseStatus {
    let Decision { before: _, state, blocker, gates } = decision;
    let generation = observed.phase.metadata.generation.unwrap_or_default();
    let old = observed.phase.status.clone().unwrap_or_default();
    let milestones = progress::milestones(observed, *state);
    let late = progress::late(observed, &milestones);
    let objection = readiness::objection(observed, *state, blocker.as_ref());
    let judged = conditions::all(*state, gates, &late, objection.as_ref());
    PhaseStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        state: *state,
        gates: gates.results(),
        milestones,
        changes: observed.changes.clone(),
        blocked_by: carry_since(&old.blocked_by, blocked(observed, blocker.as_ref())),
    }
}

/// How much longer a status waits that differs from the last one in nothing but progress.
fn progress_waits(observed: &Observed, status: &PhaseStatus) -> Option<Duration> {
    let left = PROGRESS_INTERVAL.checked_sub(observed.since_write?).filter(|left| !left.is_zero())?;
    let old = observed.phase.status.as_ref()?;
    (old != status && is_only_progress(old, status)).then_some(left)
}

/// Whether two statuses differ in nothing but how far things are: counts, names of what is missing, words.
pub(super) fn is_only_progress(old: &PhaseStatus, new: &PhaseStatus) -> bool {
    let plain = |status: &PhaseStatus| {
        let mut plain = status.clone();
        plain.gates.clear();
        plain.milestones.clear();
        plain.blocked_by.clear();
        for condition in &mut plain.conditions {
            let fact =
                [ConditionType::EntryMet, ConditionType::ExitMet].iter().any(|kind| kind.as_str() == condition.type_);
            condition.message.clear();
            if fact && condition.reason != Reason::GateVoided.as_str() {
                condition.status.clear();
                condition.reason.clear();
                condition.last_transition_time = Time(Timestamp::UNIX_EPOCH);
            }
        }
        plain
    };
    plain(old) == plain(new)
}

fn blocked(observed: &Observed, blocker: Option<&Blocker>) -> Vec<BlockedBy> {
    let mut blocked = match blocker {
        None => Vec::new(),
        Some(Blocker::Gates(failing)) => by_gates(observed, failing),
        Some(Blocker::Lanes(lanes)) => lanes.iter().map(|lane| by_lane(observed, lane)).collect(),
    };
    blocked.truncate(BLOCKS);
    blocked
}

/// One wait for each subject, whatever the number of gates that wait for it.
fn by_gates(observed: &Observed, failing: &[JudgedGate]) -> Vec<BlockedBy> {
    let mut blocked: Vec<BlockedBy> = Vec::new();
    for (subject, message) in failing.iter().flat_map(|judged| &judged.waits) {
        if !blocked.iter().any(|known| known.subject == *subject) {
            blocked.push(BlockedBy::new(BlockCode::PhaseGate, subject.clone(), message.clone(), observed.now));
        }
    }
    blocked
}

fn by_lane(observed: &Observed, lane: &MemberLane) -> BlockedBy {
    let (code, say) = match lane.closure {
        LaneClosure::Serving | LaneClosure::Closed => (
            BlockCode::LaneNotEmpty,
            format!("The lane is emptied under the floors: see LaneDrain/closing-{}.", lane.name),
        ),
        LaneClosure::Unheard => {
            (BlockCode::AgentUnreachable, "The lane has not said that it is closed: bring its agent back.".to_owned())
        }
    };
    BlockedBy::new(code, format!("Lane/{}", lane.name), say, observed.now)
}

/// What people hear: a state that comes into force, evidence that is void, a day that has passed.
fn events(observed: &Observed, decision: &Decision, status: &PhaseStatus) -> Vec<EventToEmit> {
    let turned = |kind: ConditionType, expected: ConditionStatus, reason: Reason| {
        let now = status.conditions.iter().find(|c| c.type_ == kind.as_str())?;
        let is = now.status == expected.as_str() && now.reason == reason.as_str();
        (is && observed.phase.reason(kind) != reason.as_str()).then(|| EventToEmit {
            reason,
            severity: EventSeverity::Warning,
            note: now.message.clone(),
        })
    };
    [
        state_changed(decision.before, decision.state),
        turned(ConditionType::EntryMet, ConditionStatus::False, Reason::GateVoided),
        turned(ConditionType::Late, ConditionStatus::True, Reason::MilestonePassed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn state_changed(before: PhaseState, state: PhaseState) -> Option<EventToEmit> {
    let reason = match state {
        PhaseState::Planned => Reason::Planned,
        PhaseState::Commissioning if before.is_in_service() => Reason::PhaseClosing,
        PhaseState::Commissioning => Reason::Commissioning,
        PhaseState::Open => Reason::PhaseOpen,
        PhaseState::Complete => Reason::PhaseComplete,
    };
    let note = format!("The phase was {} and became {}.", before.as_str(), state.as_str());
    (state != before).then_some(EventToEmit { reason, severity: EventSeverity::Normal, note })
}
