//! Where the readiness of a Phase is judged.

use kalong_crds::condition::{ConditionType, Judgement, Reason, Truth};
use kalong_crds::phase::PhaseState;

use super::gates::{Gates, Judged};
use super::members::{LaneSeen, Standing};
use super::observe::Seen;
use super::plan::{Hindrance, Step};
use crate::kit::readiness::{Verdict, ready};

/// Lanes that a message names.
const NAMED: usize = 8;

pub(super) fn conditions(seen: &Seen, step: &Step, gates: &Gates, late: &[String]) -> Vec<Judgement> {
    let [is_ready, reconciling, stalled] = ready(verdict(seen, step).as_ref());
    let voided = if step.state.is_in_service() { Reason::GateVoided } else { Reason::GateFailed };
    let spent = if step.state == PhaseState::Complete { Reason::GateVoided } else { Reason::GateFailed };
    vec![
        is_ready,
        all_met(ConditionType::EntryMet, &gates.entry, voided),
        open(step.state),
        all_met(ConditionType::ExitMet, &gates.exit, spent),
        lateness(step.state, late),
        reconciling,
        stalled,
    ]
}

fn verdict(seen: &Seen, step: &Step) -> Option<Verdict> {
    let asked = seen.phase.spec.state.as_str();
    let lost: Vec<&str> = seen.zones.iter().filter(|(_, zone)| zone.is_none()).map(|(name, _)| name.as_str()).collect();
    match &step.hindrance {
        Some(Hindrance::Refused(failing)) => {
            let say = format!(
                "{} The phase stays {}; it becomes {asked} by itself once the gate is met.",
                refusal(failing),
                step.state.as_str()
            );
            Some(Verdict::Stuck(Reason::GateRefused, say))
        }
        _ if !lost.is_empty() => {
            let say = format!(
                "Crossings {} do not exist in this namespace: declare them, or correct the spec.",
                lost.join(", ")
            );
            Some(Verdict::Stuck(Reason::MissingReference, say))
        }
        Some(Hindrance::Closing(lanes)) => Some(Verdict::Converging(Reason::PhaseClosing, closing(lanes))),
        None => match step.state {
            PhaseState::Planned => Some(Verdict::Resting(Reason::Planned)),
            PhaseState::Commissioning => Some(Verdict::Resting(Reason::Commissioning)),
            PhaseState::Open | PhaseState::Complete => None,
        },
    }
}

/// The first gate in full, the others by name: what is said first is what is read.
fn refusal(failing: &[Judged]) -> String {
    let mut names = failing.iter().map(|judged| judged.result.name.as_str());
    let (first, others) = (names.next().unwrap_or_default(), names.collect::<Vec<_>>());
    let why = failing.first().map(|judged| judged.result.message.as_str()).unwrap_or_default();
    let also = if others.is_empty() { String::new() } else { format!(" Not met either: {}.", others.join(", ")) };
    format!("Gate {first} is not met. {why}{also}")
}

fn closing(lanes: &[LaneSeen]) -> String {
    if lanes.is_empty() {
        return "The lanes of the phase are told that it closes.".to_owned();
    }
    let of = |standing: Standing| {
        lanes
            .iter()
            .filter(move |lane| lane.standing == standing)
            .map(|lane| lane.name.as_str())
            .take(NAMED)
            .collect::<Vec<_>>()
    };
    let (serving, unheard) = (of(Standing::Serving), of(Standing::Unheard));
    let mut parts = Vec::new();
    if !serving.is_empty() {
        parts.push(format!("Lanes are emptied first, under the floors: {}.", serving.join(", ")));
    }
    if !unheard.is_empty() {
        parts.push(format!("Not known to be closed: {}; bring their agents back.", unheard.join(", ")));
    }
    parts.join(" ")
}

fn all_met(kind: ConditionType, gates: &[Judged], failed: Reason) -> Judgement {
    let says: Vec<String> = gates
        .iter()
        .filter(|judged| !judged.is_met())
        .map(|judged| format!("{}: {}", judged.result.name, judged.result.message))
        .collect();
    if says.is_empty() { Judgement::yes(kind, Reason::GatesMet) } else { Judgement::no(kind, failed, says.join(" ")) }
}

fn open(state: PhaseState) -> Judgement {
    match state {
        PhaseState::Open => Judgement::yes(ConditionType::Open, Reason::PhaseOpen),
        PhaseState::Complete => Judgement::yes(ConditionType::Open, Reason::PhaseComplete),
        PhaseState::Planned | PhaseState::Commissioning => Judgement::no(ConditionType::Open, Reason::PhaseNotOpen, ""),
    }
}

/// Of a complete phase nothing more is expected, so what breaks later makes it late no more.
fn lateness(state: PhaseState, late: &[String]) -> Judgement {
    if late.is_empty() || state == PhaseState::Complete {
        return Judgement::no(ConditionType::Late, Reason::OnTime, "");
    }
    let message = format!("{}.", late.join("; "));
    Judgement { kind: ConditionType::Late, status: Truth::True, reason: Reason::MilestonePassed, message }
}
