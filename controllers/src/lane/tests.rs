//! What is decided about a Lane, in worlds made by hand.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, LaneStatus};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::order::{LaneHold, LaneOrder};
use kalong_crds::wire::reported::{ItemState, LaneReport, ReportBody, ReportedItem};
use kalong_crds::{Device, FINALIZER, Lane, LaneDrain};
use kalong_rules::lifecycle::LifecycleStage;
use serde_json::{Value, json};

use super::decide::{Decision, decide};
use super::observe::{Controller, Observed};
use crate::kit::agent_object::AgentView;
use crate::kit::link::{Holding, Presence};
use crate::kit::reconciler::ReconcileResult;

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
        controller: Some(Controller { device: plc, model: Some(model) }),
        shared: vec![],
        under_change: false,
        claims: vec![],
        hold: None,
        own_claims: vec![],
        interlocks: vec![],
        agent: AgentView::live("mong-cai", "lane-1"),
        lane,
    };
    observed.agent.report = Some(Arc::new(report(&order(&observed), LaneAdmission::Open)));
    observed
}

fn order(observed: &Observed) -> Item {
    decide(observed).order.unwrap()
}

/// The agent has not confirmed the order that is decided now for so long that the status says so.
fn late(mut observed: Observed) -> Observed {
    let order = order(&observed);
    observed.agent.has_waited_for(&order);
    observed
}

/// What is decided, and what the reconcile leaves behind.
fn reconciled(observed: &Observed) -> (Decision, ReconcileResult<LaneStatus>) {
    let decision = decide(observed);
    let result = super::status::status(observed, &decision);
    (decision, result)
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
    reconciled(observed).1.status.unwrap()
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
    held.under_change = true;
    let order: LaneOrder = serde_json::from_value(order(&held).spec.clone()).unwrap();
    assert_eq!(order.admission, Admission::Closed);
    held.agent.report = Some(Arc::new(report(&self::order(&held), LaneAdmission::Closed)));
    let status = status(&held);
    is(&status, ConditionType::Ready, "False", Reason::Drained);
    assert_eq!(status.blocked_by.len(), 1);
}

#[test]
fn silent_agent_makes_a_lane_unknown_and_takes_no_order_back() {
    let mut silent = observed();
    silent.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    let (decision, result) = reconciled(&silent);
    assert!(decision.placement.want.is_some() && decision.placement.remove.is_empty());
    let status = result.status.unwrap();
    is(&status, ConditionType::Ready, "Unknown", Reason::AgentUnreachable);
    is(&status, ConditionType::Available, "Unknown", Reason::AgentUnreachable);
    assert_eq!(status.admission, LaneAdmission::Unknown);
}

#[test]
fn fresh_leader_leaves_the_status_of_a_lane_alone() {
    let mut fresh = observed();
    fresh.agent.facts.as_mut().unwrap().presence =
        Presence::Unheard { until: fresh.now + SignedDuration::from_secs(5) };
    assert!(reconciled(&fresh).1.status.is_none());
}

#[test]
fn contradictions_are_stalled_and_not_sent() {
    let mut shared = observed();
    shared.shared = vec!["plc-1".into()];
    assert!(decide(&shared).placement.want.is_none());
    is(&status(&shared), ConditionType::Stalled, "True", Reason::SlotConflict);

    let mut homeless = observed();
    homeless.crossing = None;
    assert!(decide(&homeless).placement.want.is_none());
    is(&status(&homeless), ConditionType::Stalled, "True", Reason::MissingReference);

    let mut misfit = observed();
    let barrier =
        object("DeviceModel", "m", json!({"class": "Barrier", "protocol": {"name": "ModbusTcp"}}), Value::Null);
    misfit.controller.as_mut().unwrap().model = Some(barrier);
    assert!(decide(&misfit).placement.want.is_none());
    is(&status(&misfit), ConditionType::Stalled, "True", Reason::InvalidSpec);
}

#[test]
fn planned_lane_is_ready_closed_and_silent() {
    let mut planned = observed();
    planned.life = LifecycleStage::Planned;
    planned.agent.holding = Holding::NotHeld;
    let (decision, result) = reconciled(&planned);
    assert!(decision.placement.want.is_none() && decision.placement.remove.is_empty());
    is(&result.status.unwrap(), ConditionType::Ready, "True", Reason::Planned);
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
    observed
}

/// The agent confirms the order and reports this.
fn reporting(mut observed: Observed, admission: LaneAdmission) -> Observed {
    observed.agent.report = Some(Arc::new(report(&order(&observed), admission)));
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
    observed
}

fn told(observed: &Observed) -> LaneOrder {
    serde_json::from_value(order(observed).spec.clone()).unwrap()
}

/// Names of the claims that are created, and of those that are deleted.
fn changes(observed: &Observed) -> (Vec<String>, Vec<String>) {
    let changes = decide(observed).claims;
    let deleted = changes.delete.iter().filter_map(|drain| drain.metadata.name.clone()).collect();
    (changes.create.into_iter().map(|claim| claim.name).collect(), deleted)
}

fn nothing() -> (Vec<String>, Vec<String>) {
    (vec![], vec![])
}
