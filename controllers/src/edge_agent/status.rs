//! What the status says of an EdgeAgent. Pure.

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::{Conditioned, settle};
use kalong_crds::edge_agent::EdgeAgentStatus;
use kalong_rules::lifecycle::{LifecycleStage, unknown_phase};
use kube::ResourceExt;

use super::decide::Decision;
use super::observe::Observed;
use super::{conditions, readiness};
use crate::kit::Error;
use crate::kit::link::{AgentFacts, Presence};
use crate::kit::reconciler::ReconcileResult;
use crate::kit::status::HasStatus;

/// The bound of `status.orphans` in the CRD.
const ORPHANS: usize = 16;

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<EdgeAgentStatus> {
    let Decision { admittance: _, assignment, finalizers } = decision;
    let error = assignment.failure().cloned().map(Error::Order);
    // A changed finalizer brings the object back with a new version; its status is written then.
    if finalizers.is_some() {
        return ReconcileResult { error, ..ReconcileResult::unchanged() };
    }
    let agent = observed.agent.as_ref();
    let keeps = observed.is_pending()
        && !agent.conditions().is_empty()
        && agent.observed_generation() == agent.metadata.generation;
    ReconcileResult {
        status: (!keeps).then(|| written(observed)),
        again: observed.facts.as_ref().and_then(|facts| facts.grace_left(observed.now)),
        error,
        ..ReconcileResult::unchanged()
    }
}

fn written(observed: &Observed) -> EdgeAgentStatus {
    let generation = observed.agent.metadata.generation.unwrap_or_default();
    let old = observed.agent.status.clone().unwrap_or_default();
    let judged = conditions::all(observed, readiness::objection(observed).as_ref());
    let facts = observed.facts.as_ref();
    EdgeAgentStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        agent_id: observed.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        version: facts.and_then(|f| f.version.clone()).or(old.version),
        devices: i64::try_from(observed.live_devices).unwrap_or(i64::MAX),
        // Enrolment writes these two; everything else here is this controller's.
        sealing_key: old.sealing_key,
        certificate: old.certificate,
        orphans: facts.map(orphans).unwrap_or_default(),
        blocked_by: carry_since(&old.blocked_by, blocked(observed)),
    }
}

/// `Kind/name` of what the box holds without an owner.
fn orphans(facts: &AgentFacts) -> Vec<String> {
    let mut orphans: Vec<String> = facts.orphans.iter().map(|o| format!("{:?}/{}", o.kind, o.name)).collect();
    orphans.sort();
    orphans.dedup();
    orphans.truncate(ORPHANS);
    orphans
}

fn blocked(observed: &Observed) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: String| BlockedBy::new(code, subject, message, observed.now);
    let name = observed.agent.name_any();
    let mut blocked = Vec::new();
    if observed.deleting() && observed.references > 0 {
        let say = format!(
            "{} devices, vehicles or links still name this agent: move or delete them, or annotate the agent with kalong.dev/abandon.",
            observed.references
        );
        blocked.push(block(BlockCode::StillReferenced, format!("{} objects", observed.references), say));
    }
    if let (LifecycleStage::UnknownPhase, Some(phase)) = (observed.life, observed.agent.spec.phase.as_ref()) {
        blocked.push(block(BlockCode::MissingReference, format!("Phase/{phase}"), unknown_phase(Some(phase))));
    }
    if observed.life.is_live() && !observed.is_enrolled() {
        let say = format!("Run `kubectl kalong enrol {name}` and the command that it prints on the box.");
        blocked.push(block(BlockCode::AgentNotEnrolled, format!("EdgeAgent/{name}"), say));
    }
    let silent = observed.facts.as_ref().is_some_and(|f| f.presence == Presence::Silent);
    if observed.is_enrolled() && silent && !observed.agent.spec.suspend {
        let say = "Look at the box, its power and its uplink; it goes on by itself meanwhile.".to_owned();
        blocked.push(block(BlockCode::AgentUnreachable, format!("EdgeAgent/{name}"), say));
    }
    blocked
}
