//! Which state of a Phase comes into force. Pure.

use kalong_crds::phase::PhaseState;
use kalong_rules::gates::{Gates, JudgedGate, LaneClosure, MemberLane, Predecessor};
use kalong_rules::lifecycle::in_force;

use super::observe::Observed;

pub(super) struct Decision {
    /// The state in force so far.
    pub(super) before: PhaseState,
    /// The state that comes into force.
    pub(super) state: PhaseState,
    /// What keeps the phase from the state that is asked for.
    pub(super) blocker: Option<Blocker>,
    /// What was found at the gates, in the state that comes into force.
    pub(super) gates: Gates,
}

pub(super) enum Blocker {
    /// Gates are not met: everything stays as it is.
    Gates(Vec<JudgedGate>),
    /// These lanes are not closed yet.
    Lanes(Vec<MemberLane>),
}

pub(super) fn decide(observed: &Observed) -> Decision {
    let before = state_before(observed);
    let (state, blocker) = next(observed, before, &Gates::judge(&observed.gate_facts(), before));
    Decision { before, state, blocker, gates: Gates::judge(&observed.gate_facts(), state) }
}

/// A phase that was lost and declared again finds its gate as it is: lanes that serve prove that it had opened, and what has
/// opened is not closed by anything but a person.
fn state_before(observed: &Observed) -> PhaseState {
    in_force(&observed.phase).unwrap_or_else(|| {
        if observed.lanes.iter().any(|lane| lane.closure == LaneClosure::Serving) {
            PhaseState::Open
        } else {
            PhaseState::Planned
        }
    })
}

fn next(observed: &Observed, force: PhaseState, gates: &Gates) -> (PhaseState, Option<Blocker>) {
    use PhaseState::{Commissioning, Complete, Open, Planned};
    let guarded = |state, failing: Vec<JudgedGate>| {
        if failing.is_empty() { (state, None) } else { (force, Some(Blocker::Gates(failing))) }
    };
    match (force, observed.phase.spec.state) {
        (Planned, Planned) | (Open, Open) | (Complete, Complete) => (force, None),
        (Planned, Commissioning) => guarded(Commissioning, absent(observed, gates)),
        (Planned | Commissioning, Open) => guarded(Open, failing(&gates.entry)),
        // Both are in service, and a person said that more is to come after all.
        (Complete, Open) => (Open, None),
        (Planned | Commissioning | Open, Complete) => {
            guarded(Complete, failing(&gates.entry).into_iter().chain(failing(&gates.exit)).collect())
        }
        (Commissioning | Open | Complete, Commissioning) => {
            (Commissioning, still_open(lanes(observed, &[LaneClosure::Serving])))
        }
        // First the lanes have to learn of it: what they said before is about a phase in service.
        (Open | Complete, Planned) => (Commissioning, Some(Blocker::Lanes(lanes(observed, &[LaneClosure::Serving])))),
        (Commissioning, Planned) => match still_open(lanes(observed, &[LaneClosure::Serving, LaneClosure::Unheard])) {
            None => (Planned, None),
            blocker => (Commissioning, blocker),
        },
    }
}

fn lanes(observed: &Observed, closures: &[LaneClosure]) -> Vec<MemberLane> {
    observed.lanes.iter().filter(|lane| closures.contains(&lane.closure)).cloned().collect()
}

fn still_open(lanes: Vec<MemberLane>) -> Option<Blocker> {
    (!lanes.is_empty()).then_some(Blocker::Lanes(lanes))
}

fn failing(gates: &[JudgedGate]) -> Vec<JudgedGate> {
    gates.iter().filter(|judged| !judged.is_met()).cloned().collect()
}

/// The gates of phases that do not exist at all: to be commissioned they need not be open.
fn absent(observed: &Observed, gates: &Gates) -> Vec<JudgedGate> {
    let absent = |(judged, (_, before)): (&JudgedGate, &(String, Predecessor))| {
        (*before == Predecessor::Absent).then(|| judged.clone())
    };
    gates.entry.iter().zip(&observed.before).filter_map(absent).collect()
}
