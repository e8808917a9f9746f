//! HTTPS on loopback: both protocols, certificates, limits, ranges and the end.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::units::Digest;
use kalong_crds::wire::release::ReleaseKeys;
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::*;
use crate::artifacts::ArtifactCache;
use crate::artifacts::serve::ArtifactServer;
use crate::enrol::{Enroller, EnrollerConfig, certificate};
use crate::http::routes::{Routes, routes};
use crate::keys::{CertificateAuthority, ServerCertificate, SigningKey};
use crate::settings::{Advertise, ServedSites};

const AGENT: &str = "mong-cai.lane-03";
const IMAGE: &[u8] = b"0123456789";

struct Site {
    address: SocketAddr,
    authority: Arc<CertificateAuthority>,
    keys: watch::Sender<Arc<ServerConfig>>,
    end: CancellationToken,
    server: JoinHandle<()>,
    metrics: Arc<Metrics>,
    _folder: tempfile::TempDir,
}

fn server_keys(authority: &Arc<CertificateAuthority>) -> Keys {
    let pair = authority.server(&["localhost".to_owned(), "127.0.0.1".to_owned()], Timestamp::now()).unwrap();
    Keys {
        authority: Arc::clone(authority),
        server: Arc::new(ServerCertificate {
            chain_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
            not_after: Timestamp::now(),
        }),
        signing: Arc::new(SigningKey::read("op-1", kalong_crds::wire::signature::Signer::generate().unwrap()).unwrap()),
    }
}

fn fill(folder: &Path, metrics: &Arc<Metrics>) -> Arc<ArtifactCache> {
    let cache = Arc::new(ArtifactCache::open(folder, 1 << 30, Arc::clone(metrics)).unwrap());
    for content in [IMAGE.to_vec(), vec![7; 64 << 20]] {
        let digest = Digest::of(&content);
        let room = cache.room(&digest, u64::try_from(content.len()).unwrap()).unwrap();
        std::fs::write(&room.partial, content).unwrap();
        cache.keep(&digest, &room).unwrap();
    }
    cache
}

impl Site {
    async fn start(connections: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let metrics = Arc::new(Metrics::new().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let authority = Arc::new(
            CertificateAuthority::read(&CertificateAuthority::generate(Timestamp::now()).unwrap(), "").unwrap(),
        );
        let keys = Arc::new(server_keys(&authority));
        let (sender, tls) = watch::channel(configuration(&keys).unwrap());
        // Nothing here reaches the API server.
        let silent = || {
            let nobody =
                tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, tower::BoxError>>());
            Client::new(nobody, "default")
        };
        let enroller = Enroller::new(EnrollerConfig {
            client: silent(),
            keys: watch::channel(keys).1,
            release_keys: ReleaseKeys::default(),
            advertise: Advertise { https: "https://a:1".into(), gateway: "a:2".into() },
            sites: ServedSites::All,
            recorder: Recorder::new(silent(), Reporter { controller: "test".into(), instance: None }),
            metrics: Arc::clone(&metrics),
            enrolled: Box::new(|_| {}),
        });
        let admitted: crate::artifacts::serve::AdmissionCheck =
            Arc::new(|agent| Box::pin(std::future::ready(agent.as_str() == AGENT)));
        let filter = routes(Routes {
            enroller: Arc::new(enroller),
            artifacts: ArtifactServer::new(fill(folder.path(), &metrics), admitted),
            metrics: Arc::clone(&metrics),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let server = TlsServer { listener, tls, connections, metrics: Arc::clone(&metrics) };
        let server = tokio::spawn(server.run(filter, end.clone()));
        Self { address, authority, keys: sender, end, server, metrics, _folder: folder }
    }

    /// A certificate and key of this agent in PEM, as the operator gives it.
    fn identity(&self, agent: &str, now: Timestamp) -> (String, String) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let id: AgentId = agent.parse().unwrap();
        let checked = certificate::check(&csr, &id).unwrap();
        let issued = certificate::issue(&self.authority, &checked, &id, SignedDuration::from_hours(1), now).unwrap();
        (issued.pem, key.serialize_pem())
    }

    fn client(&self, identity: Option<&(String, String)>) -> reqwest::Client {
        let roots = reqwest::Certificate::from_pem_bundle(self.authority.bundle_pem().as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only(roots);
        if let Some((certificate, key)) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }

    fn agent(&self) -> reqwest::Client {
        self.client(Some(&self.identity(AGENT, Timestamp::now())))
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.address.port())
    }

    fn image(&self) -> String {
        self.url(&format!("/artifacts/{}", Digest::of(IMAGE).hex()))
    }

    fn connector(&self, protocols: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.bundle_pem().as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(&self, protocols: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        self.connector(protocols).connect("localhost".try_into().unwrap(), tcp).await.unwrap()
    }
}

#[tokio::test]
async fn artifacts_are_served_whole_by_range_and_as_head() {
    let site = Site::start(64).await;
    let client = site.agent();
    let etag = format!("\"{}\"", Digest::of(IMAGE).hex());
    let whole = client.get(site.image()).send().await.unwrap();
    assert_eq!((whole.status().as_u16(), whole.headers()["etag"].to_str().unwrap()), (200, etag.as_str()));
    assert_eq!(whole.bytes().await.unwrap(), IMAGE);
    for (range, condition, code, content, of) in [
        ("bytes=2-4", None, 206, &b"234"[..], Some("bytes 2-4/10")),
        ("bytes=7-", None, 206, b"789", Some("bytes 7-9/10")),
        ("bytes=-2", None, 206, b"89", Some("bytes 8-9/10")),
        ("bytes=7-", Some(etag.as_str()), 206, b"789", Some("bytes 7-9/10")),
        ("bytes=7-", Some("\"other\""), 200, IMAGE, None),
        ("bytes=10-", None, 416, b"", Some("bytes */10")),
    ] {
        let mut request = client.get(site.image()).header("range", range);
        if let Some(condition) = condition {
            request = request.header("if-range", condition);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), code, "{range}");
        assert_eq!(answer.headers().get("content-range").map(|v| v.to_str().unwrap()), of, "{range}");
        assert_eq!(answer.bytes().await.unwrap(), content, "{range}");
    }
    let head = client.head(site.image()).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "10"));
    let known = client.get(site.image()).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(known.status().as_u16(), 304);
}

#[tokio::test]
async fn artifacts_are_for_admitted_agents_alone() {
    let site = Site::start(64).await;
    let code = async |client: reqwest::Client, url: String| client.get(url).send().await.unwrap().status().as_u16();
    assert_eq!(code(site.client(None), site.image()).await, 401);
    let other = site.identity("mong-cai.lane-04", Timestamp::now());
    assert_eq!(code(site.client(Some(&other)), site.image()).await, 403);
    assert_eq!(code(site.agent(), site.url("/artifacts/nothing")).await, 404);
    assert_eq!(code(site.agent(), site.url("/artifacts/..%2f..%2fetc%2fpasswd")).await, 404);
    assert_eq!(code(site.agent(), site.url(&format!("/artifacts/{}", "a".repeat(64)))).await, 404);
    let expired = site.identity(AGENT, Timestamp::now() - SignedDuration::from_hours(3));
    assert!(site.client(Some(&expired)).get(site.image()).send().await.is_err(), "refused in the handshake");
    let stranger = Site::start(1).await.identity(AGENT, Timestamp::now());
    assert!(site.client(Some(&stranger)).get(site.image()).send().await.is_err(), "refused in the handshake");
}

#[tokio::test]
async fn what_is_refused_is_answered_with_a_sentence() {
    let site = Site::start(64).await;
    let client = site.client(None);
    let message = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let refusal: kalong_crds::wire::enrol::Refusal =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{code}: {text}"));
        (code, refusal.message)
    };
    let enrol = site.url("/enrol");
    let (code, words) = message(client.post(&enrol).body("{\"token\": \"secret\"")).await;
    assert!(code == 400 && !words.contains("secret"), "{code} {words}");
    assert_eq!(message(client.post(&enrol).body(vec![b'a'; 20 * 1024])).await.0, 413);
    assert_eq!(message(client.get(&enrol)).await.0, 405);
    assert_eq!(message(client.get(site.url("/other"))).await.0, 404);
    let body = r#"{"agent":"mong-cai.a","token":"t","csr":"c","sealingKey":"s"}"#;
    assert_eq!(message(client.post(&enrol).body(body)).await.0, 400);
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(body)]));
    assert_eq!(message(client.post(&enrol).body(chunked)).await.0, 411);
}

#[tokio::test]
async fn both_protocols_are_spoken() {
    let site = Site::start(64).await;
    for (offered, agreed) in [(&[&b"h2"[..], b"http/1.1"][..], &b"h2"[..]), (&[&b"http/1.1"[..]], b"http/1.1")] {
        let stream = site.connect(offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed));
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let site = Site::start(64).await;
    let shown = async || site.connect(&[b"http/1.1"]).await.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let first = shown().await;
    assert_eq!(shown().await, first);
    site.keys.send_replace(configuration(&server_keys(&site.authority)).unwrap());
    assert_ne!(shown().await, first);
}

#[tokio::test]
async fn silent_and_slow_clients_are_dropped_at_their_deadlines() {
    let site = Site::start(64).await;
    let mut silent = TcpStream::connect(site.address).await.unwrap();
    let mut slow = site.connect(&[b"http/1.1"]).await;
    slow.write_all(b"GET /enrol HTTP/1.1\r\nhost: a").await.unwrap();
    let begun = Instant::now();
    let mut rest = Vec::new();
    let limit = HEADER_DEADLINE + Duration::from_secs(5);
    let _ = timeout(limit, silent.read_to_end(&mut rest)).await.expect("the handshake has a deadline");
    assert!(begun.elapsed() < HEADER_DEADLINE);
    let _ = timeout(limit, slow.read_to_end(&mut rest)).await.expect("the head has a deadline");
}

#[tokio::test]
async fn connections_over_the_cap_are_turned_away_and_places_come_back() {
    let site = Site::start(2).await;
    let held = (site.connect(&[b"http/1.1"]).await, site.connect(&[b"http/1.1"]).await);
    let mut third = TcpStream::connect(site.address).await.unwrap();
    let mut byte = [0];
    let turned_away = timeout(Duration::from_secs(3), third.read(&mut byte)).await.expect("at once");
    assert!(!matches!(turned_away, Ok(1)));
    drop(held);
    let begun = Instant::now();
    while site.client(None).get(site.url("/other")).send().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "a place comes back");
        tokio::task::yield_now().await;
    }
    assert!(site.metrics.text().unwrap().contains("kalong_connections_refused_total{reason=\"full\"}"));
}

#[tokio::test]
async fn the_end_lets_a_download_finish_and_takes_no_new_one() {
    let site = Site::start(64).await;
    let client = site.agent();
    let large = site.url(&format!("/artifacts/{}", Digest::of(&vec![7; 64 << 20]).hex()));
    let mut download = client.get(large).send().await.unwrap();
    assert!(download.chunk().await.unwrap().is_some());
    site.end.cancel();
    let mut length = 0;
    let begun = Instant::now();
    while let Some(chunk) = timeout(DRAIN, download.chunk()).await.unwrap().unwrap() {
        length += chunk.len();
    }
    assert!(length > 60 << 20);
    timeout(DRAIN + Duration::from_secs(2), site.server).await.expect("the end is bounded").unwrap();
    assert!(begun.elapsed() < DRAIN);
    assert!(TcpStream::connect(site.address).await.is_err());
}

#[tokio::test]
async fn the_end_is_bounded_when_a_client_reads_nothing() {
    let site = Site::start(64).await;
    let large = site.url(&format!("/artifacts/{}", Digest::of(&vec![7; 64 << 20]).hex()));
    let _stuck = site.agent().get(large).send().await.unwrap();
    site.end.cancel();
    timeout(DRAIN + Duration::from_secs(3), site.server).await.expect("the end is bounded").unwrap();
}
