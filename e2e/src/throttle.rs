//! A doorkeeper between one client and the API server: it lets requests through, notes them, and makes the trouble that a busy or
//! distant API server makes.
//!
//! It ends TLS under an authority of its own and opens one connection to the API server for each that it takes, so that an
//! identity, a watch and a refusal belong to the client that they came from.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::cluster::free_loopback_port;
use crate::scenario::ScenarioError;

/// The API server is on this machine, or it is not there.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// A request that came to the door.
#[derive(Clone, Debug)]
pub struct ProxiedRequest {
    pub at: Instant,
    pub method: Method,
    pub uri: String,
    /// What was answered; none as long as nothing was.
    pub status: Option<StatusCode>,
}

impl ProxiedRequest {
    /// Whether it asks for a change.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Whether it is about the Lease.
    #[must_use]
    pub fn is_lease(&self) -> bool {
        self.uri.contains("/leases")
    }
}

/// Where a kubeconfig leads, and how it is trusted.
struct ProxyTarget {
    address: SocketAddr,
    tls: TlsConnector,
    name: ServerName<'static>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Door {
    closed: bool,
    /// Rises when connections are torn down.
    torn: u64,
}

struct HoldRule {
    method: Method,
    part: String,
    arrived: Arc<Notify>,
    go: Arc<Notify>,
}

struct State {
    door: watch::Sender<Door>,
    /// Seconds that refusals name; none while nothing is refused.
    refusing: Mutex<Option<u64>>,
    holding: Mutex<Option<HoldRule>>,
    passed: Mutex<Vec<ProxiedRequest>>,
}

/// The doorkeeper. Connections through it end when it is dropped.
pub struct Throttle {
    state: Arc<State>,
    address: SocketAddr,
    authority: String,
    _tasks: JoinSet<()>,
}

/// A request that is stopped at the door.
pub struct HeldRequest {
    arrived: Arc<Notify>,
    go: Arc<Notify>,
}

impl HeldRequest {
    /// Waits until the request is there.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub fn release(self) {
        self.go.notify_one();
    }
}

impl Throttle {
    /// Listens on a free port of loopback, before the API server at this `https://127.0.0.1:PORT` with this authority.
    ///
    /// # Errors
    /// The address is not of that form, or no port is free.
    pub async fn start(server_url: &str, server_authority: &str) -> Result<Self, ScenarioError> {
        let target = Arc::new(ProxyTarget::parse(server_url, server_authority)?);
        let (acceptor, authority) = identity()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_loopback_port()?));
        let listener =
            TcpListener::bind(address).await.map_err(ScenarioError::file(format!("listening on {address}")))?;
        let state = Arc::new(State {
            door: watch::Sender::new(Door::default()),
            refusing: Mutex::default(),
            holding: Mutex::default(),
            passed: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, target, Arc::clone(&state)));
        Ok(Self { state, address, authority, _tasks: tasks })
    }

    /// Writes a copy of this kubeconfig that leads through the door.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn kubeconfig(&self, original: &Path, copy: PathBuf) -> Result<PathBuf, ScenarioError> {
        use base64::Engine;
        let text = std::fs::read_to_string(original)
            .map_err(ScenarioError::file(format!("reading {}", original.display())))?;
        let mut file: Value = serde_saphyr::from_str(&text).map_err(|e| ScenarioError::shape("the kubeconfig", e))?;
        let cluster = file.pointer_mut("/clusters/0/cluster");
        let cluster = cluster.ok_or_else(|| ScenarioError::shape("the kubeconfig", "it names no cluster"))?;
        let authority = base64::engine::general_purpose::STANDARD.encode(&self.authority);
        *cluster = json!({"server": format!("https://{}", self.address), "certificate-authority-data": authority});
        std::fs::write(&copy, file.to_string()).map_err(ScenarioError::file(format!("writing {}", copy.display())))?;
        Ok(copy)
    }

    /// From now on every request is refused as by a server with too much to do, which asks to come again after so many seconds.
    /// Watches that are open stay open.
    pub fn refuse(&self, seconds: u64) {
        *self.state.refusing.lock() = Some(seconds);
    }

    pub fn admit(&self) {
        *self.state.refusing.lock() = None;
    }

    /// Tears down every connection, and takes none until it is opened again.
    pub fn close(&self) {
        self.state.door.send_modify(|door| {
            door.closed = true;
            door.torn += 1;
        });
    }

    pub fn open(&self) {
        self.state.door.send_modify(|door| door.closed = false);
    }

    /// The next request with this method whose path holds this part waits at the door.
    #[must_use]
    pub fn hold(&self, method: Method, part: &str) -> HeldRequest {
        let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let holding = HoldRule { method, part: part.to_owned(), arrived: Arc::clone(&arrived), go: Arc::clone(&go) };
        *self.state.holding.lock() = Some(holding);
        HeldRequest { arrived, go }
    }

    /// Every request so far, oldest first.
    #[must_use]
    pub fn passed(&self) -> Vec<ProxiedRequest> {
        self.state.passed.lock().clone()
    }
}

impl ProxyTarget {
    fn parse(url: &str, authority: &str) -> Result<Self, ScenarioError> {
        let bad = |why: String| ScenarioError::shape("the API server's address", why);
        let address: SocketAddr =
            url.trim_start_matches("https://").parse().map_err(|_| bad(format!("{url} is not https://IP:PORT")))?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            roots.add(certificate).map_err(|e| bad(e.to_string()))?;
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)), name: ServerName::from(address.ip()) })
    }

    /// A connection of its own to the API server.
    async fn dial(&self) -> Option<SendRequest<Incoming>> {
        let stream = timeout(DIAL_DEADLINE, TcpStream::connect(self.address)).await.ok()?.ok()?;
        let _ = stream.set_nodelay(true);
        let stream = timeout(DIAL_DEADLINE, self.tls.connect(self.name.clone(), stream)).await.ok()?.ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, target: Arc<ProxyTarget>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let (acceptor, target, state) = (acceptor.clone(), Arc::clone(&target), Arc::clone(&state));
                connections.spawn(serve(stream, acceptor, target, state));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, target: Arc<ProxyTarget>, state: Arc<State>) {
    let mut door = state.door.subscribe();
    let now = *door.borrow_and_update();
    if now.closed {
        return;
    }
    let Ok(Ok(stream)) = timeout(DIAL_DEADLINE, acceptor.accept(stream)).await else { return };
    let Some(sender) = target.dial().await else { return };
    let sender = AsyncMutex::new(sender);
    let service = service_fn(|request| answer(request, &sender, &state));
    let mut server = hyper::server::conn::http1::Builder::new();
    tokio::select! {
        _ = server.half_close(false).serve_connection(TokioIo::new(stream), service) => {}
        _ = door.wait_for(|next| next.torn != now.torn) => {}
    }
}

type ProxyBody = Either<Incoming, Full<Bytes>>;

async fn answer(
    request: Request<Incoming>,
    sender: &AsyncMutex<SendRequest<Incoming>>,
    state: &State,
) -> Result<Response<ProxyBody>, hyper::Error> {
    let number = state.note(&request);
    let held = state.held(&request);
    if let Some(HoldRule { arrived, go, .. }) = held {
        arrived.notify_one();
        go.notified().await;
    }
    let refusing = *state.refusing.lock();
    if let Some(seconds) = refusing {
        state.answered(number, StatusCode::TOO_MANY_REQUESTS);
        return Ok(too_many(seconds));
    }
    let mut sender = sender.lock().await;
    // A server that went away ends this connection too, as it would without us.
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    state.answered(number, response.status());
    Ok(response.map(Either::Left))
}

fn too_many(seconds: u64) -> Response<ProxyBody> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 429, "reason": "TooManyRequests",
        "message": "too many requests, please try again later", "details": {"retryAfterSeconds": seconds},
    });
    let mut response = Response::new(Either::Right(Full::from(status.to_string())));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

impl State {
    fn note(&self, request: &Request<Incoming>) -> usize {
        let mut passed = self.passed.lock();
        let (method, uri) = (request.method().clone(), request.uri().to_string());
        passed.push(ProxiedRequest { at: Instant::now(), method, uri, status: None });
        passed.len() - 1
    }

    fn answered(&self, number: usize, status: StatusCode) {
        if let Some(passed) = self.passed.lock().get_mut(number) {
            passed.status = Some(status);
        }
    }

    /// The order to hold this very request, which is then carried out.
    fn held(&self, request: &Request<Incoming>) -> Option<HoldRule> {
        let mut holding = self.holding.lock();
        let meant = |h: &HoldRule| h.method == *request.method() && request.uri().path().contains(&h.part);
        if holding.as_ref().is_some_and(meant) { holding.take() } else { None }
    }
}

/// A certificate for 127.0.0.1, and the authority that signed it.
fn identity() -> Result<(TlsAcceptor, String), ScenarioError> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "kalong-e2e-door");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| ScenarioError::shape("a key", e))?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .map_err(|e| ScenarioError::shape("the door's identity", e))?;
    Ok((TlsAcceptor::from(Arc::new(config)), authority.pem()))
}
