//! Enrolment against a scripted server with one site: tokens raced, replayed and misused. Pass means no certificate, or exactly one.

use std::collections::BTreeMap;
use std::convert::Infallible;

use http::{Method, Request, Response};
use kalong_crds::Category;
use kalong_crds::units::Digest;
use kube::client::Body;
use kube::runtime::events::Reporter;
use parking_lot::Mutex;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::request::SIGNER;
use super::*;
use crate::keys::{CertificateAndKey, CertificateAuthority, ServerCertificate, SigningKey};

const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SEALING: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// The few objects that enrolment touches, by path.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<BTreeMap<String, Value>>>, Arc<Mutex<Option<&'static str>>>);

impl Server {
    fn with_agent(agent: &str, spec: Value) -> Self {
        let server = Self::default();
        let (site, name) = agent.split_once('.').unwrap();
        server.put(
            &agent_path(site, name),
            json!({"apiVersion": "kalong.dev/v1alpha1", "kind": "EdgeAgent",
            "metadata": {"name": name, "namespace": site, "uid": "u-1", "resourceVersion": "1"}, "spec": spec}),
        );
        server
    }

    fn with_token(self, agent: &str, expires: Timestamp) -> Self {
        let (site, name) = agent.split_once('.').unwrap();
        let encode = |text: String| STANDARD.encode(text);
        self.put(&token_path(site, name), json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("kalong-enrol-{name}"), "namespace": site, "uid": "s-1", "resourceVersion": "5"},
            "data": {"tokenHash": encode(Digest::of(TOKEN.as_bytes()).to_string()), "expires": encode(expires.to_string())}}));
        self
    }

    fn put(&self, path: &str, object: Value) {
        self.0.lock().insert(path.to_owned(), object);
    }

    fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().get(path).cloned()
    }

    fn requests(&self) -> Vec<Value> {
        let objects = self.0.lock();
        objects.iter().filter(|(path, _)| path.contains("certificatesigningrequests")).map(|(_, v)| v.clone()).collect()
    }

    fn certificates(&self) -> usize {
        self.requests().iter().filter(|r| r.pointer("/status/certificate").is_some()).count()
    }

    fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let bytes = body.collect_bytes().await.unwrap();
                    // Two requests in flight meet here.
                    tokio::task::yield_now().await;
                    let sent = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                    Ok::<_, Infallible>(server.answer(&parts.method, parts.uri.path(), sent))
                }
            }),
            "default",
        )
    }

    fn answer(&self, method: &Method, path: &str, sent: Value) -> Response<Body> {
        if self.1.lock().is_some_and(|broken| path.ends_with(broken)) {
            return refusal(500, "InternalError");
        }
        let mut objects = self.0.lock();
        let object_path = path.trim_end_matches("/status").trim_end_matches("/approval").to_owned();
        match *method {
            Method::POST => {
                let name = sent.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("event").to_owned();
                objects.insert(format!("{path}/{name}"), sent.clone());
                reply(201, sent)
            }
            Method::GET => objects.get(path).map_or_else(|| refusal(404, "NotFound"), |o| reply(200, o.clone())),
            Method::DELETE => {
                let Some(object) = objects.get(path) else { return refusal(404, "NotFound") };
                for key in ["uid", "resourceVersion"] {
                    let held = object.pointer(&format!("/metadata/{key}"));
                    assert_eq!(sent.pointer(&format!("/preconditions/{key}")), held, "a burn names what was checked");
                }
                objects.remove(path);
                reply(200, json!({"kind": "Status", "status": "Success", "code": 200}))
            }
            Method::PATCH | Method::PUT => {
                let Some(object) = objects.get_mut(&object_path) else { return refusal(404, "NotFound") };
                merge(object, sent);
                reply(200, object.clone())
            }
            _ => panic!("unexpected {method} {path}"),
        }
    }
}

fn merge(object: &mut Value, patch: Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, patch) => *object = patch,
    }
}

fn agent_path(site: &str, name: &str) -> String {
    format!("/apis/kalong.dev/v1alpha1/namespaces/{site}/edgeagents/{name}")
}

fn token_path(site: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{site}/secrets/kalong-enrol-{name}")
}

fn reply(code: u16, body: Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap()
}

fn refusal(code: u16, reason: &str) -> Response<Body> {
    reply(code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}))
}

fn enroller(server: &Server, sites: ServedSites) -> Enroller {
    let now = Timestamp::now();
    let authority = CertificateAuthority::read(&CertificateAuthority::generate(now).unwrap(), "").unwrap();
    let CertificateAndKey { certificate_pem, key_pem } = authority.server(&["localhost".to_owned()], now).unwrap();
    let pkcs8 = kalong_crds::wire::signature::Signer::generate().unwrap();
    let keys = Keys {
        server: Arc::new(ServerCertificate { chain_pem: certificate_pem, key_pem, not_after: now }),
        authority: Arc::new(authority),
        signing: Arc::new(SigningKey::read("op-1", pkcs8).unwrap()),
    };
    Enroller::new(EnrollerConfig {
        client: server.client(),
        keys: watch::channel(Arc::new(keys)).1,
        release_keys: ReleaseKeys::default(),
        advertise: Advertise { https: "https://gate.example:8443".into(), gateway: "gate.example:8883".into() },
        sites,
        recorder: Recorder::new(server.client(), Reporter { controller: "test".into(), instance: None }),
        metrics: Arc::new(Metrics::new().unwrap()),
        enrolled: Box::new(|_| {}),
    })
}

fn csr(common_name: &str) -> String {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

fn asks(agent: &str) -> EnrolRequest {
    EnrolRequest { agent: agent.parse().unwrap(), token: TOKEN.into(), csr: csr(agent), sealing_key: SEALING.into() }
}

fn in_an_hour() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(1)
}

const LANE: &str = "mong-cai.lane-03";

fn site() -> Server {
    Server::with_agent(LANE, json!({})).with_token(LANE, in_an_hour())
}

#[tokio::test]
async fn a_good_token_gives_one_certificate_a_record_and_a_status() {
    let server = site();
    let answer = enroller(&server, ServedSites::All).enrol(asks(LANE)).await.unwrap();
    assert!(answer.certificate.contains("BEGIN CERTIFICATE") && answer.authorities.contains("BEGIN CERTIFICATE"));
    assert_eq!(answer.gateway, "gate.example:8883");
    assert_eq!(answer.operator_keys[0].key_id, "op-1");
    assert!(server.get(&token_path("mong-cai", "lane-03")).is_none(), "the token is burnt");
    let records = server.requests();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].pointer("/status/conditions/0/type"), Some(&json!("Approved")));
    assert_eq!(records[0].pointer("/spec/signerName"), Some(&json!(SIGNER)));
    let agent = server.get(&agent_path("mong-cai", "lane-03")).unwrap();
    assert_eq!(agent.pointer("/status/sealingKey"), Some(&json!(SEALING)));
    assert!(agent.pointer("/status/certificate/serial").is_some());
    let events = server.0.lock();
    assert!(events.iter().any(|(path, e)| path.contains("/events/") && e["reason"] == "Enrolled"));
}

#[tokio::test]
async fn a_token_is_good_once() {
    let server = site();
    let enroller = enroller(&server, ServedSites::All);
    enroller.enrol(asks(LANE)).await.unwrap();
    let error = enroller.enrol(asks(LANE)).await.unwrap_err();
    assert_eq!((error.category(), error.status()), ("token-wrong", StatusCode::FORBIDDEN));
    assert_eq!(server.certificates(), 1);
}

#[tokio::test]
async fn of_two_requests_with_one_token_at_once_exactly_one_wins() {
    for _ in 0..20 {
        let server = site();
        let enroller = enroller(&server, ServedSites::All);
        let (a, b) = tokio::join!(enroller.enrol(asks(LANE)), enroller.enrol(asks(LANE)));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
        assert_eq!(server.certificates(), 1);
        let loser = a.err().or(b.err()).unwrap();
        assert!(matches!(loser, IssuanceError::Burnt | IssuanceError::Token(TokenError::Wrong)), "{loser}");
        let approved = |r: &Value| r.pointer("/status/conditions/0/type") == Some(&json!("Approved"));
        assert_eq!(server.requests().iter().filter(|r| approved(r)).count(), 1);
    }
}

#[tokio::test]
async fn whatever_is_wrong_no_certificate_is_issued() {
    let other = "mong-cai.lane-04";
    let later = |hours: i64| Timestamp::now() + SignedDuration::from_hours(hours);
    let change = |f: &dyn Fn(&mut EnrolRequest)| {
        let mut request = asks(LANE);
        f(&mut request);
        request
    };
    let abandoned = || {
        let server = site();
        let path = agent_path("mong-cai", "lane-03");
        let mut agent = server.get(&path).unwrap();
        agent["metadata"]["annotations"] = json!({ABANDON: "A. Person, 2026-09-01, burnt"});
        server.put(&path, agent);
        server
    };
    let attacks: Vec<(&str, Server, ServedSites, EnrolRequest, &str)> = vec![
        ("no token", Server::with_agent(LANE, json!({})), ServedSites::All, asks(LANE), "token-wrong"),
        ("another token", site(), ServedSites::All, change(&|r| r.token = TOKEN.replace('A', "B")), "token-wrong"),
        ("half a token", site(), ServedSites::All, change(&|r| r.token = TOKEN[..20].into()), "token-malformed"),
        (
            "the hash as token",
            site(),
            ServedSites::All,
            change(&|r| r.token = Digest::of(TOKEN.as_bytes()).to_string()),
            "token-malformed",
        ),
        (
            "an expired token",
            Server::with_agent(LANE, json!({})).with_token(LANE, later(-1)),
            ServedSites::All,
            asks(LANE),
            "token-expired",
        ),
        (
            "a token for a year",
            Server::with_agent(LANE, json!({})).with_token(LANE, later(8760)),
            ServedSites::All,
            asks(LANE),
            "token-too-long",
        ),
        (
            "the token of another agent",
            Server::with_agent(LANE, json!({})).with_token(other, in_an_hour()),
            ServedSites::All,
            asks(LANE),
            "token-wrong",
        ),
        (
            "an agent that nobody declared",
            Server::default().with_token(LANE, in_an_hour()),
            ServedSites::All,
            asks(LANE),
            "undeclared",
        ),
        (
            "a suspended agent",
            Server::with_agent(LANE, json!({"suspend": true})).with_token(LANE, in_an_hour()),
            ServedSites::All,
            asks(LANE),
            "shut-out",
        ),
        ("a box that is gone for good", abandoned(), ServedSites::All, asks(LANE), "shut-out"),
        ("a site of another operator", site(), ServedSites::Some(vec!["lang-son".into()]), asks(LANE), "foreign-site"),
        ("a request for another name", site(), ServedSites::All, change(&|r| r.csr = csr(other)), "request-subject"),
        ("10 MB", site(), ServedSites::All, change(&|r| r.csr = "A".repeat(10_000_000)), "request-too-large"),
        ("no sealing key", site(), ServedSites::All, change(&|r| r.sealing_key = String::new()), "sealing-key"),
        ("a short sealing key", site(), ServedSites::All, change(&|r| r.sealing_key = "AQEB".into()), "sealing-key"),
        (
            "a sealing key of zeros",
            site(),
            ServedSites::All,
            change(&|r| r.sealing_key = STANDARD.encode([0_u8; 32])),
            "sealing-key",
        ),
    ];
    for (attack, server, sites, request, category) in attacks {
        let error = enroller(&server, sites).enrol(request).await.expect_err(attack);
        assert_eq!(error.category(), category, "{attack}: {error}");
        assert_eq!(server.certificates(), 0, "{attack}");
    }
}

#[tokio::test]
async fn a_refused_enrolment_leaves_the_token_to_whoever_owns_it() {
    let server = site();
    let enroller = enroller(&server, ServedSites::All);
    let mut thief = asks(LANE);
    thief.token = TOKEN.replace('A', "B");
    enroller.enrol(thief).await.unwrap_err();
    assert!(server.get(&token_path("mong-cai", "lane-03")).is_some());
    enroller.enrol(asks(LANE)).await.unwrap();
}

#[tokio::test]
async fn a_failure_after_the_token_was_used_up_says_so_and_gives_nothing() {
    for broken in ["/approval", "/status"] {
        let server = site();
        *server.1.lock() = Some(broken);
        let error = enroller(&server, ServedSites::All).enrol(asks(LANE)).await.unwrap_err();
        assert_eq!((error.category(), error.status()), ("interrupted", StatusCode::SERVICE_UNAVAILABLE));
        assert!(error.to_string().contains("kubectl kalong enrol"), "{error}");
        assert_eq!(server.certificates(), 0);
    }
}

#[tokio::test]
async fn a_session_renews_for_itself_while_its_agent_may_talk() {
    let server = site();
    let enroller = enroller(&server, ServedSites::All);
    let agent: AgentId = LANE.parse().unwrap();
    enroller.enrol(asks(LANE)).await.unwrap();
    let serial = |server: &Server| {
        server.get(&agent_path("mong-cai", "lane-03")).unwrap().pointer("/status/certificate/serial").cloned()
    };
    let first = serial(&server);
    enroller.renew(&agent, &csr(LANE)).await.unwrap();
    assert_ne!(serial(&server), first);
    assert_eq!(server.requests().len(), 1, "a renewal makes no CertificateSigningRequest");
    assert_eq!(enroller.renew(&agent, &csr("mong-cai.lane-04")).await.unwrap_err().category(), "request-subject");
    server.put(
        &agent_path("mong-cai", "lane-03"),
        json!({"apiVersion": "kalong.dev/v1alpha1", "kind": "EdgeAgent",
        "metadata": {"name": "lane-03", "namespace": "mong-cai"}, "spec": {"suspend": true}}),
    );
    assert_eq!(enroller.renew(&agent, &csr(LANE)).await.unwrap_err().category(), "shut-out");
}
