//! What is decided about a Device, in worlds made by hand.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::device::{DeviceStatus, FirmwareStatus, Health, HealthState, Step};
use kalong_crds::units::{AgentId, Digest};
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::reported::{DeviceReport, ItemState, ReportBody, ReportedItem};
use kalong_crds::{Device, DeviceModel, FINALIZER, FirmwareRelease, Lane};
use kalong_rules::lifecycle::LifecycleStage;
use serde_json::{Value, json};

use super::credential::Credential;
use super::decide::{Decision, decide};
use super::observe::{ExistingClaim, Observed};
use super::permit::{PermitState, permit as permit_state};
use crate::kit::agent_object::AgentView;
use crate::kit::debounce::Unconfirmed;
use crate::kit::link::{Holding, Presence};
use crate::kit::reconciler::ReconcileResult;

mod disabling;
mod moving;
mod permit;
mod phase;

fn now() -> Timestamp {
    "2026-11-22T07:00:00Z".parse().unwrap()
}

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> Arc<K> {
    let mut value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "mong-cai", "uid": format!("uid-{name}"), "generation": 3, "finalizers": [FINALIZER]},
        "spec": spec,
    });
    if !status.is_null() {
        value["status"] = status;
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

fn ready(generation: i64) -> Value {
    let at = "2026-11-01T00:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "InForce", "message": "", "lastTransitionTime": at, "observedGeneration": generation});
    json!({"observedGeneration": generation, "conditions": [condition("Ready"), condition("Connected"), condition("Available")]})
}

fn model() -> Arc<DeviceModel> {
    object(
        "DeviceModel",
        "plate-camera",
        json!({
            "class": "AnprCamera", "protocol": {"name": "GenericHttp"},
            "properties": [{"name": "exposure", "type": "Integer", "access": "ReadWrite", "min": 1, "max": 100}],
            "healthCodes": [{"name": "LensDirty", "severity": "Degraded"}, {"name": "Dead", "severity": "Faulty"}],
            "update": {"slots": "Dual", "rollback": "Supported", "soakSeconds": 5},
        }),
        Value::Null,
    )
}

fn release() -> Arc<FirmwareRelease> {
    let digest = Digest::of(b"v2");
    let spec = json!({"models": ["plate-camera"], "version": "2.0.0", "securityCounter": 2,
        "artifact": {"url": "https://artifacts.example/v2", "digest": digest.as_str(), "size": 2}});
    object("FirmwareRelease", "v2", spec, ready(3))
}

/// A live device whose agent is there and has not reported on it.
fn observed() -> Observed {
    let device: Arc<Device> = object(
        "Device",
        "cam-1",
        json!({"modelRef": "plate-camera", "agentRef": "lane-1", "connection": {"endpoint": "127.0.0.1:8080"},
               "config": {"exposure": 20}, "firmware": {"release": "v2"}}),
        ready(3),
    );
    Observed {
        device,
        now: now(),
        life: LifecycleStage::InService,
        lane_life: None,
        previous_agents: vec![],
        own_claims: vec![],
        blocking_device: None,
        held_permit: None,
        lane_permit_taken: false,
        model: Some(model()),
        agent: AgentView { holding: Holding::NotHeld, ..AgentView::live("mong-cai", "lane-1") },
        lanes: vec![],
        release: Some(release()),
        credential: Credential::NotNamed,
    }
}

fn firmware(step: Step, running: &str) -> FirmwareStatus {
    FirmwareStatus {
        running: running.into(),
        step,
        attempt: 1,
        since: Some(now().to_string()),
        ..FirmwareStatus::default()
    }
}

/// The agent reports this firmware, and exactly the order that follows from it.
fn reporting(mut observed: Observed, firmware: FirmwareStatus) -> Observed {
    observed.agent.holding = Holding::Held;
    observed.agent.report = Some(Arc::new(ReportedItem {
        uid: observed.device.metadata.uid.clone().unwrap(),
        kind: ItemKind::Device,
        generation: 3,
        hash: Digest::of(b"older order"),
        applied: 3,
        state: ItemState::Applied,
        reason: String::new(),
        message: String::new(),
        body: Some(ReportBody::Device(DeviceReport {
            connected: true,
            health: Some(Health::default()),
            firmware: Some(firmware),
            running_digest: None,
            calibrated_until: None,
            guards: Vec::new(),
        })),
    }));
    confirming(observed)
}

/// The permit is taken, and the agent reports the order that is decided now.
fn confirming(mut observed: Observed) -> Observed {
    let decision = decide(&observed);
    let hash = decision.placement.order().expect("an order").hash.clone();
    if let PermitState::Granted { permit, .. } = decision.permit {
        observed.held_permit = Some(permit);
    }
    with(observed, |report| report.hash = hash)
}

fn facts_of(report: &mut ReportedItem) -> &mut DeviceReport {
    match &mut report.body {
        Some(ReportBody::Device(device)) => device,
        other => panic!("{other:?}"),
    }
}

fn with(mut observed: Observed, change: impl FnOnce(&mut ReportedItem)) -> Observed {
    let mut report = observed.agent.report.as_deref().unwrap().clone();
    change(&mut report);
    observed.agent.report = Some(Arc::new(report));
    observed
}

/// The agent has not confirmed the order that is decided now for so long that the status says so.
fn late(mut observed: Observed) -> Observed {
    let order = decide(&observed).placement.order().expect("an order").clone();
    observed.agent.has_waited_for(&order);
    observed
}

/// What is decided, and what the reconcile leaves behind.
fn reconciled(observed: &Observed) -> (Decision, ReconcileResult<DeviceStatus>) {
    let decision = decide(observed);
    let result = super::status::status(observed, &decision);
    (decision, result)
}

fn status(observed: &Observed) -> DeviceStatus {
    reconciled(observed).1.status.expect("a status is written")
}

fn condition(status: &DeviceStatus, kind: ConditionType) -> (String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str());
    found.map_or_else(|| ("absent".into(), String::new()), |c| (c.status.clone(), c.reason.clone()))
}

fn is(status: &DeviceStatus, kind: ConditionType, word: &str, reason: Reason) {
    assert_eq!(
        condition(status, kind),
        (word.to_owned(), reason.as_str().to_owned()),
        "{kind}: {:#?}",
        status.conditions
    );
}

#[test]
fn device_that_runs_what_is_declared_is_ready_and_available() {
    let status = status(&reporting(observed(), firmware(Step::Idle, "2.0.0")));
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::Available, "True", Reason::Serving);
    is(&status, ConditionType::FirmwareUpToDate, "True", Reason::UpToDate);
    is(&status, ConditionType::ConfigApplied, "True", Reason::ConfigInForce);
    assert_eq!((status.applied, status.observed_generation), (3, 3));
    assert_eq!(condition(&status, ConditionType::Stalled).0, "absent");
}

#[test]
fn planned_device_is_ready_and_gets_no_order() {
    let mut observed = observed();
    observed.life = LifecycleStage::Planned;
    let (decision, result) = reconciled(&observed);
    assert!(decision.placement.want.is_none() && decision.placement.remove.is_empty());
    let status = result.status.unwrap();
    is(&status, ConditionType::Ready, "True", Reason::Planned);
    is(&status, ConditionType::Available, "False", Reason::Planned);
}

#[test]
fn device_that_is_no_longer_live_is_taken_from_its_agent() {
    let mut observed = reporting(observed(), firmware(Step::Idle, "2.0.0"));
    observed.life = LifecycleStage::Planned;
    assert_eq!(decide(&observed).placement.remove, vec![AgentId::new("mong-cai", "lane-1").unwrap()]);
}

#[test]
fn device_that_moved_is_taken_from_the_old_agent() {
    let mut observed = observed();
    let old = AgentId::new("mong-cai", "lane-9").unwrap();
    observed.agent.wrong_holders = vec![old.clone()];
    assert_eq!(decide(&observed).placement.remove, vec![old]);
}

#[test]
fn first_comes_the_finalizer_then_the_order() {
    let mut observed = observed();
    let mut device = observed.device.as_ref().clone();
    device.metadata.finalizers = None;
    observed.device = Arc::new(device);
    let decision = decide(&observed);
    assert_eq!(decision.placement.finalizers, Some(vec![FINALIZER.to_owned()]));
    assert!(decision.placement.want.is_none());
}

#[test]
fn silent_agent_turns_facts_unknown_and_says_on_whom_it_waits() {
    let mut observed = reporting(observed(), firmware(Step::Idle, "2.0.0"));
    observed.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    let status = status(&observed);
    for kind in
        [ConditionType::Ready, ConditionType::Available, ConditionType::Connected, ConditionType::FirmwareUpToDate]
    {
        is(&status, kind, "Unknown", Reason::AgentUnreachable);
    }
    assert_eq!(status.health, None);
    assert_eq!(status.blocked_by[0].code, BlockCode::AgentUnreachable);
}

#[test]
fn fresh_leader_writes_nothing_until_the_agent_is_heard_or_its_grace_is_over() {
    let mut observed = observed();
    observed.agent.facts.as_mut().unwrap().presence = Presence::Unheard { until: now() + SignedDuration::from_secs(9) };
    let (_, result) = reconciled(&observed);
    assert!(result.status.is_none());
    assert!(result.again.is_some_and(|again| again > Duration::from_secs(8) && again < Duration::from_secs(10)));
}

#[test]
fn prompt_confirmation_costs_one_write() {
    let mut observed = reporting(observed(), firmware(Step::Idle, "2.0.0"));
    observed = with(observed, |report| report.hash = Digest::of(b"older order"));
    let sent = |age| {
        let order = decide(&observed).placement.order().unwrap().hash.clone();
        Some(Unconfirmed { order, waited: Duration::from_secs(age) })
    };
    let (young, old) = (sent(1), sent(3));
    let (_, first) = reconciled(&observed);
    assert_eq!((first.status, first.again), (None, Some(Duration::from_secs(2))), "it is only being sent");
    observed.agent.unconfirmed = young;
    let (_, waiting) = reconciled(&observed);
    assert_eq!((waiting.status, waiting.again), (None, Some(Duration::from_secs(1))));
    observed.agent.unconfirmed = old;
    is(&status(&observed), ConditionType::Ready, "False", Reason::Applying);
}

#[test]
fn invalid_setting_is_stalled_at_once_and_never_sent() {
    let mut observed = observed();
    let mut device = observed.device.as_ref().clone();
    device.spec.config.insert("exposure".into(), 500.into());
    observed.device = Arc::new(device);
    let (decision, result) = reconciled(&observed);
    assert!(decision.placement.want.is_none());
    is(&result.status.unwrap(), ConditionType::Stalled, "True", Reason::InvalidConfig);
}

#[test]
fn credential_that_cannot_be_used_is_looked_for_again_soon() {
    let mut observed = reporting(observed(), firmware(Step::Idle, "2.0.0"));
    assert_eq!(reconciled(&observed).1.again, None);
    observed.credential = Credential::Unusable("Secret login does not exist.".to_owned());
    let (_, result) = reconciled(&observed);
    is(&result.status.unwrap(), ConditionType::Stalled, "True", Reason::MissingReference);
    assert!(result.again.unwrap() < Duration::from_secs(60), "nobody tells when the Secret appears");
}

#[test]
fn refused_release_stalls_the_device_and_leaves_its_firmware_alone() {
    let mut observed = observed();
    let mut refused = release().as_ref().clone();
    let conditions = json!([
        {"type": "Ready", "status": "False", "reason": "SignatureInvalid", "message": "no", "lastTransitionTime": "2026-11-01T00:00:00Z"},
        {"type": "Stalled", "status": "True", "reason": "SignatureInvalid", "message": "no", "lastTransitionTime": "2026-11-01T00:00:00Z"}]);
    refused.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
    observed.release = Some(Arc::new(refused));
    let observed = reporting(observed, firmware(Step::Idle, "1.0.0"));
    let (decision, result) = reconciled(&observed);
    let order: kalong_crds::wire::order::DeviceOrder =
        serde_json::from_value(decision.placement.want.unwrap().1.spec).unwrap();
    assert_eq!(order.firmware, None);
    let status = result.status.unwrap();
    is(&status, ConditionType::Stalled, "True", Reason::SignatureInvalid);
    is(&status, ConditionType::Available, "True", Reason::Serving);
}

#[test]
fn device_in_two_lanes_is_a_contradiction() {
    let lane = |name: &str| {
        object(
            "Lane",
            name,
            json!({"crossingRef": "x", "direction": "Inbound", "service": "Smart", "ratedPassagesPerHour": 60,
                   "slots": [{"name": "a", "role": "PlateReader", "deviceRef": "cam-1"}]}),
            Value::Null,
        )
    };
    let mut observed = observed();
    observed.lanes = vec![lane("l1"), lane("l2")];
    let (decision, result) = reconciled(&observed);
    assert!(decision.placement.want.is_none());
    is(&result.status.unwrap(), ConditionType::Stalled, "True", Reason::SlotConflict);
}

#[test]
fn failed_attempt_is_stalled_while_the_device_serves() {
    let observed = reporting(
        observed(),
        FirmwareStatus { last_error: Some("self-test failed".into()), ..firmware(Step::Failed, "1.0.0") },
    );
    let observed = with(observed, |report| report.reason = "ProbeFailed".into());
    let status = status(&observed);
    is(&status, ConditionType::Stalled, "True", Reason::ProbeFailed);
    is(&status, ConditionType::Available, "True", Reason::Serving);
    is(&status, ConditionType::FirmwareUpToDate, "False", Reason::ProbeFailed);
}

#[test]
fn failed_download_is_tried_again_and_not_stalled() {
    let observed =
        with(reporting(observed(), firmware(Step::Failed, "1.0.0")), |report| report.reason = "FetchFailed".into());
    is(&status(&observed), ConditionType::Reconciling, "True", Reason::FetchFailed);
}

#[test]
fn quarantined_device_is_out_of_service_and_needs_a_person() {
    let status = status(&reporting(observed(), firmware(Step::Quarantined, "")));
    is(&status, ConditionType::FirmwareUpToDate, "Unknown", Reason::Quarantined);
    is(&status, ConditionType::Available, "False", Reason::Quarantined);
    is(&status, ConditionType::Stalled, "True", Reason::Quarantined);
    assert!(status.blocked_by.iter().any(|b| b.code == BlockCode::Quarantine));
}

#[test]
fn step_that_passes_by_is_not_written_and_one_that_lasts_is() {
    let mut observed = reporting(observed(), firmware(Step::Installing, "1.0.0"));
    let mut device = observed.device.as_ref().clone();
    device.status.as_mut().unwrap().firmware = Some(firmware(Step::Verifying, "1.0.0"));
    observed.device = Arc::new(device);
    let (_, result) = reconciled(&observed);
    assert_eq!(result.status.unwrap().firmware.unwrap().step, Step::Verifying);
    assert!(result.again.is_some_and(|again| again > Duration::from_secs(9)));
    observed.now = now() + SignedDuration::from_secs(11);
    assert_eq!(status(&observed).firmware.unwrap().step, Step::Installing);
}

#[test]
fn faulty_device_stays_ready_and_cannot_serve() {
    let observed = with(reporting(observed(), firmware(Step::Idle, "2.0.0")), |report| {
        let health = Health { state: HealthState::Faulty, codes: vec!["Dead".into()] };
        facts_of(report).health = Some(health);
    });
    let status = status(&observed);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::Available, "False", Reason::DeviceFaulty);
}

#[test]
fn deleted_device_is_kept_until_its_agent_let_go() {
    let mut observed = reporting(observed(), firmware(Step::Idle, "2.0.0"));
    let mut device = observed.device.as_ref().clone();
    device.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    observed.device = Arc::new(device);
    let (decision, result) = reconciled(&observed);
    assert!(decision.placement.finalizers.is_none() && decision.placement.want.is_none());
    assert_eq!(decision.placement.remove.len(), 1);
    assert_eq!(result.status.unwrap().blocked_by[0].code, BlockCode::AgentConfirmation);
    observed.agent.holding = Holding::NotHeld;
    assert_eq!(decide(&observed).placement.finalizers, Some(vec![]));
}

#[test]
fn device_of_an_abandoned_agent_is_released() {
    let mut observed = reporting(observed(), firmware(Step::Idle, "2.0.0"));
    let mut device = observed.device.as_ref().clone();
    device.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    observed.device = Arc::new(device);
    let mut agent = observed.agent.object.as_deref().unwrap().clone();
    agent.metadata.annotations = Some([(kalong_crds::ABANDON.to_owned(), "a, 2026-11-22, burnt".to_owned())].into());
    observed.agent.object = Some(Arc::new(agent));
    observed.agent.holding = Holding::Unknown;
    assert_eq!(decide(&observed).placement.finalizers, Some(vec![]));
}

#[test]
fn permit_travels_with_the_order_and_alters_it() {
    let plain = decide(&observed()).placement.order().unwrap().clone();
    let permitted =
        decide(&reporting(observed(), firmware(Step::AwaitingDrain, "1.0.0"))).placement.order().unwrap().clone();
    assert_ne!(plain.hash, permitted.hash);
    let order: kalong_crds::wire::order::DeviceOrder = serde_json::from_value(permitted.spec).unwrap();
    assert_eq!(order.firmware.unwrap().permit.map(|permit| permit.attempt), Some(1));
}

/// A lane in service whose plate reader is this device.
fn lane(need: &str) -> Arc<Lane> {
    object(
        "Lane",
        "l1",
        json!({"crossingRef": "bac-luan-2", "direction": "Inbound", "service": "Smart", "admission": "Open", "ratedPassagesPerHour": 60,
               "slots": [{"name": "reader", "role": "PlateReader", "need": need, "deviceRef": "cam-1"}]}),
        json!({"observedGeneration": 3, "conditions": [], "admission": "Open"}),
    )
}

fn in_lane(mut observed: Observed) -> Observed {
    observed.lanes = vec![lane("Required")];
    observed.lane_life = Some(LifecycleStage::InService);
    observed
}

/// A claim of the operator for this device, with this status.
fn made(name: &str, status: Value, until: Option<Timestamp>) -> ExistingClaim {
    let value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": "LaneDrain",
        "metadata": {"name": name, "namespace": "mong-cai", "uid": format!("uid-{name}"), "labels": {"kalong.dev/made-by": "operator"}},
        "spec": {"target": {"kind": "Lane", "name": "l1"}, "requester": "Device/cam-1", "reason": "A change.", "priority": 100},
        "status": status,
    });
    ExistingClaim { drain: Arc::new(serde_json::from_value(value).unwrap()), until }
}

fn waiting(name: &str, code: &str, subject: &str, message: &str) -> ExistingClaim {
    let block = json!({"code": code, "subject": subject, "since": "2026-11-22T06:59:00Z", "message": message});
    made(name, json!({"observedGeneration": 1, "blockedBy": [block]}), None)
}

fn drained(name: &str) -> ExistingClaim {
    let condition = json!({"type": "Drained", "status": "True", "reason": "Drained", "message": "", "lastTransitionTime": "2026-11-22T06:59:30Z"});
    let status = json!({"observedGeneration": 1, "acceptedAt": "2026-11-22T06:59:00Z", "conditions": [condition]});
    made(name, status, Some(end()))
}

/// When the claims of these tests let go of the lane.
fn end() -> Timestamp {
    "2026-11-22T08:00:00Z".parse().unwrap()
}
