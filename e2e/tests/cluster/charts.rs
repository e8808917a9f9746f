//! The promise of the charts: they are clean, they hold what the code says, they refuse what they do not know, and Helm installs, upgrades and
//! takes them away on a real API server without touching what people declared.

use kalong_e2e::cluster::{ControlPlane, workspace_directory};
use serde_json::{Value, json};

use crate::kit::{self, eventually};

const CHARTS: [&str; 3] = ["kalong-crds", "kalong", "kalong-edge-agent"];

fn chart(name: &str) -> String {
    workspace_directory().join("charts").join(name).display().to_string()
}

/// What a chart makes of these settings, as documents.
async fn rendered(name: &str, settings: &[&str]) -> Vec<Value> {
    let plane = ControlPlane::shared().await.unwrap();
    let chart = chart(name);
    let mut args = vec!["template", "release", chart.as_str(), "--namespace", "kalong-system"];
    args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let text = plane.helm(args).await.unwrap();
    serde_saphyr::from_multiple::<Option<Value>>(&text).unwrap().into_iter().flatten().collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

/// The document with 1.0 and 1 as one number: YAML and the types write bounds differently.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

/// Every mark that the restricted profile and our own rules ask of a Pod.
fn is_confined(pod: &Value) -> bool {
    let containers = pod["containers"].as_array().unwrap();
    let confined = |container: &Value| {
        let context = &container["securityContext"];
        context["allowPrivilegeEscalation"] == false
            && context["readOnlyRootFilesystem"] == true
            && context["capabilities"]["drop"] == json!(["ALL"])
    };
    pod["securityContext"]["runAsNonRoot"] == true
        && pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        && containers.iter().all(confined)
}

async fn every_chart_is_clean() {
    let plane = ControlPlane::shared().await.unwrap();
    for name in CHARTS {
        plane.helm(["lint", "--strict", "--quiet", &chart(name)]).await.unwrap();
    }
}

async fn chart_of_the_api_holds_what_the_code_says() {
    let mut said = kalong_crds::schema::crd_documents().unwrap();
    said.extend(kalong_crds::schema::deletion_policy());
    let held = rendered("kalong-crds", &[]).await;
    let name = |document: &Value| format!("{}/{}", document["kind"], document["metadata"]["name"]);
    for document in &said {
        let there = held.iter().find(|held| name(held) == name(document));
        let there = there.unwrap_or_else(|| panic!("{} is missing in charts/kalong-crds", name(document)));
        let same = plain(there) == plain(document);
        assert!(same, "{} is behind: write charts/kalong-crds anew with `kalong-operator crds`", name(document));
    }
    assert_eq!(held.len(), said.len());
}

async fn by_default_one_confined_operator_comes_with_its_api() {
    let documents = rendered("kalong", &[]).await;
    assert_eq!(of_kind(&documents, "CustomResourceDefinition").len(), kalong_crds::schema::crds().unwrap().len());
    let [deployment] = of_kind(&documents, "Deployment")[..] else { panic!("one Deployment") };
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert!(is_confined(&deployment["spec"]["template"]["spec"]));
    assert!(of_kind(&documents, "PodDisruptionBudget").is_empty(), "of one replica it would forbid every drain");
    assert!(!of_kind(&documents, "NetworkPolicy").is_empty());
    for role in of_kind(&documents, "ClusterRole") {
        let rules = role["rules"].as_array().unwrap();
        let all = |rule: &Value| ["verbs", "resources", "apiGroups"].iter().any(|key| rule[key] == json!(["*"]));
        assert!(!rules.iter().any(all), "a right to everything: {role}");
        let listed = |rule: &Value| {
            let has = |key: &str, word: &str| rule[key].as_array().is_some_and(|all| all.iter().any(|w| w == word));
            has("resources", "secrets") && (has("verbs", "list") || has("verbs", "watch"))
        };
        assert!(!rules.iter().any(listed), "Secrets are read by name: {role}");
    }
}

async fn more_replicas_bring_a_disruption_budget_and_spread() {
    let documents = rendered("kalong", &["operator.replicas=3"]).await;
    assert_eq!(of_kind(&documents, "PodDisruptionBudget").len(), 1);
    let [deployment] = of_kind(&documents, "Deployment")[..] else { panic!("one Deployment") };
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert!(deployment["spec"]["template"]["spec"]["topologySpreadConstraints"].is_array());
}

async fn least_installation_is_rights_and_services() {
    let settings = ["crds.enabled=false", "operator.deploy=false", "networkPolicy.enabled=false", "sites={mong-cai}"];
    let documents = rendered("kalong", &settings).await;
    for absent in ["CustomResourceDefinition", "ValidatingAdmissionPolicy", "Deployment", "NetworkPolicy"] {
        assert!(of_kind(&documents, absent).is_empty(), "{absent}");
    }
    for there in ["ServiceAccount", "ClusterRole", "Role", "Service"] {
        assert!(!of_kind(&documents, there).is_empty(), "{there}");
    }
    let in_site = |role: &&Value| role["metadata"]["namespace"] == "mong-cai";
    assert_eq!(of_kind(&documents, "Role").into_iter().filter(in_site).count(), 1);
}

async fn edge_agent_is_one_confined_process() {
    let documents = rendered("kalong-edge-agent", &[]).await;
    let [deployment] = of_kind(&documents, "Deployment")[..] else { panic!("one Deployment") };
    assert_eq!(deployment["spec"]["replicas"], 1, "two would fight over one identity");
    let pod = &deployment["spec"]["template"]["spec"];
    assert!(is_confined(pod));
    assert_eq!(pod["automountServiceAccountToken"], false, "it holds no Kubernetes credential");
}

async fn unknown_or_impossible_setting_is_refused() {
    let plane = ControlPlane::shared().await.unwrap();
    for (name, setting, words) in [
        ("kalong", "operator.replica=2", "additional properties 'replica' not allowed"),
        ("kalong", "operator.replicas=0", "minimum"),
        ("kalong", "sites={Mong_Cai}", "does not match pattern"),
        ("kalong-crds", "nonsense=1", "additional properties 'nonsense' not allowed"),
        ("kalong-edge-agent", "imagee.tag=1", "additional properties 'imagee' not allowed"),
    ] {
        let refused = plane.helm(["template", "release", &chart(name), "--set", setting]).await;
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(words), "{name} {setting}: {said}");
    }
}

const SYSTEM: &str = "kalong-system";

/// A control plane of its own, since CRDs belong to one release, with the namespaces that people make before.
async fn own_plane(name: &str) -> ControlPlane {
    let plane = kit::own_plane(name).await;
    for namespace in [SYSTEM, "mong-cai"] {
        plane.kubectl(["create", "namespace", namespace]).await.unwrap();
    }
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    plane.kubectl(["label", "namespace", SYSTEM, restricted]).await.unwrap();
    plane
}

fn crossing(namespace: &str) -> String {
    json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": "Crossing", "metadata": {"name": "bac-luan-2", "namespace": namespace},
        "spec": {"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh"},
    })
    .to_string()
}

async fn declared_crossing(plane: &ControlPlane) {
    let served = async || plane.kubectl_with_input(["apply", "-f", "-"], &crossing("mong-cai")).await.is_ok();
    eventually("a Crossing can be declared", served).await;
}

/// The generation of what was declared: it is still there, and nobody changed it.
async fn crossing_is_untouched(plane: &ControlPlane) {
    let get = ["-n", "mong-cai", "get", "crossing", "bac-luan-2", "-o", "jsonpath={.metadata.generation}"];
    assert_eq!(plane.kubectl(get).await.unwrap(), "1");
}

async fn api_is_kept(plane: &ControlPlane) {
    let crds = plane.kubectl(["get", "crd", "-o", "name"]).await.unwrap();
    let ours = crds.lines().filter(|name| name.ends_with(".kalong.dev")).count();
    assert_eq!(ours, kalong_crds::schema::crds().unwrap().len());
    plane.kubectl(["get", "validatingadmissionpolicy", "kalong-in-service"]).await.unwrap();
    plane.kubectl(["get", "validatingadmissionpolicybinding", "kalong-in-service"]).await.unwrap();
    crossing_is_untouched(plane).await;
}

async fn one_release_installs_upgrades_and_leaves_the_api_behind() {
    let plane = own_plane("one-release").await;
    let kalong = chart("kalong");
    let helm = async |verb: &str, deploy: &str| {
        let flags = ["--namespace", SYSTEM, "--wait", "--timeout", "60s", "--set", "sites={mong-cai}", "--set", deploy];
        plane.helm([&[verb, "kalong", &kalong][..], &flags[..]].concat()).await.unwrap()
    };
    helm("install", "operator.deploy=false").await;
    declared_crossing(&plane).await;
    let account = ["get", "serviceaccount", "-n", SYSTEM, "-o", "name"];
    assert!(plane.kubectl(account).await.unwrap().contains("kalong"));

    helm("upgrade", "operator.deploy=false,operator.heartbeatSeconds=10").await;
    crossing_is_untouched(&plane).await;

    plane.helm(["uninstall", "kalong", "--namespace", SYSTEM, "--wait"]).await.unwrap();
    api_is_kept(&plane).await;
    // The next installation takes over what the last one left.
    helm("install", "operator.deploy=false").await;
    api_is_kept(&plane).await;
    plane.stop().await.unwrap();
}

async fn api_can_be_a_release_of_its_own_and_pods_pass_the_restricted_profile() {
    let plane = own_plane("two-releases").await;
    plane.helm(["install", "kalong-crds", &chart("kalong-crds"), "--namespace", SYSTEM, "--wait"]).await.unwrap();
    declared_crossing(&plane).await;
    // No node runs here, so nobody waits for the Pod to be ready; that it is made at all is the profile's word.
    let flags = ["--namespace", SYSTEM, "--set", "crds.enabled=false"];
    plane.helm([&["install", "kalong", &chart("kalong")][..], &flags[..]].concat()).await.unwrap();
    eventually("the operator's Pod is made", async || {
        let pods = plane.kubectl(["get", "pods", "-n", SYSTEM, "-o", "name"]).await.unwrap();
        pods.lines().count() == 1
    })
    .await;
    plane.helm(["uninstall", "kalong", "--namespace", SYSTEM]).await.unwrap();
    plane.helm(["uninstall", "kalong-crds", "--namespace", SYSTEM]).await.unwrap();
    api_is_kept(&plane).await;
    plane.stop().await.unwrap();
}

crate::tests![
    every_chart_is_clean,
    chart_of_the_api_holds_what_the_code_says,
    by_default_one_confined_operator_comes_with_its_api,
    more_replicas_bring_a_disruption_budget_and_spread,
    least_installation_is_rights_and_services,
    edge_agent_is_one_confined_process,
    unknown_or_impossible_setting_is_refused,
    one_release_installs_upgrades_and_leaves_the_api_behind,
    api_can_be_a_release_of_its_own_and_pods_pass_the_restricted_profile,
];
