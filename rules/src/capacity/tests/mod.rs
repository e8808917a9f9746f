//! What counts and which claim is next, case by case. What holds in every case is proven by `controllers/src/lane_drain/tests/histories.rs`.

mod counting;

use std::collections::BTreeSet;

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::ConditionStatus;
use kalong_crds::lane::{Admission, Direction, LaneAdmission, Service};
use kalong_crds::lane_drain::DrainClass;

use super::{CapacitySnapshot, Claim, Decision, Floor, Group, LaneFacts, Lost, decide, floors_broken, loss};
use crate::lifecycle::LifecycleStage;

fn group() -> Group {
    Group { crossing: "bac-luan-2".into(), service: Service::Smart, direction: Direction::Outbound }
}

fn open() -> LaneFacts {
    LaneFacts {
        group: group(),
        passages_per_hour: 40,
        life: LifecycleStage::InService,
        declared: Admission::Open,
        reported: LaneAdmission::Open,
        available: ConditionStatus::True,
        interlocked: false,
        orders_confirmed: true,
        closed_for_good: false,
    }
}

fn closed() -> LaneFacts {
    let (declared, reported) = (Admission::Closed, LaneAdmission::Closed);
    LaneFacts { declared, reported, available: ConditionStatus::False, closed_for_good: true, ..open() }
}

fn floor(min_lanes: i64, min_passages_per_hour: i64) -> Floor {
    Floor { group: group(), min_lanes, min_passages_per_hour }
}

fn snapshot(lanes: Vec<(&str, LaneFacts)>, floors: Vec<Floor>) -> CapacitySnapshot {
    let lanes = lanes.into_iter().map(|(name, lane)| (name.to_owned(), lane)).collect();
    CapacitySnapshot { floors, lanes, accepted: vec![], waiting: vec![] }
}

fn claim(name: &str, lanes: &[&str]) -> Claim {
    let lanes = lanes.iter().map(|lane| (*lane).to_owned()).collect();
    Claim { name: name.into(), class: DrainClass::Change, priority: 100, created: 0, lanes }
}

fn waits(decision: Decision) -> (BlockCode, String) {
    match decision {
        Decision::Wait(wait) => (wait.code, wait.subject),
        other => panic!("it does not wait: {other:?}"),
    }
}

#[test]
fn only_what_surely_serves_is_capacity() {
    let lost = |lane: &LaneFacts| loss(&CapacitySnapshot::default(), "a", lane);
    assert_eq!(lost(&open()), None);
    assert_eq!(lost(&LaneFacts { life: LifecycleStage::Commissioning, ..open() }), Some(Lost::NotInService));
    assert_eq!(lost(&LaneFacts { life: LifecycleStage::UnknownPhase, ..open() }), Some(Lost::NotInService));
    assert_eq!(lost(&LaneFacts { declared: Admission::Closed, ..open() }), Some(Lost::Closed));
    assert_eq!(lost(&LaneFacts { interlocked: true, ..open() }), Some(Lost::Interlocked));
    assert_eq!(lost(&LaneFacts { reported: LaneAdmission::Unknown, ..open() }), Some(Lost::Unknown));
    assert_eq!(lost(&LaneFacts { available: ConditionStatus::Unknown, ..open() }), Some(Lost::Unknown));
    assert_eq!(lost(&LaneFacts { available: ConditionStatus::False, ..open() }), Some(Lost::Broken));
    assert_eq!(lost(&LaneFacts { orders_confirmed: false, ..open() }), Some(Lost::Unconfirmed));
    let draining = LaneFacts { reported: LaneAdmission::Draining, ..open() };
    assert_eq!(lost(&draining), Some(Lost::NotOpen(LaneAdmission::Draining)));
    let held = CapacitySnapshot { accepted: vec![claim("d", &["a"])], ..CapacitySnapshot::default() };
    assert_eq!(loss(&held, "a", &open()), Some(Lost::Held("d".into())));
}

#[test]
fn floor_holds_at_its_bound_in_lanes_and_in_passages() {
    let lanes = || vec![("a", open()), ("b", open()), ("c", open())];
    let change = claim("d", &["a"]);
    assert_eq!(decide(&snapshot(lanes(), vec![floor(2, 80)]), &change), Decision::Accept);
    let (code, subject) = waits(decide(&snapshot(lanes(), vec![floor(2, 81)]), &change));
    assert_eq!((code, subject.as_str()), (BlockCode::CapacityFloor, "Crossing/bac-luan-2"));
    assert_eq!(waits(decide(&snapshot(lanes(), vec![floor(3, 0)]), &change)).0, BlockCode::CapacityFloor);
}

#[test]
fn floor_that_is_broken_already_refuses_every_change_of_an_open_lane() {
    let broken = LaneFacts { available: ConditionStatus::False, ..open() };
    let ctx = snapshot(vec![("a", broken), ("z", closed())], vec![floor(1, 0)]);
    assert_eq!(waits(decide(&ctx, &claim("d", &["a"]))), (BlockCode::CapacityFloor, "Lane/a".into()));
    assert_eq!(decide(&ctx, &claim("d", &["z"])), Decision::Accept, "a closed lane costs nothing");
}

#[test]
fn floor_of_another_direction_is_not_asked() {
    let other = Group { direction: Direction::Inbound, ..group() };
    let floors = vec![Floor { group: other, min_lanes: 5, min_passages_per_hour: 0 }];
    assert_eq!(decide(&snapshot(vec![("a", open())], floors), &claim("d", &["a"])), Decision::Accept);
}

#[test]
fn emergency_is_accepted_and_names_what_breaks() {
    let ctx = snapshot(vec![("a", open()), ("b", open())], vec![floor(2, 0)]);
    let emergency = Claim { class: DrainClass::Emergency, ..claim("d", &["a"]) };
    let Decision::AcceptBreaking(broken) = decide(&ctx, &emergency) else { panic!("it waits") };
    let words = "Smart Outbound at bac-luan-2: 1 of 2 lanes and 40 of 0 passages an hour would be left";
    assert_eq!(broken[0].to_string(), words);
    assert_eq!(decide(&snapshot(vec![("a", open())], vec![]), &emergency), Decision::Accept);
}

#[test]
fn change_is_not_accepted_on_the_strength_of_an_emergency() {
    let mut ctx = snapshot(vec![("a", open()), ("b", open())], vec![floor(1, 0)]);
    let flood = |lanes: &[&str]| vec![Claim { class: DrainClass::Emergency, ..claim("flood", lanes) }];
    ctx.accepted = flood(&["a", "b"]);
    let wait = waits(decide(&ctx, &claim("d", &["a"])));
    assert_eq!(wait, (BlockCode::CapacityFloor, "LaneDrain/flood".into()));
    ctx.accepted = flood(&["a"]);
    assert_eq!(decide(&ctx, &claim("d", &["a"])), Decision::Accept, "the floor holds without the lane");
}

#[test]
fn change_of_a_lane_that_an_emergency_holds_still_waits_for_its_turn() {
    let mut ctx = snapshot(vec![("a", open()), ("b", open())], vec![]);
    ctx.accepted = vec![Claim { class: DrainClass::Emergency, ..claim("flood", &["a"]) }, claim("d", &["b"])];
    // Else both lanes would be closed for changes when the flood is over.
    assert_eq!(waits(decide(&ctx, &claim("e", &["a"]))), (BlockCode::DrainInProgress, "LaneDrain/d".into()));
    ctx.accepted.push(claim("f", &["a"]));
    assert_eq!(decide(&ctx, &claim("e", &["a"])), Decision::Accept, "a change has the lane already");
}

#[test]
fn claim_that_goes_first_is_charged_and_makes_nothing_free() {
    let mut ctx = snapshot(vec![("a", open()), ("b", open())], vec![floor(1, 0)]);
    ctx.waiting = vec![Claim { priority: 200, ..claim("first", &["a"]) }];
    let (code, subject) = waits(decide(&ctx, &claim("second", &["b"])));
    assert_eq!((code, subject.as_str()), (BlockCode::CapacityFloor, "LaneDrain/first"));
    ctx.floors = vec![floor(2, 0)];
    let (code, _) = waits(decide(&ctx, &claim("second", &["a"])));
    assert_eq!(code, BlockCode::CapacityFloor, "the lane is not free before the first claim is accepted");
    assert_eq!(decide(&snapshot(vec![("a", open())], vec![]), &claim("second", &["a"])), Decision::Accept);
}

#[test]
fn claim_that_cannot_go_now_keeps_nobody_waiting() {
    let mut ctx = snapshot(vec![("a", open()), ("b", open())], vec![floor(1, 0)]);
    ctx.waiting = vec![Claim { priority: 1000, ..claim("works", &["a", "b"]) }];
    assert_eq!(decide(&ctx, &claim("d", &["a"])), Decision::Accept);
}

#[test]
fn lane_of_a_phase_that_does_not_exist_is_left_alone() {
    let ctx = snapshot(vec![("a", LaneFacts { life: LifecycleStage::UnknownPhase, ..open() })], vec![]);
    assert_eq!(waits(decide(&ctx, &claim("d", &["a"]))).0, BlockCode::MissingReference);
}

#[test]
fn broken_floors_are_found_without_any_claim() {
    let ctx = snapshot(vec![("a", open()), ("b", closed())], vec![floor(2, 0), floor(1, 0)]);
    let broken = floors_broken(&ctx, &BTreeSet::new());
    assert_eq!((broken.len(), broken[0].lanes), (1, 1));
    assert_eq!(broken[0].lost, vec![("b".to_owned(), Lost::Closed)]);
}
