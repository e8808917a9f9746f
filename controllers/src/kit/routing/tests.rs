//! What one event wakes does not depend on how many other objects there are.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use kalong_rules::snapshot::Tabled;

use super::*;

fn object<K: DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> K {
    let mut value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "mong-cai", "uid": format!("uid-{name}"), "generation": 1},
    });
    if !status.is_null() {
        value["status"] = status;
    }
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn lane(name: &str, crossing: &str, service: &str) -> Lane {
    let slots = json!([{"name": "plc", "role": "Controller", "deviceRef": format!("plc-{name}")}]);
    let spec = json!({"crossingRef": crossing, "direction": "Inbound", "service": service, "admission": "Open",
                      "ratedPassagesPerHour": 60, "slots": slots});
    object("Lane", name, spec, Value::Null)
}

fn device(lane: &str, agent: &str) -> Device {
    let spec = json!({"modelRef": "plc", "agentRef": agent, "connection": {"endpoint": "10.0.0.1:502"}});
    object("Device", &format!("plc-{lane}"), spec, Value::Null)
}

#[derive(Clone, Copy)]
enum Progress {
    Waiting,
    Accepted,
    Released,
}

fn claim(name: &str, kind: &str, target: &str, progress: Progress) -> LaneDrain {
    let released = if matches!(progress, Progress::Released) { "True" } else { "False" };
    let at = "2026-11-01T00:00:00Z";
    let mut status = json!({"observedGeneration": 1, "conditions": [
        {"type": "Released", "status": released, "reason": "DrainHolds", "message": "", "lastTransitionTime": at}]});
    if matches!(progress, Progress::Accepted) {
        status["acceptedAt"] = json!(at);
        status["responders"] = json!([{"name": target, "state": "Open"}]);
    }
    let spec = json!({"target": {"kind": kind, "name": target}, "requester": "duty-officer", "reason": "A test."});
    object("LaneDrain", name, spec, status)
}

/// Crossing x with four lanes of two services, and claims on three of them. Beside it, in the same namespace, this many objects.
fn site(unrelated: usize) -> SiteSnapshot {
    let mut site = SiteSnapshot::default();
    let crossing = |name: &str| -> Crossing {
        object("Crossing", name, json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh"}), Value::Null)
    };
    let put_lane = |site: &mut SiteSnapshot, name: &str, crossing: &str, service: &str, agent: &str| {
        site.upsert(Arc::new(lane(name, crossing, service)));
        site.upsert(Arc::new(device(name, agent)));
        site.upsert(Arc::new(object::<EdgeAgent>("EdgeAgent", agent, json!({}), Value::Null)));
    };
    site.upsert(Arc::new(crossing("x")));
    for name in ["a", "b", "c"] {
        put_lane(&mut site, name, "x", "Smart", "box");
    }
    put_lane(&mut site, "manual", "x", "Traditional", "other-box");
    site.upsert(Arc::new(claim("holds-a", "Lane", "a", Progress::Accepted)));
    site.upsert(Arc::new(claim("wants-b", "Lane", "b", Progress::Waiting)));
    site.upsert(Arc::new(claim("had-a", "Lane", "a", Progress::Released)));
    site.upsert(Arc::new(claim("had-b", "Lane", "b", Progress::Released)));
    site.upsert(Arc::new(claim("wants-manual", "Lane", "manual", Progress::Waiting)));
    for number in 0..unrelated / 5 {
        let (far, name) = (format!("far-{}", number / 20), format!("far-lane-{number}"));
        site.upsert(Arc::new(crossing(&far)));
        put_lane(&mut site, &name, &far, "Smart", &format!("far-box-{number}"));
        let progress = [Progress::Waiting, Progress::Accepted, Progress::Released][number % 3];
        site.upsert(Arc::new(claim(&format!("far-claim-{number}"), "Lane", &name, progress)));
    }
    site
}

/// What was woken, as `Kind/name`, sorted.
fn woken(triggers: &Triggers) -> Vec<String> {
    let mut woken = Vec::new();
    macro_rules! woken {
        ($($kind:ident { $list:ident $($facts:tt)* })+) => {
            $(woken.extend(triggers.$list.take_names().into_iter().map(|name| format!("{}/{name}", stringify!($kind))));)+
        };
    }
    kalong_crds::for_each_kind!(woken);
    woken.sort();
    woken
}

/// What this event wakes, in a site with nothing else and in one with a thousand other objects.
fn event(happens: impl Fn(&mut SiteSnapshot, &Triggers)) -> Vec<String> {
    let [alone, crowded] = [0, 1_000].map(|unrelated| {
        let (mut site, triggers) = (site(unrelated), Triggers::default());
        happens(&mut site, &triggers);
        woken(&triggers)
    });
    assert_eq!(alone, crowded, "the other objects are woken too");
    alone
}

fn status_changed<K: Routed + Tabled>(name: &str) -> Vec<String> {
    event(|site, triggers| {
        let object = site.get::<K>(name).unwrap().clone();
        route(site, triggers, object.as_ref(), Change::Status);
    })
}

#[test]
fn lane_report_wakes_the_claims_on_the_lane_and_those_that_wait_in_its_group() {
    let reported = |lane: &'static str| event(move |site, to| route_report::<Lane>(site, to, "mong-cai", lane));
    assert_eq!(reported("a"), ["Lane/a", "LaneDrain/holds-a", "LaneDrain/wants-b"]);
    assert_eq!(reported("c"), ["Lane/c", "LaneDrain/wants-b"]);
    assert_eq!(reported("manual"), ["Lane/manual", "LaneDrain/wants-manual"]);
    assert_eq!(reported("gone"), ["Lane/gone"]);
}

#[test]
fn lane_status_wakes_its_crossing_and_devices_beside_the_claims() {
    let expected = ["Crossing/x", "Device/plc-c", "Lane/c", "LaneDrain/wants-b"];
    assert_eq!(status_changed::<Lane>("c"), expected);
}

#[test]
fn device_status_wakes_its_lane_alone() {
    assert_eq!(status_changed::<Device>("plc-a"), ["Device/plc-a", "Lane/a"]);
}

#[test]
fn agent_status_wakes_the_devices_on_it_alone() {
    let expected = ["Device/plc-a", "Device/plc-b", "Device/plc-c", "EdgeAgent/box"];
    assert_eq!(status_changed::<EdgeAgent>("box"), expected);
}

#[test]
fn crossing_status_wakes_no_claim() {
    assert_eq!(status_changed::<Crossing>("x"), ["Crossing/x"]);
}

#[test]
fn changed_floor_wakes_the_claims_that_wait_for_it() {
    let woken = event(|site, triggers| {
        let crossing = site.crossings.get("x").unwrap().clone();
        route(site, triggers, crossing.as_ref(), Change::Substance);
    });
    assert_eq!(woken, ["Crossing/x", "LaneDrain/wants-b", "LaneDrain/wants-manual"]);
}

#[test]
fn new_claim_wakes_its_lane_and_its_rivals() {
    let woken = event(|site, triggers| {
        let claim = Arc::new(claim("wants-c", "Lane", "c", Progress::Waiting));
        site.upsert(claim.clone());
        route(site, triggers, claim.as_ref(), Change::Substance);
    });
    assert_eq!(woken, ["Lane/c", "LaneDrain/wants-b", "LaneDrain/wants-c"]);
}

#[test]
fn claim_that_ends_wakes_those_that_wait_behind_it_and_no_ended_one() {
    let woken = event(|site, triggers| {
        let ended = site.remove::<LaneDrain>("holds-a").unwrap();
        route(site, triggers, ended.as_ref(), Change::Substance);
    });
    assert_eq!(woken, ["Lane/a", "LaneDrain/holds-a", "LaneDrain/wants-b"]);
}

#[test]
fn claim_on_a_crossing_ties_the_claims_of_its_groups_together() {
    let woken = event(|site, triggers| {
        site.upsert(Arc::new(claim("works", "Crossing", "x", Progress::Waiting)));
        route_report::<Lane>(site, triggers, "mong-cai", "c");
    });
    let expected = ["Lane/c", "LaneDrain/wants-b", "LaneDrain/wants-manual", "LaneDrain/works"];
    assert_eq!(woken, expected);
}
