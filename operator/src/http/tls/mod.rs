//! The accept loop of HTTPS. warp 0.4 takes no TLS acceptor, so connections are accepted, bounded and ended here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use kalong_crds::units::AgentId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use warp::{Filter, Rejection, Reply};

use super::stream::{Unstalled, WRITE_STALL};
use crate::identity;
use crate::keys::Keys;
use crate::metrics::Metrics;

/// Bounds the TLS handshake, ClientHello included.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Bounds the head of a request, and the idle time between two.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Bounds the time from a request's head to its answer's head; for the body see [`WRITE_STALL`].
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// Interval of HTTP/2 keep-alive pings.
const PING: Duration = Duration::from_secs(20);
/// Bounds running requests at the shutdown.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that an exhausted file table does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bound of simultaneous connections, handshakes included.
pub const CONNECTIONS: usize = 2048;
const STREAMS: u32 = 8;

/// The client of a connection; every request carries it as an extension.
#[derive(Clone, Debug)]
pub struct HttpsPeer {
    pub address: IpAddr,
    /// The agent that its certificate names, if it presented one.
    pub agent: Option<AgentId>,
}

/// Why no TLS configuration can be made of the keys.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM cannot be read.
    #[error("the server certificate, its key or the authorities are no PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the server certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The authorities cannot be used.
    #[error("the authorities cannot be used: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// All mean the same to whoever reads the metric: the certificates of the Secret cannot be served.
impl From<&TlsError> for &'static str {
    fn from(_: &TlsError) -> Self {
        "tls"
    }
}

/// A configuration that asks for a client certificate without requiring one: a box that enrols has none yet.
pub fn configuration(keys: &Keys) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(keys.authority.bundle_pem().as_bytes()) {
        roots.add(authority?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let chain = CertificateDer::pem_slice_iter(keys.server.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(keys.server.key_pem.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would not look at the client's certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

pub struct TlsServer {
    pub listener: TcpListener,
    /// The TLS configuration; new connections use the newest.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    pub connections: usize,
    pub metrics: Arc<Metrics>,
}

impl TlsServer {
    /// Serves until `end`; then no connection is accepted, and open ones have [`DRAIN`] to finish.
    pub async fn run<F>(self, filter: F, end: CancellationToken)
    where
        F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
        F::Extract: Reply,
    {
        let Self { listener, tls, connections, metrics } = self;
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(connections));
        loop {
            let (tcp, address) = tokio::select! {
                biased;
                () = end.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "A connection could not be accepted.");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                metrics.connection_refused("full");
                continue;
            };
            let connection =
                HttpsConnection { tcp, address, place, watcher: graceful.watcher(), metrics: Arc::clone(&metrics) };
            let config = Arc::clone(&tls.borrow());
            tokio::spawn(connection.serve(config, filter.clone(), end.clone()));
        }
        drop(listener);
        if timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("Requests were cut at the shutdown; agents resume their downloads.");
        }
    }
}

struct HttpsConnection {
    tcp: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
    watcher: Watcher,
    metrics: Arc<Metrics>,
}

impl HttpsConnection {
    async fn serve<F>(self, config: Arc<ServerConfig>, filter: F, end: CancellationToken)
    where
        F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
        F::Extract: Reply,
    {
        let Self { tcp, address, place: _place, watcher, metrics } = self;
        // Small answers must not be delayed by Nagle's algorithm.
        let _ = tcp.set_nodelay(true);
        let handshake = TlsAcceptor::from(config).accept(Unstalled::new(tcp, WRITE_STALL));
        let tls = tokio::select! {
            () = end.cancelled() => return,
            shaken = timeout(HANDSHAKE_DEADLINE, handshake) => match shaken {
                Err(_) => return metrics.connection_refused("handshake-deadline"),
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "A TLS handshake failed.");
                    return metrics.connection_refused("handshake");
                }
                Ok(Ok(tls)) => tls,
            },
        };
        let chain = tls.get_ref().1.peer_certificates();
        // A valid certificate that names no agent counts as none.
        let agent = chain.and_then(|chain| identity::agent_of(Some(chain)).ok());
        let peer = HttpsPeer { address: address.ip(), agent };
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            answer(filter.clone(), request)
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(HEADER_DEADLINE)
            .max_concurrent_streams(STREAMS);
        let connection = builder.serve_connection(TokioIo::new(tls), TowerToHyperService::new(service)).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%address, %error, "A connection ended.");
        }
    }
}

async fn answer<F>(filter: F, request: Request<Incoming>) -> Result<warp::reply::Response, std::convert::Infallible>
where
    F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    match timeout(ANSWER_DEADLINE, warp::service(filter).oneshot(request)).await {
        Ok(answered) => answered,
        Err(_) => {
            let mut late: Response<_> = warp::reply::reply().into_response();
            *late.status_mut() = StatusCode::REQUEST_TIMEOUT;
            Ok(late)
        }
    }
}

#[cfg(test)]
mod tests;
