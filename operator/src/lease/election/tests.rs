//! The election against a scripted server that holds one Lease: the exact requests are the point here. Time is moved, not waited for.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::health::ProcessHealth;

/// What the scripted server does with the next requests.
#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    /// Accepts a request and never answers.
    Silent,
}

#[derive(Default)]
struct Store {
    lease: Option<Lease>,
    version: u64,
    mood: Mood,
    writes: u32,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Store>>);

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let bytes = body.collect_bytes().await.unwrap();
                    if server.0.lock().mood == Mood::Silent {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Infallible>(server.answer(&parts.method, serde_json::from_slice(&bytes).ok()))
                }
            }),
            "kalong-system",
        )
    }

    fn answer(&self, method: &Method, sent: Option<Lease>) -> Response<Body> {
        let mut store = self.0.lock();
        match (method, sent, store.lease.clone()) {
            (&Method::GET, _, Some(lease)) => reply(StatusCode::OK, serde_json::to_value(lease).unwrap()),
            (&Method::GET, _, None) | (&Method::PUT, _, None) => refusal(StatusCode::NOT_FOUND, "NotFound"),
            (&Method::POST, Some(_), Some(_)) => refusal(StatusCode::CONFLICT, "AlreadyExists"),
            (&Method::PUT, Some(sent), Some(held))
                if sent.metadata.resource_version != held.metadata.resource_version =>
            {
                refusal(StatusCode::CONFLICT, "Conflict")
            }
            (&Method::POST | &Method::PUT, Some(sent), _) => {
                let stored = store.put(sent);
                reply(StatusCode::OK, serde_json::to_value(stored).unwrap())
            }
            (method, ..) => panic!("unexpected {method}"),
        }
    }

    fn edit(&self, change: impl FnOnce(&mut Lease)) {
        let mut store = self.0.lock();
        let mut lease = store.lease.clone().unwrap();
        change(&mut lease);
        store.put(lease);
    }

    fn spec(&self) -> LeaseSpec {
        self.0.lock().lease.clone().unwrap().spec.unwrap()
    }

    fn holder(&self) -> String {
        self.spec().holder_identity.unwrap_or_default()
    }
}

impl Store {
    fn put(&mut self, mut lease: Lease) -> Lease {
        self.version += 1;
        self.writes += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }
}

fn reply(code: StatusCode, body: Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap()
}

fn refusal(code: StatusCode, reason: &str) -> Response<Body> {
    let body =
        json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason, "message": reason});
    reply(code, body)
}

fn candidate(server: &Server, owner: &str, process: &str) -> LeaseHandle {
    let watchdog = ProcessHealth::new().watch("lease", STUCK_AFTER);
    start(server.client(), "kalong-system", HolderIdentity::new(owner, process), watchdog).0
}

fn state(handle: &LeaseHandle) -> LeaseState {
    handle.state.borrow().clone()
}

fn current_term(handle: &LeaseHandle) -> Option<u64> {
    match state(handle) {
        LeaseState::Leading(term) => Some(term),
        _ => None,
    }
}

async fn wait_for(handle: &LeaseHandle, wanted: impl Fn(&LeaseState) -> bool) -> LeaseState {
    let mut changes = handle.state.clone();
    let reached = timeout(Duration::from_secs(300), changes.wait_for(wanted)).await;
    reached.expect("within five minutes").expect("the election runs").clone()
}

#[tokio::test(start_paused = true)]
async fn an_absent_lease_is_created_with_the_seconds_of_2026_as_its_term() {
    let server = Server::default();
    let handle = candidate(&server, "a", "1");
    let term = handle.acquired().await.unwrap();
    assert!(term > 20_000_000, "{term}");
    assert_eq!(server.holder(), "a/1");
    assert_eq!(server.spec().lease_transitions.map(i64::from), Some(i64::try_from(term).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_waited_for_and_an_earlier_process_of_this_pod_is_not() {
    let server = Server::default();
    let first = candidate(&server, "a", "1");
    let term = first.acquired().await.unwrap();
    server.0.lock().mood = Mood::Silent;
    wait_for(&first, |s| matches!(s, LeaseState::Lost(_))).await;
    server.0.lock().mood = Mood::Well;

    let begun = Instant::now();
    let restarted = candidate(&server, "a", "2");
    assert_eq!(restarted.acquired().await.unwrap(), term + 1);
    assert!(begun.elapsed() < LOOK);
    server.0.lock().mood = Mood::Silent;
    wait_for(&restarted, |s| matches!(s, LeaseState::Lost(_))).await;
    server.0.lock().mood = Mood::Well;

    let begun = Instant::now();
    let other = candidate(&server, "b", "1");
    assert_eq!(other.acquired().await.unwrap(), term + 2);
    assert!(begun.elapsed() >= DURATION);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_is_never_taken_over() {
    let server = Server::default();
    let first = candidate(&server, "a", "1");
    first.acquired().await.unwrap();
    let second = candidate(&server, "b", "1");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(state(&second), LeaseState::Waiting);
    assert!(matches!(state(&first), LeaseState::Leading(_)));
    let writes = server.0.lock().writes;
    assert!((58..=62).contains(&writes), "one write each 10 s, not {writes}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_ends_leadership_before_a_rival_may_act() {
    let server = Server::default();
    let handle = candidate(&server, "a", "1");
    handle.acquired().await.unwrap();
    let renewed = Instant::now();
    server.0.lock().mood = Mood::Silent;
    let why = handle.lost().await;
    assert!(renewed.elapsed() < DURATION, "{:?}: {why}", renewed.elapsed());
    assert!(matches!(state(&handle), LeaseState::Lost(_)));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_holder_ends_leadership_and_an_edit_by_hand_does_not() {
    let server = Server::default();
    let handle = candidate(&server, "a", "1");
    handle.acquired().await.unwrap();
    server.edit(|lease| lease.metadata.labels = Some([("team".to_owned(), "border".to_owned())].into()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(state(&handle), LeaseState::Leading(_)));
    assert!(server.0.lock().lease.as_ref().unwrap().metadata.labels.is_some());
    server.edit(|lease| lease.spec.as_mut().unwrap().holder_identity = Some("b/1".to_owned()));
    assert!(handle.lost().await.contains("b/1"));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_ends_leadership() {
    let server = Server::default();
    let handle = candidate(&server, "a", "1");
    handle.acquired().await.unwrap();
    server.0.lock().lease = None;
    assert!(handle.lost().await.contains("deleted"));
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_at_once_under_a_higher_term() {
    let server = Server::default();
    let first = candidate(&server, "a", "1");
    let term = first.acquired().await.unwrap();
    first.release().await;
    assert_eq!(state(&first), LeaseState::Released);
    assert_eq!(server.holder(), "");
    let begun = Instant::now();
    assert_eq!(candidate(&server, "b", "1").acquired().await.unwrap(), term + 1);
    assert!(begun.elapsed() <= LOOK);
}

#[tokio::test(start_paused = true)]
async fn the_term_rises_above_what_an_agent_has_verified() {
    let server = Server::default();
    let handle = candidate(&server, "a", "1");
    let term = handle.acquired().await.unwrap();
    assert_eq!(handle.raise_above(term).await.unwrap(), term);
    assert_eq!(handle.raise_above(term + 5).await.unwrap(), term + 6);
    assert_eq!(current_term(&handle), Some(term + 6));
    assert_eq!(server.spec().lease_transitions.map(i64::from), Some(i64::try_from(term + 6).unwrap()));
    assert!(matches!(handle.raise_above(u64::MAX).await, Err(LeaseError::Implausible { .. })));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(current_term(&handle), Some(term + 6));
}

#[tokio::test(start_paused = true)]
async fn of_two_that_see_an_absent_lease_one_leads() {
    let server = Server::default();
    let (a, b) = (candidate(&server, "a", "1"), candidate(&server, "b", "1"));
    tokio::time::sleep(Duration::from_secs(120)).await;
    let leading = [&a, &b].into_iter().filter(|h| matches!(state(h), LeaseState::Leading(_))).count();
    assert_eq!(leading, 1);
}
