//! The login of a device reaches the device, and nothing else.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kalong_crds::Device;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_e2e::site::{DEMO_PASSWORD, DEMO_USERNAME};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::fixture::fixture;
use super::home::{shared, shared_site};
use super::site::{TestSite, declared};
use crate::kit::SOON;

const AT_ONCE: Duration = Duration::from_secs(10);
/// Everything in which a secret might turn up by mistake; Secrets are where it belongs.
const OBJECTS: &str = "devices,edgeagents,devicemodels,configmaps,events,events.events.k8s.io,leases";

async fn secret(site: &TestSite<'_>, name: &str, password: &str, immutable: Option<bool>) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "immutable": immutable,
        "stringData": {"username": DEMO_USERNAME, "password": password},
    });
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.name);
    secrets.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// Files below this folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(holding(&entry.path(), bytes));
        } else if std::fs::read(entry.path()).unwrap().windows(bytes.len()).any(|part| part == bytes) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

async fn password_reaches_the_device_and_is_found_nowhere_else() {
    let fixture = fixture().await;
    let site = shared_site("credentials").await;
    let placed = fixture.device_of("plate-camera");
    const WRONG: &str = "not-the-password-of-anything";
    secret(&site, "loose", DEMO_PASSWORD, None).await;
    secret(&site, "login-1", WRONG, Some(true)).await;
    site.working_box("gate").await;
    site.model_of(placed).await;
    let mut device = declared(fixture, placed, "gate");
    device.spec.connection.secret_ref = Some("loose".into());
    site.create(&device).await;
    let say = site.stalled::<Device>(&placed.name, "MissingReference", AT_ONCE).await;
    assert!(say.contains("Secret loose") && say.contains("immutable: true"), "{say}");

    // A wrong one: the device says no, and nobody says what the word was.
    let name = |secret: &str| json!({"spec": {"connection": {"secretRef": secret}}});
    site.patch::<Device>(&placed.name, name("login-1")).await;
    let refused = |d: &Device| d.condition(ConditionType::Connected).is_some_and(|c| c.status == "False");
    site.until::<Device>(&placed.name, "does not let the box in", SOON, refused).await;

    // Rotation is a new name. Whoever declares the device before its Secret need not touch it again.
    site.patch::<Device>(&placed.name, name("login-2")).await;
    let say = site.stalled::<Device>(&placed.name, "MissingReference", AT_ONCE).await;
    assert!(say.contains("Secret login-2 does not exist"), "{say}");
    secret(&site, "login-2", DEMO_PASSWORD, Some(true)).await;
    site.ready::<Device>(&placed.name).await;
    let report = fixture.control().device(&placed.name).await.unwrap();
    let declared = device.spec.config.iter().all(|(name, value)| report.settings.get(name) == Some(value));
    assert!(declared, "{report:?}");

    // A box that enrols anew has another key to seal to.
    site.stop_box("gate").await;
    site.enrol("gate").await.unwrap();
    site.run("gate").await;
    let change = site.change(placed).await;
    site.holds(placed, &change).await;
    site.ready::<Device>(&placed.name).await;

    let (operator_log, box_log) = (shared().await.1.log(), site.box_log("gate"));
    let objects = [&site.name, site.operator_namespace()].map(|namespace| {
        let args = ["-n", namespace, "get", OBJECTS, "-o", "yaml", "--show-managed-fields"].map(str::to_owned);
        site.cluster().kubectl(args)
    });
    let [site_objects, operator_objects] = objects;
    let (site_objects, operator_objects) = (site_objects.await.unwrap(), operator_objects.await.unwrap());
    for word in [DEMO_PASSWORD, WRONG] {
        for (place, text) in [
            ("the operator's log", &operator_log),
            ("the box's log", &box_log),
            ("the objects of the site", &site_objects),
            ("the objects of the operator", &operator_objects),
        ] {
            assert!(!text.contains(word), "{place} holds the password");
        }
        // The box keeps what it was sent as it was sent.
        let files = holding(&site.state_of("gate"), word.as_bytes());
        assert!(files.is_empty(), "{files:?} hold the password: it was sent in the clear");
    }
}

crate::tests![password_reaches_the_device_and_is_found_nowhere_else,];
