//! What makes no sense stalls alone, with the next step in its message, and disturbs nothing that runs.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kalong_crds::{Device, EdgeAgent, Lane};
use kalong_e2e::site::report::Counts;
use kube::api::ListParams;
use kube::{Api, Resource};
use serde_json::{Value, json};

use super::fixture::fixture;
use super::home::{Home, shared_site};
use super::site::{TestSite, declared, number};
use crate::kit::{SOON, holds, until};

/// What is impossible is said at once, not after a retry.
const AT_ONCE: Duration = Duration::from_secs(10);
const CRD: &str = "crd/devices.kalong.dev";
const CONNECTION: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/connection";

async fn counts(name: &str) -> Counts {
    fixture().await.control().device(name).await.unwrap().counts
}

/// Reasons of the Events about a device.
async fn events(site: &TestSite<'_>, device: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(site.client.clone(), &site.name);
    let about = |e: &Event| e.regarding.as_ref().is_some_and(|r| r.name.as_deref() == Some(device));
    let list = events.list(&ListParams::default()).await.unwrap();
    list.items.into_iter().filter(about).filter_map(|e| e.reason).collect()
}

async fn contradictory_objects_stall_at_once_with_the_next_step_and_what_runs_goes_on() {
    let fixture = fixture().await;
    let site = shared_site("contradictions").await;
    let (running, other) = (fixture.device(), fixture.device());
    site.working_box("gate").await;
    for placed in [running, other] {
        site.device(placed, "gate").await;
    }
    for placed in [running, other] {
        site.ready::<Device>(&placed.name).await;
    }
    let before = counts(&running.name).await;

    // A model that nobody declared.
    let mut unknown = declared(fixture, running, "gate");
    (unknown.metadata.name, unknown.spec.model_ref) = (Some("unknown-model".into()), "never-made".into());
    site.create(&unknown).await;
    let say = site.stalled::<Device>("unknown-model", "MissingReference", AT_ONCE).await;
    assert!(say.contains("DeviceModel never-made") && say.contains("declare it"), "{say}");
    until("one Event says so, in the same word", SOON, async || {
        let told = events(&site, "unknown-model").await;
        holds(told == ["MissingReference"], format!("{told:?}"))
    })
    .await;

    // A setting out of bounds, on a device that runs.
    let (setting, _, high) = number(running);
    site.patch::<Device>(&running.name, json!({"spec": {"config": {setting: high + 1}}})).await;
    let say = site.stalled::<Device>(&running.name, "InvalidConfig", AT_ONCE).await;
    assert!(say.contains(&format!("`config.{setting}` must be at most {high}")), "{say}");

    // A device in two lanes: device and lanes say so.
    site.crossing("bridge").await;
    site.lane("lane-1", "bridge", &[("Controller", &other.name)]).await;
    site.lane("lane-2", "bridge", &[("Controller", &other.name)]).await;
    let say = site.stalled::<Device>(&other.name, "SlotConflict", AT_ONCE).await;
    assert!(say.contains("lane-1") && say.contains("lane-2") && say.contains("remove it from all but one"), "{say}");
    for lane in ["lane-1", "lane-2"] {
        site.stalled::<Lane>(lane, "SlotConflict", AT_ONCE).await;
    }

    // A box whose identity would be too long.
    let long = "b".repeat(60);
    site.agent(&long).await;
    let say = site.stalled::<EdgeAgent>(&long, "IdentityTooLong", AT_ONCE).await;
    assert!(say.contains("63"), "{say}");

    // The two devices go on as they were; once a contradiction is gone its device follows again.
    let after = counts(&running.name).await;
    assert_eq!((after.writes, after.reboots), (before.writes, before.reboots));
    site.delete::<Lane>("lane-2").await.unwrap();
    site.delete::<Lane>("lane-1").await.unwrap();
    let change = site.change(other).await;
    site.holds(other, &change).await;
    let polled = counts(&running.name).await.requests;
    until("the device that runs is still read", SOON, async || {
        holds(counts(&running.name).await.requests > polled, polled)
    })
    .await;
    site.patch::<Device>(&running.name, json!({"spec": {"config": {setting: high}}})).await;
    site.ready::<Device>(&running.name).await;
    assert_eq!(counts(&running.name).await.setting_writes, before.setting_writes + 1);
}

/// The schema of the connection in the CRD that is stored.
async fn connection_schema(site: &TestSite<'_>) -> Value {
    let text = site.cluster().kubectl(["get", CRD, "-o", "json"]).await.unwrap();
    let crd: Value = serde_json::from_str(&text).unwrap();
    crd.pointer(CONNECTION).unwrap().clone()
}

async fn replace_schema(site: &TestSite<'_>, schema: &Value) {
    let patch = json!([{"op": "replace", "path": CONNECTION, "value": schema}]).to_string();
    site.cluster().kubectl(["patch", CRD, "--type", "json", "-p", &patch]).await.unwrap();
}

async fn object_that_cannot_be_read_stalls_alone_and_its_device_stays_as_it_is() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "unreadable", &["unreadable"]).await;
    let site = home.site("unreadable");
    let mut operator = home.operator("only");
    operator.start().await;
    operator.serves().await;
    let (good, bad) = (fixture.device(), fixture.device());
    site.working_box("gate").await;
    for placed in [good, bad] {
        site.device(placed, "gate").await;
    }
    for placed in [good, bad] {
        site.ready::<Device>(&placed.name).await;
    }
    let before = counts(&bad.name).await;

    // An older version of the API, or a restored etcd, may hold what our types cannot read.
    let schema = connection_schema(&site).await;
    let anything = json!({"type": "object", "description": "Anything.", "x-kubernetes-preserve-unknown-fields": true});
    replace_schema(&site, &anything).await;
    let nonsense = json!({"spec": {"connection": {"endpoint": ["not", "an", "address"]}}}).to_string();
    let args = ["-n", &site.name, "patch", "device", &bad.name, "--type", "merge", "-p", &nonsense];
    until("the relaxed schema is in force", SOON, async || {
        site.cluster().kubectl(args).await.map_err(|e| e.to_string())
    })
    .await;
    replace_schema(&site, &schema).await;

    let look = async || {
        let args = ["-n", &site.name, "get", "device", &bad.name, "-o", "json"];
        let object: Value = serde_json::from_str(&site.cluster().kubectl(args).await.unwrap()).unwrap();
        let stalled =
            object["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Stalled").cloned();
        stalled.filter(|c| c["reason"] == "InvalidSpec").ok_or_else(|| object["status"].to_string())
    };
    let stalled = until("the object says that it cannot be read", SOON, look).await;
    let say = stalled["message"].as_str().unwrap();
    assert!(say.contains("cannot be read") && say.contains("kubectl edit"), "{say}");

    // An operator that begins anew never sees it readable, and still neither stumbles nor takes anything away.
    for begins_anew in [false, true] {
        if begins_anew {
            operator.kill().await;
            operator.start().await;
            operator.serves().await;
        }
        let change = site.change(good).await;
        site.holds(good, &change).await;
        site.ready::<Device>(&good.name).await;
        until("the object says that it cannot be read", SOON, look).await;
        let after = counts(&bad.name).await;
        assert_eq!((after.writes, after.reboots), (before.writes, before.reboots));
        until("its device is still read", SOON, async || {
            let now = counts(&bad.name).await.requests;
            holds(now > after.requests, now)
        })
        .await;
    }

    let endpoint = bad.endpoint(fixture.network()).to_string();
    let right = json!({"spec": {"connection": {"endpoint": endpoint}}}).to_string();
    let args = ["-n", &site.name, "patch", "device", &bad.name, "--type", "merge", "-p", &right];
    until("the schema is back", SOON, async || site.cluster().kubectl(args).await.map_err(|e| e.to_string())).await;
    let device = site.ready::<Device>(&bad.name).await;
    assert!(device.meta().generation.unwrap() >= 3);
    assert_eq!(counts(&bad.name).await.setting_writes, before.setting_writes);
}

crate::tests![
    contradictory_objects_stall_at_once_with_the_next_step_and_what_runs_goes_on,
    object_that_cannot_be_read_stalls_alone_and_its_device_stays_as_it_is,
];
