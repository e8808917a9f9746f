//! An EdgeAgent: who may talk, what the box is told of itself, and whether it is there.

mod judge;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::{Conditioned, settle};
use kalong_crds::edge_agent::EdgeAgentStatus;
use kalong_crds::units::{AgentId, AgentIdError};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::digest::digest_of;
use kalong_crds::wire::order::AgentOrder;
use kalong_crds::{ABANDON, AGENT_FINALIZER, EdgeAgent};
use kube::ResourceExt;

use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::life::{LifecycleStage, unknown_phase};
use crate::kit::link::{Admittance, AgentFacts, Liveness, Presence};
use crate::kit::reconciler::{Reconcile, ReconcileResult};
use crate::kit::{Error, status::WriteResult};

/// Everything that a decision about one EdgeAgent rests on.
pub(crate) struct Observed {
    agent: Arc<EdgeAgent>,
    now: Timestamp,
    life: LifecycleStage,
    id: Result<AgentId, AgentIdError>,
    facts: Option<AgentFacts>,
    /// Devices that name this agent, by whether they are live.
    live_devices: usize,
    /// Devices, vehicles and links that name this agent: it stays as long as any of them does.
    named: usize,
}

impl Reconcile for EdgeAgent {
    async fn reconcile(ctx: &Context, agent: Arc<Self>) -> ReconcileResult<EdgeAgentStatus> {
        let observed = observe(ctx, agent);
        let changed = match act(ctx, &observed).await {
            Ok(changed) => changed,
            Err(error) => return ReconcileResult { error: Some(error), ..ReconcileResult::of(status(&observed)) },
        };
        if changed {
            return ReconcileResult::unchanged();
        }
        let (status, again) = (status(&observed), observed.facts.as_ref().and_then(|f| f.grace_left(observed.now)));
        let keep = waits(&observed)
            && !observed.agent.conditions().is_empty()
            && observed.agent.metadata.generation == observed.agent.status.as_ref().map(|s| s.observed_generation);
        ReconcileResult { status: (!keep).then_some(status), again, ..ReconcileResult::unchanged() }
    }
}

fn observe(ctx: &Context, agent: Arc<EdgeAgent>) -> Observed {
    let (namespace, name) = (agent.namespace().unwrap_or_default(), agent.name_any());
    let id = AgentId::new(&namespace, &name);
    let devices = caches::select(&ctx.caches.devices, &namespace, |d| d.spec.agent_ref.as_str() == name);
    let vehicles = caches::select(&ctx.caches.igvs, &namespace, |v| v.spec.agent_ref.as_str() == name);
    let links = caches::select(&ctx.caches.links, &namespace, |l| l.spec.agent_ref.as_str() == name);
    Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, agent.spec.phase.as_ref()),
        facts: id.as_ref().ok().map(|id| ctx.link.facts(id)),
        id,
        live_devices: devices.iter().filter(|d| ctx.life(&namespace, d.spec.phase.as_ref()).is_live()).count(),
        named: devices.len() + vehicles.len() + links.len(),
        agent,
    }
}

/// Lets the box in or shuts it out, tells it its settings, and keeps the object while devices name it. True when the object changed.
async fn act(ctx: &Context, observed: &Observed) -> Result<bool, Error> {
    let agent = &observed.agent;
    let deleting = agent.metadata.deletion_timestamp.is_some();
    let abandoned = agent.annotations().contains_key(ABANDON);
    if let Ok(id) = &observed.id {
        let shut_out = agent.spec.suspend || abandoned;
        ctx.link.admit(id, if shut_out { Admittance::Refused } else { Admittance::Admitted });
        if !deleting {
            ctx.link.want(id, order(ctx, observed)?);
        }
    }
    let present = agent.finalizers();
    let kept = present.iter().any(|f| f == AGENT_FINALIZER);
    let finalizers: Option<Vec<String>> = match (deleting, kept) {
        (false, false) => Some(present.iter().cloned().chain([AGENT_FINALIZER.to_owned()]).collect()),
        (true, true) if observed.named == 0 || abandoned => {
            Some(present.iter().filter(|f| *f != AGENT_FINALIZER).cloned().collect())
        }
        _ => None,
    };
    let Some(finalizers) = finalizers else { return Ok(false) };
    let written = ctx.status.set_finalizers(&ctx.client, agent.as_ref(), finalizers).await?;
    if let (true, WriteResult::Changed, Ok(id)) = (deleting, written, &observed.id) {
        ctx.link.forget(id);
    }
    Ok(true)
}

fn order(ctx: &Context, observed: &Observed) -> Result<Item, Error> {
    let agent = &observed.agent;
    let order = AgentOrder {
        offline_policy: agent.spec.offline.policy,
        offline_after_seconds: agent.spec.offline.after_seconds,
        heartbeat_millis: i64::try_from(ctx.settings.heartbeat.as_millis()).unwrap_or(i64::MAX),
        release_keys: Some(digest_of(&ctx.settings.release_keys)?),
    };
    let (namespace, name, uid) =
        (agent.namespace().unwrap_or_default(), agent.name_any(), agent.uid().unwrap_or_default());
    Ok(Item::new(ItemKind::Agent, &namespace, &name, &uid, agent.metadata.generation.unwrap_or_default(), &order)?)
}

/// After a start nothing may be concluded until the agent was heard or its grace is over.
fn waits(observed: &Observed) -> bool {
    enrolled(observed) && observed.facts.as_ref().is_some_and(|f| f.liveness() == Liveness::Pending)
}

pub(crate) fn enrolled(observed: &Observed) -> bool {
    observed.agent.status.as_ref().is_some_and(|s| s.certificate.is_some())
}

fn status(observed: &Observed) -> EdgeAgentStatus {
    let agent = &observed.agent;
    let generation = agent.metadata.generation.unwrap_or_default();
    let old = agent.status.clone().unwrap_or_default();
    let judged = judge::conditions(observed);
    let facts = observed.facts.as_ref();
    let mut orphans: Vec<String> =
        facts.map(|f| f.orphans.iter().map(|o| format!("{:?}/{}", o.kind, o.name)).collect()).unwrap_or_default();
    orphans.sort();
    orphans.dedup();
    orphans.truncate(16);
    EdgeAgentStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        agent_id: observed.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        version: facts.and_then(|f| f.version.clone()).or(old.version),
        devices: i64::try_from(observed.live_devices).unwrap_or(i64::MAX),
        // Enrolment writes these two; everything else here is this controller's.
        sealing_key: old.sealing_key,
        certificate: old.certificate,
        orphans,
        blocked_by: carry_since(&old.blocked_by, blocked(observed)),
    }
}

fn blocked(observed: &Observed) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: String| BlockedBy::new(code, subject, message, observed.now);
    let name = observed.agent.name_any();
    let mut blocked = Vec::new();
    if observed.agent.metadata.deletion_timestamp.is_some() && observed.named > 0 {
        let say = format!(
            "{} devices, vehicles or links still name this agent: move or delete them, or annotate the agent with kalong.dev/abandon.",
            observed.named
        );
        blocked.push(block(BlockCode::StillReferenced, format!("{} objects", observed.named), say));
    }
    if let (LifecycleStage::UnknownPhase, Some(phase)) = (observed.life, observed.agent.spec.phase.as_ref()) {
        blocked.push(block(BlockCode::MissingReference, format!("Phase/{phase}"), unknown_phase(Some(phase))));
    }
    if observed.life.is_live() && !enrolled(observed) {
        let say = format!("Run `kubectl kalong enrol {name}` and the command that it prints on the box.");
        blocked.push(block(BlockCode::AgentNotEnrolled, format!("EdgeAgent/{name}"), say));
    }
    if enrolled(observed)
        && observed.facts.as_ref().is_some_and(|f| f.presence == Presence::Silent)
        && !observed.agent.spec.suspend
    {
        let say = "Look at the box, its power and its uplink; it goes on by itself meanwhile.".to_owned();
        blocked.push(block(BlockCode::AgentUnreachable, format!("EdgeAgent/{name}"), say));
    }
    blocked
}

/// How long before its end a certificate is spoken of: renewal is due at two thirds of its life.
pub(crate) fn ending(not_after: Timestamp, now: Timestamp, validity_hours: i64) -> bool {
    let margin = SignedDuration::from_hours(validity_hours / 6);
    not_after.duration_since(now) < margin
}
