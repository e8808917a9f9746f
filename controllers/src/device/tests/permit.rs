//! The permit to touch a device, and the claim on its lane.

use kalong_crds::wire::order::Permit;

use super::*;

const NAME: &str = "device-cam-1-1";

fn permit(attempt: i64) -> Permit {
    Permit { attempt, until: end().to_string() }
}

fn asking() -> Observed {
    reporting(in_lane(observed()), firmware(Step::AwaitingDrain, "1.0.0"))
}

fn names(observed: &Observed) -> (Vec<String>, Vec<String>) {
    let changes = decide(observed).claims;
    let ended = changes.delete.iter().filter_map(|drain| drain.metadata.name.clone()).collect();
    (changes.create.into_iter().map(|claim| claim.name).collect(), ended)
}

fn nothing() -> (Vec<String>, Vec<String>) {
    (vec![], vec![])
}

#[test]
fn attempt_that_asks_claims_the_lane_once() {
    let mut observed = asking();
    assert_eq!(names(&observed), (vec![NAME.to_owned()], vec![]));
    assert!(matches!(permit_state(&observed), PermitState::Waits(_)), "no claim, no permit");
    observed.own_claims = vec![waiting(NAME, "LaneDrain", "LaneDrain/other", "Wait.")];
    assert_eq!(names(&observed), nothing());
}

#[test]
fn device_says_capacity_floor_and_on_whom_it_waits() {
    let mut observed = asking();
    observed.own_claims =
        vec![waiting(NAME, "CapacityFloor", "Crossing/bac-luan-2", "Smart Inbound would have 1 of 2 lanes.")];
    let status = status(&confirming(observed));
    is(&status, ConditionType::FirmwareUpToDate, "False", Reason::CapacityFloor);
    is(&status, ConditionType::Ready, "False", Reason::CapacityFloor);
    is(&status, ConditionType::Reconciling, "True", Reason::CapacityFloor);
    is(&status, ConditionType::Available, "True", Reason::Serving);
    let block = status.blocked_by.first().unwrap();
    assert_eq!((block.code, block.subject.as_str()), (BlockCode::CapacityFloor, "Crossing/bac-luan-2"));
    assert_eq!(block.since, "2026-11-22T06:59:00Z", "it waits since the claim waits");
    assert!(status.conditions[0].message.contains("1 of 2 lanes"), "{:?}", status.conditions[0]);
    assert_eq!(status.firmware.unwrap().step, Step::AwaitingDrain);
}

#[test]
fn device_says_which_lane_is_drained_before_its_own() {
    let mut observed = asking();
    observed.own_claims = vec![waiting(NAME, "DrainInProgress", "Lane/l2", "Lane l2 is drained for a change.")];
    let status = status(&confirming(observed));
    is(&status, ConditionType::Ready, "False", Reason::DrainInProgress);
    assert_eq!(status.blocked_by[0].subject, "Lane/l2");
}

#[test]
fn claim_that_waits_for_its_next_try_is_what_the_device_waits_for() {
    let mut observed = asking();
    observed.own_claims = vec![waiting(NAME, "Retry", "Lane/l1", "Lane l1 did not become empty.")];
    let status = status(&confirming(observed));
    is(&status, ConditionType::Ready, "False", Reason::AwaitingDrain);
    assert_eq!(
        (status.blocked_by[0].code, status.blocked_by[0].subject.as_str()),
        (BlockCode::LaneDrain, "LaneDrain/device-cam-1-1")
    );
}

#[test]
fn permit_is_granted_when_the_own_claim_is_drained_and_ends_with_it() {
    let mut observed = asking();
    observed.own_claims = vec![drained(NAME)];
    let granted = PermitState::Granted { permit: permit(1), lane: Some("mong-cai/l1".into()) };
    assert_eq!(permit_state(&observed), granted);
    assert_eq!(names(&observed), nothing());
    observed.own_claims = vec![drained("device-cam-1-2")];
    assert!(
        matches!(permit_state(&observed), PermitState::Waits(_)),
        "the claim of another attempt is none of its own"
    );
}

#[test]
fn accepted_claim_is_no_permit_before_the_lane_is_empty() {
    let mut observed = asking();
    let status = json!({"observedGeneration": 1, "acceptedAt": "2026-11-22T06:59:00Z"});
    observed.own_claims = vec![made(NAME, status, Some(end()))];
    let PermitState::Waits(block) = permit_state(&observed) else { panic!("a permit") };
    assert_eq!(block.code, BlockCode::LaneNotEmpty);
}

#[test]
fn claim_on_its_way_out_is_no_permit() {
    let mut observed = asking();
    let mut old = drained(NAME);
    let mut drain = old.drain.as_ref().clone();
    drain.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    old.drain = Arc::new(drain);
    observed.own_claims = vec![old];
    assert!(matches!(permit_state(&observed), PermitState::Waits(_)));
}

#[test]
fn second_device_of_a_held_lane_waits_for_the_first() {
    let mut observed = asking();
    observed.own_claims = vec![drained(NAME)];
    observed.blocking_device = Some("plc-1".into());
    let PermitState::Waits(block) = permit_state(&observed) else { panic!("a permit") };
    assert_eq!(block.subject, "Device/plc-1");
}

#[test]
fn device_that_needs_no_empty_lane_gets_a_permit_without_a_claim() {
    let mut observed = asking();
    let mut model = model().as_ref().clone();
    model.spec.update.lane_drain = kalong_crds::device_model::LaneDrainNeed::NotNeeded;
    observed.model = Some(Arc::new(model));
    assert_eq!(names(&observed), nothing());
    assert!(matches!(permit_state(&observed), PermitState::Granted { lane: None, .. }));
    let alone = reporting(super::observed(), firmware(Step::AwaitingDrain, "1.0.0"));
    assert_eq!(names(&alone), nothing());
    assert!(matches!(permit_state(&alone), PermitState::Granted { lane: None, .. }), "it stands in no lane");
}

#[test]
fn claim_stays_while_the_device_is_at_work_and_is_made_again_if_somebody_deletes_it() {
    for step in [Step::Draining, Step::Drained, Step::Transferring, Step::Probation, Step::RollingBack] {
        let mut observed = reporting(in_lane(observed()), firmware(step, "1.0.0"));
        assert_eq!(names(&observed).0, vec![NAME.to_owned()], "{step:?}");
        observed.own_claims = vec![drained(NAME)];
        assert_eq!(names(&observed), nothing(), "{step:?}");
        assert!(
            matches!(permit_state(&observed), PermitState::Granted { .. }),
            "{step:?}: a permit once granted stays"
        );
    }
    let mut observed = reporting(in_lane(observed()), firmware(Step::Undraining, "2.0.0"));
    assert_eq!(names(&observed), nothing(), "a lane that is being given back is not claimed again");
    observed.own_claims = vec![drained(NAME)];
    assert_eq!(names(&observed), nothing());
}

#[test]
fn claim_ends_with_the_attempt() {
    for step in
        [Step::Idle, Step::Failed, Step::Cancelled, Step::Quarantined, Step::AwaitingRecertification, Step::Staged]
    {
        let mut observed = reporting(in_lane(observed()), firmware(step, "2.0.0"));
        observed.own_claims = vec![drained(NAME)];
        assert_eq!(names(&observed), (vec![], vec![NAME.to_owned()]), "{step:?}");
        assert_eq!(permit_state(&observed), PermitState::NotAsked, "{step:?}");
    }
}

#[test]
fn claim_of_an_earlier_attempt_ends_when_the_next_one_asks() {
    let mut observed = asking();
    observed.own_claims = vec![drained("device-cam-1-0")];
    assert_eq!(names(&observed), (vec![NAME.to_owned()], vec!["device-cam-1-0".to_owned()]));
}

#[test]
fn change_that_is_not_wanted_any_more_gives_its_turn_away() {
    let mut observed = asking();
    observed.own_claims = vec![waiting(NAME, "CapacityFloor", "Crossing/bac-luan-2", "Wait.")];
    let mut device = observed.device.as_ref().clone();
    device.spec.firmware = None;
    observed.device = Arc::new(device);
    assert_eq!(names(&observed), (vec![], vec![NAME.to_owned()]));
}

#[test]
fn fresh_leader_ends_and_makes_no_claim_before_it_heard_the_agent() {
    let mut observed = in_lane(observed());
    observed.own_claims = vec![drained(NAME)];
    observed.agent.facts.as_mut().unwrap().presence = Presence::Unheard { until: now() + SignedDuration::from_secs(9) };
    assert_eq!(names(&observed), nothing());
    observed.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    assert_eq!(names(&observed), nothing(), "a silent agent may be at work");
    observed.now = end();
    assert_eq!(names(&observed), (vec![], vec![NAME.to_owned()]), "but not for ever");
}

#[test]
fn silent_device_at_work_keeps_its_lane_however_long_it_takes() {
    let mut observed = reporting(in_lane(observed()), firmware(Step::Installing, "1.0.0"));
    observed.own_claims = vec![drained(NAME)];
    observed.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    observed.now = end() + SignedDuration::from_secs(1);
    assert_eq!(names(&observed), nothing());
}

#[test]
fn claim_whose_time_is_over_before_anything_began_is_given_back_and_asked_for_anew() {
    let mut observed = asking();
    observed.own_claims = vec![drained(NAME)];
    observed.now = end();
    assert!(matches!(permit_state(&observed), PermitState::Waits(_)));
    assert_eq!(names(&observed), (vec![], vec![NAME.to_owned()]));
    observed.own_claims = vec![];
    assert_eq!(names(&observed), (vec![NAME.to_owned()], vec![]));
}

#[test]
fn claim_on_the_lane_of_before_is_ended_first() {
    let mut observed = asking();
    let mut drain = drained(NAME).drain.as_ref().clone();
    drain.spec.target.name = "l9".into();
    observed.own_claims = vec![ExistingClaim { drain: Arc::new(drain), until: Some(end()) }];
    assert_eq!(names(&observed), (vec![], vec![NAME.to_owned()]), "its name is free when it is gone");
}

#[test]
fn device_of_an_abandoned_box_claims_nothing_any_more() {
    let mut observed = reporting(in_lane(observed()), firmware(Step::Installing, "1.0.0"));
    observed.own_claims = vec![drained(NAME)];
    let mut agent = observed.agent.object.as_deref().unwrap().clone();
    agent.metadata.annotations = Some([(kalong_crds::ABANDON.to_owned(), "a, 2026-11-22, burnt".to_owned())].into());
    observed.agent.object = Some(Arc::new(agent));
    observed.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    assert_eq!(names(&observed), (vec![], vec![NAME.to_owned()]));
}

#[test]
fn deleted_device_gives_its_lane_back_when_its_agent_let_go() {
    let mut observed = reporting(in_lane(observed()), firmware(Step::Installing, "1.0.0"));
    observed.own_claims = vec![drained(NAME)];
    let mut device = observed.device.as_ref().clone();
    device.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    observed.device = Arc::new(device);
    assert!(decide(&observed).claims.delete.is_empty(), "it is being written");
    observed.agent.holding = Holding::NotHeld;
    let decision = decide(&observed);
    assert_eq!((decision.placement.finalizers, decision.claims.delete.len()), (Some(vec![]), 1));
}
