//! A lane that somebody claims empty.

use kalong_crds::blocked::BlockCode;
use kalong_crds::wire::reported::DrainRefusal;

use super::*;

fn claim() -> Arc<LaneDrain> {
    drain("device-cam-1-1", "Device/cam-1", accepted())
}

#[test]
fn accepted_claim_travels_as_a_hold_and_the_lane_stays_declared_open() {
    let observed = held_by(observed(), &[claim()]);
    let order = told(&observed);
    assert_eq!(order.admission, Admission::Open, "its agent needs nobody to open it again");
    assert_eq!(order.hold.unwrap().drains, ["device-cam-1-1"]);
}

#[test]
fn lane_under_a_claim_says_who_holds_it_and_until_when() {
    let observed = reporting(held_by(observed(), &[claim()]), LaneAdmission::Drained);
    let status = status(&observed);
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
    let status = status(&reporting(held_by(observed(), &[claim()]), LaneAdmission::Draining));
    is(&status, ConditionType::Ready, "False", Reason::Draining);
    is(&status, ConditionType::Available, "False", Reason::Draining);
}

#[test]
fn hold_ends_with_the_last_claim() {
    let other = drain("flood", "duty-officer", accepted());
    let observed = held_by(observed(), &[claim(), other.clone()]);
    assert_eq!(told(&observed).hold.unwrap().drains.len(), 2);
    let observed = held_by(observed, &[other]);
    assert_eq!(told(&observed).hold.unwrap().drains, ["flood"]);
    let observed = held_by(observed, &[]);
    assert_eq!((told(&observed).hold, told(&observed).admission), (None, Admission::Open));
    is(&status(&reporting(observed, LaneAdmission::Open)), ConditionType::Available, "True", Reason::Open);
}

#[test]
fn refusal_of_the_agent_is_the_reason() {
    let mut observed = reporting(held_by(observed(), &[claim()]), LaneAdmission::Open);
    let mut said = observed.agent.report.as_deref().unwrap().clone();
    let Some(ReportBody::Lane(lane)) = &mut said.body else { panic!("{said:?}") };
    lane.refusal = Some(DrainRefusal {
        drains: vec!["device-cam-1-1".into()],
        reason: "DrainRefused".into(),
        message: "The occupancy cannot be read.".into(),
    });
    observed.agent.report = Some(Arc::new(said));
    let status = status(&observed);
    is(&status, ConditionType::Ready, "False", Reason::DrainRefused);
    is(&status, ConditionType::Available, "True", Reason::Open);
}

#[test]
fn claim_on_a_lane_that_is_declared_closed_leaves_it_ready() {
    let closed = declared(observed(), Admission::Closed, "Closed", "Closed");
    let observed = reporting(held_by(closed, &[claim()]), LaneAdmission::Closed);
    let status = status(&observed);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::Available, "False", Reason::Closed);
    assert_eq!(status.held_by.len(), 1);
    assert!(status.blocked_by.is_empty());
}

#[test]
fn device_at_work_keeps_its_lane_closed_although_somebody_deleted_the_claim() {
    let mut observed = observed();
    observed.under_change = true;
    assert_eq!(told(&observed).admission, Admission::Closed);
    assert_eq!(changes(&observed), nothing(), "that is no closing");
    let held = held_by(observed, &[claim()]);
    assert_eq!(told(&held).admission, Admission::Open, "the hold does it, and the agent opens by itself after it");
}
