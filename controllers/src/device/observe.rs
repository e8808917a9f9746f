//! Everything that a decision about a Device rests on, in one struct.

use std::sync::Arc;

use kalong_crds::units::AgentId;
use kalong_crds::{ABANDON, Device};
use kube::ResourceExt;

use super::seen::{Credential, Leave, Seen};
use super::{credential, order, permit};
use crate::kit::caches;
use crate::kit::link::{Hearing, Holding};
use crate::kit::world::World;

/// Gathers what there is. Reads caches and memory; asks the API server only for a credential that was never read.
pub(super) async fn observe(world: &World, device: Arc<Device>) -> Seen {
    let namespace = device.namespace().unwrap_or_default();
    let uid = device.uid().unwrap_or_default();
    let spec = &device.spec;
    let model = caches::get(&world.caches.models, &namespace, spec.model_ref.as_str());
    let agent = caches::get(&world.caches.agents, &namespace, spec.agent_ref.as_str());
    let agent_id = AgentId::new(&namespace, spec.agent_ref.as_str());
    let release =
        spec.firmware.as_ref().and_then(|f| caches::get(&world.caches.releases, &namespace, f.release.as_str()));
    let lanes = world.caches.lanes_of(&namespace, &device.name_any());
    let holders = world.link.holders(&uid).into_iter();
    let strays: Vec<_> = holders.filter(|holder| agent_id.as_ref().ok() != Some(holder)).collect();
    let holding = agent_id.as_ref().map_or(Holding::NotHeld, |id| world.link.holding(id, &uid));
    let credential = match &agent_id {
        Ok(id) => credential::sealed(world, &device, id, agent.as_deref()).await,
        Err(_) => Credential::NotNamed,
    };
    let mut seen = Seen {
        now: world.clock.now(),
        life: world.life(&namespace, spec.phase.as_ref()),
        lane_life: lanes.first().map(|lane| world.life(&namespace, lane.spec.phase.as_ref())),
        made: permit::made(world, &device, &lanes),
        busy: lanes.first().and_then(|lane| permit::busy(world, &device, lane)),
        former: former(world, &device, &strays),
        facts: None,
        report: None,
        permit: Leave::NotAsked,
        order: None,
        patience: None,
        device,
        model,
        agent,
        agent_id,
        lanes,
        release,
        strays,
        holding,
        credential,
    };
    let speaker = if seen.moving() { seen.former.first().map(|(id, _)| id) } else { seen.agent_id.as_ref().ok() };
    let speaker = speaker.cloned();
    seen.facts = speaker.as_ref().map(|id| world.link.facts(id));
    seen.report = speaker.as_ref().and_then(|id| world.link.report(id, &uid));
    seen.permit = permit::grant(world, &seen);
    seen.order = order::compose(&seen);
    if let Some(Ok(item)) = &seen.order {
        if seen.confirmed() {
            world.patience.over(&uid);
        } else {
            seen.patience = world.patience.left(&uid, &item.hash);
        }
    }
    seen
}

/// The agents that may still act on the device although it is another's now: those that report it, and the one that was told of
/// it last. An agent without an EdgeAgent, one that never enrolled and one that a person abandoned never say that they let go.
fn former(world: &World, device: &Device, strays: &[AgentId]) -> Vec<(AgentId, Hearing)> {
    let (namespace, uid) = (device.namespace().unwrap_or_default(), device.uid().unwrap_or_default());
    let told = device.status.as_ref().and_then(|s| s.agent.as_ref()).filter(|told| **told != device.spec.agent_ref);
    let told = told.and_then(|told| AgentId::new(&namespace, told.as_str()).ok()).filter(|told| !strays.contains(told));
    let answers = |id: &AgentId| {
        caches::get(&world.caches.agents, &namespace, id.name()).is_some_and(|agent| {
            let enrolled = agent.status.as_ref().is_some_and(|status| status.certificate.is_some());
            enrolled && !agent.annotations().contains_key(ABANDON)
        })
    };
    told.iter()
        .chain(strays)
        .filter(|id| answers(id) && world.link.holding(id, &uid) != Holding::NotHeld)
        .map(|id| (id.clone(), world.link.facts(id).hearing()))
        .collect()
}
