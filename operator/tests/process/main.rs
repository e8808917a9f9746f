//! The operator as a process on a real API server, with the rights that its chart gives: keys, Lease, enrolment, ordered end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod site;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kalong_crds::units::Digest;
use kalong_crds::wire::enrol::{EnrolRequest, EnrolResponse, Refusal};
use kalong_e2e::cluster::{Exit, Signal};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::time::Instant;

use site::Site;

const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SEALING: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const END: Duration = Duration::from_secs(20);

fn csr() -> (KeyPair, String) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    (key, csr)
}

impl Site {
    async fn declare_agent(&self, name: &str) {
        let agent = json!({"apiVersion": "kalong.dev/v1alpha1", "kind": "EdgeAgent",
            "metadata": {"name": name, "namespace": self.site}, "spec": {}});
        self.apply(&agent).await;
    }

    async fn store_token(&self, name: &str) {
        let expires = Timestamp::now() + SignedDuration::from_mins(30);
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("kalong-enrol-{name}"), "namespace": self.site},
            "stringData": {"tokenHash": Digest::of(TOKEN.as_bytes()).to_string(), "expires": expires.to_string()}});
        self.apply(&secret).await;
    }

    fn request(&self, name: &str) -> (KeyPair, EnrolRequest) {
        let (key, csr) = csr();
        let agent = format!("{}.{name}", self.site).parse().unwrap();
        (key, EnrolRequest { agent, token: TOKEN.into(), csr, sealing_key: SEALING.into() })
    }
}

#[tokio::test]
async fn the_first_leader_makes_keys_and_a_restart_keeps_them() {
    let site = Site::new("keys").await;
    let first = site.operator("a").start().await;
    first.serves().await;
    let term = site.term().await;
    assert!(term > 20_000_000, "a new Lease begins at the seconds since 2026: {term}");
    let keys = async || {
        let mut all = Vec::new();
        for (secret, key) in [("kalong-ca", "tls.crt"), ("kalong-server", "tls.crt"), ("kalong-signing", "keyId")] {
            all.push(site.get("secret", secret).await["data"][key].as_str().unwrap().to_owned());
        }
        all
    };
    let made = keys().await;
    let trust = site.get("configmap", "kalong-trust").await;
    assert_eq!(trust["data"]["ca.crt"].as_str().unwrap().as_bytes(), STANDARD.decode(&made[0]).unwrap());
    assert_eq!(trust["data"]["enrol-url"], json!(format!("https://{}/enrol", first.https)));

    first.child.kill().await.unwrap();
    let begun = Instant::now();
    let again = site.operator("a").start().await;
    again.serves().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "an earlier process of the same name is not waited for");
    assert_eq!(site.term().await, term + 1);
    assert_eq!(keys().await, made);
    let metrics = again.get("/metrics").await.1;
    assert!(metrics.contains(&format!("kalong_lease_term {}", term + 1)));
    assert!(!metrics.contains("code=\"403\""), "a right is missing:\n{metrics}");
}

#[tokio::test]
async fn a_box_enrols_once_with_its_token_and_downloads_nothing_before() {
    let site = Site::new("enrol").await;
    let operator = site.operator("a").start().await;
    operator.serves().await;
    site.declare_agent("lane-03").await;
    site.store_token("lane-03").await;

    let anybody = site.client(None).await;
    let artifact = format!("https://{}/artifacts/{}", operator.https, "a".repeat(64));
    assert_eq!(anybody.get(&artifact).send().await.unwrap().status().as_u16(), 401);

    let enrol = format!("https://{}/enrol", operator.https);
    let post = async |request: &EnrolRequest| {
        let body = serde_json::to_vec(request).unwrap();
        let answer = anybody.post(&enrol).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (key, request) = site.request("lane-03");
    let (code, text) = post(&request).await;
    assert_eq!(code, 200, "{text}\n{}", operator.child.log_tail(30));
    let answer: EnrolResponse = serde_json::from_str(&text).unwrap();

    let (code, text) = post(&site.request("lane-03").1).await;
    let refusal: Refusal = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 403, "{}", refusal.message);
    assert!(refusal.message.contains("kubectl kalong enrol"), "{}", refusal.message);

    let requests = site.list("certificatesigningrequests").await;
    let ours = |r: &&Value| r["metadata"]["annotations"]["kalong.dev/agent"] == json!(request.agent.to_string());
    let ours: Vec<&Value> = requests.iter().filter(ours).collect();
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0]["spec"]["signerName"], "kalong.dev/edge-agent");
    assert_eq!(ours[0]["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(ours[0]["status"]["certificate"], json!(STANDARD.encode(&answer.certificate)));

    let agent = site.eventually("the status names the certificate", async || {
        let agent = site.get_in_site("edgeagent", "lane-03").await;
        agent["status"]["certificate"]["serial"].is_string().then_some(agent)
    });
    let agent = agent.await;
    assert_eq!(agent["status"]["sealingKey"], SEALING);
    site.eventually("an Event tells people", async || {
        let events = site.list_in_site("events").await;
        events.iter().any(|e| e["reason"] == "Enrolled").then_some(())
    })
    .await;

    // With its certificate it is an agent: it may ask, and what it asks for is not there.
    let identity = format!("{}{}", answer.certificate, key.serialize_pem());
    let known = site.client(Some(&identity)).await;
    site.eventually("the agent is admitted", async || {
        (known.get(&artifact).send().await.unwrap().status().as_u16() == 404).then_some(())
    })
    .await;
    let metrics = operator.get("/metrics").await.1;
    assert!(!metrics.contains("code=\"403\"") || metrics.contains("kalong_http_requests_total{code=\"403\""));
    assert!(!metrics.lines().any(|l| l.starts_with("kalong_api_requests_total{code=\"403\"")), "{metrics}");
}

#[tokio::test]
async fn a_standby_takes_over_at_once_when_the_leader_is_asked_to_end() {
    let site = Site::new("standby").await;
    let leader = site.operator("a").start().await;
    leader.serves().await;
    let term = site.term().await;
    let standby = site.operator("b").start().await;
    site.eventually("the other stands by", async || {
        (standby.stage().await.as_deref() == Some("standby")).then_some(())
    })
    .await;

    let begun = Instant::now();
    leader.child.signal(Signal::Terminate).unwrap();
    assert_eq!(leader.child.wait(END).await.unwrap(), Exit::Code(0), "{}", leader.child.log_tail(30));
    standby.serves().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(site.term().await, term + 1);
}

#[tokio::test]
async fn whoever_loses_the_lease_ends() {
    let site = Site::new("lost").await;
    let leader = site.operator("a").start().await;
    leader.serves().await;
    let rival = json!({"spec": {"holderIdentity": "rival/1"}});
    site.kubectl(&["patch", "lease", "kalong-operator", "--type=merge", "-p", &rival.to_string()]).await;
    assert_eq!(leader.child.wait(END).await.unwrap(), Exit::Code(3), "{}", leader.child.log_tail(30));
    assert!(leader.child.log_tail(30).contains("the Lease is lost"));
}

#[tokio::test]
async fn a_second_process_of_one_name_is_refused() {
    let site = Site::new("twice").await;
    let first = site.operator("a").start().await;
    first.serves().await;
    let second = site.operator("a").start().await;
    assert_eq!(second.child.wait(END).await.unwrap(), Exit::Code(1));
    assert!(second.child.log_tail(5).contains("another process runs as --instance"));
}
