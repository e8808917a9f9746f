//! The file server of the firmware authors: HTTPS on loopback under an authority of its own, files by digest, ranges.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::failure::ScenarioError;
use crate::cluster::free_loopback_port;

/// Path in front of the digests.
const FOLDER: &str = "/artifacts/";

/// A running file server. It is gone when it is dropped.
pub struct ArtifactShelf {
    files: Arc<Mutex<BTreeMap<String, Bytes>>>,
    address: SocketAddr,
    ca: PathBuf,
    _tasks: JoinSet<()>,
}

impl ArtifactShelf {
    /// Listens on a free port, and writes its authority's certificate into `directory`.
    ///
    /// # Errors
    /// No port is free, or the file cannot be written.
    pub async fn start(directory: &Path) -> Result<Self, ScenarioError> {
        let (acceptor, pem) = identity()?;
        let ca = directory.join("artifacts-ca.crt");
        std::fs::write(&ca, pem).map_err(ScenarioError::file(format!("writing {}", ca.display())))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_loopback_port()?));
        let listener =
            TcpListener::bind(address).await.map_err(ScenarioError::file(format!("listening on {address}")))?;
        let files = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, acceptor, Arc::clone(&files)));
        Ok(Self { files, address, ca, _tasks: tasks })
    }

    /// Host and port, for `--artifact-hosts`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Where the files are, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> String {
        format!("https://{}{}", self.host(), FOLDER.trim_end_matches('/'))
    }

    /// The certificate of its authority, for `--artifact-ca`.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// Puts a file there under a name, which is a digest's 64 digits unless somebody cheats.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) {
        self.files.lock().insert(name.to_owned(), bytes.into());
    }
}

/// A certificate for localhost, and the authority that signed it.
fn identity() -> Result<(TlsAcceptor, String), ScenarioError> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "kalong-e2e-artifacts");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "kalong-e2e-artifacts-server");
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| ScenarioError::shape("a key", e))?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .map_err(|e| ScenarioError::shape("the file server's identity", e))?;
    Ok((TlsAcceptor::from(Arc::new(config)), authority.pem()))
}

type FilesByName = Arc<Mutex<BTreeMap<String, Bytes>>>;

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, files: FilesByName) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (acceptor, files) = (acceptor.clone(), Arc::clone(&files));
                connections.spawn(async move {
                    // A peer that fails its handshake or goes away is its own loss.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| {
                        let answer = answer(&request, &files);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn answer(request: &Request<Incoming>, files: &FilesByName) -> Response<Full<Bytes>> {
    let name = request.uri().path().strip_prefix(FOLDER).unwrap_or_default();
    let file = files.lock().get(name).cloned();
    let plain = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    };
    let Some(file) = file else { return plain(StatusCode::NOT_FOUND) };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let range = request.headers().get(RANGE).and_then(|value| value.to_str().ok()).and_then(first_byte);
    let (status, from) = match range {
        Some(from) if from < file.len() => (StatusCode::PARTIAL_CONTENT, from),
        Some(_) => return plain(StatusCode::RANGE_NOT_SATISFIABLE),
        None => (StatusCode::OK, 0),
    };
    let (total, part) = (file.len(), file.slice(from..));
    let mut response = Response::builder()
        .status(status)
        .header(ACCEPT_RANGES, "bytes")
        .header(ETAG, format!("\"{name}\""))
        .header(CONTENT_LENGTH, part.len());
    if status == StatusCode::PARTIAL_CONTENT {
        response = response.header(CONTENT_RANGE, format!("bytes {from}-{}/{total}", total.saturating_sub(1)));
    }
    let body = if request.method() == Method::HEAD { Full::default() } else { Full::new(part) };
    response.body(body).unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
}

/// Of `bytes=N-`: whoever fetches only ever asks for the rest.
fn first_byte(range: &str) -> Option<usize> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
