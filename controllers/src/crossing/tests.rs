//! What is decided about a Crossing, in worlds made by hand.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::crossing::CrossingStatus;
use kalong_crds::{BilateralLink, Crossing, InspectionStation, Lane, LaneDrain, Phase};
use kalong_rules::SiteSnapshot;
use kalong_rules::capacity::{CapacitySnapshot, Group, StatusEvidence, count};
use kalong_rules::lifecycle::LifecycleStage;
use serde_json::{Value, json};

use super::decide::decide;
use super::observe::Observed;

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> Arc<K> {
    let mut value = json!({"apiVersion": "kalong.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "mong-cai", "generation": 1}, "spec": spec});
    if !status.is_null() {
        value["status"] = status;
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

fn condition(kind: &str, word: &str, reason: &str) -> Value {
    json!({"type": kind, "status": word, "reason": reason, "message": "", "lastTransitionTime": "2026-11-01T00:00:00Z"})
}

/// Declared as first said, reported as then said.
fn lane(name: &str, declared: &str, admission: &str, available: &str) -> Arc<Lane> {
    object(
        "Lane",
        name,
        json!({"crossingRef": "x", "direction": "Inbound", "service": "Smart", "admission": declared, "ratedPassagesPerHour": 60,
               "slots": [{"name": "plc", "role": "Controller", "deviceRef": "plc"}]}),
        json!({"observedGeneration": 1, "admission": admission,
               "conditions": [condition("Ready", "True", "InForce"), condition("Available", available, "Open")]}),
    )
}

/// A lane, its stage, and the names of the claims that hold it.
struct CountedLane {
    lane: Arc<Lane>,
    life: LifecycleStage,
    held_by: Vec<String>,
}

fn in_service(lane: Arc<Lane>) -> CountedLane {
    CountedLane { lane, life: LifecycleStage::InService, held_by: Vec::new() }
}

fn open(name: &str) -> CountedLane {
    in_service(lane(name, "Open", "Open", "True"))
}

/// The count that [`observe`](super::observe::observe) makes of a site with these lanes.
fn capacity(crossing: &Arc<Crossing>, lanes: &[CountedLane]) -> CapacitySnapshot {
    let mut site = SiteSnapshot::default();
    site.upsert(crossing.clone());
    for state in ["Planned", "Commissioning"] {
        let status = json!({"observedGeneration": 1, "state": state});
        site.upsert(object::<Phase>("Phase", &state.to_lowercase(), json!({"crossings": ["x"]}), status));
    }
    for CountedLane { lane, life, held_by } in lanes {
        let mut lane = lane.as_ref().clone();
        lane.spec.phase = match life {
            LifecycleStage::InService => None,
            stage => Some(format!("{stage:?}").to_lowercase().into()),
        };
        for claim in held_by {
            let name = lane.metadata.name.clone().unwrap();
            let spec =
                json!({"target": {"kind": "Lane", "name": name}, "requester": "duty-officer", "reason": "A test."});
            let status = json!({"observedGeneration": 1, "acceptedAt": "2026-11-22T06:00:00Z",
                                "responders": [{"name": name, "state": "Open"}]});
            site.upsert(object::<LaneDrain>("LaneDrain", claim, spec, status));
        }
        site.upsert(Arc::new(lane));
    }
    count(&site, &Group::of_crossing(&site, "x"), &StatusEvidence)
}

fn observed(lanes: Vec<CountedLane>) -> Observed {
    let crossing: Arc<Crossing> = object(
        "Crossing",
        "x",
        json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh", "linkRef": "dongxing",
               "capacityFloors": [{"service": "Smart", "direction": "Inbound", "minOpenLanes": 2, "minPassagesPerHour": 100}],
               "authority": {"document": "Decision 164", "validFrom": "2026-01-26", "validUntil": "2030-12-31"}}),
        Value::Null,
    );
    Observed {
        capacity: capacity(&crossing, &lanes),
        crossing,
        now: "2026-11-22T07:00:00Z".parse().unwrap(),
        life: LifecycleStage::InService,
        lanes: lanes.into_iter().map(|lane| (lane.lane, lane.life)).collect(),
        stations: Vec::new(),
        igvs_declared: 5,
        igvs_seen: 4,
        link: None,
    }
}

fn written(observed: &Observed) -> CrossingStatus {
    super::status(observed, &decide(observed)).status.unwrap()
}

fn is(status: &CrossingStatus, kind: ConditionType, word: &str, reason: Reason) -> String {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str());
    assert_eq!(
        found.map(|c| (c.status.as_str(), c.reason.as_str())),
        Some((word, reason.as_str())),
        "{:#?}",
        status.conditions
    );
    found.unwrap().message.clone()
}

#[test]
fn what_is_broken_or_unknown_is_not_counted_as_capacity() {
    let lanes = vec![
        open("a"),
        in_service(lane("b", "Open", "Open", "False")),
        in_service(lane("c", "Open", "Unknown", "Unknown")),
        in_service(lane("d", "Closed", "Closed", "False")),
        CountedLane { life: LifecycleStage::Planned, ..in_service(lane("e", "Open", "Closed", "False")) },
        in_service(lane("f", "Open", "Closed", "False")),
    ];
    let status = written(&observed(lanes));
    let count = &status.lanes[0];
    assert_eq!((count.declared, count.open, count.failed, count.closed, count.planned), (6, 1, 3, 1, 1));
    assert_eq!((status.open_lanes, count.open_passages_per_hour), (1, 60));
    is(&status, ConditionType::FloorsMet, "False", Reason::FloorBroken);
    is(&status, ConditionType::Available, "True", Reason::Serving);
    assert_eq!((status.igvs_declared, status.igvs_seen), (5, 4));
}

#[test]
fn lane_under_a_claim_is_draining_and_no_capacity() {
    let held = CountedLane { held_by: vec!["closing-b".to_owned()], ..open("b") };
    let closing = in_service(lane("c", "Closed", "Open", "True"));
    let drained = in_service(lane("d", "Open", "Drained", "False"));
    let status = written(&observed(vec![open("a"), held, closing, drained]));
    let count = &status.lanes[0];
    assert_eq!((count.open, count.draining, count.open_passages_per_hour), (1, 3, 60));
    let say = is(&status, ConditionType::FloorsMet, "False", Reason::FloorBroken);
    assert!(say.contains("1 of 2 lanes") && say.contains("b held by LaneDrain closing-b"), "{say}");
}

#[test]
fn lanes_of_a_commissioning_phase_are_planned_and_hold_nobody_up() {
    let commissioned = CountedLane { life: LifecycleStage::Commissioning, ..open("c") };
    let status = written(&observed(vec![open("a"), open("b"), commissioned]));
    assert_eq!((status.lanes[0].open, status.lanes[0].planned), (2, 1));
    is(&status, ConditionType::FloorsMet, "True", Reason::FloorsHold);
}

#[test]
fn crossing_in_commissioning_is_ready_and_not_available() {
    let mut observed = observed(vec![]);
    observed.life = LifecycleStage::Commissioning;
    let status = written(&observed);
    is(&status, ConditionType::Ready, "True", Reason::Commissioning);
    is(&status, ConditionType::Available, "False", Reason::Commissioning);
    is(&status, ConditionType::FloorsMet, "Unknown", Reason::Commissioning);
}

#[test]
fn crossing_of_a_phase_that_does_not_exist_is_stalled_and_keeps_its_floors() {
    let mut observed = observed(vec![open("a")]);
    observed.life = LifecycleStage::UnknownPhase;
    let status = written(&observed);
    is(&status, ConditionType::Stalled, "True", Reason::UnknownPhase);
    is(&status, ConditionType::FloorsMet, "False", Reason::FloorBroken);
}

#[test]
fn floor_holds_at_its_bound() {
    let status = written(&observed(vec![open("a"), open("b")]));
    is(&status, ConditionType::FloorsMet, "True", Reason::FloorsHold);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
}

fn station(ready: &str) -> Arc<InspectionStation> {
    object(
        "InspectionStation",
        "scanner",
        json!({"crossingRef": "x", "type": "Weighing", "capacityPerHour": 20, "slots": [{"name": "s", "deviceRef": "d"}]}),
        json!({"observedGeneration": 1, "conditions": [condition("Ready", ready, "DeviceNotReady")]}),
    )
}

#[test]
fn crossing_is_ready_when_its_live_lanes_and_stations_are() {
    let with = |ready: &str, life: LifecycleStage| {
        let mut observed = observed(vec![open("a"), open("b")]);
        observed.stations = vec![(station(ready), life)];
        written(&observed)
    };
    is(&with("True", LifecycleStage::InService), ConditionType::Ready, "True", Reason::InForce);
    let say = is(&with("False", LifecycleStage::InService), ConditionType::Ready, "False", Reason::StationNotReady);
    assert!(say.contains("scanner"), "{say}");
    is(&with("Unknown", LifecycleStage::InService), ConditionType::Ready, "Unknown", Reason::StationNotReady);
    is(&with("False", LifecycleStage::Planned), ConditionType::Ready, "True", Reason::InForce);
}

fn link(conditions: Value) -> Arc<BilateralLink> {
    object(
        "BilateralLink",
        "dongxing",
        json!({"crossingRef": "x", "agentRef": "g", "counterpart": {"country": "CN", "authority": "Customs", "crossing": "Beilun II"},
               "transport": {"profile": "FileDrop"}}),
        json!({"observedGeneration": 1, "conditions": conditions}),
    )
}

#[test]
fn counterpart_is_aligned_when_an_agreement_is_in_force_and_the_peer_answers_and_holds_nothing_up() {
    let with = |link: Option<Arc<BilateralLink>>| {
        let mut observed = observed(vec![open("a"), open("b")]);
        observed.link = link;
        let status = written(&observed);
        is(&status, ConditionType::Ready, "True", Reason::InForce);
        status
    };
    let kind = ConditionType::CounterpartAligned;
    is(&with(None), kind, "False", Reason::MissingReference);
    let dry = json!([condition("Ready", "True", "DryRun"), condition("AgreementInForce", "False", "NoAgreement")]);
    is(&with(Some(link(dry))), kind, "False", Reason::DryRun);
    let agreed = |peer: &str| {
        json!([
            condition("Ready", "True", "InForce"),
            condition("AgreementInForce", "True", "AgreementValid"),
            condition("PeerReachable", peer, "PeerAnswers")
        ])
    };
    is(&with(Some(link(agreed("False")))), kind, "False", Reason::PeerUnreachable);
    is(&with(Some(link(agreed("True")))), kind, "True", Reason::AgreementValid);
}

#[test]
fn authority_ends_with_its_last_day_in_the_crossings_zone() {
    let at = |time: &str| {
        let mut observed = observed(vec![]);
        observed.now = time.parse::<Timestamp>().unwrap();
        written(&observed)
    };
    // 16:59 UTC is still the 31st in Hanoi; 17:00 UTC is the first of January there.
    is(&at("2030-12-31T16:59:59Z"), ConditionType::Authorised, "True", Reason::AuthorityValid);
    is(&at("2030-12-31T17:00:00Z"), ConditionType::Authorised, "False", Reason::AuthorityExpired);
}

#[test]
fn unknown_time_zone_is_stalled() {
    let mut observed = observed(vec![]);
    let mut crossing = observed.crossing.as_ref().clone();
    crossing.spec.time_zone = "Asia/Mong_Cai".into();
    observed.crossing = Arc::new(crossing);
    is(&written(&observed), ConditionType::Stalled, "True", Reason::InvalidSpec);
}
