//! What the phase of a lane lets it do.

use super::*;

fn in_phase(mut seen: Seen, life: Life) -> Seen {
    seen.life = life;
    decide(&mut seen);
    seen
}

#[test]
fn lane_in_commissioning_is_told_closed_and_is_ready() {
    let mut new = declared(seen(), Admission::Open, "", "Unknown");
    new.report = None;
    let seen = in_phase(new, Life::Commissioning);
    assert_eq!((told(&seen).admission, errands(&seen)), (Admission::Closed, nothing()));
    let seen = reporting(seen, LaneAdmission::Closed);
    let status = status(&seen);
    is(&status, ConditionType::Ready, "True", Reason::Commissioning);
    is(&status, ConditionType::Available, "False", Reason::Commissioning);
}

#[test]
fn lane_in_commissioning_says_what_is_missing_and_disturbs_nobody() {
    let mut seen = reporting(
        in_phase(declared(seen(), Admission::Open, "Planned", "Closed"), Life::Commissioning),
        LaneAdmission::Closed,
    );
    seen.devices[0].1 = Some(device("plc-1", &[("Ready", "False", "Applying")]));
    let status = status(&seen);
    is(&status, ConditionType::Ready, "True", Reason::Commissioning);
    assert!(status.conditions[0].message.contains("plc-1"));
    assert!(status.conditions.iter().all(|c| c.type_ != "Reconciling"));
}

#[test]
fn phase_that_opens_just_opens_its_lanes() {
    let seen = reporting(declared(seen(), Admission::Open, "Commissioning", "Closed"), LaneAdmission::Closed);
    assert_eq!((told(&seen).admission, errands(&seen)), (Admission::Open, nothing()));
}

#[test]
fn phase_that_goes_back_closes_its_open_lanes_through_a_claim() {
    let seen = in_phase(declared(seen(), Admission::Open, "Open", "Open"), Life::Commissioning);
    assert_eq!((told(&seen).admission, errands(&seen)), (Admission::Open, (vec!["closing-l1".to_owned()], vec![])));
    let said = status(&seen);
    is(&said, ConditionType::Ready, "True", Reason::Commissioning);
    is(&said, ConditionType::Available, "False", Reason::Draining);
    // Its status does not forget that it still serves, although the claim is not in the cache yet.
    let mut lane = seen.lane.as_ref().clone();
    lane.status = Some(said);
    let mut next = seen;
    next.lane = Arc::new(lane);
    decide(&mut next);
    assert_eq!(told(&next).admission, Admission::Open);
}

#[test]
fn lane_of_an_unknown_phase_keeps_its_order_and_is_stalled() {
    let mut seen = in_phase(seen(), Life::UnknownPhase);
    seen.made = vec![drain("closing-l1", "Lane/l1", accepted())];
    let plan = plan::plan(&seen);
    assert!(
        plan.telling.want.is_none() && plan.telling.remove.is_empty() && plan.release.is_empty() && plan.make.is_none()
    );
    let status = plan.status.unwrap();
    is(&status, ConditionType::Stalled, "True", Reason::UnknownPhase);
    is(&status, ConditionType::Available, "True", Reason::Open);
}
