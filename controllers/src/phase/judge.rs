//! Where the readiness of a Phase is judged.

use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Reason};
use kalong_crds::phase::PhaseState;

use super::gates::{Gates, Judged};
use super::members::{LaneClosure, MemberLane};
use super::observe::Observed;
use super::plan::{Hindrance, Step};
use crate::kit::readiness::{Readiness, ready};

/// Lanes that a message names.
const NAMED: usize = 8;

pub(super) fn conditions(observed: &Observed, step: &Step, gates: &Gates, late: &[String]) -> Vec<ConditionUpdate> {
    let [is_ready, reconciling, stalled] = ready(verdict(observed, step).as_ref());
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

fn verdict(observed: &Observed, step: &Step) -> Option<Readiness> {
    let asked = observed.phase.spec.state.as_str();
    let lost: Vec<&str> =
        observed.zones.iter().filter(|(_, zone)| zone.is_none()).map(|(name, _)| name.as_str()).collect();
    match &step.hindrance {
        Some(Hindrance::Refused(failing)) => {
            let say = format!(
                "{} The phase stays {}; it becomes {asked} by itself once the gate is met.",
                refusal(failing),
                step.state.as_str()
            );
            Some(Readiness::Stuck(Reason::GateRefused, say))
        }
        _ if !lost.is_empty() => {
            let say = format!(
                "Crossings {} do not exist in this namespace: declare them, or correct the spec.",
                lost.join(", ")
            );
            Some(Readiness::Stuck(Reason::MissingReference, say))
        }
        Some(Hindrance::Closing(lanes)) => Some(Readiness::Converging(Reason::PhaseClosing, closing(lanes))),
        None => match step.state {
            PhaseState::Planned => Some(Readiness::Resting(Reason::Planned)),
            PhaseState::Commissioning => Some(Readiness::Resting(Reason::Commissioning)),
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

fn closing(lanes: &[MemberLane]) -> String {
    if lanes.is_empty() {
        return "The lanes of the phase are told that it closes.".to_owned();
    }
    let of = |closure: LaneClosure| {
        lanes
            .iter()
            .filter(move |lane| lane.closure == closure)
            .map(|lane| lane.name.as_str())
            .take(NAMED)
            .collect::<Vec<_>>()
    };
    let (serving, unheard) = (of(LaneClosure::Serving), of(LaneClosure::Unheard));
    let mut parts = Vec::new();
    if !serving.is_empty() {
        parts.push(format!("Lanes are emptied first, under the floors: {}.", serving.join(", ")));
    }
    if !unheard.is_empty() {
        parts.push(format!("Not known to be closed: {}; bring their agents back.", unheard.join(", ")));
    }
    parts.join(" ")
}

fn all_met(kind: ConditionType, gates: &[Judged], failed: Reason) -> ConditionUpdate {
    let says: Vec<String> = gates
        .iter()
        .filter(|judged| !judged.is_met())
        .map(|judged| format!("{}: {}", judged.result.name, judged.result.message))
        .collect();
    if says.is_empty() {
        ConditionUpdate::yes(kind, Reason::GatesMet)
    } else {
        ConditionUpdate::no(kind, failed, says.join(" "))
    }
}

fn open(state: PhaseState) -> ConditionUpdate {
    match state {
        PhaseState::Open => ConditionUpdate::yes(ConditionType::Open, Reason::PhaseOpen),
        PhaseState::Complete => ConditionUpdate::yes(ConditionType::Open, Reason::PhaseComplete),
        PhaseState::Planned | PhaseState::Commissioning => {
            ConditionUpdate::no(ConditionType::Open, Reason::PhaseNotOpen, "")
        }
    }
}

/// Of a complete phase nothing more is expected, so what breaks later makes it late no more.
fn lateness(state: PhaseState, late: &[String]) -> ConditionUpdate {
    if late.is_empty() || state == PhaseState::Complete {
        return ConditionUpdate::no(ConditionType::Late, Reason::OnTime, "");
    }
    let message = format!("{}.", late.join("; "));
    ConditionUpdate {
        kind: ConditionType::Late,
        status: ConditionStatus::True,
        reason: Reason::MilestonePassed,
        message,
    }
}
