//! Switching off a device that an open lane cannot do without.

use kalong_crds::device::Admin;
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::wire::order::DeviceOrder;

use super::*;

const NAME: &str = "disabling-cam-1";

fn conditions(available: &str) -> Value {
    let at = "2026-11-01T00:00:00Z";
    let word = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": at, "observedGeneration": 3});
    let serves = if available == "Serving" { "True" } else { "False" };
    json!({"observedGeneration": 3, "conditions": [word("Ready", "True", "InForce"), word("Available", serves, available)]})
}

fn with_admin(mut observed: Observed, admin: Admin, available: &str) -> Observed {
    let mut device = observed.device.as_ref().clone();
    device.spec.admin = admin;
    device.status = serde_json::from_value(conditions(available)).unwrap();
    observed.device = Arc::new(device);
    observed
}

/// A device that its agent holds and serves with, and that was just disabled.
fn disabled() -> Observed {
    let serving = with_admin(in_lane(observed()), Admin::Enabled, "Serving");
    with_admin(reporting(serving, firmware(Step::Idle, "2.0.0")), Admin::Disabled, "Serving")
}

fn told(observed: &Observed) -> Admin {
    let decision = decide(observed);
    serde_json::from_value::<DeviceOrder>(decision.placement.want.unwrap().1.spec).unwrap().admin
}

fn names(observed: &Observed) -> (Vec<String>, Vec<String>) {
    let changes = decide(observed).claims;
    let ended = changes.delete.iter().filter_map(|drain| drain.metadata.name.clone()).collect();
    (changes.create.into_iter().map(|claim| claim.name).collect(), ended)
}

#[test]
fn disabled_device_of_an_open_lane_keeps_its_order_and_claims_the_lane() {
    let observed = disabled();
    assert_eq!(told(&observed), Admin::Enabled);
    assert!(observed.agent.has_confirmed(decide(&observed).placement.order()), "the agent is told nothing new");
    assert_eq!(names(&observed), (vec![NAME.to_owned()], vec![]));
    let status = status(&observed);
    is(&status, ConditionType::Ready, "False", Reason::AwaitingDrain);
    is(&status, ConditionType::Available, "True", Reason::Serving);
}

#[test]
fn disabling_that_would_break_a_floor_says_so() {
    let mut observed = disabled();
    observed.own_claims = vec![waiting(NAME, "CapacityFloor", "Crossing/bac-luan-2", "1 of 2 lanes.")];
    assert_eq!(told(&observed), Admin::Enabled);
    let status = status(&observed);
    is(&status, ConditionType::Ready, "False", Reason::CapacityFloor);
    assert_eq!(status.blocked_by[0].code, BlockCode::CapacityFloor);
}

#[test]
fn device_is_switched_off_when_its_lane_is_empty_and_the_lane_is_given_back_after() {
    let mut observed = disabled();
    observed.own_claims = vec![drained(NAME)];
    let observed = late(observed);
    assert_eq!(told(&observed), Admin::Disabled);
    assert_eq!(names(&observed), (vec![], vec![]));
    is(&status(&observed), ConditionType::Available, "False", Reason::Disabled);
    // Its status says Disabled, and the agent has not confirmed it yet.
    let unconfirmed = with_admin(observed, Admin::Disabled, "Disabled");
    assert_eq!(names(&unconfirmed), (vec![], vec![]));
    let confirmed = reporting(unconfirmed, firmware(Step::Idle, "2.0.0"));
    assert_eq!(names(&confirmed), (vec![], vec![NAME.to_owned()]));
    is(&status(&confirmed), ConditionType::Ready, "True", Reason::Disabled);
}

#[test]
fn device_that_is_off_is_never_switched_on_by_a_restart_or_a_silent_agent() {
    let mut off = with_admin(disabled(), Admin::Disabled, "Disabled");
    assert_eq!(told(&off), Admin::Disabled);
    assert!(names(&off).0.is_empty());
    off.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    (off.agent.report, off.agent.holding) = (None, Holding::Unknown);
    assert_eq!(told(&off), Admin::Disabled);
}

#[test]
fn revert_of_a_disabling_ends_its_claim() {
    let mut observed = with_admin(disabled(), Admin::Enabled, "Serving");
    observed.own_claims = vec![waiting(NAME, "CapacityFloor", "Crossing/bac-luan-2", "1 of 2 lanes.")];
    assert_eq!(names(&observed), (vec![], vec![NAME.to_owned()]));
}

#[test]
fn device_that_no_lane_in_service_needs_is_switched_off_at_once() {
    let mut optional = disabled();
    optional.lanes = vec![lane("Optional")];
    let mut alone = disabled();
    alone.lanes = vec![];
    let mut commissioned = disabled();
    commissioned.lane_life = Some(LifecycleStage::Commissioning);
    let mut closed = disabled();
    let mut lane = lane("Required").as_ref().clone();
    lane.spec.admission = Admission::Closed;
    lane.status.as_mut().unwrap().admission = LaneAdmission::Closed;
    closed.lanes = vec![Arc::new(lane)];
    let mut never_held = disabled();
    (never_held.agent.report, never_held.agent.holding) = (None, Holding::NotHeld);
    let new = with_admin(disabled(), Admin::Disabled, "Commissioning");
    for observed in [optional, alone, commissioned, closed, never_held, new] {
        assert_eq!(told(&observed), Admin::Disabled);
        assert!(names(&observed).0.is_empty());
    }
}

#[test]
fn lane_that_is_still_open_although_declared_closed_counts_as_open() {
    let mut observed = disabled();
    let mut lane = lane("Required").as_ref().clone();
    lane.spec.admission = Admission::Closed;
    observed.lanes = vec![Arc::new(lane)];
    assert_eq!(told(&observed), Admin::Enabled);
}

#[test]
fn device_that_was_only_watched_stays_watched_until_its_lane_is_empty() {
    let watched = with_admin(in_lane(observed()), Admin::Quarantined, "Serving");
    let watched = reporting(watched, firmware(Step::Idle, "2.0.0"));
    let observed = with_admin(watched, Admin::Disabled, "Serving");
    assert_eq!(told(&observed), Admin::Quarantined);
}

#[test]
fn device_that_is_deleted_before_its_lane_was_empty_is_switched_off_first() {
    let deleted = |mut observed: Observed| {
        let mut device = observed.device.as_ref().clone();
        device.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        observed.device = Arc::new(device);
        observed
    };
    let mut observed = deleted(disabled());
    assert_eq!((told(&observed), decide(&observed).placement.remove.len()), (Admin::Enabled, 0));
    assert_eq!(names(&observed), (vec![NAME.to_owned()], vec![]));
    observed.own_claims = vec![drained(NAME)];
    let observed = deleted(observed);
    assert_eq!((decide(&observed).placement.want.is_none(), decide(&observed).placement.remove.len()), (true, 1));
    assert_eq!(names(&observed), (vec![], vec![]), "the lane stays empty until its agent let go");
}
