//! Which agent a TLS peer is: the only source is the common name of its verified client certificate.

use kalong_crds::units::AgentId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate names no agent.
#[derive(Debug, thiserror::Error)]
pub enum PeerIdentityError {
    #[error("the connection carries no client certificate")]
    Missing,
    /// Not DER, or not X.509.
    #[error("the client certificate cannot be read: {0}")]
    Unreadable(String),
    /// Not exactly one common name that is an agent's identity.
    #[error("the client certificate names no agent: its subject must have one common name `<namespace>.<name>`")]
    Nameless,
}

impl PeerIdentityError {
    /// Log field and metric label.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Missing => "no-certificate",
            Self::Unreadable(_) => "unreadable-certificate",
            Self::Nameless => "nameless-certificate",
        }
    }
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
