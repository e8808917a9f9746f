//! The CertificateSigningRequest of an enrolment: an audit record of which key got which name and why.
//!
//! Its `spec.username` is the operator's own service account, so approval rests on the token check that is noted in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kalong_crds::units::{AgentId, hex};
use kalong_crds::{SITE_LABEL, field_manager};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::certificate::IssuedCertificate;
use crate::client::{ApiError, call};

/// A signer of Kalong's own. Never `kubernetes.io/kube-apiserver-client`: such a certificate would log in to the API server.
pub const SIGNER: &str = "kalong.dev/edge-agent";
/// Annotation: the agent that the request is for.
const AGENT: &str = "kalong.dev/agent";
/// Annotation: the token that justified the approval.
const REQUESTER: &str = "kalong.dev/requester";

pub struct CsrRecord {
    api: Api<CertificateSigningRequest>,
    name: String,
}

impl CsrRecord {
    /// Creates the record; nothing is granted by it.
    pub async fn create(
        client: &Client,
        agent: &AgentId,
        csr_pem: &str,
        validity: SignedDuration,
        requester: &str,
    ) -> Result<Self, ApiError> {
        let api = Api::all(client.clone());
        let object = object(agent, csr_pem, validity, requester);
        let name = object.metadata.name.clone().unwrap_or_default();
        let by_us = PostParams { field_manager: Some(field_manager::OPERATOR.to_owned()), ..PostParams::default() };
        call("record the certificate request", api.create(&by_us, &object)).await?;
        Ok(Self { api, name })
    }

    /// Approves the request: the token was valid.
    pub async fn approve(&self) -> Result<(), ApiError> {
        self.decide("Approved", "TokenVerified", "The enrolment token was verified and is used up.").await
    }

    /// Denies the request.
    pub async fn deny(&self, message: &str) -> Result<(), ApiError> {
        self.decide("Denied", "TokenUsed", message).await
    }

    async fn decide(&self, kind: &str, reason: &str, message: &str) -> Result<(), ApiError> {
        let condition = json!({"type": kind, "status": "True", "reason": reason, "message": message});
        let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
        call("decide on the certificate request", self.api.patch_approval(&self.name, &by_us(), &patch))
            .await
            .map(|_| ())
    }

    /// Stores the signed certificate in the record.
    pub async fn complete(&self, issued: &IssuedCertificate) -> Result<(), ApiError> {
        let patch = Patch::Merge(json!({"status": {"certificate": STANDARD.encode(&issued.pem)}}));
        call("record the certificate", self.api.patch_status(&self.name, &by_us(), &patch)).await.map(|_| ())
    }
}

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(field_manager::OPERATOR.to_owned()), ..PatchParams::default() }
}

fn object(agent: &AgentId, csr_pem: &str, validity: SignedDuration, requester: &str) -> CertificateSigningRequest {
    let mut random = [0_u8; 4];
    // Without randomness two requests of one agent would share a name: the second is refused, nothing worse.
    let _ = SystemRandom::new().fill(&mut random);
    CertificateSigningRequest {
        metadata: ObjectMeta {
            name: Some(format!("kalong.{agent}.{}", hex(&random))),
            labels: Some([(SITE_LABEL.to_owned(), agent.namespace().to_owned())].into()),
            annotations: Some(
                [(AGENT.to_owned(), agent.to_string()), (REQUESTER.to_owned(), requester.to_owned())].into(),
            ),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(csr_pem.as_bytes().to_vec()),
            signer_name: SIGNER.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "client auth".to_owned()]),
            expiration_seconds: i32::try_from(validity.as_secs()).ok(),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_names_agent_signer_and_reason_and_no_two_are_alike() {
        let agent: AgentId = "mong-cai.bl2-lane-03".parse().unwrap();
        let make =
            || object(&agent, "pem", SignedDuration::from_hours(168), "Secret mong-cai/kalong-enrol-bl2-lane-03");
        let one = make();
        assert_eq!(one.spec.signer_name, "kalong.dev/edge-agent");
        assert_eq!(one.spec.expiration_seconds, Some(604_800));
        assert_eq!(one.metadata.annotations.unwrap()[AGENT], "mong-cai.bl2-lane-03");
        assert_ne!(one.metadata.name, make().metadata.name);
    }
}
