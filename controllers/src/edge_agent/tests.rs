//! What is said of an EdgeAgent, in worlds made by hand.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::edge_agent::EdgeAgentStatus;
use kalong_crds::units::AgentId;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::reported::Orphan;
use kalong_crds::{AGENT_FINALIZER, EdgeAgent};
use kalong_rules::lifecycle::LifecycleStage;
use serde_json::{Value, json};

use super::decide::decide;
use super::observe::Observed;
use crate::kit::link::{AgentFacts, Presence};
use crate::kit::reconciler::ReconcileResult;

fn agent(name: &str, spec: Value) -> Arc<EdgeAgent> {
    let value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": "EdgeAgent", "spec": spec,
        "metadata": {"name": name, "namespace": "mong-cai", "uid": "u", "generation": 1, "finalizers": [AGENT_FINALIZER]},
        "status": {"observedGeneration": 1, "sealingKey": "key", "certificate": {"serial": "7", "notAfter": "2026-11-29T07:00:00Z"}},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn observed(spec: Value) -> Observed {
    Observed {
        agent: agent("lane-1", spec),
        now: "2026-11-22T07:00:00Z".parse().unwrap(),
        life: LifecycleStage::InService,
        id: AgentId::new("mong-cai", "lane-1"),
        facts: Some(AgentFacts { version: Some("0.1.0".into()), ..AgentFacts::live() }),
        live_devices: 15,
        references: 15,
        heartbeat: Duration::from_secs(1),
        release_keys: ReleaseKeys::default(),
    }
}

fn result(observed: &Observed) -> ReconcileResult<EdgeAgentStatus> {
    super::status(observed, &decide(observed))
}

fn status(observed: &Observed) -> EdgeAgentStatus {
    result(observed).status.unwrap()
}

fn is(status: &EdgeAgentStatus, kind: ConditionType, word: &str, reason: Reason) {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str());
    assert_eq!(
        found.map(|c| (c.status.as_str(), c.reason.as_str())),
        Some((word, reason.as_str())),
        "{:#?}",
        status.conditions
    );
}

#[test]
fn connected_agent_is_ready_and_keeps_what_enrolment_wrote() {
    let status = status(&observed(json!({})));
    for kind in [
        ConditionType::Ready,
        ConditionType::Available,
        ConditionType::Connected,
        ConditionType::Synced,
        ConditionType::ClockTrusted,
    ] {
        assert!(status.conditions.iter().any(|c| c.type_ == kind.as_str() && c.status == "True"), "{kind}");
    }
    assert_eq!(
        (status.sealing_key.as_deref(), status.agent_id.as_str(), status.devices),
        (Some("key"), "mong-cai.lane-1", 15)
    );
    assert_eq!(status.certificate.unwrap().serial, "7");
}

#[test]
fn suspended_agent_is_ready_on_purpose() {
    let status = status(&observed(json!({"suspend": true})));
    is(&status, ConditionType::Ready, "True", Reason::Suspended);
    is(&status, ConditionType::Available, "False", Reason::Suspended);
}

#[test]
fn identity_over_63_characters_is_stalled() {
    let mut long = observed(json!({}));
    let name = "a".repeat(60);
    long.agent = agent(&name, json!({}));
    long.id = AgentId::new("mong-cai", &name);
    long.facts = None;
    is(&status(&long), ConditionType::Stalled, "True", Reason::IdentityTooLong);
}

#[test]
fn silence_is_unknown_and_a_fresh_leader_waits_before_saying_so() {
    let mut silent = observed(json!({}));
    silent.facts.as_mut().unwrap().presence = Presence::Silent;
    assert!(!silent.is_pending());
    let said = status(&silent);
    is(&said, ConditionType::Ready, "Unknown", Reason::AgentUnreachable);
    is(&said, ConditionType::Connected, "False", Reason::AgentUnreachable);
    is(&said, ConditionType::Synced, "Unknown", Reason::AgentUnreachable);
    silent.facts.as_mut().unwrap().presence = Presence::Unheard { until: silent.now + SignedDuration::from_secs(9) };
    assert!(silent.is_pending());
}

#[test]
fn certificate_that_was_not_renewed_is_spoken_of_before_it_ends() {
    let mut old = observed(json!({}));
    is(&status(&old), ConditionType::CertificateValid, "True", Reason::CertificateCurrent);
    old.now = "2026-11-28T04:00:00Z".parse::<Timestamp>().unwrap();
    is(&status(&old), ConditionType::CertificateValid, "False", Reason::CertificateEnding);
}

#[test]
fn orphans_are_named_sorted_and_at_most_sixteen() {
    let mut observed = observed(json!({}));
    let orphan = |n: usize| Orphan {
        kind: kalong_crds::wire::desired::ItemKind::Device,
        name: format!("cam-{n:02}"),
        uid: n.to_string(),
    };
    observed.facts.as_mut().unwrap().orphans = (0..20).rev().map(orphan).collect();
    let orphans = status(&observed).orphans;
    assert_eq!((orphans.len(), orphans[0].as_str(), orphans[15].as_str()), (16, "Device/cam-00", "Device/cam-15"));
}

#[test]
fn agent_in_commissioning_is_ready_whatever_is_missing_and_tells_the_truth_beside() {
    let mut silent = observed(json!({"phase": "phase-2"}));
    silent.life = LifecycleStage::Commissioning;
    silent.facts.as_mut().unwrap().presence = Presence::Silent;
    let said = status(&silent);
    is(&said, ConditionType::Ready, "True", Reason::Commissioning);
    is(&said, ConditionType::Available, "False", Reason::Commissioning);
    is(&said, ConditionType::Connected, "False", Reason::AgentUnreachable);
    silent.facts.as_mut().unwrap().presence = Presence::Present;
    is(&status(&silent), ConditionType::Connected, "True", Reason::AgentConnected);
}

#[test]
fn planned_agent_is_ready_and_says_nothing_of_the_box() {
    let mut planned = observed(json!({"phase": "phase-2"}));
    planned.life = LifecycleStage::Planned;
    let said = status(&planned);
    is(&said, ConditionType::Ready, "True", Reason::Planned);
    is(&said, ConditionType::Connected, "Unknown", Reason::Planned);
}

#[test]
fn agent_of_a_phase_that_does_not_exist_is_stalled_and_stays_in_contact() {
    let mut lost = observed(json!({"phase": "phase-9"}));
    lost.life = LifecycleStage::UnknownPhase;
    let said = status(&lost);
    is(&said, ConditionType::Stalled, "True", Reason::UnknownPhase);
    is(&said, ConditionType::Connected, "True", Reason::AgentConnected);
    assert_eq!(said.blocked_by[0].subject, "Phase/phase-9");
}
