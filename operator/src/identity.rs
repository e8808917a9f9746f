//! Which agent a TLS peer is: the only source is the common name of its verified client certificate.

use kalong_crds::units::AgentId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate names no agent.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum PeerIdentityError {
    #[error("the connection carries no client certificate")]
    #[strum(to_string = "no-certificate")]
    Missing,
    /// Not DER, or not X.509.
    #[error("the client certificate cannot be read: {0}")]
    #[strum(to_string = "unreadable-certificate")]
    Unreadable(String),
    /// Not exactly one common name that is an agent's identity.
    #[error("the client certificate names no agent: its subject must have one common name `<namespace>.<name>`")]
    #[strum(to_string = "nameless-certificate")]
    Nameless,
}

/// The agent that a verified certificate chain names; `None` stands for a client without certificate.
pub fn agent_of(chain: Option<&[CertificateDer<'_>]>) -> Result<AgentId, PeerIdentityError> {
    let leaf = chain.and_then(<[_]>::first).ok_or(PeerIdentityError::Missing)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|e| PeerIdentityError::Unreadable(e.to_string()))?;
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(PeerIdentityError::Nameless);
    };
    name.as_str().ok().and_then(|text| text.parse().ok()).ok_or(PeerIdentityError::Nameless)
}
