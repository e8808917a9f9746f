//! A token opens the door once, in its time, to the one box that it was made for; what is asked beyond that is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jiff::SignedDuration;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kalong_crds::EdgeAgent;
use kalong_crds::wire::enrol::token_secret_name;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use rcgen::{KeyPair, SanType};

use super::door::{Door, Identity, SEALING_KEY, request, request_with, token};
use super::home::{shared, shared_site};
use super::site::TestSite;
use crate::kit::{SOON, holds, until};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn door(site: &TestSite<'_>) -> Door {
    Door::of(site, shared().await.1.listens.https).await
}

/// The records of a box, newest last.
async fn records(site: &TestSite<'_>, agent: &str) -> Vec<CertificateSigningRequest> {
    let all: Api<CertificateSigningRequest> = Api::all(site.client.clone());
    let prefix = format!("kalong.{agent}.");
    let list = all.list(&ListParams::default()).await.unwrap();
    list.items.into_iter().filter(|r| r.name_any().starts_with(&prefix)).collect()
}

fn decided(record: &CertificateSigningRequest, word: &str) -> bool {
    let conditions = record.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|c| c.iter().any(|c| c.type_ == word && c.status == "True"))
}

fn issued(record: &CertificateSigningRequest) -> bool {
    record.status.as_ref().is_some_and(|s| s.certificate.is_some())
}

async fn box_downloads_nothing_before_its_certificate_and_people_are_told_of_it() {
    let site = shared_site("downloads").await;
    let door = door(&site).await;
    site.agent("gate").await;
    assert_eq!(door.artifact(None).await, StatusCode::UNAUTHORIZED);

    let (name, key) = ("downloads.gate", KeyPair::generate().unwrap());
    let said = door.ask(name, &token(&site, "gate", HOUR).await, &request_with(&key, name, &[])).await;
    assert_eq!(said.status, StatusCode::OK, "{said:?}");
    let certificate = said.body["certificate"].as_str().unwrap();
    until("the box is admitted, and what it asks for is not there", SOON, async || {
        let status = door.artifact(Some(Identity { certificate, key: &key })).await;
        holds(status == StatusCode::NOT_FOUND, status)
    })
    .await;
    let status = site.get::<EdgeAgent>("gate").await.status.unwrap();
    assert_eq!(status.sealing_key, Some(STANDARD.encode(SEALING_KEY)));
    let events: Api<Event> = Api::namespaced(site.client.clone(), &site.name);
    until("an Event tells people", SOON, async || {
        let reasons: Vec<_> =
            events.list(&ListParams::default()).await.unwrap().items.into_iter().map(|e| e.reason).collect();
        holds(reasons.contains(&Some("Enrolled".to_owned())), format!("{reasons:?}"))
    })
    .await;
}

async fn token_opens_the_door_once_in_its_time_to_its_own_box() {
    let site = shared_site("enrolment").await;
    let door = door(&site).await;
    for agent in ["one", "two", "late"] {
        site.agent(agent).await;
    }
    let (one, two) = ("enrolment.one", "enrolment.two");

    // For another box: refused, and neither token is used up by it.
    let (first, second) = (token(&site, "one", HOUR).await, token(&site, "two", HOUR).await);
    let said = door.ask(two, &first, &request(two, &[])).await;
    assert_eq!(said.status, StatusCode::FORBIDDEN, "{said:?}");
    assert!(said.message().contains("kubectl kalong enrol"), "{said:?}");

    // In its time, once.
    let said = door.ask(one, &first, &request(one, &[])).await;
    assert_eq!(said.status, StatusCode::OK, "{said:?}");
    let again = door.ask(one, &first, &request(one, &[])).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "{again:?}");
    assert!(again.message().contains("it was used"), "{again:?}");

    // The record says who, under which signer, and what was given.
    let [record] = &records(&site, one).await[..] else { panic!("one record") };
    assert_eq!(record.spec.signer_name, "kalong.dev/edge-agent");
    assert!(decided(record, "Approved") && issued(record));
    let given = &record.status.as_ref().unwrap().certificate.as_ref().unwrap().0;
    assert_eq!(String::from_utf8_lossy(given), said.body["certificate"].as_str().unwrap());
    let status = site.get::<EdgeAgent>("one").await.status.unwrap();
    assert!(status.certificate.is_some() && status.sealing_key.is_some());

    // Two at once with one token: one certificate.
    let (left, right) = (request(two, &[]), request(two, &[]));
    let both = tokio::join!(door.ask(two, &second, &left), door.ask(two, &second, &right));
    let mut codes = [both.0.status, both.1.status];
    codes.sort();
    assert_eq!(codes[0], StatusCode::OK, "{both:?}");
    assert!([StatusCode::FORBIDDEN, StatusCode::CONFLICT].contains(&codes[1]), "{both:?}");
    let records_of_two = records(&site, two).await;
    assert_eq!(records_of_two.iter().filter(|r| issued(r)).count(), 1);
    for record in records_of_two.iter().filter(|r| !issued(r)) {
        assert!(decided(record, "Denied"), "a request that came to nothing does not stand open: {record:?}");
    }

    // Too late.
    let expired = token(&site, "late", SignedDuration::from_secs(-120)).await;
    let said = door.ask("enrolment.late", &expired, &request("enrolment.late", &[])).await;
    assert_eq!(said.status, StatusCode::FORBIDDEN);
    assert!(said.message().contains("expired"), "{said:?}");
    assert!(records(&site, "enrolment.late").await.is_empty());
}

async fn request_for_another_name_or_for_more_names_is_refused_and_uses_nothing_up() {
    let site = shared_site("requests").await;
    let door = door(&site).await;
    site.agent("mine").await;
    let (mine, token) = ("requests.mine", token(&site, "mine", HOUR).await);
    let uri = SanType::URI("spiffe://kalong.dev/agent/requests.other".try_into().unwrap());
    let dns = SanType::DnsName("kubernetes.default".try_into().unwrap());
    for csr in [request("requests.other", &[]), request(mine, &[uri]), request(mine, &[dns]), "nonsense".to_owned()] {
        let said = door.ask(mine, &token, &csr).await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{said:?}");
        assert!(!said.message().is_empty() && !said.message().contains(&token), "{said:?}");
    }
    assert!(records(&site, mine).await.is_empty());
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.name);
    assert!(secrets.get_opt(&token_secret_name("mine")).await.unwrap().is_some(), "the token is still good");
    let said = door.ask(mine, &token, &request(mine, &[])).await;
    assert_eq!(said.status, StatusCode::OK, "{said:?}");
    assert!(!shared().await.1.log().contains(&token), "no token in a log");
}

crate::tests![
    box_downloads_nothing_before_its_certificate_and_people_are_told_of_it,
    token_opens_the_door_once_in_its_time_to_its_own_box,
    request_for_another_name_or_for_more_names_is_refused_and_uses_nothing_up,
];
