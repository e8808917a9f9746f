//! The mirror against a file server on loopback: TLS, sizes, digests, redirects and silence are real; only time is not waited for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::Stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kalong_crds::condition::Reason;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::keys::CertificateAuthority;

type Body = BoxBody<Bytes, Infallible>;

/// A file server with its own authority. `/good` serves `IMAGE`.
struct Files {
    address: SocketAddr,
    folder: TempDir,
    requests: Arc<AtomicUsize>,
}

const IMAGE: &[u8] = b"an image of a barrier's controller";

impl Files {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let now = Timestamp::now();
        let authority = CertificateAuthority::read(&CertificateAuthority::generate(now).unwrap(), "").unwrap();
        let pair = authority.server(&["127.0.0.1".to_owned(), "localhost".to_owned()], now).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("roots.pem"), authority.bundle_pem()).unwrap();
        let chain = CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        async move { Ok::<_, Infallible>(answer(request.uri().path())) }
                    });
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Self { address, folder, requests }
    }

    fn mirror(&self, bound: u64) -> ArtifactMirror {
        let metrics = Arc::new(Metrics::new().unwrap());
        let cache = ArtifactCache::open(&self.folder.path().join("cache"), bound, Arc::clone(&metrics)).unwrap();
        let hosts = vec![self.address.to_string().parse().unwrap()];
        let fetcher = Fetcher::new(hosts, Some(&self.folder.path().join("roots.pem"))).unwrap();
        ArtifactMirror::new(Arc::new(cache), fetcher, metrics)
    }

    fn artifact(&self, path: &str, content: &[u8]) -> Artifact {
        Artifact {
            url: format!("https://{}{path}", self.address),
            digest: Digest::of(content),
            size: i64::try_from(content.len()).unwrap(),
        }
    }
}

fn answer(path: &str) -> Response<Body> {
    let redirect = |to: &str| Response::builder().status(302).header("location", to).body(full(b"")).unwrap();
    match path {
        "/good" => Response::new(full(IMAGE)),
        "/moved" => redirect("/good"),
        "/elsewhere" => redirect("https://localhost:1/good"),
        "/plain" => redirect("http://127.0.0.1:1/good"),
        "/round" => redirect("/round"),
        // Without a length the end is known only when it comes, and here it never does.
        "/endless" => Response::new(BodyExt::boxed(StreamBody::new(endless()))),
        _ => Response::builder().status(404).body(full(b"no")).unwrap(),
    }
}

fn full(content: &'static [u8]) -> Body {
    Full::new(Bytes::from_static(content)).boxed()
}

fn endless() -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[0; 1024]))))
}

/// The state once it is no longer being fetched.
/// Asks for an artifact as a pass over its release does.
fn ensure(mirror: &ArtifactMirror, release: &str, artifact: &Artifact) -> MirrorState {
    mirror.want(release, artifact);
    mirror.state(artifact)
}

async fn settled(mirror: &ArtifactMirror, artifact: &Artifact) -> MirrorState {
    let mut changes = mirror.changes();
    timeout(Duration::from_secs(20), async {
        loop {
            let state = ensure(mirror, "camera-2.1.0", artifact);
            if state != MirrorState::Fetching {
                return state;
            }
            changes.next().await;
        }
    })
    .await
    .expect("settles in time")
}

fn reason(state: &MirrorState) -> Option<Reason> {
    match state {
        MirrorState::Failed { reason, .. } => Some(*reason),
        MirrorState::Cached | MirrorState::Fetching => None,
    }
}

#[tokio::test]
async fn an_artifact_is_fetched_once_and_kept() {
    let files = Files::start().await;
    let mirror = files.mirror(1024);
    let artifact = files.artifact("/good", IMAGE);
    assert_eq!(ensure(&mirror, "a", &artifact), MirrorState::Fetching);
    assert_eq!(ensure(&mirror, "b", &artifact), MirrorState::Fetching);
    assert_eq!(settled(&mirror, &artifact).await, MirrorState::Cached);
    mirror.stop().await;
    // After a restart the file is verified again and not fetched again.
    let restarted = files.mirror(1024);
    assert_eq!(ensure(&restarted, "a", &artifact), MirrorState::Fetching);
    assert_eq!(settled(&restarted, &artifact).await, MirrorState::Cached);
    assert_eq!(files.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_redirect_is_followed_only_to_an_allowed_host_over_https() {
    let files = Files::start().await;
    let mirror = files.mirror(1024);
    assert_eq!(settled(&mirror, &files.artifact("/moved", IMAGE)).await, MirrorState::Cached);
    for (path, content) in [("/elsewhere", &b"1"[..]), ("/plain", b"2"), ("/round", b"3")] {
        let state = settled(&mirror, &files.artifact(path, content)).await;
        assert_eq!(reason(&state), Some(Reason::FetchFailed), "{path}: {state:?}");
    }
}

#[tokio::test]
async fn what_is_not_the_declared_file_is_never_cached() {
    let files = Files::start().await;
    let mirror = files.mirror(1 << 20);
    let mut longer = files.artifact("/good", IMAGE);
    longer.size += 1;
    let mut shorter = files.artifact("/good", IMAGE);
    (shorter.size, shorter.digest) = (shorter.size - 1, Digest::of(b"shorter"));
    let other = Artifact { digest: Digest::of(b"other"), ..files.artifact("/good", IMAGE) };
    for (what, artifact, expected) in [
        ("longer", longer, Reason::DigestMismatch),
        ("shorter", shorter, Reason::DigestMismatch),
        ("another digest", other, Reason::DigestMismatch),
        ("a body without end", files.artifact("/endless", b"four"), Reason::DigestMismatch),
        ("nothing there", files.artifact("/missing", b"5"), Reason::FetchFailed),
    ] {
        let state = settled(&mirror, &artifact).await;
        assert_eq!(reason(&state), Some(expected), "{what}: {state:?}");
        assert_eq!(reason(&ensure(&mirror, "a", &artifact)), Some(expected), "{what} stays failed until it is there");
    }
    assert_eq!(mirror.shared.cache.bytes(), 0);
    mirror.stop().await;
    let left = std::fs::read_dir(files.folder.path().join("cache")).unwrap().count();
    assert_eq!(left, 0, "half files go");
}

#[tokio::test]
async fn what_may_not_be_fetched_costs_no_request() {
    let files = Files::start().await;
    let mirror = files.mirror(16);
    let too_large = files.artifact("/good", IMAGE);
    let mut elsewhere = files.artifact("/good", b"small");
    elsewhere.url = "https://169.254.169.254/latest".to_owned();
    assert_eq!(reason(&ensure(&mirror, "a", &too_large)), Some(Reason::ArtifactTooLarge));
    assert_eq!(reason(&ensure(&mirror, "a", &elsewhere)), Some(Reason::HostNotAllowed));
    assert_eq!(files.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_file_server_with_a_foreign_certificate_is_not_believed() {
    let (files, stranger) = (Files::start().await, Files::start().await);
    let metrics = Arc::new(Metrics::new().unwrap());
    let cache = ArtifactCache::open(&files.folder.path().join("cache"), 1024, Arc::clone(&metrics)).unwrap();
    let hosts = vec![files.address.to_string().parse().unwrap()];
    let fetcher = Fetcher::new(hosts, Some(&stranger.folder.path().join("roots.pem"))).unwrap();
    let mirror = ArtifactMirror::new(Arc::new(cache), fetcher, metrics);
    let state = settled(&mirror, &files.artifact("/good", IMAGE)).await;
    assert_eq!(reason(&state), Some(Reason::FetchFailed), "{state:?}");
    assert_eq!(files.requests.load(Ordering::SeqCst), 0);
}
