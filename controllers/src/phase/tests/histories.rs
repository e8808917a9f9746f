//! Random stages and random histories: what must be true after every step, whatever happened before.

use std::collections::BTreeSet;

use kalong_crds::condition::ConditionType;
use kalong_crds::phase::{PhaseState, PhaseStatus};
use kalong_rules::gates::{LaneClosure, Predecessor};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{Stage, absent, lane, there};
use crate::kit::histories;

/// Histories in an ordinary `cargo test`.
const CASES: u32 = 5_000;
const STEPS: usize = 16;
const STATES: [PhaseState; 4] =
    [PhaseState::Planned, PhaseState::Commissioning, PhaseState::Open, PhaseState::Complete];
/// Before and after the last day of the legal basis.
const DAYS: [&str; 2] = ["2026-11-22T07:00:00Z", "2027-06-01T07:00:00Z"];

/// Turned into something that can happen, whatever the numbers: shrinking never leaves the possible histories.
type Dice = (u8, u8);

/// Something happens.
fn happen(stage: &mut Stage, (what, which): Dice) {
    let pick = usize::from(which);
    match what % 6 {
        0 => stage.asked = STATES[pick % STATES.len()],
        1 => {
            let (member, name) = (pick % 3, format!("device-{}", pick % 3));
            stage.members[member] = if which.is_multiple_of(2) { there(&name) } else { absent(&name) };
        }
        2 => {
            let closures = [LaneClosure::Closed, LaneClosure::Serving, LaneClosure::Unheard];
            let name = format!("lane-{}", pick % 2);
            stage.lanes[pick % 2] = lane(&name, closures[pick % closures.len()]);
        }
        3 => {
            let states = [Predecessor::Absent, Predecessor::InForce(STATES[pick % STATES.len()])];
            stage.first = states[(pick / 4) % 2];
        }
        4 => stage.now = DAYS[pick % DAYS.len()],
        _ => {}
    }
}

fn truth(status: &PhaseStatus, kind: ConditionType) -> Option<&str> {
    status.conditions.iter().find(|c| c.type_ == kind.as_str()).map(|c| c.status.as_str())
}

/// What must be true of a step, from this state in force.
fn kept(stage: &Stage, force: PhaseState, status: &PhaseStatus) -> Result<(), TestCaseError> {
    let (state, asked) = (status.state, stage.asked);
    let proven = stage.members.iter().all(|member| member.missing.is_none()) && force != PhaseState::Planned;
    let passes = matches!(stage.first, Predecessor::InForce(s) if s.is_in_service()) && proven && stage.now == DAYS[0];
    if state.is_in_service() && !force.is_in_service() {
        prop_assert!(passes, "it opened although a gate was not met");
    }
    if state == PhaseState::Complete && force != PhaseState::Complete {
        prop_assert!(passes, "it is complete although a gate was not met");
    }
    if force.is_in_service() && asked.is_in_service() {
        prop_assert!(state.is_in_service(), "it closed by itself");
    }
    if force.is_in_service() {
        prop_assert!(state != PhaseState::Planned, "devices lost contact before lanes were closed");
    }
    if state == PhaseState::Planned && force == PhaseState::Commissioning {
        prop_assert!(stage.lanes.iter().all(|lane| lane.closure == LaneClosure::Closed), "a lane may be open");
    }
    if state != force {
        prop_assert!(state == asked || state == PhaseState::Commissioning, "nobody asked for {state:?}");
    }
    let ready = truth(status, ConditionType::Ready) == Some("True");
    let said = [ConditionType::Reconciling, ConditionType::Stalled].map(|kind| truth(status, kind).is_some());
    prop_assert_eq!(ready, said == [false, false], "Ready=False is explained by one of them");
    prop_assert!(ready || said != [true, true]);
    prop_assert!(!ready || state == asked, "what is asked for is in force");
    if said[1] {
        prop_assert_eq!(state, force, "what is refused changes nothing");
    }
    let names: BTreeSet<_> = status.gates.iter().map(|gate| &gate.name).collect();
    prop_assert_eq!(names.len(), status.gates.len());
    let blocks: BTreeSet<_> = status.blocked_by.iter().map(|block| (block.code, &block.subject)).collect();
    prop_assert_eq!(blocks.len(), status.blocked_by.len());
    prop_assert!(blocks.len() <= 16);
    Ok(())
}

#[test]
fn a_phase_opens_by_its_gates_and_closes_by_people_alone() {
    let history = prop::collection::vec(any::<Dice>(), 1..STEPS);
    let run = |history: Vec<Dice>| {
        let mut stage = Stage::asked(PhaseState::Planned, PhaseState::Planned);
        stage.legal = Some("2026-12-31");
        stage.members = (0..3).map(|n| absent(&format!("device-{n}"))).collect();
        stage.lanes = (0..2).map(|n| lane(&format!("lane-{n}"), LaneClosure::Closed)).collect();
        for dice in history {
            happen(&mut stage, dice);
            let force = stage.previous.as_ref().map_or(PhaseState::Planned, |status| status.state);
            let status = stage.status();
            kept(&stage, force, &status)?;
            // The same world again: what was decided stands, and after the two steps of going back nothing moves.
            stage.previous = Some(status);
            for _ in 0..2 {
                let force = stage.previous.as_ref().map(|s| s.state).unwrap_or_default();
                let again = stage.status();
                kept(&stage, force, &again)?;
                stage.previous = Some(again);
            }
            prop_assert_eq!(Some(stage.status()), stage.previous.clone(), "nothing is written while nothing happens");
        }
        Ok(())
    };
    histories::play(CASES, &history, run);
}
