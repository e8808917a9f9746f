//! Everything that a decision about a Device rests on, in one struct.

use std::sync::Arc;

use kalong_crds::units::AgentId;
use kalong_crds::{ABANDON, Device};
use kube::ResourceExt;

use super::observed::{Credential, Leave, Observed};
use super::{credential, order, permit};
use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::link::{Holding, Liveness};

/// Gathers what there is. Reads caches and memory; asks the API server only for a credential that was never read.
pub(super) async fn observe(ctx: &Context, device: Arc<Device>) -> Observed {
    let namespace = device.namespace().unwrap_or_default();
    let uid = device.uid().unwrap_or_default();
    let spec = &device.spec;
    let model = caches::get(&ctx.caches.models, &namespace, spec.model_ref.as_str());
    let agent = caches::get(&ctx.caches.agents, &namespace, spec.agent_ref.as_str());
    let agent_id = AgentId::new(&namespace, spec.agent_ref.as_str());
    let release =
        spec.firmware.as_ref().and_then(|f| caches::get(&ctx.caches.releases, &namespace, f.release.as_str()));
    let lanes = ctx.caches.lanes_of(&namespace, &device.name_any());
    let holders = ctx.link.holders(&uid).into_iter();
    let wrong_holders: Vec<_> = holders.filter(|holder| agent_id.as_ref().ok() != Some(holder)).collect();
    let holding = agent_id.as_ref().map_or(Holding::NotHeld, |id| ctx.link.holding(id, &uid));
    let credential = match &agent_id {
        Ok(id) => credential::sealed(ctx, &device, id, agent.as_deref()).await,
        Err(_) => Credential::NotNamed,
    };
    let mut observed = Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, spec.phase.as_ref()),
        lane_life: lanes.first().map(|lane| ctx.life(&namespace, lane.spec.phase.as_ref())),
        made: permit::made(ctx, &device, &lanes),
        busy: lanes.first().and_then(|lane| permit::busy(ctx, &device, lane)),
        previous_agents: previous_agents(ctx, &device, &wrong_holders),
        facts: None,
        report: None,
        permit: Leave::NotAsked,
        order: None,
        debounce: None,
        device,
        model,
        agent,
        agent_id,
        lanes,
        release,
        wrong_holders,
        holding,
        credential,
    };
    let speaker = if observed.moving() {
        observed.previous_agents.first().map(|(id, _)| id)
    } else {
        observed.agent_id.as_ref().ok()
    };
    let speaker = speaker.cloned();
    observed.facts = speaker.as_ref().map(|id| ctx.link.facts(id));
    observed.report = speaker.as_ref().and_then(|id| ctx.link.report(id, &uid));
    observed.permit = permit::grant(ctx, &observed);
    observed.order = order::compose(&observed);
    if let Some(Ok(item)) = &observed.order {
        if observed.confirmed() {
            ctx.debounce.over(&uid);
        } else {
            observed.debounce = ctx.debounce.left(&uid, &item.hash);
        }
    }
    observed
}

/// The agents that may still act on the device although it is another's now: those that report it, and the one that was told of
/// it last. An agent without an EdgeAgent, one that never enrolled and one that a person abandoned never say that they let go.
fn previous_agents(ctx: &Context, device: &Device, wrong_holders: &[AgentId]) -> Vec<(AgentId, Liveness)> {
    let (namespace, uid) = (device.namespace().unwrap_or_default(), device.uid().unwrap_or_default());
    let told = device.status.as_ref().and_then(|s| s.agent.as_ref()).filter(|told| **told != device.spec.agent_ref);
    let told =
        told.and_then(|told| AgentId::new(&namespace, told.as_str()).ok()).filter(|told| !wrong_holders.contains(told));
    let answers = |id: &AgentId| {
        caches::get(&ctx.caches.agents, &namespace, id.name()).is_some_and(|agent| {
            let enrolled = agent.status.as_ref().is_some_and(|status| status.certificate.is_some());
            enrolled && !agent.annotations().contains_key(ABANDON)
        })
    };
    told.iter()
        .chain(wrong_holders)
        .filter(|id| answers(id) && ctx.link.holding(id, &uid) != Holding::NotHeld)
        .map(|id| (id.clone(), ctx.link.facts(id).liveness()))
        .collect()
}
