//! The link to the other country against a peer on a socket: what is asked while it is watched, and that a cut link sends nothing at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::reported::{ItemState, LinkReport, PeerClock};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::lone_box::{LoneBox, item, until};

/// Short, so that many questions fit into a test.
const EVERY: Duration = Duration::from_millis(20);
/// Questions of a watched link that show that time passed.
const QUESTIONS: usize = 10;

/// What a peer does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answers,
    SaysNoDate,
    KeepsSilent,
    SpeaksTls,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    closed: AtomicUsize,
    ahead_seconds: AtomicI64,
}

/// The other country's gateway, as small as a test needs it. It ends with the test.
struct Peer {
    endpoint: String,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let counts = Arc::<Counts>::default();
        let (tls, shared) = (acceptor(), counts.clone());
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (tls, counts) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    if manner != Manner::SpeaksTls {
                        serve(tcp, manner, &counts).await;
                    } else if let Ok(stream) = tls.accept(tcp).await {
                        serve(stream, manner, &counts).await;
                    }
                    counts.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { endpoint, counts, task }
    }

    fn asked(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many more questions came.
    async fn asked_again(&self, more: usize) {
        let from = self.asked();
        until(|| self.asked() >= from + more, || format!("{} questions", self.asked() - from)).await;
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, manner: Manner, counts: &Counts) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    counts.requests.fetch_add(1, Ordering::SeqCst);
    assert!(head.starts_with(b"GET / HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    if manner == Manner::KeepsSilent {
        let _ = stream.read_u8().await;
        return;
    }
    let ahead = SignedDuration::from_secs(counts.ahead_seconds.load(Ordering::SeqCst));
    let date =
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + ahead)).unwrap();
    let date = if manner == Manner::SaysNoDate { String::new() } else { format!("Date: {date}\r\n") };
    let answer = format!("HTTP/1.1 503 Service Unavailable\r\n{date}Content-Length: 0\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.flush().await;
}

/// With a certificate that nobody trusts.
fn acceptor() -> TlsAcceptor {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn link(name: &str, profile: &str, endpoint: &str, mode: &str) -> Item {
    item(ItemKind::Link, name, &json!({ "profile": profile, "endpoint": endpoint, "mode": mode }))
}

fn watched(name: &str, peer: &Peer) -> Item {
    link(name, "Simulated", &peer.endpoint, "Watch")
}

fn cut(name: &str, peer: &Peer) -> Item {
    link(name, "Simulated", &peer.endpoint, "Cut")
}

const SILENT: LinkReport = LinkReport { contacting: false, reachable: None, clock: None };

#[tokio::test]
async fn cut_link_opens_no_socket_and_says_so() {
    let (dongxing, other) = (Peer::start(Manner::Answers).await, Peer::start(Manner::Answers).await);
    let mut gateway = LoneBox::asking(EVERY).await;
    gateway.tell(&[cut("dongxing", &dongxing), watched("other", &other)]).await;
    gateway.until_link("dongxing", |r| *r == SILENT).await;
    other.asked_again(QUESTIONS).await;
    assert_eq!(dongxing.connections(), 0);
    assert_eq!((gateway.link("dongxing"), gateway.item("dongxing").unwrap().state), (Some(SILENT), ItemState::Applied));
}

#[tokio::test]
async fn watched_link_reaches_its_peer_and_a_cut_ends_that_at_once() {
    let (dongxing, other) = (Peer::start(Manner::Answers).await, Peer::start(Manner::Answers).await);
    let mut gateway = LoneBox::asking(EVERY).await;
    gateway.tell(&[watched("dongxing", &dongxing), watched("other", &other)]).await;
    let good = LinkReport { contacting: true, reachable: Some(true), clock: Some(PeerClock::Agrees) };
    gateway.until_link("dongxing", |r| *r == good).await;
    dongxing.asked_again(2).await;
    gateway.tell(&[cut("dongxing", &dongxing), watched("other", &other)]).await;
    gateway.until_link("dongxing", |r| *r == SILENT).await;
    // What was already on its way to the listener's queue is taken from it now.
    other.asked_again(1).await;
    let asked = dongxing.connections();
    other.asked_again(QUESTIONS).await;
    assert_eq!(dongxing.connections(), asked);
    gateway.tell(&[watched("dongxing", &dongxing), watched("other", &other)]).await;
    gateway.until_link("dongxing", |r| *r == good).await;
}

#[tokio::test]
async fn cut_ends_a_question_that_is_under_way_within_a_second() {
    let peer = Peer::start(Manner::KeepsSilent).await;
    let mut gateway = LoneBox::asking(EVERY).await;
    gateway.tell(&[watched("dongxing", &peer)]).await;
    until(|| peer.asked() == 1, || "no question".to_owned()).await;
    let began = Instant::now();
    gateway.tell(&[cut("dongxing", &peer)]).await;
    until(|| peer.counts.closed.load(Ordering::SeqCst) == 1, || "the socket stays open".to_owned()).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((peer.asked(), gateway.link("dongxing")), (1, Some(SILENT)));
}

#[tokio::test]
async fn watch_ends_with_the_last_agreement_although_nobody_says_so() {
    let (dongxing, other) = (Peer::start(Manner::Answers).await, Peer::start(Manner::Answers).await);
    let end = Timestamp::now() + SignedDuration::from_secs(2);
    let order = |name: &str, peer: &Peer, until: &str| {
        let order = json!({"profile": "Simulated", "endpoint": peer.endpoint, "mode": "Watch", "until": until});
        item(ItemKind::Link, name, &order)
    };
    let mut gateway = LoneBox::asking(EVERY).await;
    let doubtful = order("doubtful", &dongxing, "some day");
    gateway.tell(&[order("dongxing", &dongxing, &end.to_string()), watched("other", &other), doubtful]).await;
    gateway.until_link("dongxing", |r| r.reachable == Some(true)).await;
    gateway.until_link("dongxing", |r| *r == SILENT).await;
    assert!(Timestamp::now() >= end);
    other.asked_again(1).await;
    let asked = dongxing.connections();
    other.asked_again(QUESTIONS).await;
    assert_eq!(dongxing.connections(), asked);
    assert_eq!(gateway.link("doubtful"), Some(SILENT), "an end that cannot be read is no agreement");
}

#[tokio::test]
async fn link_that_is_removed_is_not_asked_any_more() {
    let (dongxing, other) = (Peer::start(Manner::Answers).await, Peer::start(Manner::Answers).await);
    let mut gateway = LoneBox::asking(EVERY).await;
    let items = [watched("dongxing", &dongxing), watched("other", &other)];
    gateway.tell(&items).await;
    gateway.until_link("dongxing", |r| r.reachable == Some(true)).await;
    gateway.bury(&items[0], &items[1..]).await;
    until(|| gateway.item("dongxing").is_none(), || format!("{:?}", gateway.item("dongxing"))).await;
    other.asked_again(1).await;
    let asked = dongxing.connections();
    other.asked_again(QUESTIONS).await;
    assert_eq!(dongxing.connections(), asked);
}

#[tokio::test]
async fn clocks_that_differ_are_told_and_thirty_one_seconds_are_refused() {
    let peer = Peer::start(Manner::Answers).await;
    let mut gateway = LoneBox::asking(EVERY).await;
    gateway.tell(&[watched("dongxing", &peer)]).await;
    for (ahead, judged) in [
        (0, PeerClock::Agrees),
        (31, PeerClock::Refused),
        (-31, PeerClock::Refused),
        (4, PeerClock::Differs),
        (-4, PeerClock::Differs),
        (0, PeerClock::Agrees),
    ] {
        peer.counts.ahead_seconds.store(ahead, Ordering::SeqCst);
        gateway.until_link("dongxing", |r| r.clock == Some(judged)).await;
    }
}

#[tokio::test]
async fn peer_that_tells_no_time_is_reachable_and_its_clock_is_unknown() {
    let peer = Peer::start(Manner::SaysNoDate).await;
    let mut gateway = LoneBox::asking(EVERY).await;
    gateway.tell(&[watched("dongxing", &peer)]).await;
    gateway.until_link("dongxing", |r| r.reachable == Some(true) && r.clock.is_none()).await;
}

#[tokio::test]
async fn peer_that_goes_away_is_unreachable() {
    let peer = Peer::start(Manner::Answers).await;
    let mut gateway = LoneBox::asking(EVERY).await;
    gateway.tell(&[watched("dongxing", &peer)]).await;
    gateway.until_link("dongxing", |r| r.clock.is_some()).await;
    drop(peer);
    let gone = LinkReport { contacting: true, reachable: Some(false), clock: None };
    gateway.until_link("dongxing", |r| *r == gone).await;
}

#[tokio::test]
async fn stranger_that_speaks_tls_is_there_and_is_told_nothing() {
    let strange = Peer::start(Manner::SpeaksTls).await;
    let mut gateway = LoneBox::asking(EVERY).await;
    gateway.tell(&[link("strange", "HttpsJws", &strange.endpoint, "Watch")]).await;
    gateway.until_link("strange", |r| r.reachable == Some(true) && r.clock.is_none()).await;
    assert_eq!(strange.asked(), 0);
}

#[tokio::test]
async fn files_over_an_air_gap_are_no_contact_and_a_bad_address_is_rejected() {
    let mut gateway = LoneBox::asking(EVERY).await;
    let files = item(ItemKind::Link, "files", &json!({ "profile": "FileDrop", "mode": "Watch" }));
    gateway.tell(&[files, link("bad", "Simulated", "10.0.0.1:99999", "Watch")]).await;
    gateway.until_link("files", |r| *r == SILENT).await;
    until(|| gateway.item("bad").is_some(), || "nothing".to_owned()).await;
    let bad = gateway.item("bad").unwrap();
    assert_eq!((bad.state, bad.reason.as_str(), bad.link()), (ItemState::Rejected, "InvalidSpec", None));
}
