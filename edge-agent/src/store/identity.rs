//! Identity and trust anchors of the agent: a file of its own, readable by its owner alone, so that a lost database costs no enrolment.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kalong_crds::units::AgentId;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::signature::PublicKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::sync_folder;

const FILE: &str = "identity.json";
/// A renewed identity that has not connected yet.
const CANDIDATE: &str = "identity.next.json";

/// Everything that enrolment gave or made. The sealing key and the certificate's key never leave the box.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentIdentity {
    /// Identity of the agent, `namespace.name`.
    pub agent: AgentId,
    /// Certificate of the agent in PEM.
    pub certificate: String,
    /// The certificate's key in PEM.
    pub key: String,
    /// The authorities that it trusts, in PEM.
    pub authorities: String,
    /// The keys by which it knows the operator.
    pub operator_keys: Vec<PublicKey>,
    /// The keys by which it judges releases.
    pub release_keys: ReleaseKeys,
    /// Host and port of the gateway.
    pub gateway: String,
    /// Base address from which artifacts are fetched.
    pub artifacts: String,
    /// The X25519 private key in base64, to which device credentials are sealed.
    pub sealing_key: String,
}

impl std::fmt::Debug for AgentIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentIdentity")
            .field("agent", &self.agent)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// Why the identity cannot be used.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum AgentIdentityError {
    /// There is no identity: the agent never enrolled.
    #[error("{0} is not there: enrol this box first with the command that `kubectl kalong enrol` prints")]
    NotEnrolled(PathBuf),
    /// The file cannot be read or written.
    #[error("{0} cannot be read or written")]
    File(PathBuf, #[source] std::io::Error),
    /// The file is not an identity.
    #[error("{0} is damaged: enrol this box again")]
    Damaged(PathBuf, #[source] serde_json::Error),
    /// A certificate or key inside cannot be read.
    #[error("the {0} of the identity cannot be used ({1}): enrol this box again")]
    Unusable(&'static str, String),
}

/// Begin and end of a certificate's validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when on it is valid.
    pub from: Timestamp,
    /// Until when it is valid.
    pub until: Timestamp,
}

impl AgentIdentity {
    /// Reads the identity in use.
    pub fn load(folder: &Path) -> Result<Self, AgentIdentityError> {
        read(&folder.join(FILE))
    }

    /// A renewed identity that has not connected yet, if there is one.
    pub fn candidate(folder: &Path) -> Option<Self> {
        read(&folder.join(CANDIDATE)).ok()
    }

    /// Makes this the identity in use.
    pub fn save(&self, folder: &Path) -> Result<(), AgentIdentityError> {
        self.write(&folder.join(FILE))
    }

    /// Keeps this beside the identity in use until it has connected.
    pub fn save_candidate(&self, folder: &Path) -> Result<(), AgentIdentityError> {
        self.write(&folder.join(CANDIDATE))
    }

    /// The candidate connected: it becomes the identity in use, in one step.
    pub fn promote(folder: &Path) -> Result<(), AgentIdentityError> {
        let path = folder.join(FILE);
        std::fs::rename(folder.join(CANDIDATE), &path)
            .and_then(|()| sync_folder(&path))
            .map_err(|e| AgentIdentityError::File(path, e))
    }

    /// The candidate did not connect: the identity in use stays.
    pub fn discard_candidate(folder: &Path) -> Result<(), AgentIdentityError> {
        let path = folder.join(CANDIDATE);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(AgentIdentityError::File(path, e)),
            _ => Ok(()),
        }
    }

    fn write(&self, path: &Path) -> Result<(), AgentIdentityError> {
        let failed = |e| AgentIdentityError::File(path.to_owned(), e);
        let temporary = path.with_extension("tmp");
        let json = serde_json::to_vec(self).map_err(|e| AgentIdentityError::Damaged(path.to_owned(), e))?;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(failed)?;
        file.write_all(&json).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&temporary, path).and_then(|()| sync_folder(path)).map_err(failed)
    }

    /// The validity of the certificate.
    pub fn validity(&self) -> Result<Validity, AgentIdentityError> {
        let unusable = |e: String| AgentIdentityError::Unusable("certificate", e);
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(self.certificate.as_bytes()).map_err(|e| unusable(e.to_string()))?;
        let certificate = pem.parse_x509().map_err(|e| unusable(e.to_string()))?;
        let at = |seconds: i64| Timestamp::from_second(seconds).map_err(|e| unusable(e.to_string()));
        let validity = certificate.validity();
        Ok(Validity { from: at(validity.not_before.timestamp())?, until: at(validity.not_after.timestamp())? })
    }

    /// A TLS client that trusts the pinned authorities alone and shows the box's certificate.
    pub fn tls(&self) -> Result<Arc<rustls::ClientConfig>, AgentIdentityError> {
        let chain = certificates(&self.certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|e| AgentIdentityError::Unusable("key", e.to_string()))?;
        let config = trusting(&self.authorities)?
            .with_client_auth_cert(chain, key)
            .map_err(|e| AgentIdentityError::Unusable("certificate", e.to_string()))?;
        Ok(Arc::new(config))
    }

    /// The raw private key for sealed credentials.
    pub fn sealing_secret(&self) -> Result<Vec<u8>, AgentIdentityError> {
        STANDARD.decode(&self.sealing_key).map_err(|e| AgentIdentityError::Unusable("sealing key", e.to_string()))
    }
}

/// A TLS client that trusts these authorities alone and shows nothing.
pub fn anonymous_tls(authorities: &str) -> Result<Arc<rustls::ClientConfig>, AgentIdentityError> {
    Ok(Arc::new(trusting(authorities)?.with_no_client_auth()))
}

fn trusting(
    authorities: &str,
) -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>, AgentIdentityError> {
    let unusable = |e: String| AgentIdentityError::Unusable("authorities", e);
    let mut roots = rustls::RootCertStore::empty();
    for authority in certificates(authorities, "authorities")? {
        roots.add(authority).map_err(|e| unusable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is none".to_owned()));
    }
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(e.to_string()))?
        .with_root_certificates(roots))
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, AgentIdentityError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| AgentIdentityError::Unusable(what, e.to_string()))
}

fn read(path: &Path) -> Result<AgentIdentity, AgentIdentityError> {
    let bytes = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => AgentIdentityError::NotEnrolled(path.to_owned()),
        _ => AgentIdentityError::File(path.to_owned(), e),
    })?;
    serde_json::from_slice(&bytes).map_err(|e| AgentIdentityError::Damaged(path.to_owned(), e))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn identity() -> AgentIdentity {
        AgentIdentity {
            agent: "mc.box".parse().unwrap(),
            certificate: String::new(),
            key: String::new(),
            authorities: String::new(),
            operator_keys: vec![],
            release_keys: ReleaseKeys::default(),
            gateway: "127.0.0.1:1".into(),
            artifacts: "https://127.0.0.1:1/artifacts".into(),
            sealing_key: STANDARD.encode([7_u8; 32]),
        }
    }

    #[test]
    fn file_is_for_its_owner_alone_and_a_candidate_replaces_only_when_promoted() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(AgentIdentity::load(folder.path()), Err(AgentIdentityError::NotEnrolled(_))));
        identity().save(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let renewed = AgentIdentity { gateway: "127.0.0.1:2".into(), ..identity() };
        renewed.save_candidate(folder.path()).unwrap();
        assert_eq!(AgentIdentity::load(folder.path()).unwrap().gateway, "127.0.0.1:1");
        AgentIdentity::promote(folder.path()).unwrap();
        assert_eq!(AgentIdentity::load(folder.path()).unwrap().gateway, "127.0.0.1:2");
        assert!(AgentIdentity::candidate(folder.path()).is_none());
        AgentIdentity::discard_candidate(folder.path()).unwrap();
    }

    #[test]
    fn debug_text_holds_no_key() {
        assert!(!format!("{:?}", identity()).contains(&STANDARD.encode([7_u8; 32])));
    }
}
