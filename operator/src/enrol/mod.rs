//! Enrolment: a box trades a single-use token for a client certificate, which it later renews over its session.
//!
//! The name in a certificate comes from the token or the session, never from the request. A token is used up before anything is
//! signed, by a conditional delete that only one of two concurrent requests can win.

pub mod certificate;
mod record;
mod request;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kalong_crds::condition::Reason;
use kalong_crds::units::AgentId;
use kalong_crds::wire::enrol::{ARTIFACTS_PATH, EnrolRequest, EnrolResponse, token_secret_name};
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::{ABANDON, Category, EdgeAgent};
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::events::Recorder;
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use crate::client::{ApiError, call};
use crate::keys::Keys;
use crate::metrics::{Issue, Metrics};
use crate::settings::{Advertise, ServedSites};
use certificate::{IssuedCertificate, RequestError};
use request::CsrRecord;
use token::{StoredToken, TokenError};

/// Concurrent requests; each costs the API server about six calls.
const AT_ONCE: usize = 8;
/// How long a request may wait for a slot.
const TURN_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of an X25519 public key.
const SEALING_KEY: usize = 32;

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum IssuanceError {
    /// The certificate request is refused.
    #[error(transparent)]
    #[strum(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    #[strum(transparent)]
    Token(#[from] TokenError),
    #[error("the sealing key is no X25519 public key: send 32 bytes in base64")]
    SealingKey,
    /// Two requests came with one token, and the other was first.
    #[error(
        "the token was used by another request in this moment: if that was not you, suspend the agent; make a new one with `kubectl kalong enrol`"
    )]
    #[strum(to_string = "token-burnt")]
    Burnt,
    /// This operator does not serve the site.
    #[error("site `{0}` is not served by this operator: use the address of the one that serves it")]
    ForeignSite(String),
    /// No EdgeAgent of this name. Revealed only to the owner of a valid token or session.
    #[error("there is no EdgeAgent `{0}`: declare it first")]
    Undeclared(AgentId),
    /// The agent is shut out.
    #[error("EdgeAgent `{0}` is suspended or on its way out: end that before it can get a certificate")]
    ShutOut(AgentId),
    #[error("too many requests at once: try again in a minute")]
    Busy,
    #[error("the control plane cannot be reached now: try again in a minute ({0})")]
    #[strum(transparent)]
    Api(#[from] ApiError),
    /// The API server failed after the token was used up.
    #[error("the control plane failed after the token was used up: make a new one with `kubectl kalong enrol` ({0})")]
    Interrupted(#[source] ApiError),
    /// The certificate could not be made.
    #[error("the certificate could not be signed: look at the Secret kalong-ca ({0})")]
    Sign(#[from] rcgen::Error),
}

impl IssuanceError {
    /// Status code of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Request(RequestError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Request(_) | Self::SealingKey | Self::Token(TokenError::Malformed) => StatusCode::BAD_REQUEST,
            Self::Token(_) | Self::ForeignSite(_) | Self::Undeclared(_) | Self::ShutOut(_) => StatusCode::FORBIDDEN,
            Self::Burnt => StatusCode::CONFLICT,
            Self::Busy | Self::Api(_) | Self::Interrupted(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Sign(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewedCertificate {
    pub certificate: String,
    /// The authorities to trust from now on, in PEM.
    pub authorities: String,
}

pub struct EnrollerConfig {
    pub client: Client,
    /// The keys, as they are now.
    pub keys: watch::Receiver<Arc<Keys>>,
    /// What agents judge releases by.
    pub release_keys: ReleaseKeys,
    pub advertise: Advertise,
    pub sites: ServedSites,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    /// Called for each agent that enrolled with a token, which ends a conflict over its identity.
    pub enrolled: Box<dyn Fn(&AgentId) + Send + Sync>,
}

pub struct Enroller {
    config: EnrollerConfig,
    turns: Semaphore,
}

impl Enroller {
    /// At most eight requests run at once; others wait for a slot.
    pub fn new(config: EnrollerConfig) -> Self {
        Self { config, turns: Semaphore::new(AT_ONCE) }
    }

    /// Enrols a box that has a token.
    pub async fn enrol(&self, request: EnrolRequest) -> Result<EnrolResponse, IssuanceError> {
        let agent = request.agent.clone();
        let result = self.with_token(request).await;
        let word = result.as_ref().map_or_else(IssuanceError::category, |_| "issued");
        self.config.metrics.certificate(Issue::Enrolment, word);
        match &result {
            Ok(_) => tracing::info!(%agent, "An agent enrolled."),
            Err(error) => tracing::warn!(%agent, category = word, %error, "An enrolment was refused."),
        }
        result
    }

    /// Renews the certificate of the agent whose session asks. The session proves the current key, the request the new one.
    pub async fn renew(&self, agent: &AgentId, csr_pem: &str) -> Result<RenewedCertificate, IssuanceError> {
        let result = self.over_session(agent, csr_pem).await;
        let word = result.as_ref().map_or_else(IssuanceError::category, |_| "issued");
        self.config.metrics.certificate(Issue::Renewal, word);
        match &result {
            Ok(_) => tracing::info!(%agent, "A certificate was renewed."),
            Err(error) => tracing::warn!(%agent, category = word, %error, "A renewal was refused."),
        }
        result
    }

    async fn with_token(&self, request: EnrolRequest) -> Result<EnrolResponse, IssuanceError> {
        let EnrolRequest { agent, token, csr, sealing_key } = request;
        // What can be refused without the API server never reaches it.
        let checked = certificate::check(&csr, &agent)?;
        check_sealing_key(&sealing_key)?;
        token::check_form(&token)?;
        let _turn = self.turn().await?;
        let secret = self.token(&agent, &token).await?;
        let object = self.declared(&agent).await?;
        let validity = validity(&object);

        let requester =
            format!("Secret {}/{} uid {}", agent.namespace(), secret.name_any(), secret.uid().unwrap_or_default());
        let record = CsrRecord::create(&self.config.client, &agent, &csr, validity, &requester).await?;
        if let Err(error) = self.burn(&agent, &secret).await {
            // The record of a refused request would otherwise stand open for a day.
            if let Err(error) = record.deny("The token could not be used up; another request may have used it.").await {
                tracing::warn!(%agent, category = error.category(), %error, "A refused request could not be denied.");
            }
            return Err(error);
        }
        record.approve().await.map_err(IssuanceError::Interrupted)?;
        let keys = Arc::clone(&self.config.keys.borrow());
        let issued = certificate::issue(&keys.authority, &checked, &agent, validity, Timestamp::now())?;
        record.complete(&issued).await.map_err(IssuanceError::Interrupted)?;
        self.remember(&object, &agent, &issued, Some(&sealing_key)).await.map_err(IssuanceError::Interrupted)?;
        (self.config.enrolled)(&agent);
        Ok(EnrolResponse {
            certificate: issued.pem,
            authorities: keys.authority.bundle_pem().to_owned(),
            operator_keys: vec![keys.signing.public().clone()],
            release_keys: self.config.release_keys.clone(),
            gateway: self.config.advertise.gateway.clone(),
            artifacts: format!("{}/{ARTIFACTS_PATH}", self.config.advertise.https),
        })
    }

    async fn over_session(&self, agent: &AgentId, csr_pem: &str) -> Result<RenewedCertificate, IssuanceError> {
        let checked = certificate::check(csr_pem, agent)?;
        let _turn = self.turn().await?;
        let object = self.declared(agent).await?;
        let keys = Arc::clone(&self.config.keys.borrow());
        let issued = certificate::issue(&keys.authority, &checked, agent, validity(&object), Timestamp::now())?;
        self.remember(&object, agent, &issued, None).await?;
        Ok(RenewedCertificate { certificate: issued.pem, authorities: keys.authority.bundle_pem().to_owned() })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, IssuanceError> {
        match timeout(TURN_DEADLINE, self.turns.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(IssuanceError::Busy),
        }
    }

    /// The Secret of the token, if this is the token.
    async fn token(&self, agent: &AgentId, presented: &str) -> Result<Secret, IssuanceError> {
        if !self.config.sites.serves(agent.namespace()) {
            return Err(IssuanceError::ForeignSite(agent.namespace().to_owned()));
        }
        let name = token_secret_name(agent.name());
        // No token, a wrong one and an unknown agent get the same answer, so that names of a site are not revealed.
        let secret =
            call("read the enrolment token", self.secrets(agent).get_opt(&name)).await?.ok_or(TokenError::Wrong)?;
        StoredToken::read(secret.data.as_ref())?.check(presented, Timestamp::now())?;
        Ok(secret)
    }

    /// The EdgeAgent, if it may have a certificate.
    async fn declared(&self, agent: &AgentId) -> Result<EdgeAgent, IssuanceError> {
        let object = call("read the EdgeAgent", self.agents(agent).get_opt(agent.name())).await?;
        let object = object.ok_or_else(|| IssuanceError::Undeclared(agent.clone()))?;
        if shut_out(&object) { Err(IssuanceError::ShutOut(agent.clone())) } else { Ok(object) }
    }

    /// Deletes the Secret if it is still the one that was checked. Of two requests with one token, one fails here.
    async fn burn(&self, agent: &AgentId, secret: &Secret) -> Result<(), IssuanceError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: secret.uid(), resource_version: secret.resource_version() }),
            ..DeleteParams::default()
        };
        match call("use up the enrolment token", self.secrets(agent).delete(&secret.name_any(), &parameters)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() || error.is_not_found() => Err(IssuanceError::Burnt),
            Err(error) => Err(error.into()),
        }
    }

    async fn remember(
        &self,
        object: &EdgeAgent,
        agent: &AgentId,
        issued: &IssuedCertificate,
        sealing_key: Option<&str>,
    ) -> Result<(), ApiError> {
        record::status(&self.agents(agent), agent, issued, sealing_key).await?;
        let reason = if sealing_key.is_some() { Reason::Enrolled } else { Reason::CertificateRenewed };
        record::event(&self.config.recorder, object, reason, issued).await;
        Ok(())
    }

    fn secrets(&self, agent: &AgentId) -> Api<Secret> {
        Api::namespaced(self.config.client.clone(), agent.namespace())
    }

    fn agents(&self, agent: &AgentId) -> Api<EdgeAgent> {
        Api::namespaced(self.config.client.clone(), agent.namespace())
    }
}

/// An agent that is suspended, abandoned or being deleted gets no certificate.
fn shut_out(object: &EdgeAgent) -> bool {
    object.spec.suspend
        || object.metadata.deletion_timestamp.is_some()
        || object.annotations().get(ABANDON).is_some_and(|words| !words.is_empty())
}

fn validity(object: &EdgeAgent) -> SignedDuration {
    SignedDuration::from_hours(object.spec.enrolment.validity_hours.clamp(1, 720))
}

fn check_sealing_key(text: &str) -> Result<(), IssuanceError> {
    // An all-zero key has no secret half; sealing to it would seal to everybody (RFC 7748 section 6.1).
    match STANDARD.decode(text) {
        Ok(key) if key.len() == SEALING_KEY && key.iter().any(|b| *b != 0) => Ok(()),
        _ => Err(IssuanceError::SealingKey),
    }
}

#[cfg(test)]
mod tests;
