//! The server side of mutual TLS. Whoever holds a new certificate or bundle makes a new configuration and sends it on the watch
//! channel; running sessions stay, new ones use it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// What is wrong with the material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM cannot be read.
    #[error("the {0} cannot be read as PEM: {1}")]
    Pem(&'static str, String),
    /// Nothing was found in it.
    #[error("the {0} holds no certificate")]
    Empty(&'static str),
    /// rustls refuses it.
    #[error("the certificate, key or bundle is not usable for TLS: {0}")]
    Unusable(#[from] rustls::Error),
    /// The bundle of authorities is not usable.
    #[error("the bundle of authorities is not usable: {0}")]
    Bundle(#[from] rustls::server::VerifierBuilderError),
}

impl TlsError {
    /// The word for logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Pem(..) => "unreadable-pem",
            Self::Empty(_) => "empty-pem",
            Self::Unusable(_) => "unusable-certificate",
            Self::Bundle(_) => "unusable-bundle",
        }
    }
}

/// A configuration that presents this chain and believes client certificates of any authority in the bundle.
///
/// Sessions are never resumed: a resumed one would not look at the client's certificate again.
pub fn server_config(chain_pem: &[u8], key_pem: &[u8], authorities_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in certificates("bundle of authorities", authorities_pem)? {
        roots.add(authority)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| TlsError::Pem("server key", e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates("server certificate", chain_pem)?, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::Pem(what, e.to_string()))?;
    if found.is_empty() { Err(TlsError::Empty(what)) } else { Ok(found) }
}
