//! One request to the peer: does it answer, and what is its time. Every step has a deadline, and no socket outlives the request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{DATE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kalong_crds::bilateral_link::LinkProfile;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::clock::{self, Distance};

/// Longest time for the name of the peer.
const NAME_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time for one TCP connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time for a TLS handshake.
const TLS_DEADLINE: Duration = Duration::from_secs(5);
/// Longest time from the request to the head of the answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;
/// Largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// Address of a peer, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkPeer {
    profile: LinkProfile,
    host: String,
    port: u16,
}

impl LinkPeer {
    /// Parses `host:port`; port 0 is refused.
    pub(super) fn parse(profile: LinkProfile, endpoint: &str) -> Option<Self> {
        let (host, port) = endpoint.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| Self { profile, host: host.to_owned(), port })
    }
}

/// What a peer's response proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerAnswer {
    distance: Option<Distance>,
}

impl PeerAnswer {
    /// It is there, and no time of it may be believed.
    const SILENT_ON_TIME: Self = Self { distance: None };

    /// A peer that sent its time.
    #[cfg(test)]
    pub(super) fn at(distance: Distance) -> Self {
        Self { distance: Some(distance) }
    }

    /// Distance of its clock, where it sent a time.
    pub(super) fn distance(&self) -> Option<Distance> {
        self.distance
    }
}

/// Why a peer did not answer.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum ProbeError {
    /// Its name has no address.
    #[error("the name of the peer cannot be resolved: check `transport.endpoint` and the name server of this box")]
    Name(#[source] Option<std::io::Error>),
    /// No address of the peer takes a connection.
    #[error("the peer does not take a connection: check the route and the firewalls on both sides")]
    Connect(#[source] Option<std::io::Error>),
    /// What answers is no TLS server.
    #[error("the peer does not speak TLS: check the port in `transport.endpoint`")]
    Tls(#[source] Option<std::io::Error>),
    /// What answers does not speak HTTP, or too slowly.
    #[error("the peer does not answer a request: ask its operators whether their gateway runs")]
    Answer(#[source] Option<hyper::Error>),
}

/// Asks a peer, with a TLS configuration that is prepared once.
pub(super) struct Prober {
    tls: Option<TlsConnector>,
}

impl Prober {
    /// Prepares what the profile of this peer needs.
    pub(super) async fn new(peer: &LinkPeer) -> Self {
        let tls = match peer.profile {
            // Reading hundreds of certificates takes long enough to be felt by the devices of this one thread.
            LinkProfile::HttpsJws => tokio::task::spawn_blocking(trust).await.ok(),
            LinkProfile::Simulated | LinkProfile::FileDrop => None,
        };
        Self { tls }
    }

    /// One request. Dropping it closes what it opened.
    pub(super) async fn ask(&self, peer: &LinkPeer) -> Result<PeerAnswer, ProbeError> {
        match peer.profile {
            LinkProfile::Simulated => get(peer, connect(peer).await?).await,
            LinkProfile::HttpsJws => self.ask_over_tls(peer).await,
            LinkProfile::FileDrop => Err(ProbeError::Connect(None)),
        }
    }

    /// A peer that speaks TLS is there. Its time is believed only where this box trusts its certificate; whether the two sides know each other is
    /// the message profile's to prove.
    async fn ask_over_tls(&self, peer: &LinkPeer) -> Result<PeerAnswer, ProbeError> {
        let Some(tls) = &self.tls else { return Err(ProbeError::Tls(None)) };
        let tcp = connect(peer).await?;
        let name = ServerName::try_from(peer.host.clone()).map_err(|_| ProbeError::Name(None))?;
        match timeout(TLS_DEADLINE, tls.connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(get(peer, stream).await.unwrap_or(PeerAnswer::SILENT_ON_TIME)),
            Ok(Err(error)) if speaks_tls(&error) => Ok(PeerAnswer::SILENT_ON_TIME),
            Ok(Err(error)) => Err(ProbeError::Tls(Some(error))),
            Err(_) => Err(ProbeError::Tls(None)),
        }
    }
}

/// The authorities that this box's system trusts; where it has none, no certificate passes and the peer is merely there.
fn trust() -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    TlsConnector::from(Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Whether a handshake that failed was answered by a TLS server.
fn speaks_tls(error: &std::io::Error) -> bool {
    use rustls::Error;
    matches!(
        error.get_ref().and_then(|e| e.downcast_ref::<Error>()),
        Some(Error::InvalidCertificate(_) | Error::AlertReceived(_) | Error::PeerIncompatible(_))
    )
}

async fn connect(peer: &LinkPeer) -> Result<TcpStream, ProbeError> {
    let found = timeout(NAME_DEADLINE, lookup_host((peer.host.as_str(), peer.port))).await;
    let addresses = found.map_err(|_| ProbeError::Name(None))?.map_err(|error| ProbeError::Name(Some(error)))?;
    let mut last = ProbeError::Name(None);
    for address in addresses.take(ADDRESSES) {
        last = match timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => ProbeError::Connect(Some(error)),
            Err(_) => ProbeError::Connect(None),
        };
    }
    Err(last)
}

/// `GET /` with nothing in it but the host. Whatever the status, the peer answered.
async fn get<S>(peer: &LinkPeer, stream: S) -> Result<PeerAnswer, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error| ProbeError::Answer(Some(error));
    let request = Request::builder().method(Method::GET).uri("/").header(HOST, format!("{}:{}", peer.host, peer.port));
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| ProbeError::Answer(None))?;
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let sent = Timestamp::now();
        // The connection is driven from here and not by a task of its own, so that it ends when the request is dropped.
        let mut answer = std::pin::pin!(sender.send_request(request));
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            // A peer that closes after its answer ends the connection first; the answer is there all the same.
            _ = connection => answer.await,
        };
        let answer = answer.map_err(broken)?;
        let received = Timestamp::now();
        let date = answer.headers().get(DATE).and_then(|d| clock::date(d.to_str().ok()?));
        Ok(PeerAnswer { distance: date.map(|date| Distance::measured(sent, received, date)) })
    };
    timeout(ANSWER_DEADLINE, exchange).await.map_err(|_| ProbeError::Answer(None))?
}
