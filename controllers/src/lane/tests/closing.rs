//! Closing a lane that serves.

use kalong_crds::blocked::BlockCode;

use super::*;

const NAME: &str = "closing-l1";

/// An open lane that was just declared Closed.
fn closing() -> Observed {
    declared(observed(), Admission::Closed, "Open", "Open")
}

fn waits(code: &str, subject: &str) -> Arc<LaneDrain> {
    let block =
        json!({"code": code, "subject": subject, "since": AT, "message": "Smart Inbound would have 1 of 2 lanes."});
    drain(NAME, "Lane/l1", json!({"observedGeneration": 1, "blockedBy": [block]}))
}

fn made(mut observed: Observed, drain: &Arc<LaneDrain>) -> Observed {
    observed.own_claims = vec![drain.clone()];
    observed
}

#[test]
fn open_lane_that_is_declared_closed_is_claimed_and_stays_open_meanwhile() {
    let observed = closing();
    assert_eq!(told(&observed).admission, Admission::Open);
    assert_eq!(changes(&observed), (vec![NAME.to_owned()], vec![]));
    let status = status(&observed);
    is(&status, ConditionType::Ready, "False", Reason::Draining);
    is(&status, ConditionType::Available, "True", Reason::Open);
}

#[test]
fn closing_that_would_break_a_floor_waits_and_says_so() {
    let observed = made(closing(), &waits("CapacityFloor", "Crossing/bac-luan-2"));
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Open, nothing()));
    let status = status(&observed);
    is(&status, ConditionType::Ready, "False", Reason::CapacityFloor);
    is(&status, ConditionType::Reconciling, "True", Reason::CapacityFloor);
    assert_eq!(
        (status.blocked_by[0].code, status.blocked_by[0].subject.as_str()),
        (BlockCode::CapacityFloor, "Crossing/bac-luan-2")
    );
}

#[test]
fn revert_of_a_closing_ends_its_claim_and_changes_nothing_else() {
    let observed =
        made(declared(closing(), Admission::Open, "Open", "Open"), &waits("CapacityFloor", "Crossing/bac-luan-2"));
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Open, (vec![], vec![NAME.to_owned()])));
    is(&status(&observed), ConditionType::Ready, "True", Reason::InForce);
}

#[test]
fn lane_is_closed_as_declared_when_it_is_empty_under_its_own_claim() {
    let claim = drain(NAME, "Lane/l1", accepted());
    let observed = held_by(made(closing(), &claim), std::slice::from_ref(&claim));
    assert_eq!(told(&observed).admission, Admission::Open);
    let observed = reporting(observed, LaneAdmission::Draining);
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Open, nothing()));
    is(&status(&observed), ConditionType::Available, "False", Reason::Draining);
    let observed = late(reporting(observed, LaneAdmission::Drained));
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Closed, nothing()), "not confirmed yet");
    is(&status(&observed), ConditionType::Available, "False", Reason::Closed);
    let observed = reporting(observed, LaneAdmission::Closed);
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Closed, (vec![], vec![NAME.to_owned()])));
    is(&status(&observed), ConditionType::Ready, "True", Reason::InForce);
    // The claim is gone, and nobody opens the lane again.
    let mut observed = held_by(declared(observed, Admission::Closed, "Closed", "Closed"), &[]);
    observed.own_claims = vec![];
    let observed = reporting(observed, LaneAdmission::Closed);
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Closed, nothing()));
}

#[test]
fn lane_that_others_hold_empty_is_not_closed_before_its_own_claim_is_accepted() {
    let other = drain("device-cam-1-1", "Device/cam-1", accepted());
    let observed = reporting(held_by(closing(), &[other]), LaneAdmission::Drained);
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Open, (vec![NAME.to_owned()], vec![])));
}

#[test]
fn lane_that_is_closed_already_needs_no_claim() {
    let never_told = {
        let mut observed = declared(observed(), Admission::Closed, "", "Unknown");
        observed.agent.report = None;
        observed
    };
    let by_interlock =
        reporting(declared(observed(), Admission::Closed, "InterlockOpen", "Closed"), LaneAdmission::Closed);
    for observed in [never_told, by_interlock] {
        assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Closed, nothing()));
    }
}

#[test]
fn closed_lane_that_somebody_opens_at_its_panel_is_told_to_close_and_never_to_open() {
    let closed = reporting(declared(observed(), Admission::Closed, "Closed", "Closed"), LaneAdmission::Closed);
    for shown in [LaneAdmission::Open, LaneAdmission::Draining, LaneAdmission::Unknown] {
        let observed = reporting(declared(observed(), Admission::Closed, "Closed", "Closed"), shown);
        assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Closed, nothing()), "{shown:?}");
        // Even when its status says only that its agent was silent: the agent itself says what it was told.
        let silent = declared(closed_like(&closed, shown), Admission::Closed, "AgentUnreachable", "Unknown");
        assert_eq!((told(&silent).admission, changes(&silent)), (Admission::Closed, nothing()), "{shown:?}");
    }
}

fn closed_like(closed: &Observed, shown: LaneAdmission) -> Observed {
    let mut observed = observed();
    observed.agent.report = Some(Arc::new(report(&order(closed), shown)));
    observed
}

#[test]
fn nothing_is_concluded_about_a_lane_that_nobody_heard_since_a_start() {
    let fresh = |mut observed: Observed| {
        observed.agent.report = None;
        observed.agent.facts.as_mut().unwrap().presence =
            Presence::Unheard { until: observed.now + SignedDuration::from_secs(5) };
        observed
    };
    let open = fresh(closing());
    assert_eq!((told(&open).admission, changes(&open)), (Admission::Open, nothing()), "it keeps what it was told");
    let closed = fresh(declared(observed(), Admission::Closed, "Closed", "Closed"));
    assert_eq!((told(&closed).admission, changes(&closed)), (Admission::Closed, nothing()));
    let unknown = fresh(declared(observed(), Admission::Closed, "AgentUnreachable", "Unknown"));
    assert!(decide(&unknown).placement.want.is_none(), "it keeps its order");
    let begun = made(fresh(closing()), &drain(NAME, "Lane/l1", accepted()));
    assert_eq!(changes(&begun), nothing(), "what stands is found again");
}

#[test]
fn silent_lane_is_not_told_to_close_behind_the_back_of_the_floors() {
    let mut observed = closing();
    observed.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Open, nothing()));
}

#[test]
fn lane_at_bring_up_is_just_opened() {
    let observed =
        reporting(declared(observed(), Admission::Open, "AdmissionPending", "Closed"), LaneAdmission::Closed);
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Open, nothing()));
}

fn deleted(mut observed: Observed) -> Observed {
    let mut lane = observed.lane.as_ref().clone();
    lane.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(observed.now));
    observed.lane = Arc::new(lane);
    observed
}

#[test]
fn lane_that_is_deleted_before_it_was_empty_is_closed_first() {
    let observed = deleted(closing());
    assert_eq!((told(&observed).admission, changes(&observed)), (Admission::Open, (vec![NAME.to_owned()], vec![])));
    assert!(decide(&observed).placement.remove.is_empty() && decide(&observed).placement.want.is_some());
    let claim = drain(NAME, "Lane/l1", accepted());
    let observed = reporting(held_by(made(observed, &claim), std::slice::from_ref(&claim)), LaneAdmission::Drained);
    assert_eq!(decide(&observed).placement.remove.len(), 1, "now its agent lets go of it");
    assert_eq!(changes(&observed), nothing(), "and keeps it empty until it did");
}

#[test]
fn deleted_lane_takes_its_claim_along() {
    let claim = drain(NAME, "Lane/l1", accepted());
    let mut observed = deleted(made(closing(), &claim));
    assert_eq!(changes(&observed), nothing());
    observed.agent.holding = Holding::NotHeld;
    assert_eq!(changes(&observed), (vec![], vec![NAME.to_owned()]));
}

#[test]
fn lane_that_a_person_deletes_in_service_goes_at_once() {
    let observed = deleted(observed());
    assert_eq!((decide(&observed).placement.remove.len(), changes(&observed)), (1, nothing()));
}
