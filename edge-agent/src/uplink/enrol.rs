//! Enrolment: one request with a single-use token, trusting the given authority alone.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Method;
use kalong_crds::units::AgentId;
use kalong_crds::wire::enrol::{ENROL_PATH, EnrolRequest, EnrolResponse, Refusal};
use kalong_crds::wire::signature::PublicKey;
use tokio::time::timeout;

use super::renewal::{self, RenewalError};
use crate::https::{Address, HttpsError, send};
use crate::seal::{self, SealError};
use crate::store::identity::{AgentIdentity, AgentIdentityError, anonymous_tls};

/// Largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;
/// Longest time for the body of the answer: a certificate may have to be approved and signed first.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// Why a box could not enrol.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum EnrolmentError {
    /// The operator was not reached.
    #[error(transparent)]
    #[strum(transparent)]
    Https(#[from] HttpsError),
    /// Keys could not be made.
    #[error(transparent)]
    #[strum(transparent)]
    Seal(#[from] SealError),
    /// The request could not be made or the certificate does not fit.
    #[error(transparent)]
    #[strum(transparent)]
    Renewal(#[from] RenewalError),
    /// The authority that was given cannot be used.
    #[error(transparent)]
    #[strum(transparent)]
    Identity(#[from] AgentIdentityError),
    /// The operator refused the request.
    #[error("the operator refused: {0}")]
    Refused(String),
    /// The answer is not one.
    #[error("the operator's answer cannot be read: check that --server is the operator's HTTPS address")]
    Answer,
    /// The operator signs with another key than the one given.
    #[error("the operator does not own the key `{0}`: take the command from `kubectl kalong enrol` of this cluster")]
    ForeignOperator(String),
}

/// What a person passes to an agent, once.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// HTTPS address of the operator.
    pub server: String,
    /// Identity that the agent asks for.
    pub agent: AgentId,
    /// Single-use token of the enrolment.
    pub token: String,
    /// Certificate authority of the operator in PEM.
    pub authority: String,
    /// Key with which the operator signs.
    pub operator: PublicKey,
}

/// Enrols, and returns the identity, which is not stored yet.
pub async fn enrol(ticket: Ticket) -> Result<AgentIdentity, EnrolmentError> {
    let tls = anonymous_tls(&ticket.authority)?;
    let asked = renewal::ask(&ticket.agent)?;
    let (secret, public) = seal::generate()?;
    let request = EnrolRequest {
        agent: ticket.agent.clone(),
        token: ticket.token.clone(),
        csr: asked.csr.clone(),
        sealing_key: STANDARD.encode(public),
    };
    let body = serde_json::to_vec(&request).map_err(|_| EnrolmentError::Answer)?;
    let address = Address::parse(&ticket.server)?.join(ENROL_PATH);
    let headers = [("content-type", "application/json".to_owned()), ("content-length", body.len().to_string())];
    let answer = send(&tls, &address, Method::POST, &headers, Bytes::from(body)).await?;
    let status = answer.status();
    let body = timeout(BODY_DEADLINE, Limited::new(answer.into_body(), MAX_ANSWER).collect())
        .await
        .map_err(|_| EnrolmentError::Answer)?
        .map_err(|_| EnrolmentError::Answer)?
        .to_bytes();
    if !status.is_success() {
        let message = serde_json::from_slice::<Refusal>(&body).map_or_else(|_| status.to_string(), |r| r.message);
        return Err(EnrolmentError::Refused(message));
    }
    let answer: EnrolResponse = serde_json::from_slice(&body).map_err(|_| EnrolmentError::Answer)?;
    if !answer.operator_keys.contains(&ticket.operator) {
        return Err(EnrolmentError::ForeignOperator(ticket.operator.key_id));
    }
    let identity = AgentIdentity {
        agent: ticket.agent,
        certificate: answer.certificate,
        key: asked.key,
        authorities: answer.authorities,
        operator_keys: answer.operator_keys,
        release_keys: answer.release_keys,
        gateway: answer.gateway,
        artifacts: answer.artifacts,
        sealing_key: STANDARD.encode(secret),
    };
    renewal::check(&identity)?;
    Ok(identity)
}
