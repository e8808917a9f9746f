//! What is decided about a Crossing, in worlds made by hand.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::Lane;
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::crossing::CrossingStatus;
use serde_json::{Value, json};

use super::{Life, Seen, plan};

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> Arc<K> {
    let mut value = json!({"apiVersion": "kalong.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "mong-cai", "generation": 1}, "spec": spec});
    if !status.is_null() {
        value["status"] = status;
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

fn lane(name: &str, admission: &str, available: &str) -> Arc<Lane> {
    let condition = |kind: &str, word: &str| json!({"type": kind, "status": word, "reason": "InForce", "message": "", "lastTransitionTime": "2026-11-01T00:00:00Z"});
    object(
        "Lane",
        name,
        json!({"crossingRef": "x", "direction": "Inbound", "service": "Smart", "admission": "Open", "ratedPassagesPerHour": 60,
               "slots": [{"name": "plc", "role": "Controller", "deviceRef": "plc"}]}),
        json!({"observedGeneration": 1, "admission": admission, "conditions": [condition("Ready", "True"), condition("Available", available)]}),
    )
}

fn seen(lanes: Vec<(Arc<Lane>, Life)>) -> Seen {
    let crossing = object(
        "Crossing",
        "x",
        json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh",
               "capacityFloors": [{"service": "Smart", "direction": "Inbound", "minOpenLanes": 2, "minPassagesPerHour": 100}],
               "authority": {"document": "Decision 164", "validFrom": "2026-01-26", "validUntil": "2030-12-31"}}),
        Value::Null,
    );
    Seen { crossing, now: "2026-11-22T07:00:00Z".parse().unwrap(), live: true, lanes }
}

fn is(status: &CrossingStatus, kind: ConditionType, word: &str, reason: Reason) {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str());
    assert_eq!(
        found.map(|c| (c.status.as_str(), c.reason.as_str())),
        Some((word, reason.as_str())),
        "{:#?}",
        status.conditions
    );
}

#[test]
fn what_is_broken_or_unknown_is_not_counted_as_capacity() {
    let lanes = vec![
        (lane("a", "Open", "True"), Life::Live),
        (lane("b", "Open", "False"), Life::Live),
        (lane("c", "Unknown", "Unknown"), Life::Live),
        (lane("d", "Closed", "False"), Life::Live),
        (lane("e", "Closed", "False"), Life::Planned),
    ];
    let status = plan(&seen(lanes));
    let count = &status.lanes[0];
    assert_eq!((count.declared, count.open, count.failed, count.closed, count.planned), (5, 1, 2, 1, 1));
    assert_eq!((status.open_lanes, count.open_passages_per_hour), (1, 60));
    is(&status, ConditionType::FloorsMet, "False", Reason::FloorBroken);
    is(&status, ConditionType::Available, "True", Reason::Serving);
}

#[test]
fn floor_holds_at_its_bound() {
    let status = plan(&seen(vec![(lane("a", "Open", "True"), Life::Live), (lane("b", "Open", "True"), Life::Live)]));
    is(&status, ConditionType::FloorsMet, "True", Reason::FloorsHold);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
}

#[test]
fn authority_ends_with_its_last_day_in_the_crossings_zone() {
    let at = |time: &str| {
        let mut seen = seen(vec![]);
        seen.now = time.parse::<Timestamp>().unwrap();
        plan(&seen)
    };
    // 16:59 UTC is still the 31st in Hanoi; 17:00 UTC is the first of January there.
    is(&at("2030-12-31T16:59:59Z"), ConditionType::Authorised, "True", Reason::AuthorityValid);
    is(&at("2030-12-31T17:00:00Z"), ConditionType::Authorised, "False", Reason::AuthorityExpired);
}

#[test]
fn unknown_time_zone_is_stalled() {
    let mut seen = seen(vec![]);
    let mut crossing = seen.crossing.as_ref().clone();
    crossing.spec.time_zone = "Asia/Mong_Cai".into();
    seen.crossing = Arc::new(crossing);
    is(&plan(&seen), ConditionType::Stalled, "True", Reason::InvalidSpec);
}
