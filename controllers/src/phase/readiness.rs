//! Where the readiness of a Phase is judged.

use kalong_crds::condition::Reason;
use kalong_crds::phase::PhaseState;
use kalong_rules::gates::{JudgedGate, LaneClosure};

use super::decide::Blocker;
use super::observe::Observed;
use crate::kit::readiness::{Readiness, first, listed};

pub(super) fn objection(observed: &Observed, state: PhaseState, blocker: Option<&Blocker>) -> Option<Readiness> {
    first([refused(observed, state, blocker), lost_crossings(observed), closing(blocker), resting(state)])
}

/// The first gate in full, the others by name: what is said first is what is read.
fn refused(observed: &Observed, state: PhaseState, blocker: Option<&Blocker>) -> Option<Readiness> {
    let Some(Blocker::Gates(failing)) = blocker else { return None };
    let (first, others) = failing.split_first()?;
    let JudgedGate { result, waits: _ } = first;
    let others: Vec<&str> = others.iter().map(|judged| judged.result.name.as_str()).collect();
    let also = if others.is_empty() { String::new() } else { format!(" Not met either: {}.", others.join(", ")) };
    let say = format!(
        "Gate {} is not met. {}{also} The phase stays {}; it becomes {} by itself once the gate is met.",
        result.name,
        result.message,
        state.as_str(),
        observed.phase.spec.state.as_str()
    );
    Some(Readiness::Stuck(Reason::GateRefused, say))
}

fn lost_crossings(observed: &Observed) -> Option<Readiness> {
    let lost: Vec<&str> =
        observed.zones.iter().filter(|(_, zone)| zone.is_none()).map(|(name, _)| name.as_str()).collect();
    (!lost.is_empty()).then(|| {
        let say =
            format!("Crossings {} do not exist in this namespace: declare them, or correct the spec.", lost.join(", "));
        Readiness::Stuck(Reason::MissingReference, say)
    })
}

fn closing(blocker: Option<&Blocker>) -> Option<Readiness> {
    let Some(Blocker::Lanes(lanes)) = blocker else { return None };
    let of = |closure: LaneClosure| {
        listed(lanes.iter().filter(move |lane| lane.closure == closure).map(|lane| lane.name.as_str()))
    };
    let (serving, unheard) = (of(LaneClosure::Serving), of(LaneClosure::Unheard));
    let mut parts = Vec::new();
    if lanes.is_empty() {
        parts.push("The lanes of the phase are told that it closes.".to_owned());
    }
    if !serving.is_empty() {
        parts.push(format!("Lanes are emptied first, under the floors: {serving}."));
    }
    if !unheard.is_empty() {
        parts.push(format!("Not known to be closed: {unheard}; bring their agents back."));
    }
    Some(Readiness::Converging(Reason::PhaseClosing, parts.join(" ")))
}

fn resting(state: PhaseState) -> Option<Readiness> {
    match state {
        PhaseState::Planned => Some(Readiness::Resting(Reason::Planned)),
        PhaseState::Commissioning => Some(Readiness::Resting(Reason::Commissioning)),
        PhaseState::Open | PhaseState::Complete => None,
    }
}
