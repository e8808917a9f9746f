//! The keys of the control plane: the authority for agents' certificates, the server certificate, and the key that signs messages.
//!
//! The leader generates them at its first start and never overwrites the authority or the signing key, since every agent pins both.
//! Given ones, from cert-manager or a backup, are used as they are.

pub mod authority;
mod document;
pub mod refresh;
mod signing;
pub mod store;
pub mod trust;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

pub use authority::{CertificateAndKey, CertificateAuthority};
pub use document::read_release_keys;
pub use signing::SigningKey;
pub use store::KeyStore;

use crate::client::ApiError;

/// Secret with the authority (`tls.crt`, `tls.key`; further trusted ones in `ca.crt`).
pub const CA_SECRET: &str = "kalong-ca";
/// Secret with the server certificate (`tls.crt`, `tls.key`).
pub const SERVER_SECRET: &str = "kalong-server";
/// Secret with the signing key (`key.pk8` in PKCS#8 DER, `keyId`).
pub const SIGNING_SECRET: &str = "kalong-signing";

/// The certificate of the HTTPS server and of the gateway.
pub struct ServerCertificate {
    /// Chain in PEM, leaf first.
    pub chain_pem: String,
    pub key_pem: String,
    /// End of the leaf's life.
    pub not_after: Timestamp,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// All keys, from one read of the Secrets.
#[derive(Debug)]
pub struct Keys {
    pub authority: Arc<CertificateAuthority>,
    pub server: Arc<ServerCertificate>,
    /// Signs messages to agents.
    pub signing: Arc<SigningKey>,
}

/// Why keys cannot be read, made or used.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum KeysError {
    #[error(transparent)]
    #[strum(transparent)]
    Api(#[from] ApiError),
    /// A Secret lacks a key.
    #[error(
        "Secret `{secret}` has no `{key}`: restore it from the backup, or delete the Secret to have a new one made"
    )]
    #[strum(to_string = "missing-key")]
    Missing { secret: &'static str, key: &'static str },
    /// A Secret holds something else.
    #[error("`{key}` of Secret `{secret}` cannot be used ({why}): restore it from the backup, or put in one that fits")]
    #[strum(to_string = "unusable-key")]
    Unusable { secret: &'static str, key: &'static str, why: String },
    /// A key or certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// A key could not be made.
    #[error("a key could not be made: {0}")]
    #[strum(to_string = "generate")]
    Signing(#[from] kalong_crds::wire::signature::SignatureError),
    /// The release key document cannot be used.
    #[error("the release key document {file} cannot be used ({why}): make one with `kubectl kalong release keygen`")]
    #[strum(to_string = "release-keys")]
    Document { file: String, why: String },
    /// A document could not be written down.
    #[error("a key document could not be written: {0}")]
    Json(#[from] serde_json::Error),
}
