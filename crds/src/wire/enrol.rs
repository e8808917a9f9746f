//! Enrolment over HTTPS: one request with a single-use token, one answer with everything that an agent pins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::release::ReleaseKeys;
use super::signature::PublicKey;
use crate::units::AgentId;

/// Path of the request.
pub const ENROL_PATH: &str = "enrol";
/// First part of the path of artifacts; the 64 hexadecimal digits of the digest follow.
pub const ARTIFACTS_PATH: &str = "artifacts";
/// Longest life of a token, in seconds.
pub const MAX_TOKEN_LIFE_SECONDS: i64 = 24 * 3600;
/// Name of the Secret that holds the hash of an agent's token, in the site's namespace.
pub fn token_secret_name(agent: &str) -> String {
    format!("kalong-enrol-{agent}")
}
/// Key of that Secret: SHA-256 of the token, `sha256:` and hexadecimal digits.
pub const TOKEN_HASH_KEY: &str = "tokenHash";
/// Key of that Secret: end of the token's life, in RFC 3339.
pub const TOKEN_EXPIRES_KEY: &str = "expires";
/// ConfigMap in the operator's namespace with what `kubectl kalong enrol` prints: `ca.crt`, `operator.pub` (JSON list of
/// [`PublicKey`]), `enrol-url`, `mqtt-endpoint`, `releaseKeys` (JSON of [`ReleaseKeys`]).
pub const TRUST_CONFIG_MAP: &str = "kalong-trust";

/// What an agent sends.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolRequest {
    /// Who it is.
    pub agent: AgentId,
    /// The token that a person was given, 43 characters of base64url.
    pub token: String,
    /// Its certificate request in PEM (P-256); the name inside must be the agent's or empty.
    pub csr: String,
    /// Its X25519 public key in base64.
    pub sealing_key: String,
}

/// What an agent gets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolResponse {
    /// Its certificate in PEM.
    pub certificate: String,
    /// The authorities that it trusts from now on, in PEM.
    pub authorities: String,
    /// The keys by which it knows the operator.
    pub operator_keys: Vec<PublicKey>,
    /// The keys by which it judges releases.
    pub release_keys: ReleaseKeys,
    /// Host and port of the gateway.
    pub gateway: String,
    /// Base address of artifacts.
    pub artifacts: String,
}

/// What an agent gets instead.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What to do, as a sentence.
    pub message: String,
}
