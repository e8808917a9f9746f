//! The promise of the deletion policy: what is in service stays, object by object, and nothing is left Terminating.

use http::Method;
use kalong_e2e::cluster::{ControlPlane, TestNamespace};
use serde_json::{Value, json};

use super::corpus::Corpus;
use super::judge::{REAL, Verdict, ask};
use super::manifest::{with, written};
use crate::kit::{crds, eventually};

const REFUSAL: &str = "is in service and cannot be deleted";

struct Objects<'a> {
    namespace: TestNamespace<'a>,
    plural: &'static str,
    base: Value,
}

impl Objects<'_> {
    async fn new(kind: &'static str, plural: &'static str) -> Self {
        let namespace = TestNamespace::new("deletion").await.unwrap();
        crds(namespace.plane()).await;
        let base = Corpus::read(kind).bases.remove(0);
        Self { namespace, plural, base }
    }

    fn plane(&self) -> &ControlPlane {
        self.namespace.plane()
    }

    fn path(&self, rest: &str) -> String {
        format!("/apis/kalong.dev/v1alpha1/namespaces/{}/{}{rest}", self.namespace.name(), self.plural)
    }

    async fn ask(&self, method: Method, rest: &str, body: Option<&Value>) -> Verdict {
        ask(&self.namespace.client(), method, &self.path(rest), body).await
    }

    async fn create(&self, name: &str, changes: &[(&str, Value)]) -> Value {
        let named = with(&self.base, &written("metadata.name"), json!(name));
        let manifest = changes.iter().fold(named, |all, (place, value)| with(&all, &written(place), value.clone()));
        let verdict = self.ask(Method::POST, &format!("?{REAL}"), Some(&manifest)).await;
        assert!(verdict.accepted(), "{}", verdict.message());
        verdict.body
    }

    async fn delete(&self, name: &str) -> Verdict {
        self.ask(Method::DELETE, &format!("/{name}"), None).await
    }

    /// Writes the reason of Ready as the operator does.
    async fn is_ready(&self, stored: &Value, reason: &str) {
        let mut object = stored.clone();
        object["status"] = json!({"observedGeneration": 1, "conditions": [{
            "type": "Ready", "status": "True", "reason": reason, "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-11-22T07:00:00Z",
        }]});
        let name = stored["metadata"]["name"].as_str().unwrap();
        let verdict = self.ask(Method::PUT, &format!("/{name}/status"), Some(&object)).await;
        assert!(verdict.accepted(), "{}", verdict.message());
    }

    /// A new policy takes a moment to be in force.
    async fn guarded(&self) {
        eventually("the policy is in force", async || self.delete("held?dryRun=All").await.code == 403).await;
    }

    /// Those that are there, with whether they are being deleted.
    async fn left(&self) -> Vec<(String, bool)> {
        let list = self.ask(Method::GET, "", None).await.body;
        let item = |item: &Value| {
            let name = item["metadata"]["name"].as_str().unwrap().to_owned();
            (name, item["metadata"]["deletionTimestamp"].is_string())
        };
        list["items"].as_array().unwrap().iter().map(item).collect()
    }
}

/// In service in each way, and out of it in each way.
async fn judge_deletion(objects: &Objects<'_>, off: (&str, Value), on: (&str, Value), other: Option<(&str, Value)>) {
    let held = objects.create("held", std::slice::from_ref(&on)).await;
    objects.guarded().await;
    let verdict = objects.delete("held").await;
    let message = verdict.message();
    assert!(verdict.code == 403 && message.contains(REFUSAL) && message.contains("/held"), "{message}");
    assert!(message.contains("kalong.dev/delete-in-service"), "{message}");
    objects.is_ready(&held, "InForce").await;
    assert_eq!(objects.delete("held").await.code, 403, "Ready for another reason is in service");
    if let Some(other) = other {
        objects.create("other", &[other]).await;
        assert_eq!(objects.delete("other").await.code, 403);
    }
    let annotation = |text: &str| ("metadata.annotations", json!({"kalong.dev/delete-in-service": text}));
    objects.create("unsigned", &[on.clone(), annotation("")]).await;
    assert_eq!(objects.delete("unsigned").await.code, 403, "an empty annotation names nobody");

    objects.create("off", &[off]).await;
    assert_eq!(objects.delete("off").await.code, 200);
    objects.create("annotated", &[on.clone(), annotation("Duty officer 3, 2026-11-22, wrong site")]).await;
    assert_eq!(objects.delete("annotated").await.code, 200);
    let planned = objects.create("planned", &[on]).await;
    objects.is_ready(&planned, "Planned").await;
    assert_eq!(objects.delete("planned").await.code, 200);
}

/// `kubectl delete --all`, a delete of the collection and a prune: what is in service stays untouched, what is not goes.
async fn judge_mass_deletion(objects: &Objects<'_>, off: (&str, Value), on: (&str, Value)) {
    objects.create("held", std::slice::from_ref(&on)).await;
    objects.guarded().await;
    objects.create("kept", std::slice::from_ref(&on)).await;
    // As the operator leaves it: without the policy this one would stay Terminating.
    objects.create("finalized", &[on, ("metadata.finalizers", json!(["kalong.dev/tombstone"]))]).await;
    objects.create("off", &[off]).await;
    let resource = format!("{}.kalong.dev", objects.plural);
    let refused = objects.plane().kubectl(["-n", objects.namespace.name(), "delete", &resource, "--all"]).await;
    let words = refused.unwrap_err().to_string();
    for name in ["held", "kept", "finalized"] {
        assert!(words.contains(&format!("/{name} {REFUSAL}")), "{words}");
    }
    let kept = ["finalized", "held", "kept"].map(|name| (name.to_owned(), false));
    assert_eq!(objects.left().await, kept);
    assert_eq!(objects.ask(Method::DELETE, "", None).await.code, 403);
    assert_eq!(objects.left().await, kept);
}

async fn device_in_service_is_not_deleted() {
    let objects = Objects::new("device", "devices").await;
    let admin = |word: &str| ("spec.admin", json!(word));
    judge_deletion(&objects, admin("Disabled"), admin("Enabled"), Some(admin("Quarantined"))).await;
}

async fn lane_in_service_is_not_deleted() {
    let objects = Objects::new("lane", "lanes").await;
    let admission = |word: &str| ("spec.admission", json!(word));
    judge_deletion(&objects, admission("Closed"), admission("Open"), None).await;
}

async fn mass_deletion_of_devices_leaves_nothing_terminating() {
    let objects = Objects::new("device", "devices").await;
    let admin = |word: &str| ("spec.admin", json!(word));
    judge_mass_deletion(&objects, admin("Disabled"), admin("Enabled")).await;
}

async fn mass_deletion_of_lanes_leaves_nothing_terminating() {
    let objects = Objects::new("lane", "lanes").await;
    let admission = |word: &str| ("spec.admission", json!(word));
    judge_mass_deletion(&objects, admission("Closed"), admission("Open")).await;
}

/// Deleting a kind would delete every object of it without asking for any.
async fn kind_is_not_deleted_unless_a_person_says_so() {
    let objects = Objects::new("lane", "lanes").await;
    objects.create("held", &[("spec.admission", json!("Open"))]).await;
    objects.guarded().await;
    let client = objects.namespace.client();
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lanes.kalong.dev?dryRun=All";
    let refused = ask(&client, Method::DELETE, path, None).await;
    assert!(refused.code == 403 && refused.message().contains("lanes in service included"), "{}", refused.message());
    // Others' kinds are none of the policy's business: there is none here, so the answer is that it does not exist.
    let other = path.replace("lanes.kalong.dev", "lanes.example.com");
    assert_eq!(ask(&client, Method::DELETE, &other, None).await.code, 404);
}

/// Everything in a phase would be taken for unknown: a phase goes back to Planned before it goes.
async fn phase_in_service_is_not_deleted() {
    let objects = Objects::new("phase", "phases").await;
    for (name, state, code) in [
        ("held", "Open", 403),
        ("complete", "Complete", 403),
        ("proving", "Commissioning", 403),
        ("later", "Planned", 200),
    ] {
        let mut stored = objects.create(name, &[]).await;
        stored["status"] = json!({"observedGeneration": 1, "state": state});
        let verdict = objects.ask(Method::PUT, &format!("/{name}/status"), Some(&stored)).await;
        assert!(verdict.accepted(), "{}", verdict.message());
        if name == "held" {
            objects.guarded().await;
        }
        assert_eq!(objects.delete(name).await.code, code, "{name}");
    }
}

crate::tests![
    device_in_service_is_not_deleted,
    lane_in_service_is_not_deleted,
    mass_deletion_of_devices_leaves_nothing_terminating,
    mass_deletion_of_lanes_leaves_nothing_terminating,
    kind_is_not_deleted_unless_a_person_says_so,
    phase_in_service_is_not_deleted,
];
