//! Which state comes into force, and what to say of it. Pure.

use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason, settle};
use kalong_crds::phase::{PhaseState, PhaseStatus};
use kalong_crds::wire::event::EventSeverity;

use super::gates::{Gates, Judged};
use super::members::{LaneClosure, MemberLane};
use super::observe::{Before, Observed};
use super::{judge, progress};
use crate::kit::life::in_force;
use crate::kit::reconciler::EventToEmit;

/// What to do.
pub(super) struct Plan {
    pub(super) status: PhaseStatus,
    /// Decisions that the status brings, for people.
    pub(super) events: Vec<EventToEmit>,
    pub(super) again: Option<Duration>,
}

/// The state that comes into force, and what keeps the phase from the one asked for.
pub(super) struct Step {
    pub(super) state: PhaseState,
    pub(super) hindrance: Option<Hindrance>,
}

/// What keeps a phase from the state that is asked for.
pub(super) enum Hindrance {
    /// Gates are not met: everything stays as it is.
    Refused(Vec<Judged>),
    /// These lanes are not closed yet.
    Closing(Vec<MemberLane>),
}

/// The bound of `status.blockedBy`.
const BLOCKS: usize = 16;

pub(super) fn plan(observed: &Observed) -> Plan {
    let generation = observed.phase.metadata.generation.unwrap_or_default();
    let old = observed.phase.status.clone().unwrap_or_default();
    let before = in_force_before(observed);
    let step = step(observed, before, &Gates::judge(observed, before));
    let gates = Gates::judge(observed, step.state);
    let milestones = progress::milestones(observed, step.state);
    let late = progress::late(observed, &milestones);
    let judged = judge::conditions(observed, &step, &gates, &late);
    let status = PhaseStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        state: step.state,
        gates: gates.results(),
        milestones,
        changes: observed.changes.clone(),
        blocked_by: carry_since(&old.blocked_by, blocked(observed, &step)),
    };
    let events = events(observed, before, &status);
    Plan { status, events, again: progress::next_end(observed) }
}

/// A phase that was lost and declared again finds its gate as it is: lanes that serve prove that it had opened, and what has
/// opened is not closed by anything but a person.
fn in_force_before(observed: &Observed) -> PhaseState {
    in_force(&observed.phase).unwrap_or_else(|| {
        if observed.lanes.iter().any(|lane| lane.closure == LaneClosure::Serving) {
            PhaseState::Open
        } else {
            PhaseState::Planned
        }
    })
}

fn step(observed: &Observed, force: PhaseState, gates: &Gates) -> Step {
    use PhaseState::{Commissioning, Complete, Open, Planned};
    let stay = |hindrance| Step { state: force, hindrance };
    let pass = |state| Step { state, hindrance: None };
    let guarded = |state, failing: Vec<Judged>| {
        if failing.is_empty() { pass(state) } else { stay(Some(Hindrance::Refused(failing))) }
    };
    match (force, observed.phase.spec.state) {
        (Planned, Planned) | (Open, Open) | (Complete, Complete) => stay(None),
        (Commissioning, Commissioning) => stay(closing(lanes(observed, &[LaneClosure::Serving]))),
        (Planned, Commissioning) => guarded(Commissioning, absent(observed, gates)),
        (Planned | Commissioning, Open) => guarded(Open, failing(&gates.entry)),
        // Both are in service, and a person said that more is to come after all.
        (Complete, Open) => pass(Open),
        (Planned | Commissioning | Open, Complete) => {
            guarded(Complete, failing(&gates.entry).into_iter().chain(failing(&gates.exit)).collect())
        }
        (Open | Complete, Commissioning) => {
            Step { state: Commissioning, hindrance: closing(lanes(observed, &[LaneClosure::Serving])) }
        }
        // First the lanes have to learn of it: what they said before is about a phase in service.
        (Open | Complete, Planned) => {
            Step { state: Commissioning, hindrance: Some(Hindrance::Closing(lanes(observed, &[LaneClosure::Serving]))) }
        }
        (Commissioning, Planned) => match closing(lanes(observed, &[LaneClosure::Serving, LaneClosure::Unheard])) {
            None => pass(Planned),
            hindrance => stay(hindrance),
        },
    }
}

fn lanes(observed: &Observed, closures: &[LaneClosure]) -> Vec<MemberLane> {
    observed.lanes.iter().filter(|lane| closures.contains(&lane.closure)).cloned().collect()
}

fn closing(lanes: Vec<MemberLane>) -> Option<Hindrance> {
    (!lanes.is_empty()).then_some(Hindrance::Closing(lanes))
}

fn failing(gates: &[Judged]) -> Vec<Judged> {
    gates.iter().filter(|judged| !judged.is_met()).cloned().collect()
}

/// The gates of phases that do not exist at all: to be commissioned they need not be open.
fn absent(observed: &Observed, gates: &Gates) -> Vec<Judged> {
    let absent =
        |(judged, (_, before)): (&Judged, &(String, Before))| (*before == Before::Absent).then(|| judged.clone());
    gates.entry.iter().zip(&observed.before).filter_map(absent).collect()
}

fn blocked(observed: &Observed, step: &Step) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: String| BlockedBy::new(code, subject, message, observed.now);
    let mut blocks: Vec<BlockedBy> = Vec::new();
    match &step.hindrance {
        None => {}
        Some(Hindrance::Refused(failing)) => {
            for (subject, message) in failing.iter().flat_map(|judged| &judged.waits) {
                if !blocks.iter().any(|known| known.subject == *subject) {
                    blocks.push(block(BlockCode::PhaseGate, subject.clone(), message.clone()));
                }
            }
        }
        Some(Hindrance::Closing(lanes)) => blocks.extend(lanes.iter().map(|lane| {
            let subject = format!("Lane/{}", lane.name);
            match lane.closure {
                LaneClosure::Serving | LaneClosure::Closed => block(
                    BlockCode::LaneNotEmpty,
                    subject,
                    format!("The lane is emptied under the floors: see LaneDrain/closing-{}.", lane.name),
                ),
                LaneClosure::Unheard => block(
                    BlockCode::AgentUnreachable,
                    subject,
                    "The lane has not said that it is closed: bring its agent back.".to_owned(),
                ),
            }
        })),
    }
    blocks.truncate(BLOCKS);
    blocks
}

/// What people hear: a state that comes into force, evidence that is void, a day that has passed.
fn events(observed: &Observed, before: PhaseState, status: &PhaseStatus) -> Vec<EventToEmit> {
    let mut events = Vec::new();
    if status.state != before {
        let reason = match status.state {
            PhaseState::Planned => Reason::Planned,
            PhaseState::Commissioning if before.is_in_service() => Reason::PhaseClosing,
            PhaseState::Commissioning => Reason::Commissioning,
            PhaseState::Open => Reason::PhaseOpen,
            PhaseState::Complete => Reason::PhaseComplete,
        };
        let note = format!("The phase was {} and became {}.", before.as_str(), status.state.as_str());
        events.push(EventToEmit { reason, severity: EventSeverity::Normal, note });
    }
    let turned = |kind: ConditionType, truth: ConditionStatus, reason: Reason| {
        let now = status.conditions.iter().find(|c| c.type_ == kind.as_str())?;
        let is = now.status == truth.as_str() && now.reason == reason.as_str();
        (is && observed.phase.reason(kind) != reason.as_str()).then(|| EventToEmit {
            reason,
            severity: EventSeverity::Warning,
            note: now.message.clone(),
        })
    };
    events.extend(turned(ConditionType::EntryMet, ConditionStatus::False, Reason::GateVoided));
    events.extend(turned(ConditionType::Late, ConditionStatus::True, Reason::MilestonePassed));
    events
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
                condition.last_transition_time =
                    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
            }
        }
        plain
    };
    plain(old) == plain(new)
}
