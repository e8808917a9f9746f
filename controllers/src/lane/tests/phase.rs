//! What the phase of a lane lets it do.

use super::*;

fn in_phase(mut observed: Observed, life: LifecycleStage) -> Observed {
    observed.life = life;
    observed
}

#[test]
fn lane_in_commissioning_is_told_closed_and_is_ready() {
    let mut new = declared(observed(), Admission::Open, "", "Unknown");
    new.agent.report = None;
    let observed = in_phase(new, LifecycleStage::Commissioning);
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Closed, nothing()));
    let observed = reporting(observed, LaneAdmission::Closed);
    let status = status(&observed);
    is(&status, ConditionType::Ready, "True", Reason::Commissioning);
    is(&status, ConditionType::Available, "False", Reason::Commissioning);
}

#[test]
fn lane_in_commissioning_says_what_is_missing_and_disturbs_nobody() {
    let mut observed = reporting(
        in_phase(declared(observed(), Admission::Open, "Planned", "Closed"), LifecycleStage::Commissioning),
        LaneAdmission::Closed,
    );
    observed.devices[0].1 = Some(device("plc-1", &[("Ready", "False", "Applying")]));
    let status = status(&observed);
    is(&status, ConditionType::Ready, "True", Reason::Commissioning);
    assert!(status.conditions[0].message.contains("plc-1"));
    assert!(status.conditions.iter().all(|c| c.type_ != "Reconciling"));
}

#[test]
fn phase_that_opens_just_opens_its_lanes() {
    let observed = reporting(declared(observed(), Admission::Open, "Commissioning", "Closed"), LaneAdmission::Closed);
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Open, nothing()));
}

#[test]
fn phase_that_goes_back_closes_its_open_lanes_through_a_claim() {
    let observed = in_phase(declared(observed(), Admission::Open, "Open", "Open"), LifecycleStage::Commissioning);
    assert_eq!(
        (told(&observed).admission, changes(&observed)),
        (Admission::Open, (vec!["closing-l1".to_owned()], vec![]))
    );
    let said = status(&observed);
    is(&said, ConditionType::Ready, "True", Reason::Commissioning);
    is(&said, ConditionType::Available, "False", Reason::Draining);
    // Its status does not forget that it still serves, although the claim is not in the cache yet.
    let mut lane = observed.lane.as_ref().clone();
    lane.status = Some(said);
    let mut next = observed;
    next.lane = Arc::new(lane);
    assert_eq!(told(&next).admission, Admission::Open);
}

#[test]
fn lane_of_an_unknown_phase_keeps_its_order_and_is_stalled() {
    let mut observed = in_phase(observed(), LifecycleStage::UnknownPhase);
    observed.own_claims = vec![drain("closing-l1", "Lane/l1", accepted())];
    let (decision, result) = reconciled(&observed);
    assert!(
        decision.placement.want.is_none()
            && decision.placement.remove.is_empty()
            && decision.claims.delete.is_empty()
            && decision.claims.create.is_empty()
    );
    let status = result.status.unwrap();
    is(&status, ConditionType::Stalled, "True", Reason::UnknownPhase);
    is(&status, ConditionType::Available, "True", Reason::Open);
}
