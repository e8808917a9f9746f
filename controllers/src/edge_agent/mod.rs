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
use crate::kit::driver::{Controlled, Report};
use crate::kit::life::{Life, unknown_phase};
use crate::kit::link::{Admittance, AgentFacts, Hearing, Presence};
use crate::kit::world::World;
use crate::kit::{Error, status::Written};

/// The world as one EdgeAgent sees it.
pub(crate) struct Seen {
    agent: Arc<EdgeAgent>,
    now: Timestamp,
    life: Life,
    id: Result<AgentId, AgentIdError>,
    facts: Option<AgentFacts>,
    /// Devices that name this agent, by whether they are live.
    live_devices: usize,
    /// Devices, vehicles and links that name this agent: it stays as long as any of them does.
    named: usize,
}

impl Controlled for EdgeAgent {
    async fn pass(world: &World, agent: Arc<Self>) -> Report<EdgeAgentStatus> {
        let seen = observe(world, agent);
        let changed = match act(world, &seen).await {
            Ok(changed) => changed,
            Err(error) => return Report { error: Some(error), ..Report::of(status(&seen)) },
        };
        if changed {
            return Report::unchanged();
        }
        let (status, again) = (status(&seen), seen.facts.as_ref().and_then(|f| f.grace_left(seen.now)));
        let keep = waits(&seen)
            && !seen.agent.conditions().is_empty()
            && seen.agent.metadata.generation == seen.agent.status.as_ref().map(|s| s.observed_generation);
        Report { status: (!keep).then_some(status), again, ..Report::unchanged() }
    }
}

fn observe(world: &World, agent: Arc<EdgeAgent>) -> Seen {
    let (namespace, name) = (agent.namespace().unwrap_or_default(), agent.name_any());
    let id = AgentId::new(&namespace, &name);
    let devices = caches::select(&world.caches.devices, &namespace, |d| d.spec.agent_ref.as_str() == name);
    let vehicles = caches::select(&world.caches.igvs, &namespace, |v| v.spec.agent_ref.as_str() == name);
    let links = caches::select(&world.caches.links, &namespace, |l| l.spec.agent_ref.as_str() == name);
    Seen {
        now: world.clock.now(),
        life: world.life(&namespace, agent.spec.phase.as_ref()),
        facts: id.as_ref().ok().map(|id| world.link.facts(id)),
        id,
        live_devices: devices.iter().filter(|d| world.life(&namespace, d.spec.phase.as_ref()).is_live()).count(),
        named: devices.len() + vehicles.len() + links.len(),
        agent,
    }
}

/// Lets the box in or shuts it out, tells it its settings, and keeps the object while devices name it. True when the object changed.
async fn act(world: &World, seen: &Seen) -> Result<bool, Error> {
    let agent = &seen.agent;
    let deleting = agent.metadata.deletion_timestamp.is_some();
    let abandoned = agent.annotations().contains_key(ABANDON);
    if let Ok(id) = &seen.id {
        let shut_out = agent.spec.suspend || abandoned;
        world.link.admit(id, if shut_out { Admittance::Refused } else { Admittance::Admitted });
        if !deleting {
            world.link.want(id, order(world, seen)?);
        }
    }
    let present = agent.finalizers();
    let kept = present.iter().any(|f| f == AGENT_FINALIZER);
    let finalizers: Option<Vec<String>> = match (deleting, kept) {
        (false, false) => Some(present.iter().cloned().chain([AGENT_FINALIZER.to_owned()]).collect()),
        (true, true) if seen.named == 0 || abandoned => {
            Some(present.iter().filter(|f| *f != AGENT_FINALIZER).cloned().collect())
        }
        _ => None,
    };
    let Some(finalizers) = finalizers else { return Ok(false) };
    let written = world.status.set_finalizers(&world.client, agent.as_ref(), finalizers).await?;
    if let (true, Written::Changed, Ok(id)) = (deleting, written, &seen.id) {
        world.link.forget(id);
    }
    Ok(true)
}

fn order(world: &World, seen: &Seen) -> Result<Item, Error> {
    let agent = &seen.agent;
    let order = AgentOrder {
        offline_policy: agent.spec.offline.policy,
        offline_after_seconds: agent.spec.offline.after_seconds,
        heartbeat_millis: i64::try_from(world.settings.heartbeat.as_millis()).unwrap_or(i64::MAX),
        release_keys: Some(digest_of(&world.settings.release_keys)?),
    };
    let (namespace, name, uid) =
        (agent.namespace().unwrap_or_default(), agent.name_any(), agent.uid().unwrap_or_default());
    Ok(Item::new(ItemKind::Agent, &namespace, &name, &uid, agent.metadata.generation.unwrap_or_default(), &order)?)
}

/// After a start nothing may be concluded until the agent was heard or its grace is over.
fn waits(seen: &Seen) -> bool {
    enrolled(seen) && seen.facts.as_ref().is_some_and(|f| f.hearing() == Hearing::Wait)
}

pub(crate) fn enrolled(seen: &Seen) -> bool {
    seen.agent.status.as_ref().is_some_and(|s| s.certificate.is_some())
}

fn status(seen: &Seen) -> EdgeAgentStatus {
    let agent = &seen.agent;
    let generation = agent.metadata.generation.unwrap_or_default();
    let old = agent.status.clone().unwrap_or_default();
    let judged = judge::conditions(seen);
    let facts = seen.facts.as_ref();
    let mut orphans: Vec<String> =
        facts.map(|f| f.orphans.iter().map(|o| format!("{:?}/{}", o.kind, o.name)).collect()).unwrap_or_default();
    orphans.sort();
    orphans.dedup();
    orphans.truncate(16);
    EdgeAgentStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, seen.now),
        agent_id: seen.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        version: facts.and_then(|f| f.version.clone()).or(old.version),
        devices: i64::try_from(seen.live_devices).unwrap_or(i64::MAX),
        // Enrolment writes these two; everything else here is this controller's.
        sealing_key: old.sealing_key,
        certificate: old.certificate,
        orphans,
        blocked_by: carry_since(&old.blocked_by, blocked(seen)),
    }
}

fn blocked(seen: &Seen) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: String| BlockedBy::new(code, subject, message, seen.now);
    let name = seen.agent.name_any();
    let mut blocked = Vec::new();
    if seen.agent.metadata.deletion_timestamp.is_some() && seen.named > 0 {
        let say = format!(
            "{} devices, vehicles or links still name this agent: move or delete them, or annotate the agent with kalong.dev/abandon.",
            seen.named
        );
        blocked.push(block(BlockCode::StillReferenced, format!("{} objects", seen.named), say));
    }
    if let (Life::UnknownPhase, Some(phase)) = (seen.life, seen.agent.spec.phase.as_ref()) {
        blocked.push(block(BlockCode::MissingReference, format!("Phase/{phase}"), unknown_phase(Some(phase))));
    }
    if seen.life.is_live() && !enrolled(seen) {
        let say = format!("Run `kubectl kalong enrol {name}` and the command that it prints on the box.");
        blocked.push(block(BlockCode::AgentNotEnrolled, format!("EdgeAgent/{name}"), say));
    }
    if enrolled(seen) && seen.facts.as_ref().is_some_and(|f| f.presence == Presence::Silent) && !seen.agent.spec.suspend
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
