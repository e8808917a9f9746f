//! The promise of the API: what is wrong is refused at the door, by the real API server, with words that say what to write instead; what is right
//! passes without a warning. The rules are found in the CRDs, so that a new one fails here until it has its two neighbours.

mod corpus;
mod deletion;
mod judge;
mod manifest;
mod neighbour;
mod rule;

use std::sync::Arc;

use http::Method;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kalong_e2e::cluster::TestNamespace;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::kit::crds;
use corpus::Corpus;
use judge::{DRY, REAL, ask};
use neighbour::{Neighbours, neighbours};
use rule::{Rule, discover};

/// Questions that wait for an answer at once.
const CONCURRENCY: usize = 8;

/// A kind in a namespace of the real API server.
struct Door {
    client: Client,
    path: String,
    permits: Semaphore,
}

/// What came of one rule.
#[derive(Default)]
struct Outcome {
    accepted: usize,
    refused: usize,
    faults: Vec<String>,
}

impl Door {
    async fn judge(&self, manifest: &Value, query: &str) -> judge::Verdict {
        let _permit = self.permits.acquire().await.unwrap();
        ask(&self.client, Method::POST, &format!("{}?{query}", self.path), Some(manifest)).await
    }

    /// The object that is there before: created in truth, since only a change of something stored can be refused for being one.
    async fn create(&self, manifest: &Value, name: &str) -> Value {
        let manifest = manifest::with(manifest, &manifest::written("metadata.name"), json!(name));
        let verdict = self.judge(&manifest, REAL).await;
        assert!(verdict.accepted(), "{name}: {}", verdict.message());
        verdict.body
    }

    async fn update(&self, stored: &Value, manifest: &Value) -> judge::Verdict {
        let mut changed = stored.clone();
        changed["spec"] = manifest["spec"].clone();
        let _permit = self.permits.acquire().await.unwrap();
        let path = format!("{}/{}?{DRY}", self.path, stored["metadata"]["name"].as_str().unwrap());
        ask(&self.client, Method::PUT, &path, Some(&changed)).await
    }

    async fn judge_rule(&self, rule: &Rule, number: usize, corpus: &Corpus) -> Outcome {
        let written = corpus.pair(rule);
        let every = written.is_some();
        let (stored, Neighbours { accepted, refused }) = match written {
            Some(pair) if rule.is_transition() => {
                (Some(self.create(&pair.before, &format!("before-{number}")).await), pair.neighbours)
            }
            Some(pair) => (None, pair.neighbours),
            None => (None, neighbours(rule, &corpus.bases)),
        };
        let mut outcome = Outcome::default();
        if accepted.is_empty() || refused.is_empty() {
            outcome
                .faults
                .push(format!("{rule}: has no pair of neighbours: write one into pairs.yaml or patterns.yaml"));
            return outcome;
        }
        let ask = async |manifest: &Value| match &stored {
            Some(stored) => self.update(stored, manifest).await,
            None => self.judge(manifest, DRY).await,
        };
        let (mut good, mut words) = (0, Vec::new());
        for manifest in &accepted {
            let verdict = ask(manifest).await;
            if verdict.accepted() {
                good += 1;
            } else {
                words.push(verdict.message());
            }
            if good > 0 && !every {
                break;
            }
        }
        // Whoever wrote neighbours meant each of them; of those that were made any will do.
        if good == 0 || (every && good < accepted.len()) {
            outcome.faults.push(format!("{rule}: the neighbour that is allowed is refused: {}", words.join("; ")));
        }
        outcome.accepted = good;
        for (manifest, field) in &refused {
            let verdict = ask(manifest).await;
            if verdict.refuses(field, rule.says()) {
                outcome.refused += 1;
            } else {
                let message = verdict.message();
                outcome.faults.push(format!("{rule}: not refused at `{field}` with {:?}: {message}", rule.says()));
            }
        }
        outcome
    }
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    serde_json::to_value(schema).unwrap()
}

/// Judges every rule of a kind, and returns how many neighbours were accepted and refused.
async fn judge_kind(crd: &CustomResourceDefinition, namespace: &TestNamespace<'_>) -> Outcome {
    let names = &crd.spec.names;
    let path = format!("/apis/kalong.dev/v1alpha1/namespaces/{}/{}", namespace.name(), names.plural);
    let door = Arc::new(Door { client: namespace.client(), path, permits: Semaphore::new(CONCURRENCY) });
    let corpus = Arc::new(Corpus::read(names.singular.as_ref().unwrap()));
    let schema = schema(crd);
    let rules = discover(&schema);
    let mut total = Outcome { faults: corpus.stale(&rules), ..Outcome::default() };
    for (number, base) in corpus.bases.iter().enumerate() {
        let least = manifest::minimal(&base["spec"], &schema["properties"]["spec"]);
        for good in [base.clone(), manifest::with(base, &manifest::written("spec"), least)] {
            let verdict = door.judge(&good, DRY).await;
            total.accepted += 1;
            total.faults.extend((!verdict.accepted()).then(|| format!("base {number}: {}", verdict.message())));
        }
        let unknown = manifest::with(base, &manifest::written("spec.nonsense"), json!(1));
        let verdict = door.judge(&unknown, DRY).await;
        total.refused += 1;
        let named = verdict.code == 400 && verdict.message().contains("unknown field \"spec.nonsense\"");
        total.faults.extend((!named).then(|| format!("base {number}, unknown field: {}", verdict.message())));
    }
    let mut tasks = JoinSet::new();
    for (number, rule) in rules.into_iter().enumerate() {
        let (door, corpus) = (Arc::clone(&door), Arc::clone(&corpus));
        tasks.spawn(async move { door.judge_rule(&rule, number, &corpus).await });
    }
    let count = tasks.len();
    while let Some(outcome) = tasks.join_next().await {
        let outcome = outcome.unwrap();
        total.accepted += outcome.accepted;
        total.refused += outcome.refused;
        total.faults.extend(outcome.faults);
    }
    println!("{}: {count} rules, {} accepted, {} refused", names.kind, total.accepted, total.refused);
    total
}

async fn every_rule_and_bound_has_an_accepted_and_a_refused_neighbour() {
    let namespace = TestNamespace::new("corpus").await.unwrap();
    crds(namespace.plane()).await;
    let crds = kalong_crds::schema::crds().unwrap();
    let all: Vec<Rule> = crds.iter().flat_map(|crd| discover(&schema(crd))).collect();
    let mut faults = corpus::stale_patterns(&all);
    for crd in crds {
        let outcome = judge_kind(&crd, &namespace).await;
        faults.extend(outcome.faults.into_iter().map(|fault| format!("{}: {fault}", crd.spec.names.kind)));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

async fn api_server_takes_each_kind_without_a_warning() {
    let namespace = TestNamespace::new("kinds").await.unwrap();
    let plane = namespace.plane();
    // Those that are installed are there already, so each is judged as a change of itself.
    crds(plane).await;
    for mut document in kalong_crds::schema::crd_documents().unwrap() {
        let name = document["metadata"]["name"].as_str().unwrap().to_owned();
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let stored = ask(&namespace.client(), Method::GET, &path, None).await;
        document["metadata"]["resourceVersion"] = stored.body["metadata"]["resourceVersion"].clone();
        let verdict = ask(&namespace.client(), Method::PUT, &format!("{path}?{DRY}"), Some(&document)).await;
        assert!(verdict.accepted(), "{name}: {}", verdict.message());
        let conditions = stored.body["status"]["conditions"].as_array().unwrap();
        let holds = |kind: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == "True");
        assert!(holds("Established") && holds("NamesAccepted") && !holds("NonStructuralSchema"), "{name}");
    }
}

async fn explain_is_the_manual() {
    let namespace = TestNamespace::new("explain").await.unwrap();
    crds(namespace.plane()).await;
    let text = namespace.plane().kubectl(["explain", "lanes.spec.admission"]).await.unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("ENUM: Open Closed"), "{text}");
    assert!(words.join(" ").contains("Open: Traffic is admitted. Closed: Traffic is not admitted."), "{text}");
}

async fn new_object_is_not_settled_and_holds_no_null() {
    let namespace = TestNamespace::new("fresh").await.unwrap();
    crds(namespace.plane()).await;
    for crd in kalong_crds::schema::crds().unwrap() {
        let base = Corpus::read(crd.spec.names.singular.as_ref().unwrap()).bases.remove(0);
        let plural = &crd.spec.names.plural;
        let path = format!("/apis/kalong.dev/v1alpha1/namespaces/{}/{plural}?{DRY}", namespace.name());
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let has_phase = schema.pointer("/openAPIV3Schema/properties/spec/properties/phase").is_some();
        let mut manifest = base;
        if has_phase {
            manifest["spec"]["phase"] = Value::Null;
        }
        let verdict = ask(&namespace.client(), Method::POST, &path, Some(&manifest)).await;
        assert!(verdict.accepted(), "{plural}: {}", verdict.message());
        assert_eq!(verdict.body["status"]["observedGeneration"], -1, "{plural}");
        assert!(verdict.body["spec"].get("phase").is_none(), "{plural}: null is as good as absent");
    }
}

async fn lookups_that_people_make_are_answered() {
    let namespace = TestNamespace::new("lookup").await.unwrap();
    let plane = namespace.plane();
    crds(plane).await;
    let kinds = kalong_crds::schema::crds().unwrap();
    let kinds: Vec<String> = kinds.into_iter().filter_map(|crd| crd.spec.names.singular).collect();
    for kind in &kinds {
        let base = Corpus::read(kind).bases.remove(0);
        plane.kubectl_with_input(["-n", namespace.name(), "create", "-f", "-"], &base.to_string()).await.unwrap();
    }
    for (what, selector) in [
        ("xing", "spec.phase=phase-1"),
        ("lane", "spec.phase=phase-1,spec.crossingRef=bac-luan-2"),
        ("kdev", "spec.agentRef=bl2-lane-03,spec.modelRef=magnetic-mhtm"),
        ("kmodel", "spec.class=Barrier"),
        ("kagent", "spec.phase=phase-1"),
        ("kfw", "spec.version=2.4.1"),
        ("stn", "spec.crossingRef=bac-luan-2,spec.type=Inspection"),
        ("igv", "spec.agentRef=bl2-yard"),
        ("blink", "spec.crossingRef=bac-luan-2"),
        ("drain", "spec.class=Emergency,spec.target.name=bac-luan-2"),
        ("phases", "spec.state=Planned"),
    ] {
        let get = async |selector: &str| {
            plane
                .kubectl(["-n", namespace.name(), "get", what, "-o", "name", "--field-selector", selector])
                .await
                .unwrap()
        };
        assert_eq!(get(selector).await.lines().count(), 1, "{what} {selector}");
        let (field, _) = selector.split_once('=').unwrap();
        assert_eq!(get(&format!("{field}=nothing")).await, "", "{what} {field}");
    }
    let all = plane.kubectl(["-n", namespace.name(), "get", "all", "-o", "name"]).await.unwrap();
    assert_eq!(all.lines().count(), 5, "{all}");
    let ours = plane.kubectl(["-n", namespace.name(), "get", "kalong", "-o", "name"]).await.unwrap();
    assert_eq!(ours.lines().count(), kinds.len(), "{ours}");
    let wide = plane.kubectl(["-n", namespace.name(), "get", "kdev", "-o", "wide"]).await.unwrap();
    assert!(wide.contains("MESSAGE") && wide.contains("10.20.3.5:502"), "{wide}");
}

pub fn tests() -> Vec<crate::schedule::Test> {
    own().into_iter().chain(deletion::tests()).collect()
}

crate::tests![own:
    every_rule_and_bound_has_an_accepted_and_a_refused_neighbour,
    api_server_takes_each_kind_without_a_warning,
    explain_is_the_manual,
    new_object_is_not_settled_and_holds_no_null,
    lookups_that_people_make_are_answered,
];
