//! What is decided about LaneDrains, in gates made by hand.

mod gate;
mod histories;
mod test_lane;

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, Service};
use kalong_crds::lane_drain::{DrainClass, LaneDrainSpec, LaneDrainStatus, TargetKind};
use kalong_rules::capacity::Floor;
use kalong_rules::lifecycle::LifecycleStage;

use self::gate::{Gate, spec, target};
use self::test_lane::{EMPTYING, Health, group, lane};
use crate::claim::ClaimProgress;

fn floor(min_lanes: i64) -> Floor {
    Floor { group: group(Service::Smart), min_lanes, min_passages_per_hour: 0 }
}

/// Three open lanes, of which two have to stay open.
fn gate() -> Gate {
    let open = |name| lane(name, Service::Smart, Admission::Open, LifecycleStage::InService);
    Gate::new(vec![open("a"), open("b"), open("c")], vec![floor(2)])
}

fn on(lane: &str) -> LaneDrainSpec {
    spec(DrainClass::Change, target(TargetKind::Lane, lane))
}

fn emergency(kind: TargetKind, name: &str, deadline: &str) -> LaneDrainSpec {
    LaneDrainSpec { deadline: Some(deadline.into()), ..spec(DrainClass::Emergency, target(kind, name)) }
}

fn status<'a>(gate: &'a Gate, name: &str) -> &'a LaneDrainStatus {
    gate.drain(name).status.as_ref().unwrap()
}

fn is(gate: &Gate, name: &str, kind: ConditionType, word: &str, reason: Reason) {
    let found = gate.drain(name).condition(kind);
    assert_eq!(
        found.map(|c| (c.status.as_str(), c.reason.as_str())),
        Some((word, reason.as_str())),
        "{name}: {:#?}",
        status(gate, name)
    );
}

#[test]
fn claim_is_accepted_emptied_and_given_back() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.pass("d").unwrap();
    assert_eq!(gate.events.first().map(|event| event.reason), Some(Reason::DrainAccepted));
    assert!(gate.holds_nothing("a"), "nothing acts before the acceptance is stored");
    gate.store("d");
    is(&gate, "d", ConditionType::Accepted, "True", Reason::DrainAccepted);
    is(&gate, "d", ConditionType::Drained, "False", Reason::Draining);
    is(&gate, "d", ConditionType::Reconciling, "True", Reason::Draining);
    assert_eq!((status(&gate, "d").remaining, status(&gate, "d").blocked_by[0].code), (1, BlockCode::LaneNotEmpty));
    assert_eq!(status(&gate, "d").empty_by.as_deref(), Some("2026-11-22T07:05:00Z"));
    assert!(matches!(ClaimProgress::of(gate.drain("d")), ClaimProgress::Empties(_)));
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
    is(&gate, "d", ConditionType::Ready, "True", Reason::DrainHolds);
    is(&gate, "d", ConditionType::Released, "False", Reason::DrainHolds);
    assert_eq!((status(&gate, "d").remaining, &status(&gate, "d").empty_by), (0, &None));
    assert_eq!(
        (status(&gate, "d").responders[0].state, ClaimProgress::of(gate.drain("d"))),
        (LaneAdmission::Drained, ClaimProgress::Drained)
    );
    gate.end("d");
    gate.settle();
    assert_eq!(gate.lane("a").barrier, LaneAdmission::Open);
}

#[test]
fn looking_again_writes_nothing() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.claim("e", on("b"));
    gate.settle();
    for name in ["d", "e"] {
        gate.pass(name);
        assert!(!gate.store(name), "{name} was written although nothing changed");
        gate.wait(3600);
        gate.pass(name);
        assert!(!gate.store(name), "{name} was written because time passed");
    }
}

#[test]
fn second_claim_waits_for_the_floor_and_says_on_whom() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.claim("e", on("b"));
    gate.settle();
    is(&gate, "e", ConditionType::Accepted, "False", Reason::CapacityFloor);
    is(&gate, "e", ConditionType::Ready, "False", Reason::CapacityFloor);
    let block = &status(&gate, "e").blocked_by[0];
    assert_eq!((block.code, block.subject.as_str()), (BlockCode::CapacityFloor, "LaneDrain/d"));
    assert!(
        block.message.contains("1 of 2 lanes") && block.message.contains("a (held by LaneDrain d)"),
        "{}",
        block.message
    );
    assert!(matches!(ClaimProgress::of(gate.drain("e")), ClaimProgress::Waits(_)));
    gate.end("d");
    gate.settle();
    is(&gate, "e", ConditionType::Drained, "True", Reason::Drained);
}

#[test]
fn two_passes_never_take_the_same_last_lane() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.claim("e", on("b"));
    assert!(gate.pass("d").unwrap().acceptance.is_some());
    assert!(gate.pass("e").unwrap().acceptance.is_none(), "what is accepted counts before it is stored");
    gate.restart();
    gate.reconnect(0);
    gate.reconnect(1);
    gate.reconnect(2);
    gate.settle();
    assert_eq!(gate.accepted().len(), 1);
}

#[test]
fn lapsed_claim_that_is_prolonged_is_charged_before_its_new_acceptance_is_stored() {
    let mut gate = gate();
    gate.claim("d", LaneDrainSpec { deadline: Some("2026-11-22T07:10:00Z".into()), ..on("a") });
    gate.settle();
    gate.wait(3600);
    gate.settle();
    is(&gate, "d", ConditionType::Released, "True", Reason::DrainLapsed);
    gate.change("d", |spec| spec.deadline = Some("2026-11-23T07:00:00Z".into()));
    gate.claim("e", on("b"));
    assert!(gate.pass("d").unwrap().acceptance.is_some());
    assert!(gate.pass("e").unwrap().acceptance.is_none(), "the cache still says that the other has lapsed");
}

#[test]
fn without_a_floor_one_lane_goes_at_a_time() {
    let mut gate = gate();
    gate.floors.clear();
    gate.claim("d", on("a"));
    gate.claim("e", on("b"));
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
    is(&gate, "e", ConditionType::Accepted, "False", Reason::DrainInProgress);
    assert_eq!(status(&gate, "e").blocked_by[0].subject, "LaneDrain/d");
}

#[test]
fn several_claims_hold_one_lane_and_it_reopens_with_the_last() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.settle();
    gate.claim("e", on("a"));
    gate.settle();
    is(&gate, "e", ConditionType::Drained, "True", Reason::Drained);
    gate.end("d");
    gate.settle();
    assert_eq!(gate.lane("a").barrier, LaneAdmission::Closed);
    is(&gate, "e", ConditionType::Drained, "True", Reason::Drained);
    gate.end("e");
    gate.settle();
    assert_eq!(gate.lane("a").barrier, LaneAdmission::Open);
}

#[test]
fn higher_priority_goes_first() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.wait(1);
    gate.claim("e", LaneDrainSpec { priority: 200, ..on("b") });
    assert!(gate.pass("d").unwrap().acceptance.is_none());
    assert!(gate.pass("e").unwrap().acceptance.is_some());
}

#[test]
fn whole_crossing_waits_for_its_floors_and_an_emergency_does_not() {
    let mut gate = gate();
    gate.claim("works", spec(DrainClass::Change, target(TargetKind::Crossing, "x")));
    gate.settle();
    is(&gate, "works", ConditionType::Accepted, "False", Reason::CapacityFloor);
    assert_eq!(status(&gate, "works").blocked_by[0].subject, "Crossing/x");
    gate.claim("flood", emergency(TargetKind::Crossing, "x", "2026-11-22T08:00:00Z"));
    gate.pass("flood").unwrap();
    let event = gate.events.pop().unwrap();
    assert!(event.reason == Reason::EmergencyAccepted && event.note.contains("0 of 2 lanes"), "{event:?}");
    // Somebody else wrote first: what was decided is said again, with the floors that break.
    gate.lose("flood");
    gate.pass("flood").unwrap();
    assert_eq!(gate.events, [event]);
    gate.settle();
    gate.pass("flood");
    assert_eq!(gate.events, [], "what is stored is told once");
    is(&gate, "flood", ConditionType::Accepted, "True", Reason::EmergencyAccepted);
    is(&gate, "flood", ConditionType::Drained, "True", Reason::Drained);
    assert_eq!(status(&gate, "flood").responders.len(), 3);
    let message = gate.drain("flood").condition(ConditionType::Accepted).unwrap().message.clone();
    assert!(message.contains("Smart Inbound at x: 0 of 2 lanes"), "{message}");
}

#[test]
fn emergency_that_breaks_no_floor_says_so() {
    let mut gate = gate();
    gate.claim("fire", emergency(TargetKind::Lane, "a", "2026-11-22T08:00:00Z"));
    gate.settle();
    is(&gate, "fire", ConditionType::Accepted, "True", Reason::EmergencyAccepted);
    assert!(gate.drain("fire").condition(ConditionType::Accepted).unwrap().message.contains("No floor breaks"));
}

#[test]
fn claim_ends_by_itself_at_its_deadline() {
    let mut gate = gate();
    gate.claim("fire", emergency(TargetKind::Lane, "a", "2026-11-22T08:00:00Z"));
    gate.settle();
    gate.pass("fire");
    let again = gate.again.unwrap();
    assert_eq!(again.as_secs(), 3600, "it looks again at the deadline");
    gate.wait(3600);
    gate.settle();
    is(&gate, "fire", ConditionType::Released, "True", Reason::DrainLapsed);
    is(&gate, "fire", ConditionType::Ready, "True", Reason::DrainLapsed);
    assert_eq!(
        (&status(&gate, "fire").accepted_at, ClaimProgress::of(gate.drain("fire"))),
        (&None, ClaimProgress::Ended)
    );
    assert_eq!(gate.lane("a").barrier, LaneAdmission::Open);
    gate.pass("fire");
    assert!(!gate.store("fire"));
}

#[test]
fn day_that_no_calendar_has_is_stalled() {
    let mut gate = gate();
    gate.claim("d", LaneDrainSpec { deadline: Some("2026-02-30T08:00:00Z".into()), ..on("a") });
    gate.settle();
    is(&gate, "d", ConditionType::Stalled, "True", Reason::InvalidSpec);
    is(&gate, "d", ConditionType::Accepted, "False", Reason::InvalidSpec);
}

#[test]
fn mistyped_deadline_lets_go_of_nothing() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.settle();
    gate.change("d", |spec| spec.deadline = Some("2026-02-30T08:00:00Z".into()));
    gate.settle();
    is(&gate, "d", ConditionType::Stalled, "True", Reason::InvalidSpec);
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
    assert_eq!(gate.lane("a").barrier, LaneAdmission::Closed);
}

#[test]
fn target_that_does_not_exist_is_stalled() {
    let mut gate = gate();
    gate.claim("d", on("nowhere"));
    gate.settle();
    is(&gate, "d", ConditionType::Stalled, "True", Reason::MissingReference);
    assert_eq!(status(&gate, "d").blocked_by[0].subject, "Lane/nowhere");
}

#[test]
fn planned_lanes_have_nothing_to_drain() {
    let mut gate = Gate::new(vec![lane("p", Service::Smart, Admission::Open, LifecycleStage::Planned)], vec![floor(1)]);
    gate.claim("d", spec(DrainClass::Change, target(TargetKind::Crossing, "x")));
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::NothingToDrain);
    is(&gate, "d", ConditionType::Ready, "True", Reason::NothingToDrain);
}

#[test]
fn closed_lane_costs_nothing_and_takes_no_turn() {
    let mut gate = gate();
    gate.lanes.push(lane("z", Service::Smart, Admission::Closed, LifecycleStage::InService));
    gate.settle();
    gate.claim("d", on("a"));
    gate.claim("e", on("z"));
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
    is(&gate, "e", ConditionType::Drained, "True", Reason::Drained);
    gate.lane("z").object.spec.admission = Admission::Open;
    gate.settle();
    assert_eq!(gate.lane("z").barrier, LaneAdmission::Closed, "a lane that is held does not open");
}

#[test]
fn agent_that_gives_up_is_asked_anew_later_and_others_go_first() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.pass("d");
    gate.store("d");
    gate.pass_lane(0);
    gate.deliver(0);
    gate.lane("a").inside = 1;
    gate.visit(0);
    assert_eq!(gate.lane("a").barrier, LaneAdmission::Draining);
    gate.wait(EMPTYING);
    gate.visit(0);
    assert_eq!(gate.lane("a").barrier, LaneAdmission::Open, "it reopens with nobody asked");
    gate.hear(0);
    gate.pass("d");
    assert_eq!(gate.events.first().map(|event| event.reason), Some(Reason::DrainTimedOut));
    assert_eq!(gate.again.unwrap().as_secs(), 600);
    gate.store("d");
    is(&gate, "d", ConditionType::Accepted, "False", Reason::DrainTimedOut);
    let block = status(&gate, "d").blocked_by[0].clone();
    assert_eq!((block.code, block.until.as_deref()), (BlockCode::Retry, Some("2026-11-22T07:15:00Z")));
    gate.claim("e", on("b"));
    gate.settle();
    is(&gate, "e", ConditionType::Drained, "True", Reason::Drained);
    is(&gate, "d", ConditionType::Accepted, "False", Reason::DrainTimedOut);
    gate.end("e");
    gate.settle();
    assert_eq!(status(&gate, "d").blocked_by[0], block, "the wait is the same for as long as it lasts");
    gate.wait(600);
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
}

#[test]
fn changed_claim_is_asked_at_once() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.pass("d");
    gate.store("d");
    gate.pass_lane(0);
    gate.lane("a").online = false;
    gate.lane("a").liveness = crate::kit::link::Liveness::Lost;
    gate.wait(EMPTYING + 31);
    gate.pass("d");
    gate.store("d");
    is(&gate, "d", ConditionType::Accepted, "False", Reason::DrainTimedOut);
    assert!(status(&gate, "d").blocked_by[0].message.contains("look at the box"));
    gate.reconnect(0);
    gate.change("d", |spec| spec.timeout_seconds = Some(1200));
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
}

#[test]
fn silent_agent_of_an_emptied_lane_makes_it_unknown_and_ends_nothing() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.settle();
    gate.lane("a").online = false;
    gate.lane("a").liveness = crate::kit::link::Liveness::Lost;
    gate.wait(EMPTYING * 2);
    gate.settle();
    is(&gate, "d", ConditionType::Accepted, "True", Reason::DrainAccepted);
    is(&gate, "d", ConditionType::Drained, "Unknown", Reason::AgentUnreachable);
    is(&gate, "d", ConditionType::Ready, "Unknown", Reason::AgentUnreachable);
    assert_eq!(status(&gate, "d").blocked_by[0].subject, "EdgeAgent/box-a");
    gate.reconnect(0);
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
}

#[test]
fn restart_of_the_operator_changes_no_word() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.claim("e", on("b"));
    gate.settle();
    let before = (status(&gate, "d").clone(), status(&gate, "e").clone());
    gate.restart();
    for name in ["d", "e"] {
        gate.pass(name);
        assert!(!gate.store(name), "{name} changed because nobody was heard yet");
    }
    for index in 0..3 {
        gate.reconnect(index);
    }
    gate.settle();
    assert_eq!((status(&gate, "d").clone(), status(&gate, "e").clone()), before);
}

#[test]
fn broken_lane_is_charged_first() {
    let mut gate = gate();
    gate.lane("b").health = Health::Broken;
    gate.settle();
    gate.claim("d", on("a"));
    gate.settle();
    is(&gate, "d", ConditionType::Accepted, "False", Reason::CapacityFloor);
    assert_eq!(status(&gate, "d").blocked_by[0].subject, "Lane/b");
    gate.lane("b").health = Health::Sound;
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
}

#[test]
fn lane_that_joins_the_target_is_decided_on_by_itself() {
    let mut gate = gate();
    gate.behind = ["a".to_owned()].into();
    gate.claim("d", spec(DrainClass::Change, target(TargetKind::InspectionStation, "stn")));
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
    gate.behind = ["a".to_owned(), "b".to_owned()].into();
    gate.settle();
    assert_eq!(gate.lane("b").barrier, LaneAdmission::Open, "the floor would break");
    is(&gate, "d", ConditionType::Ready, "False", Reason::CapacityFloor);
    is(&gate, "d", ConditionType::Accepted, "True", Reason::DrainAccepted);
    gate.floors = vec![floor(1)];
    gate.settle();
    is(&gate, "d", ConditionType::Drained, "True", Reason::Drained);
    assert_eq!(gate.lane("b").barrier, LaneAdmission::Closed);
    gate.behind = ["b".to_owned()].into();
    gate.settle();
    assert_eq!(gate.lane("a").barrier, LaneAdmission::Open, "a lane that left the target is let go");
}

#[test]
fn old_word_of_an_earlier_claim_is_not_taken_for_emptiness() {
    let mut gate = gate();
    gate.claim("d", on("a"));
    gate.settle();
    // The first claim ends, the lane is told so, and a second claim is accepted before its agent has read either.
    gate.end("d");
    gate.pass_lane(0);
    gate.floors.clear();
    gate.claim("e", on("a"));
    gate.pass("e");
    gate.store("e");
    gate.pass("e");
    gate.store("e");
    is(&gate, "e", ConditionType::Accepted, "True", Reason::DrainAccepted);
    is(&gate, "e", ConditionType::Drained, "False", Reason::Draining);
    gate.settle();
    is(&gate, "e", ConditionType::Drained, "True", Reason::Drained);
}
