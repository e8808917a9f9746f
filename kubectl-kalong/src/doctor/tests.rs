use jiff::Timestamp;
use kalong_crds::Kind;
use kalong_crds::schema::{crd_documents, deletion_policy};
use serde_json::{Value, json};

use super::gather::{Evidence, Lookup, Server};
use super::judge::judge;
use super::*;
use crate::golden;
use crate::site::{Site, Skipped, fixture};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// An installation in which nothing is wrong.
fn whole(site: Site) -> Evidence {
    let crds = crd_documents().unwrap().into_iter().map(|mut crd| {
        crd["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        (crd["metadata"]["name"].as_str().unwrap().to_owned(), Lookup::There(crd))
    });
    let [policy, binding] = <[Value; 2]>::try_from(deletion_policy()).unwrap();
    Evidence {
        operator_namespace: "kalong-system".into(),
        now: at("2026-11-22T10:12:00Z"),
        server: Lookup::There(Server {
            version: "v1.37.0".into(),
            clock: Some(at("2026-11-22T10:12:00Z")),
            ours: at("2026-11-22T10:12:00.4Z"),
        }),
        crds: crds.collect(),
        policy: Lookup::There(policy),
        binding: Lookup::There(binding),
        deployments: Lookup::There(vec![parsed(json!({
            "metadata": {"name": "kalong-operator"},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"readyReplicas": 2},
        }))]),
        lease: Lookup::There(parsed(json!({"spec": {
            "holderIdentity": "kalong-operator-0",
            "leaseDurationSeconds": 30,
            "leaseTransitions": 28_000_000,
            "renewTime": "2026-11-22T10:11:55.000000Z",
        }}))),
        trust: Lookup::There(parsed(json!({"data": {
            "ca.crt": "-----BEGIN CERTIFICATE-----\nTW9uZyBDYWk=\n-----END CERTIFICATE-----\n",
            "enrol-url": "https://kalong.example:8443/enrol",
            "operator.pub": r#"[{"keyId":"op-1","publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]"#,
            "releaseKeys": r#"{"number":1,"keys":[{"keyId":"author-a","publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#,
        }}))),
        sites: Lookup::There(vec![site]),
        skipped: Vec::new(),
    }
}

fn text(evidence: &Evidence) -> String {
    report(&judge(evidence).unwrap(), None, &Screen::pipe()).unwrap()
}

fn line<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|c| c.check == name).unwrap_or_else(|| panic!("{name}: {checks:?}"))
}

#[test]
fn a_whole_installation_is_ok() {
    let evidence = whole(fixture::site("well"));
    golden::compare("doctor-well.txt", &text(&evidence));
    assert_eq!(worst(&judge(&evidence).unwrap()), Verdict::Ok);
}

#[test]
fn an_ill_site_says_what_to_do() {
    let evidence = whole(fixture::site("ill"));
    golden::compare("doctor-ill.txt", &text(&evidence));
    let checks = judge(&evidence).unwrap();
    golden::compare("doctor-ill.json", &report(&checks, Some(Format::Json), &Screen::pipe()).unwrap());
    assert_eq!(worst(&checks), Verdict::Fail);
}

#[test]
fn an_empty_cluster_lacks_everything() {
    let mut evidence = whole(Site::new("mong-cai"));
    evidence.crds.iter_mut().for_each(|(_, found)| *found = Lookup::Absent);
    evidence.policy = Lookup::Absent;
    evidence.binding = Lookup::Absent;
    evidence.deployments = Lookup::There(Vec::new());
    evidence.lease = Lookup::Absent;
    evidence.trust = Lookup::Absent;
    evidence.sites = Lookup::Hidden(crate::cluster::CallError::NotInstalled.to_string());
    golden::compare("doctor-empty.txt", &text(&evidence));
}

#[test]
fn who_may_see_little_is_warned_and_not_frightened() {
    let mut evidence = whole(fixture::site("well"));
    let hidden = || "leases.coordination.k8s.io is forbidden: User cannot get resource";
    evidence.crds.iter_mut().for_each(|(_, found)| *found = Lookup::Hidden(hidden().into()));
    evidence.policy = Lookup::Hidden(hidden().into());
    evidence.deployments = Lookup::Hidden(hidden().into());
    evidence.lease = Lookup::Hidden(hidden().into());
    evidence.trust = Lookup::Hidden(hidden().into());
    evidence.skipped = vec![Skipped { kind: Kind::Device, why: "you may not list it".into() }];
    let checks = judge(&evidence).unwrap();
    assert_eq!(worst(&checks), Verdict::Warn, "{checks:?}");
    golden::compare("doctor-forbidden.txt", &text(&evidence));
}

#[test]
fn a_server_that_does_not_answer_ends_the_visit() {
    let mut evidence = whole(fixture::site("well"));
    evidence.server = Lookup::Hidden("the API server did not tell its version".into());
    let checks = judge(&evidence).unwrap();
    assert_eq!((checks.len(), worst(&checks)), (1, Verdict::Fail));
}

#[test]
fn crds_of_another_version_are_named() {
    let mut evidence = whole(fixture::site("well"));
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let lane = |evidence: &mut Evidence, change: fn(&mut serde_json::Map<String, Value>)| {
        for (name, found) in &mut evidence.crds {
            if let (true, Lookup::There(crd)) = (name == "lanes.kalong.dev", found) {
                change(crd.pointer_mut(path).unwrap().as_object_mut().unwrap());
            }
        }
    };
    lane(&mut evidence, |spec| drop(spec.insert("colour".into(), json!({"type": "string"}))));
    let newer = judge(&evidence).unwrap();
    assert_eq!(line(&newer, "CRDs").verdict, Verdict::Warn);
    assert!(line(&newer, "CRDs").says.contains("lanes.kalong.dev spec.colour"));
    lane(&mut evidence, |spec| drop(spec.remove("phase")));
    let older = judge(&evidence).unwrap();
    assert_eq!(line(&older, "CRDs").verdict, Verdict::Fail);
    assert!(line(&older, "CRDs").says.contains("lanes.kalong.dev spec.phase"));
}

#[test]
fn clocks_two_seconds_apart_are_said() {
    let skew = |ours: &str| {
        let mut evidence = whole(fixture::site("well"));
        let clock = Some(at("2026-11-22T10:12:00Z"));
        evidence.server = Lookup::There(Server { version: "v1.37.0".into(), clock, ours: at(ours) });
        line(&judge(&evidence).unwrap(), "clock").clone()
    };
    // The header says 10:12:00 for any moment of that second.
    assert_eq!(skew("2026-11-22T10:12:02.9Z").verdict, Verdict::Ok);
    assert_eq!(skew("2026-11-22T10:11:58.1Z").verdict, Verdict::Ok);
    assert!(skew("2026-11-22T10:12:08Z").says.contains("7s ahead"), "{:?}", skew("2026-11-22T10:12:08Z"));
    assert!(skew("2026-11-22T10:11:50Z").says.contains("10s behind"));
}

#[test]
fn a_lease_that_has_run_out_fails() {
    let mut evidence = whole(fixture::site("well"));
    evidence.now = at("2026-11-22T10:12:26Z");
    evidence.server = Lookup::There(Server { version: "v1.37.0".into(), clock: None, ours: evidence.now });
    assert_eq!(line(&judge(&evidence).unwrap(), "lease").verdict, Verdict::Fail);
    evidence.now = at("2026-11-22T10:12:24Z");
    assert_eq!(line(&judge(&evidence).unwrap(), "lease").verdict, Verdict::Ok);
}

#[test]
fn a_policy_that_does_not_deny_fails() {
    let mut evidence = whole(fixture::site("well"));
    if let Lookup::There(binding) = &mut evidence.binding {
        binding["spec"]["validationActions"] = json!(["Warn"]);
    }
    assert_eq!(line(&judge(&evidence).unwrap(), "deletion policy").verdict, Verdict::Fail);
    let mut evidence = whole(fixture::site("well"));
    if let Lookup::There(policy) = &mut evidence.policy {
        policy["spec"]["validations"] = json!([]);
    }
    assert_eq!(line(&judge(&evidence).unwrap(), "deletion policy").verdict, Verdict::Warn);
}
