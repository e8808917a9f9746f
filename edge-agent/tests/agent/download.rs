//! Artifacts from a local HTTPS server that cuts, ignores ranges and lies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kalong_crds::units::Digest;
use kalong_edge_agent::firmware::download::{DownloadState, Downloads, Size};
use kalong_edge_agent::https::Address;
use kalong_edge_agent::store::Store;
use kalong_edge_agent::store::identity::anonymous_tls;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const DEADLINE: Duration = Duration::from_secs(60);
const CHUNK: usize = 64 * 1024;

/// What the server does wrong, and what it counts.
#[derive(Default)]
struct Server {
    bytes: Vec<u8>,
    /// Cut after this many bytes of a body; 0 never cuts.
    cut_after: AtomicU64,
    cuts_left: AtomicU64,
    ignores_range: AtomicBool,
    sent: AtomicU64,
    requests: AtomicU64,
    resumed: AtomicU64,
}

async fn serve(server: Arc<Server>) -> (Address, String) {
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let pem = key.cert.pem();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    let _ = answer(tls, &server).await;
                }
            });
        }
    });
    (Address::parse(&format!("https://127.0.0.1:{port}/artifacts")).unwrap(), pem)
}

async fn answer(mut tls: impl AsyncReadExt + AsyncWriteExt + Unpin, server: &Server) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await?);
    }
    server.requests.fetch_add(1, Ordering::SeqCst);
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let start = head
        .lines()
        .find_map(|l| l.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        .filter(|_| !server.ignores_range.load(Ordering::SeqCst));
    let total = server.bytes.len();
    let from = start.unwrap_or(0);
    let status = match start {
        Some(from) => {
            server.resumed.fetch_add(1, Ordering::SeqCst);
            format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{total}", total - 1)
        }
        None => "200 OK".to_owned(),
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", total - from);
    tls.write_all(answer.as_bytes()).await?;
    let cut = server.cut_after.load(Ordering::SeqCst);
    let mut body = 0;
    for chunk in server.bytes[from..].chunks(CHUNK) {
        let size = u64::try_from(chunk.len()).unwrap();
        if cut > 0 && body + size > cut && server.cuts_left.load(Ordering::SeqCst) > 0 {
            server.cuts_left.fetch_sub(1, Ordering::SeqCst);
            return Ok(());
        }
        tls.write_all(chunk).await?;
        server.sent.fetch_add(size, Ordering::SeqCst);
        body += size;
    }
    tls.shutdown().await
}

async fn downloads(folder: &Path, server: &Arc<Server>) -> (Arc<Downloads>, Store) {
    let store = Store::open(folder).unwrap().store;
    let (address, authority) = serve(server.clone()).await;
    let downloads = Arc::new(Downloads::new(folder.join("artifacts"), store.clone()).unwrap());
    downloads.set_source(anonymous_tls(&authority).unwrap(), address);
    (downloads, store)
}

async fn finished(downloads: &Arc<Downloads>, digest: &Digest, size: Size) -> DownloadState {
    tokio::time::timeout(DEADLINE, async {
        loop {
            match downloads.fetch(digest, size) {
                DownloadState::Busy => tokio::time::sleep(Duration::from_millis(5)).await,
                other => break other,
            }
        }
    })
    .await
    .unwrap()
}

fn image(length: usize) -> (Vec<u8>, Digest, Size) {
    let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let digest = Digest::of(&bytes);
    (bytes, digest, Size::Exactly(u64::try_from(length).unwrap()))
}

#[tokio::test]
async fn cut_transfer_is_resumed_and_refetches_less_than_eight_mebibytes_a_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, digest, size) = image(11 * 1024 * 1024);
    let total = u64::try_from(bytes.len()).unwrap();
    let server = Arc::new(Server { bytes, cut_after: (3 << 20).into(), cuts_left: 3.into(), ..Server::default() });
    let (downloads, _store) = downloads(folder.path(), &server).await;
    let DownloadState::Ready(path) = finished(&downloads, &digest, size).await else { panic!("it did not come") };
    assert_eq!(Digest::of(&std::fs::read(path).unwrap()), digest);
    assert_eq!(server.resumed.load(Ordering::SeqCst), 3);
    assert!(server.sent.load(Ordering::SeqCst) < total + 3 * (8 << 20));
}

#[tokio::test]
async fn twelve_devices_of_one_release_cost_one_download() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, digest, size) = image(300_000);
    let server = Arc::new(Server { bytes, ..Server::default() });
    let (downloads, _store) = downloads(folder.path(), &server).await;
    for _ in 0..12 {
        assert_eq!(downloads.fetch(&digest, size), DownloadState::Busy);
    }
    assert!(matches!(finished(&downloads, &digest, size).await, DownloadState::Ready(_)));
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn server_that_ignores_the_range_makes_the_download_start_over() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, digest, size) = image(2 * 1024 * 1024);
    let ignores_range = true.into();
    let server = Arc::new(Server {
        bytes,
        cut_after: (1 << 20).into(),
        cuts_left: 1.into(),
        ignores_range,
        ..Server::default()
    });
    let (downloads, _store) = downloads(folder.path(), &server).await;
    assert!(matches!(finished(&downloads, &digest, size).await, DownloadState::Ready(_)));
}

#[tokio::test]
async fn wrong_bytes_are_fetched_twice_and_then_refused_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _, size) = image(100_000);
    let server = Arc::new(Server { bytes, ..Server::default() });
    let (downloads, _store) = downloads(folder.path(), &server).await;
    let DownloadState::Failed(fault) = finished(&downloads, &Digest::of(b"another"), size).await else {
        panic!("believed")
    };
    assert_eq!((fault.reason.as_str(), fault.transport), ("DigestMismatch", false));
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn longer_artifact_than_signed_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, digest, _) = image(100_000);
    let server = Arc::new(Server { bytes, ..Server::default() });
    let (downloads, _store) = downloads(folder.path(), &server).await;
    let DownloadState::Failed(fault) = finished(&downloads, &digest, Size::Exactly(50_000)).await else {
        panic!("believed")
    };
    assert_eq!(fault.reason, "DigestMismatch");
}

#[tokio::test]
async fn part_file_whose_bytes_were_lost_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, digest, size) = image(200_000);
    let server = Arc::new(Server { bytes, ..Server::default() });
    let (downloads, store) = downloads(folder.path(), &server).await;
    // The record says that half of it is durable; the disk holds other bytes.
    std::fs::write(folder.path().join("artifacts").join(format!("{}.part", digest.hex())), vec![9; 100_000]).unwrap();
    store.record_bytes(digest.hex(), Some(100_000)).await.unwrap();
    assert!(matches!(finished(&downloads, &digest, size).await, DownloadState::Ready(_)));
}

#[tokio::test]
async fn image_that_nobody_needs_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, digest, size) = image(1000);
    let server = Arc::new(Server { bytes, ..Server::default() });
    let (downloads, _store) = downloads(folder.path(), &server).await;
    downloads.pin("a", vec![digest.clone()]);
    downloads.pin("b", vec![digest.clone()]);
    let DownloadState::Ready(path) = finished(&downloads, &digest, size).await else { panic!("it did not come") };
    downloads.pin("a", vec![]);
    assert!(path.exists());
    downloads.pin("b", vec![]);
    assert!(!path.exists());
}
