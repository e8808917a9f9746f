//! The listener: one task for each connection, a deadline at every step, and a stop that ends in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::Category;
use kalong_crds::units::AgentId;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::limits::{ACCEPT_PAUSE, LISTEN_BACKLOG, Limits};
use super::metrics::{GatewayMetrics, Handshake};
use super::router::{Router, RouterError, RouterFailure, RouterSettings};
use super::session;
use super::shared::GatewayShared;
use crate::identity::{self, PeerIdentityError};
use crate::transport::SessionHandler;

/// Where and how a gateway serves.
pub struct GatewayConfig {
    /// Address; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The TLS configuration; new connections use the newest.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// Bounds and deadlines of connections and sessions.
    pub limits: Limits,
    /// Where connections, sessions and denials are counted.
    pub metrics: Arc<GatewayMetrics>,
}

/// Why a gateway does not start or did not stop in time.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum GatewayError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}; give another address or end what uses it")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The router does not start.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// Sessions were still there at the deadline.
    #[error("{0} connections did not end within the deadline")]
    Stop(usize),
}

/// A running gateway. It runs on when this is dropped; only `stop` ends it.
pub struct Gateway {
    shared: Arc<GatewayShared>,
    local: SocketAddr,
    tasks: TaskTracker,
}

impl Gateway {
    /// Starts router, watchdog and listener. The handler is called from now on.
    pub async fn start(config: GatewayConfig, handler: Arc<dyn SessionHandler>) -> Result<Self, GatewayError> {
        let GatewayConfig { listen, tls, limits, metrics } = config;
        let settings = RouterSettings::for_sessions(limits.sessions);
        let router = Router::start(settings, limits.sessions, limits.watchdog, handler.operator_state()).await?;
        let listener = bind(listen).map_err(|e| GatewayError::Listen(listen, e))?;
        let local = listener.local_addr().map_err(|e| GatewayError::Listen(listen, e))?;
        let shared = Arc::new(GatewayShared::new(handler, router, limits, metrics, tls));
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, Arc::clone(&shared), tasks.clone()));
        tracing::info!(address = %local, "The gateway listens.");
        Ok(Self { shared, local, tasks })
    }

    /// The bound address, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Resolves when the router fails; the process must end then.
    pub fn fatal(&self) -> impl Future<Output = RouterFailure> + Send + use<> {
        self.shared.router.fatal()
    }

    /// Closes the port, ends every session and waits for them. The port is free afterwards.
    pub async fn stop(self, deadline: Duration) -> Result<(), GatewayError> {
        self.shared.stopping.cancel();
        self.shared.registry.stop();
        self.tasks.close();
        timeout(deadline, self.tasks.wait()).await.map_err(|_| GatewayError::Stop(self.tasks.len()))
    }
}

fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // A restart on the same port must not wait for connections of the previous process.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(LISTEN_BACKLOG)
}

async fn accept(listener: TcpListener, shared: Arc<GatewayShared>, tasks: TaskTracker) {
    let pending = Arc::new(Semaphore::new(shared.limits.pending));
    loop {
        let next = async {
            let permit = Arc::clone(&pending).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let accepted = tokio::select! {
            () = shared.stopping.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            (permit, Ok((stream, _))) => {
                let shared = Arc::clone(&shared);
                tasks.spawn(async move {
                    let opened = tokio::select! {
                        () = shared.stopping.cancelled() => return,
                        opened = open(stream, &shared) => opened,
                    };
                    if let Some((stream, agent)) = opened {
                        session::serve(stream, agent, shared, permit).await;
                    }
                });
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "A connection could not be accepted; is the limit of open files too low?");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// TLS handshake and identity; a connection that fails is counted and dropped.
async fn open(stream: TcpStream, shared: &GatewayShared) -> Option<(TlsStream<TcpStream>, AgentId)> {
    let result = match timeout(shared.limits.handshake, handshake(stream, shared)).await {
        Err(_) => Handshake::Timeout,
        Ok(Err(error)) => {
            tracing::debug!(%error, "A handshake failed.");
            Handshake::Tls
        }
        Ok(Ok(stream)) => match agent_of(&stream) {
            Ok(agent) => return Some((stream, agent)),
            Err(error) => {
                tracing::warn!(category = error.category(), "A connection was closed: {error}.");
                Handshake::Identity
            }
        },
    };
    shared.metrics.handshake(result);
    None
}

async fn handshake(stream: TcpStream, shared: &GatewayShared) -> std::io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    // Only after ClientHello: silent sockets must not hold permits that others wait for.
    let _permit = shared.handshakes.acquire().await;
    let config = Arc::clone(&shared.tls.borrow());
    hello.into_stream(config).await
}

fn agent_of(stream: &TlsStream<TcpStream>) -> Result<AgentId, PeerIdentityError> {
    identity::agent_of(stream.get_ref().1.peer_certificates())
}
