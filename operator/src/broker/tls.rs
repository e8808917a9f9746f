//! The server side of mutual TLS. A renewed certificate or bundle means a new configuration on the watch channel of the gateway: running
//! sessions stay, new ones use it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// Why no TLS configuration can be made.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum GatewayTlsError {
    /// The file holds no PEM: which one, and why.
    #[error("the {0} cannot be read as PEM: {1}")]
    #[strum(to_string = "unreadable-pem")]
    Pem(&'static str, String),
    /// The PEM holds no certificate.
    #[error("the {0} holds no certificate")]
    #[strum(to_string = "empty-pem")]
    Empty(&'static str),
    /// rustls refuses certificate, key or bundle.
    #[error("the certificate, key or bundle is not usable for TLS: {0}")]
    #[strum(to_string = "unusable-certificate")]
    Unusable(#[from] rustls::Error),
    /// No verifier can be made of the authorities.
    #[error("the bundle of authorities is not usable: {0}")]
    #[strum(to_string = "unusable-bundle")]
    Bundle(#[from] rustls::server::VerifierBuilderError),
}

/// A configuration that presents this chain and accepts client certificates of any authority in the bundle.
///
/// TLS sessions are never resumed, since a resumed one does not verify the client's certificate again.
pub fn server_config(
    chain_pem: &[u8],
    key_pem: &[u8],
    authorities_pem: &[u8],
) -> Result<Arc<ServerConfig>, GatewayTlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in certificates("bundle of authorities", authorities_pem)? {
        roots.add(authority)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| GatewayTlsError::Pem("server key", e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates("server certificate", chain_pem)?, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, GatewayTlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| GatewayTlsError::Pem(what, e.to_string()))?;
    if found.is_empty() { Err(GatewayTlsError::Empty(what)) } else { Ok(found) }
}
