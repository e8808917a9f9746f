//! The count of a whole site, and that a claim is decided by its own contention as by everything that there is.

use std::collections::BTreeSet;
use std::sync::Arc;

use kalong_crds::{Crossing, InspectionStation, Lane, LaneDrain, Phase};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::SiteObject;
use crate::capacity::{
    Claim, Contention, Group, LaneEvidence, LaneReading, StatusEvidence, count, decide, floors_broken, groups_of,
    lane_counts,
};
use crate::claim::{has_ended, is_accepted};
use crate::snapshot::SiteSnapshot;

fn object<K: DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> Arc<K> {
    let mut value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "mong-cai", "uid": name, "creationTimestamp": "2026-11-01T00:00:00Z"},
    });
    if !status.is_null() {
        value["status"] = status;
    }
    Arc::new(serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}")))
}

fn lane(name: &str, crossing: &str, service: &str, admission: &str) -> Arc<Lane> {
    let serves = if admission == "Open" { "True" } else { "False" };
    let available = json!({"type": "Available", "status": serves, "reason": "Open", "message": "",
                           "lastTransitionTime": "2026-11-01T00:00:00Z"});
    object(
        "Lane",
        name,
        json!({"crossingRef": crossing, "direction": "Inbound", "service": service, "admission": "Open",
               "ratedPassagesPerHour": 60, "slots": []}),
        json!({"observedGeneration": 1, "admission": admission, "conditions": [available]}),
    )
}

fn crossing(name: &str, floor: usize, phase: Option<&str>) -> Arc<Crossing> {
    let floor = json!({"service": "Smart", "direction": "Inbound", "minOpenLanes": floor, "minPassagesPerHour": 0});
    let spec = json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh", "capacityFloors": [floor], "phase": phase});
    object("Crossing", name, spec, Value::Null)
}

/// A claim that is accepted for these lanes, or waits.
fn claim(name: &str, target: (&str, &str), class: &str, priority: usize, accepted: Option<Vec<String>>) -> LaneDrain {
    let spec = json!({"target": {"kind": target.0, "name": target.1}, "class": class, "priority": priority,
                      "requester": "duty-officer", "reason": "A test.", "deadline": "2027-01-01T00:00:00Z"});
    let status = accepted.map_or(Value::Null, |lanes| {
        let responders: Vec<Value> = lanes.iter().map(|lane| json!({"name": lane, "state": "Open"})).collect();
        json!({"observedGeneration": 1, "acceptedAt": "2026-11-01T00:00:00Z", "responders": responders})
    });
    object::<LaneDrain>("LaneDrain", name, spec, status).as_ref().clone()
}

#[test]
fn claim_holds_the_lanes_of_its_target_that_it_was_accepted_for() {
    let mut site = SiteSnapshot::default();
    site.upsert(crossing("x", 2, None));
    for name in ["a", "b", "c"] {
        site.upsert(lane(name, "x", "Smart", "Open"));
    }
    let counted = |site: &SiteSnapshot| {
        let snapshot = count(site, &Group::of_crossing(site, "x"), &StatusEvidence);
        (lane_counts(&snapshot)[0].open, floors_broken(&snapshot, &BTreeSet::new()).len())
    };
    assert_eq!(counted(&site), (3, 0));
    let accepted = |lanes: &[&str]| Some(lanes.iter().map(|lane| (*lane).to_owned()).collect());
    site.upsert(Arc::new(claim("d", ("Crossing", "x"), "Change", 100, accepted(&["a", "b", "elsewhere"]))));
    assert_eq!(counted(&site), (1, 1));
    site.upsert(Arc::new(claim("d", ("Crossing", "x"), "Change", 100, None)));
    assert_eq!(counted(&site), (3, 0), "it waits and holds nothing");
}

#[test]
fn floors_of_a_crossing_that_is_not_in_service_guard_nothing() {
    let mut site = SiteSnapshot::default();
    let floors = |site: &SiteSnapshot| count(site, &Group::of_crossing(site, "x"), &StatusEvidence).floors.len();
    site.upsert(crossing("x", 2, Some("phase-2")));
    assert_eq!(floors(&site), 1, "a phase that does not exist takes no floor away");
    let status = json!({"observedGeneration": 1, "state": "Commissioning"});
    site.upsert(object::<Phase>("Phase", "phase-2", json!({"crossings": ["x"]}), status));
    assert_eq!(floors(&site), 0);
}

/// Statuses, and every claim that is not accepted waits.
struct Waiting;

impl LaneEvidence for Waiting {
    fn lane(&self, lane: &Lane) -> LaneReading {
        StatusEvidence.lane(lane)
    }

    fn held(&self, site: &SiteSnapshot, claim: &LaneDrain) -> BTreeSet<String> {
        StatusEvidence.held(site, claim)
    }

    fn waits(&self, claim: &LaneDrain, _: &BTreeSet<String>) -> bool {
        !is_accepted(claim)
    }
}

type Dice = [usize; 4];

fn sites() -> impl Strategy<Value = SiteSnapshot> {
    let dice = || prop::collection::vec(prop::array::uniform4(0..4_usize), 0..7);
    (dice(), dice(), 0..3_usize).prop_map(|(lanes, claims, floor)| {
        let mut site = SiteSnapshot::default();
        site.upsert(crossing("x-0", floor, None));
        site.upsert(crossing("x-1", 1, None));
        for (number, [a, b, c, _]) in lanes.iter().enumerate() {
            let (service, admission) = (["Smart", "Traditional"][b % 2], ["Open", "Open", "Closed", "Unknown"][*c]);
            site.upsert(lane(&format!("l-{number}"), &format!("x-{}", a % 2), service, admission));
        }
        let served: Vec<Value> = (0..lanes.len().min(3)).map(|n| json!({"name": format!("l-{n}")})).collect();
        let station = json!({"crossingRef": "x-0", "type": "Weighing", "capacityPerHour": 20, "slots": [],
                             "servesLanes": served});
        site.upsert(object::<InspectionStation>("InspectionStation", "stn", station, Value::Null));
        for (number, dice) in claims.iter().enumerate() {
            site.upsert(Arc::new(sketched(&site, number, *dice)));
        }
        site
    })
}

fn sketched(site: &SiteSnapshot, number: usize, [a, b, c, d]: Dice) -> LaneDrain {
    let name = format!("d-{number}");
    let target = match a {
        0 | 1 => ("Lane", format!("l-{b}")),
        2 => ("Crossing", format!("x-{}", b % 2)),
        _ => ("InspectionStation", "stn".to_owned()),
    };
    let class = if c == 3 { "Emergency" } else { "Change" };
    let waiting = claim(&name, (target.0, &target.1), class, d, None);
    if d != 0 {
        return waiting;
    }
    let lanes = site.lanes_under(&waiting.spec.target).into_iter().map(|lane| lane.name().to_owned()).collect();
    claim(&name, (target.0, &target.1), class, d, Some(lanes))
}

proptest! {
    #[test]
    fn claim_is_decided_by_its_contention_as_by_the_whole_site(site in sites()) {
        let everything: BTreeSet<Group> = site.lanes.iter().map(|lane| Group::of(lane)).collect();
        let whole = count(&site, &everything, &Waiting);
        for drain in site.drains.iter().filter(|drain| !has_ended(drain) && !is_accepted(drain)) {
            let own = groups_of(&site, &drain.spec.target);
            let contention = Contention::around(&site, own, |claim| !is_accepted(claim));
            let part = count(&site, &contention.groups, &Waiting);
            let lanes = site.lanes_under(&drain.spec.target).into_iter().map(|lane| lane.name().to_owned()).collect();
            let claim = Claim::new(drain, lanes);
            prop_assert_eq!(decide(&part, &claim), decide(&whole, &claim), "{}", claim.name);
        }
    }
}
