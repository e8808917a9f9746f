//! An API server that is busy, that forgot, that somebody else writes to as well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{Device, EdgeAgent};
use kalong_e2e::throttle::{ProxiedRequest, Throttle};
use kube::ResourceExt;
use serde_json::json;

use super::fixture::{cluster, fixture};
use super::home::Home;
use super::site::declared;
use crate::kit::{SOON, holds, until};

/// What a refusal asks to wait: so long that whoever asks gives up at its own deadline of 10 s and comes again.
const RETRY_AFTER: u64 = 6;
/// Long enough for three refusals of one request.
const BUSY: Duration = Duration::from_secs(15);

fn refused(passed: &[ProxiedRequest]) -> BTreeMap<(String, String), Vec<Instant>> {
    let mut tries: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for request in passed.iter().filter(|p| !p.is_lease()) {
        tries.entry((request.method.to_string(), request.uri.clone())).or_default().push(request.at);
    }
    tries
}

async fn retry_after_is_obeyed_to_the_second_and_a_second_writer_only_delays() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "busy", &["busy"]).await;
    let site = home.site("busy");
    let plane = fixture.cluster.plane().unwrap();
    let door = Throttle::start(plane.server_url(), plane.ca_pem()).await.unwrap();
    let mut operator = home.operator("only");
    operator.kubeconfig = door.kubeconfig(home.kubeconfig(), operator.directory.join("kubeconfig")).unwrap();
    operator.start().await;
    operator.serves().await;
    let boxes: Vec<String> = (0..5).map(|n| format!("gate-{n}")).collect();
    for name in &boxes {
        site.agent(name).await;
    }
    for name in &boxes {
        let judged = |a: &EdgeAgent| a.reason(ConditionType::Ready) == "NotEnrolled";
        site.until::<EdgeAgent>(name, "judged", SOON, judged).await;
    }

    door.refuse(RETRY_AFTER);
    let (begun, already) = (Instant::now(), door.passed().len());
    for name in &boxes {
        site.patch::<EdgeAgent>(name, json!({"spec": {"suspend": true}})).await;
    }
    until("the API server has been busy for a while", BUSY * 2, async || holds(begun.elapsed() > BUSY, "")).await;
    let while_busy = door.passed().split_off(already);
    door.admit();
    let tries = refused(&while_busy);
    assert!(tries.values().any(|t| t.len() >= 3), "work goes on being tried: {tries:?}");
    for (request, at) in &tries {
        for pair in at.windows(2) {
            let (gap, least) = (pair[1] - pair[0], Duration::from_secs(RETRY_AFTER));
            assert!(gap >= least - Duration::from_millis(50), "{request:?} came again after {gap:?}");
        }
    }
    let most = u64::try_from(boxes.len()).unwrap() * (BUSY.as_secs() / RETRY_AFTER + 2);
    let count = u64::try_from(while_busy.iter().filter(|p| !p.is_lease()).count()).unwrap();
    assert!(count <= most, "{count} requests in {BUSY:?}, at most {most}");
    for name in &boxes {
        site.until::<EdgeAgent>(name, "judged", SOON, |a| a.reason(ConditionType::Ready) == "Suspended").await;
    }
    operator.child().check().unwrap();

    // Somebody else writes between our look and our word.
    let name = &boxes[0];
    let held = door.hold(Method::PUT, &format!("/edgeagents/{name}/status"));
    let before = door.passed().len();
    site.patch::<EdgeAgent>(name, json!({"spec": {"suspend": false}})).await;
    held.arrived().await;
    site.patch::<EdgeAgent>(name, json!({"metadata": {"labels": {"ward": "north"}}})).await;
    held.release();
    let judged = |a: &EdgeAgent| {
        a.reason(ConditionType::Ready) == "NotEnrolled"
            && a.status.as_ref().map(|s| s.observed_generation) == a.metadata.generation
    };
    let object = site.until::<EdgeAgent>(name, "judged after the conflict", SOON, judged).await;
    assert_eq!(object.labels()["ward"], "north", "the other's word stands");
    let conflicts = door.passed().split_off(before);
    let conflicts: Vec<_> = conflicts.iter().filter(|p| p.status == Some(StatusCode::CONFLICT)).collect();
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    assert!(!operator.log().contains("ERROR"), "{}", operator.log());
}

async fn watch_that_the_api_server_has_forgotten_is_followed_by_a_right_list() {
    let fixture = fixture().await;
    let cluster = cluster("forgetful").await;
    let plane = cluster.plane().unwrap();
    let home = Home::new(&cluster, "forgetful", &["forgetful"]).await;
    let site = home.site("forgetful");
    let door = Throttle::start(plane.server_url(), plane.ca_pem()).await.unwrap();
    let mut operator = home.operator("only");
    operator.kubeconfig = door.kubeconfig(home.kubeconfig(), operator.directory.join("kubeconfig")).unwrap();
    operator.start().await;
    operator.serves().await;
    let [changed, gone, new] = [0, 1, 2].map(|n| &fixture.layout.devices[n]);
    site.agent("gate").await;
    for placed in [changed, gone] {
        site.device(placed, "gate").await;
    }
    for placed in [changed, gone] {
        let judged = |d: &Device| d.reason(ConditionType::Ready) == "NotEnrolled";
        site.until::<Device>(&placed.name, "judged", SOON, judged).await;
    }

    // While the operator hears nothing, everything changes, and then the API server forgets what it has not been asked for.
    door.close();
    site.patch::<Device>(&changed.name, json!({"spec": {"agentRef": "nobody"}})).await;
    site.patch::<Device>(&gone.name, json!({"spec": {"admin": "Disabled"}, "metadata": {"finalizers": null}})).await;
    site.delete::<Device>(&gone.name).await.unwrap();
    site.gone::<Device>(&gone.name).await;
    site.create(&declared(fixture, new, "nobody")).await;
    plane.kill_api_server().await.unwrap();
    plane.start_api_server().await.unwrap();
    let before = door.passed().len();
    door.open();

    for placed in [changed, new] {
        let say = site.stalled::<Device>(&placed.name, "MissingReference", SOON).await;
        assert!(say.contains("EdgeAgent nobody"), "{say}");
    }
    let after = door.passed().split_off(before);
    let devices = |p: &&ProxiedRequest| p.uri.contains("/devices?");
    let watches = |p: &ProxiedRequest| p.uri.contains("watch=");
    let of_devices: Vec<_> = after.iter().filter(devices).collect();
    assert!(watches(of_devices[0]), "first the old watch is taken up again: {of_devices:?}");
    assert!(of_devices.iter().any(|p| !watches(p)), "then everything is listed anew: {of_devices:?}");
    operator.child().check().unwrap();
    drop(operator);
    drop(site);
    drop(home);
    cluster.stop().await.unwrap();
}

crate::tests![
    retry_after_is_obeyed_to_the_second_and_a_second_writer_only_delays,
    watch_that_the_api_server_has_forgotten_is_followed_by_a_right_list,
];
