//! The record of an enrolment: in the status of the EdgeAgent, and as an Event.

use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::edge_agent::{CertificateStatus, EdgeAgentStatus};
use kalong_crds::units::AgentId;
use kalong_crds::{EdgeAgent, field_manager};
use kube::api::PostParams;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Resource};
use tokio::time::{sleep, timeout};

use super::certificate::IssuedCertificate;
use crate::client::{ApiError, call};

/// Retries of a status write: the controller of EdgeAgents writes the same object.
const CONFLICTS: u32 = 8;
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);
const EVENT_DEADLINE: Duration = Duration::from_secs(10);

/// Writes serial number and end of the certificate, and the sealing key if there is a new one. Nothing else is touched.
///
/// Only the leader does this, as only it writes any status.
pub async fn status(
    api: &Api<EdgeAgent>,
    agent: &AgentId,
    issued: &IssuedCertificate,
    sealing_key: Option<&str>,
) -> Result<(), ApiError> {
    let by_us = PostParams { field_manager: Some(field_manager::STATUS.to_owned()), ..PostParams::default() };
    let mut tries = CONFLICTS;
    loop {
        let mut object = call("read the EdgeAgent", api.get(agent.name())).await?;
        let wanted = with_certificate(object.status.clone(), agent, issued, sealing_key);
        if object.status.as_ref() == Some(&wanted) {
            return Ok(());
        }
        object.status = Some(wanted);
        object.metadata.managed_fields = None;
        match call("record the enrolment", api.replace_status(agent.name(), &by_us, &object)).await {
            Err(error) if error.is_conflict() && tries > 0 => tries -= 1,
            other => return other.map(|_| ()),
        }
        sleep(CONFLICT_PAUSE).await;
    }
}

fn with_certificate(
    status: Option<EdgeAgentStatus>,
    agent: &AgentId,
    issued: &IssuedCertificate,
    sealing_key: Option<&str>,
) -> EdgeAgentStatus {
    let mut status =
        status.unwrap_or_else(|| EdgeAgentStatus { observed_generation: -1, ..EdgeAgentStatus::default() });
    status.agent_id = agent.to_string();
    status.certificate =
        Some(CertificateStatus { serial: issued.serial.clone(), not_after: issued.not_after.to_string() });
    if let Some(key) = sealing_key {
        status.sealing_key = Some(key.to_owned());
    }
    status
}

/// Publishes an Event. A failure is only logged: the certificate is valid all the same.
pub async fn event(recorder: &Recorder, object: &EdgeAgent, reason: Reason, issued: &IssuedCertificate) {
    let what = if reason == Reason::Enrolled { "enrolled and was given" } else { "was given" };
    let event = Event {
        type_: EventType::Normal,
        reason: reason.as_str().to_owned(),
        note: Some(format!("The agent {what} certificate {} until {}.", issued.serial, issued.not_after)),
        action: "Issue".to_owned(),
        secondary: None,
    };
    match timeout(EVENT_DEADLINE, recorder.publish(&event, &object.object_ref(&()))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(reason = reason.as_str(), %error, "An Event could not be written."),
        Err(_) => tracing::warn!(reason = reason.as_str(), "An Event could not be written in time."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_certificate_changes_and_the_sealing_key_stays_at_a_renewal() {
        let agent: AgentId = "mong-cai.a".parse().unwrap();
        let issued = IssuedCertificate {
            pem: String::new(),
            serial: "0a".into(),
            not_after: "2026-09-08T00:00:00Z".parse().unwrap(),
        };
        let first = with_certificate(None, &agent, &issued, Some("key"));
        assert_eq!(first.observed_generation, -1);
        let mut known = first.clone();
        known.devices = 7;
        known.observed_generation = 3;
        let renewed = with_certificate(Some(known), &agent, &issued, None);
        assert_eq!((renewed.devices, renewed.observed_generation), (7, 3));
        assert_eq!(renewed.sealing_key.as_deref(), Some("key"));
        assert_eq!(renewed.certificate.unwrap().not_after, "2026-09-08T00:00:00Z");
    }
}
