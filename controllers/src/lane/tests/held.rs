//! A lane that somebody claims empty.

use kalong_crds::blocked::BlockCode;
use kalong_crds::wire::reported::DrainRefusal;

use super::*;

fn claim() -> Arc<LaneDrain> {
    drain("device-cam-1-1", "Device/cam-1", accepted())
}

#[test]
fn accepted_claim_travels_as_a_hold_and_the_lane_stays_declared_open() {
    let seen = held_by(seen(), &[claim()]);
    let order = told(&seen);
    assert_eq!(order.admission, Admission::Open, "its agent needs nobody to open it again");
    assert_eq!(order.hold.unwrap().drains, ["device-cam-1-1"]);
}

#[test]
fn lane_under_a_claim_says_who_holds_it_and_until_when() {
    let seen = reporting(held_by(seen(), &[claim()]), LaneAdmission::Drained);
    let status = status(&seen);
    is(&status, ConditionType::Ready, "False", Reason::Drained);
    is(&status, ConditionType::Reconciling, "True", Reason::Drained);
    is(&status, ConditionType::Available, "False", Reason::Drained);
    assert_eq!((status.admission, status.held_by.len()), (LaneAdmission::Drained, 1));
    let block = &status.blocked_by[0];
    assert_eq!((block.code, block.subject.as_str()), (BlockCode::LaneDrain, "LaneDrain/device-cam-1-1"));
    assert_eq!(block.until.as_deref(), Some("2026-11-22T08:30:00Z"));
    let message = &status.conditions[0].message;
    assert!(message.contains("Device/cam-1") && message.contains("2026-11-22T08:30:00Z"), "{message}");
}

#[test]
fn lane_that_is_being_emptied_says_draining() {
    let status = status(&reporting(held_by(seen(), &[claim()]), LaneAdmission::Draining));
    is(&status, ConditionType::Ready, "False", Reason::Draining);
    is(&status, ConditionType::Available, "False", Reason::Draining);
}

#[test]
fn hold_ends_with_the_last_claim() {
    let other = drain("flood", "duty-officer", accepted());
    let seen = held_by(seen(), &[claim(), other.clone()]);
    assert_eq!(told(&seen).hold.unwrap().drains.len(), 2);
    let seen = held_by(seen, &[other]);
    assert_eq!(told(&seen).hold.unwrap().drains, ["flood"]);
    let seen = held_by(seen, &[]);
    assert_eq!((told(&seen).hold, told(&seen).admission), (None, Admission::Open));
    is(&status(&reporting(seen, LaneAdmission::Open)), ConditionType::Available, "True", Reason::Open);
}

#[test]
fn refusal_of_the_agent_is_the_reason() {
    let mut seen = reporting(held_by(seen(), &[claim()]), LaneAdmission::Open);
    let mut said = seen.report.as_deref().unwrap().clone();
    said.lane.as_mut().unwrap().refusal = Some(DrainRefusal {
        drains: vec!["device-cam-1-1".into()],
        reason: "DrainRefused".into(),
        message: "The occupancy cannot be read.".into(),
    });
    seen.report = Some(Arc::new(said));
    let status = status(&seen);
    is(&status, ConditionType::Ready, "False", Reason::DrainRefused);
    is(&status, ConditionType::Available, "True", Reason::Open);
}

#[test]
fn claim_on_a_lane_that_is_declared_closed_leaves_it_ready() {
    let closed = declared(seen(), Admission::Closed, "Closed", "Closed");
    let seen = reporting(held_by(closed, &[claim()]), LaneAdmission::Closed);
    let status = status(&seen);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::Available, "False", Reason::Closed);
    assert_eq!(status.held_by.len(), 1);
    assert!(status.blocked_by.is_empty());
}

#[test]
fn device_at_work_keeps_its_lane_closed_although_somebody_deleted_the_claim() {
    let mut seen = seen();
    seen.in_work = true;
    decide(&mut seen);
    assert_eq!(told(&seen).admission, Admission::Closed);
    assert_eq!(errands(&seen), nothing(), "that is no closing");
    let held = held_by(seen, &[claim()]);
    assert_eq!(told(&held).admission, Admission::Open, "the hold does it, and the agent opens by itself after it");
}
