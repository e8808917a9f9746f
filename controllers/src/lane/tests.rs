//! What is decided about a Lane, in worlds made by hand.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, LaneStatus};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::{LaneHold, LaneOrder};
use kalong_crds::wire::reported::{ItemState, LaneReport, ReportBody, ReportedItem};
use kalong_crds::{Device, FINALIZER, Lane, LaneDrain};
use serde_json::{Value, json};

use super::observe::{Controller, Observed, decide};
use super::plan;
use crate::kit::life::LifecycleStage;
use crate::kit::link::{AgentFacts, Holding, Presence};

mod closing;
mod held;
mod interlock;
mod phase;

const AT: &str = "2026-11-22T07:00:00Z";

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> Arc<K> {
    let mut value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "mong-cai", "uid": format!("uid-{name}"), "generation": 2, "finalizers": [FINALIZER]},
    });
    if !status.is_null() {
        value["status"] = status;
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

fn conditions(words: &[(&str, &str, &str)]) -> Value {
    let condition = |(kind, status, reason): &(&str, &str, &str)| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": AT});
    json!({"observedGeneration": 2, "conditions": words.iter().map(condition).collect::<Vec<_>>()})
}

fn device(name: &str, words: &[(&str, &str, &str)]) -> Arc<Device> {
    let spec = json!({"modelRef": "m", "agentRef": "lane-1", "connection": {"endpoint": "127.0.0.1:5020"}});
    object("Device", name, spec, conditions(words))
}

const WELL: [(&str, &str, &str); 3] =
    [("Ready", "True", "InForce"), ("Available", "True", "Serving"), ("FirmwareUpToDate", "True", "UpToDate")];

/// An Open lane with a controller and an optional display, whose agent reports it open.
fn observed() -> Observed {
    let lane: Arc<Lane> = object(
        "Lane",
        "l1",
        json!({"crossingRef": "bac-luan-2", "direction": "Inbound", "service": "Smart", "admission": "Open", "ratedPassagesPerHour": 60,
               "slots": [{"name": "plc", "role": "Controller", "deviceRef": "plc-1"}, {"name": "sign", "role": "Display", "need": "Optional", "deviceRef": "sign-1"}]}),
        conditions(&[("Ready", "True", "InForce")]),
    );
    let model = object("DeviceModel", "m", json!({"class": "LanePlc", "protocol": {"name": "ModbusTcp"}}), Value::Null);
    let agent = object(
        "EdgeAgent",
        "lane-1",
        json!({}),
        json!({"observedGeneration": 1, "certificate": {"serial": "1", "notAfter": AT}}),
    );
    let agent_id = AgentId::new("mong-cai", "lane-1").unwrap();
    let (plc, sign) = (device("plc-1", &WELL), device("sign-1", &WELL));
    let mut observed = Observed {
        now: AT.parse::<Timestamp>().unwrap(),
        life: LifecycleStage::InService,
        crossing: Some(object(
            "Crossing",
            "bac-luan-2",
            json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh"}),
            Value::Null,
        )),
        devices: vec![(lane.spec.slots[0].clone(), Some(plc.clone())), (lane.spec.slots[1].clone(), Some(sign))],
        controller: Some(Controller { device: plc, model: Some(model), agent: Some(agent), agent_id: Some(agent_id) }),
        shared: vec![],
        in_work: false,
        claims: vec![],
        hold: None,
        made: vec![],
        interlocks: vec![],
        facts: Some(AgentFacts {
            presence: Presence::Present,
            reported: true,
            synced: true,
            clock: Clock::Synced,
            version: None,
            outbox_full: false,
            orphans: vec![],
            duplicate: false,
            term_implausible: false,
        }),
        report: None,
        holding: Holding::Held,
        wrong_holders: vec![],
        admission: None,
        order: None,
        debounce: None,
        lane,
    };
    decide(&mut observed);
    observed.report = Some(Arc::new(report(order(&observed), LaneAdmission::Open)));
    observed
}

fn order(observed: &Observed) -> &Item {
    observed.order.as_ref().unwrap().as_ref().unwrap()
}

fn report(item: &Item, admission: LaneAdmission) -> ReportedItem {
    ReportedItem {
        uid: item.uid.clone(),
        kind: ItemKind::Lane,
        generation: item.generation,
        hash: item.hash.clone(),
        applied: item.generation,
        state: ItemState::Applied,
        reason: String::new(),
        message: String::new(),
        body: Some(ReportBody::Lane(LaneReport { admission, ..LaneReport::default() })),
    }
}

fn status(observed: &Observed) -> LaneStatus {
    plan::plan(observed).status.unwrap()
}

fn is(status: &LaneStatus, kind: ConditionType, word: &str, reason: Reason) {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str());
    assert_eq!(
        found.map(|c| (c.status.as_str(), c.reason.as_str())),
        Some((word, reason.as_str())),
        "{:#?}",
        status.conditions
    );
}

#[test]
fn open_lane_with_sound_devices_is_ready_and_available() {
    let status = status(&observed());
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::Available, "True", Reason::Open);
    assert_eq!(status.admission, LaneAdmission::Open);
}

#[test]
fn lane_serves_without_an_optional_device_and_not_without_a_required_one() {
    let broken = [
        ("Ready", "False", "DeviceUnreachable"),
        ("Available", "False", "DeviceUnreachable"),
        ("FirmwareUpToDate", "True", "UpToDate"),
    ];
    let mut optional = observed();
    optional.devices[1].1 = Some(device("sign-1", &broken));
    is(&status(&optional), ConditionType::Available, "True", Reason::Open);
    is(&status(&optional), ConditionType::Ready, "False", Reason::DeviceNotReady);
    let mut required = observed();
    required.devices[0].1 = Some(device("plc-1", &broken));
    is(&status(&required), ConditionType::Available, "False", Reason::DeviceNotAvailable);
}

#[test]
fn lane_stays_closed_while_one_of_its_devices_is_being_changed() {
    let mut held = observed();
    held.in_work = true;
    decide(&mut held);
    let order: LaneOrder = serde_json::from_value(order(&held).spec.clone()).unwrap();
    assert_eq!(order.admission, Admission::Closed);
    held.report = Some(Arc::new(report(held.order.as_ref().unwrap().as_ref().unwrap(), LaneAdmission::Closed)));
    let status = status(&held);
    is(&status, ConditionType::Ready, "False", Reason::Drained);
    assert_eq!(status.blocked_by.len(), 1);
}

#[test]
fn silent_agent_makes_a_lane_unknown_and_takes_no_order_back() {
    let mut silent = observed();
    silent.facts.as_mut().unwrap().presence = Presence::Silent;
    let plan = plan::plan(&silent);
    assert!(plan.placement.want.is_some() && plan.placement.remove.is_empty());
    let status = plan.status.unwrap();
    is(&status, ConditionType::Ready, "Unknown", Reason::AgentUnreachable);
    is(&status, ConditionType::Available, "Unknown", Reason::AgentUnreachable);
    assert_eq!(status.admission, LaneAdmission::Unknown);
}

#[test]
fn fresh_leader_leaves_the_status_of_a_lane_alone() {
    let mut fresh = observed();
    fresh.facts.as_mut().unwrap().presence = Presence::Unheard { until: fresh.now + SignedDuration::from_secs(5) };
    assert!(plan::plan(&fresh).status.is_none());
}

#[test]
fn contradictions_are_stalled_and_not_sent() {
    let mut shared = observed();
    shared.shared = vec!["plc-1".into()];
    decide(&mut shared);
    assert!(plan::plan(&shared).placement.want.is_none());
    is(&status(&shared), ConditionType::Stalled, "True", Reason::SlotConflict);

    let mut homeless = observed();
    homeless.crossing = None;
    decide(&mut homeless);
    assert!(plan::plan(&homeless).placement.want.is_none());
    is(&status(&homeless), ConditionType::Stalled, "True", Reason::MissingReference);

    let mut misfit = observed();
    let barrier =
        object("DeviceModel", "m", json!({"class": "Barrier", "protocol": {"name": "ModbusTcp"}}), Value::Null);
    misfit.controller.as_mut().unwrap().model = Some(barrier);
    decide(&mut misfit);
    assert!(plan::plan(&misfit).placement.want.is_none());
    is(&status(&misfit), ConditionType::Stalled, "True", Reason::InvalidSpec);
}

#[test]
fn planned_lane_is_ready_closed_and_silent() {
    let mut planned = observed();
    planned.life = LifecycleStage::Planned;
    planned.holding = Holding::NotHeld;
    decide(&mut planned);
    let plan = plan::plan(&planned);
    assert!(plan.placement.want.is_none() && plan.placement.remove.is_empty());
    is(&plan.status.unwrap(), ConditionType::Ready, "True", Reason::Planned);
}

/// A claim on this lane by this requester, with this status.
fn drain(name: &str, requester: &str, status: Value) -> Arc<LaneDrain> {
    let value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": "LaneDrain",
        "metadata": {"name": name, "namespace": "mong-cai", "uid": format!("uid-{name}"), "labels": {"kalong.dev/made-by": "operator"}},
        "spec": {"target": {"kind": "Lane", "name": "l1"}, "requester": requester, "reason": "A change.", "priority": 100},
        "status": status,
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn accepted() -> Value {
    json!({"observedGeneration": 1, "acceptedAt": AT, "responders": [{"name": "l1", "state": "Open"}]})
}

fn held_by(mut observed: Observed, drains: &[Arc<LaneDrain>]) -> Observed {
    observed.claims = drains.to_vec();
    observed.hold = (!drains.is_empty()).then(|| LaneHold {
        drains: drains.iter().filter_map(|drain| drain.metadata.name.clone()).collect(),
        divert_to: None,
        empty_by: "2026-11-22T07:15:00Z".to_owned(),
        until: "2026-11-22T08:30:00Z".to_owned(),
    });
    decide(&mut observed);
    observed
}

/// The agent confirms the order and reports this.
fn reporting(mut observed: Observed, admission: LaneAdmission) -> Observed {
    observed.report = Some(Arc::new(report(order(&observed), admission)));
    decide(&mut observed);
    observed
}

/// The lane with this declared and this status.
fn declared(mut observed: Observed, admission: Admission, available: &str, reported: &str) -> Observed {
    let mut lane = observed.lane.as_ref().clone();
    lane.spec.admission = admission;
    let word = if available == "Open" { "True" } else { "False" };
    let mut status = conditions(&[("Ready", "True", "InForce"), ("Available", word, available)]);
    status["admission"] = json!(reported);
    lane.status = serde_json::from_value(status).unwrap();
    observed.lane = Arc::new(lane);
    decide(&mut observed);
    observed
}

fn told(observed: &Observed) -> LaneOrder {
    serde_json::from_value(order(observed).spec.clone()).unwrap()
}

/// Names of claims that are made, and of those that are ended.
fn errands(observed: &Observed) -> (Vec<String>, Vec<String>) {
    let plan = plan::plan(observed);
    let ended = plan.release.iter().filter_map(|drain| drain.metadata.name.clone()).collect();
    (plan.make.into_iter().map(|claim| claim.name).collect(), ended)
}

fn nothing() -> (Vec<String>, Vec<String>) {
    (vec![], vec![])
}
