//! Which state comes into force, and what to say of it. Pure.

use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::{ConditionType, Conditioned, Reason, Truth, settle};
use kalong_crds::phase::{PhaseState, PhaseStatus};
use kalong_crds::wire::event::EventSeverity;

use super::gates::{Gates, Judged};
use super::members::{LaneSeen, Standing};
use super::observe::{Before, Seen};
use super::{judge, progress};
use crate::kit::driver::News;
use crate::kit::life::in_force;

/// What to do.
pub(super) struct Plan {
    pub(super) status: PhaseStatus,
    /// Decisions that the status brings, for people.
    pub(super) news: Vec<News>,
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
    Closing(Vec<LaneSeen>),
}

/// The bound of `status.blockedBy`.
const BLOCKS: usize = 16;

pub(super) fn plan(seen: &Seen) -> Plan {
    let generation = seen.phase.metadata.generation.unwrap_or_default();
    let old = seen.phase.status.clone().unwrap_or_default();
    let before = in_force_before(seen);
    let step = step(seen, before, &Gates::judge(seen, before));
    let gates = Gates::judge(seen, step.state);
    let milestones = progress::milestones(seen, step.state);
    let late = progress::late(seen, &milestones);
    let judged = judge::conditions(seen, &step, &gates, &late);
    let status = PhaseStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, seen.now),
        state: step.state,
        gates: gates.results(),
        milestones,
        changes: seen.changes.clone(),
        blocked_by: carry_since(&old.blocked_by, blocked(seen, &step)),
    };
    let news = news(seen, before, &status);
    Plan { status, news, again: progress::next_end(seen) }
}

/// A phase that was lost and declared again finds its gate as it is: lanes that serve prove that it had opened, and what has
/// opened is not closed by anything but a person.
fn in_force_before(seen: &Seen) -> PhaseState {
    in_force(&seen.phase).unwrap_or_else(|| {
        if seen.lanes.iter().any(|lane| lane.standing == Standing::Serving) {
            PhaseState::Open
        } else {
            PhaseState::Planned
        }
    })
}

fn step(seen: &Seen, force: PhaseState, gates: &Gates) -> Step {
    use PhaseState::{Commissioning, Complete, Open, Planned};
    let stay = |hindrance| Step { state: force, hindrance };
    let pass = |state| Step { state, hindrance: None };
    let guarded = |state, failing: Vec<Judged>| {
        if failing.is_empty() { pass(state) } else { stay(Some(Hindrance::Refused(failing))) }
    };
    match (force, seen.phase.spec.state) {
        (Planned, Planned) | (Open, Open) | (Complete, Complete) => stay(None),
        (Commissioning, Commissioning) => stay(closing(lanes(seen, &[Standing::Serving]))),
        (Planned, Commissioning) => guarded(Commissioning, absent(seen, gates)),
        (Planned | Commissioning, Open) => guarded(Open, failing(&gates.entry)),
        // Both are in service, and a person said that more is to come after all.
        (Complete, Open) => pass(Open),
        (Planned | Commissioning | Open, Complete) => {
            guarded(Complete, failing(&gates.entry).into_iter().chain(failing(&gates.exit)).collect())
        }
        (Open | Complete, Commissioning) => {
            Step { state: Commissioning, hindrance: closing(lanes(seen, &[Standing::Serving])) }
        }
        // First the lanes have to learn of it: what they said before is about a phase in service.
        (Open | Complete, Planned) => {
            Step { state: Commissioning, hindrance: Some(Hindrance::Closing(lanes(seen, &[Standing::Serving]))) }
        }
        (Commissioning, Planned) => match closing(lanes(seen, &[Standing::Serving, Standing::Unheard])) {
            None => pass(Planned),
            hindrance => stay(hindrance),
        },
    }
}

fn lanes(seen: &Seen, standings: &[Standing]) -> Vec<LaneSeen> {
    seen.lanes.iter().filter(|lane| standings.contains(&lane.standing)).cloned().collect()
}

fn closing(lanes: Vec<LaneSeen>) -> Option<Hindrance> {
    (!lanes.is_empty()).then_some(Hindrance::Closing(lanes))
}

fn failing(gates: &[Judged]) -> Vec<Judged> {
    gates.iter().filter(|judged| !judged.is_met()).cloned().collect()
}

/// The gates of phases that do not exist at all: to be commissioned they need not be open.
fn absent(seen: &Seen, gates: &Gates) -> Vec<Judged> {
    let absent =
        |(judged, (_, before)): (&Judged, &(String, Before))| (*before == Before::Absent).then(|| judged.clone());
    gates.entry.iter().zip(&seen.before).filter_map(absent).collect()
}

fn blocked(seen: &Seen, step: &Step) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: String| BlockedBy::new(code, subject, message, seen.now);
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
            match lane.standing {
                Standing::Serving | Standing::Closed => block(
                    BlockCode::LaneNotEmpty,
                    subject,
                    format!("The lane is emptied under the floors: see LaneDrain/closing-{}.", lane.name),
                ),
                Standing::Unheard => block(
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
fn news(seen: &Seen, before: PhaseState, status: &PhaseStatus) -> Vec<News> {
    let mut news = Vec::new();
    if status.state != before {
        let reason = match status.state {
            PhaseState::Planned => Reason::Planned,
            PhaseState::Commissioning if before.is_in_service() => Reason::PhaseClosing,
            PhaseState::Commissioning => Reason::Commissioning,
            PhaseState::Open => Reason::PhaseOpen,
            PhaseState::Complete => Reason::PhaseComplete,
        };
        let note = format!("The phase was {} and became {}.", before.as_str(), status.state.as_str());
        news.push(News { reason, severity: EventSeverity::Normal, note });
    }
    let turned = |kind: ConditionType, truth: Truth, reason: Reason| {
        let now = status.conditions.iter().find(|c| c.type_ == kind.as_str())?;
        let is = now.status == truth.as_str() && now.reason == reason.as_str();
        (is && seen.phase.reason(kind) != reason.as_str()).then(|| News {
            reason,
            severity: EventSeverity::Warning,
            note: now.message.clone(),
        })
    };
    news.extend(turned(ConditionType::EntryMet, Truth::False, Reason::GateVoided));
    news.extend(turned(ConditionType::Late, Truth::True, Reason::MilestonePassed));
    news
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
