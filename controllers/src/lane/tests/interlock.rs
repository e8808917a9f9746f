//! A lane whose station has an open interlock.

use kalong_crds::blocked::BlockCode;
use kalong_crds::wire::order::LaneInterlock;
use kalong_crds::{DeviceModel, InspectionStation};

use super::super::interlock::{InterlockView, shown_by};
use super::*;

fn interlock(open: bool) -> InterlockView {
    let order = LaneInterlock { device: "uid-xray-1".into(), name: "doorClosed".into() };
    InterlockView { order, station: "scanner".into(), device: "xray-1".into(), open }
}

fn with(mut observed: Observed, open: bool) -> Observed {
    observed.interlocks = vec![interlock(open)];
    observed
}

fn shown(lane: &Lane, state: Option<&str>) -> Vec<InterlockView> {
    let station: Arc<InspectionStation> = object(
        "InspectionStation",
        "scanner",
        json!({"crossingRef": "bac-luan-2", "type": "XRay", "capacityPerHour": 20,
               "slots": [{"name": "source", "deviceRef": "xray-1"}], "servesLanes": [{"name": "l1"}]}),
        Value::Null,
    );
    let model: Arc<DeviceModel> = object(
        "DeviceModel",
        "x",
        json!({"class": "XRayScanner", "protocol": {"name": "ModbusTcp"},
               "regulatory": {"interlocks": [{"name": "doorClosed", "safe": "true"}]}}),
        Value::Null,
    );
    let guards: Vec<_> =
        state.map(|state| json!({"name": "doorClosed", "kind": "Interlock", "state": state})).into_iter().collect();
    let device: Arc<Device> = object(
        "Device",
        "xray-1",
        json!({"modelRef": "x", "agentRef": "a", "connection": {"endpoint": "127.0.0.1:5020"}}),
        json!({"observedGeneration": 2, "guards": guards}),
    );
    shown_by(lane, &station, &device, &model)
}

#[test]
fn interlocks_travel_with_the_order_and_open_ones_are_named() {
    let safe = told(&with(observed(), false));
    assert_eq!((safe.interlocks.len(), safe.open_interlocks.len()), (1, 0));
    let open = told(&with(observed(), true));
    assert_eq!(open.open_interlocks, ["scanner/xray-1.doorClosed"]);
    assert_eq!(open.admission, Admission::Open, "the lane opens by itself when it is safe again");
    assert_eq!(open.hold, None, "a safety closure is no drain");
}

#[test]
fn lane_closed_by_an_interlock_says_so_and_opens_by_itself() {
    let open = with(observed(), true);
    assert_eq!(changes(&open), nothing());
    let closed = reporting(open, LaneAdmission::Closed);
    let said = status(&closed);
    is(&said, ConditionType::Ready, "False", Reason::InterlockOpen);
    is(&said, ConditionType::Available, "False", Reason::InterlockOpen);
    assert_eq!(
        (said.blocked_by[0].code, said.blocked_by[0].subject.as_str()),
        (BlockCode::InterlockOpen, "Device/xray-1")
    );
    let again = reporting(with(closed, false), LaneAdmission::Open);
    assert!(status(&again).blocked_by.is_empty());
    is(&status(&again), ConditionType::Ready, "True", Reason::InForce);
}

#[test]
fn agent_that_saw_the_interlock_first_is_believed() {
    let mut observed = reporting(with(observed(), false), LaneAdmission::Closed);
    let mut said = observed.agent.report.as_deref().unwrap().clone();
    let Some(ReportBody::Lane(lane)) = &mut said.body else { panic!("{said:?}") };
    lane.closed_by_interlock = true;
    observed.agent.report = Some(Arc::new(said));
    is(&status(&observed), ConditionType::Available, "False", Reason::InterlockOpen);
}

#[test]
fn unsafe_interlock_closes_and_an_unread_one_does_not() {
    let lane = observed().lane;
    assert!(shown(&lane, Some("Unsafe"))[0].open);
    assert!(!shown(&lane, Some("Safe"))[0].open);
    assert!(!shown(&lane, Some("Unknown"))[0].open);
    assert!(!shown(&lane, None)[0].open);
    assert_eq!(shown(&lane, Some("Unsafe"))[0], interlock(true));
}

#[test]
fn open_interlock_stays_open_until_it_was_read_to_be_safe() {
    let closed = status(&reporting(with(observed(), true), LaneAdmission::Closed));
    let mut lane = observed().lane.as_ref().clone();
    lane.status = Some(closed);
    assert!(shown(&lane, None)[0].open, "its agent went silent with the door open");
    assert!(!shown(&lane, Some("Safe"))[0].open);
}
