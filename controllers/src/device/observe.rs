//! Everything that a decision about a Device rests on, in one struct.

use std::sync::Arc;

use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::units::AgentId;
use kalong_crds::{Device, Lane};
use kube::ResourceExt;

use super::seen::{Credential, Seen};
use super::{credential, order, permit};
use crate::kit::caches;
use crate::kit::link::Holding;
use crate::kit::world::World;

/// Gathers what there is. Reads caches and memory; asks the API server only for a credential that was never read.
pub(super) async fn observe(world: &World, device: Arc<Device>) -> Seen {
    let namespace = device.namespace().unwrap_or_default();
    let uid = device.uid().unwrap_or_default();
    let spec = &device.spec;
    let model = caches::get(&world.caches.models, &namespace, spec.model_ref.as_str());
    let agent = caches::get(&world.caches.agents, &namespace, spec.agent_ref.as_str());
    let agent_id = AgentId::new(&namespace, spec.agent_ref.as_str());
    let facts = agent_id.as_ref().ok().map(|id| world.link.facts(id));
    let report = agent_id.as_ref().ok().and_then(|id| world.link.report(id, &uid));
    let release =
        spec.firmware.as_ref().and_then(|f| caches::get(&world.caches.releases, &namespace, f.release.as_str()));
    let lanes = world.caches.lanes_of(&namespace, &device.name_any());
    let live = world.life(&namespace, spec.phase.as_ref()).is_live();
    let strays = world.link.holders(&uid).into_iter().filter(|holder| agent_id.as_ref().ok() != Some(holder)).collect();
    let holding = agent_id.as_ref().map_or(Holding::NotHeld, |id| world.link.holding(id, &uid));
    let credential = match &agent_id {
        Ok(id) => credential::sealed(world, &device, id, agent.as_deref()).await,
        Err(_) => Credential::NotNamed,
    };
    let now = world.clock.now();
    let lane_closed = lanes.first().map(|lane| closed(world, &namespace, lane));
    let permit = permit::judge(world, &device, model.as_deref(), &lanes, lane_closed, report.as_deref(), now);
    let mut seen = Seen {
        device,
        now,
        live,
        model,
        agent,
        agent_id,
        facts,
        lanes,
        release,
        report,
        strays,
        holding,
        credential,
        permit,
        order: None,
        patience: None,
    };
    seen.order = order::compose(&seen);
    if let Some(Ok(item)) = &seen.order {
        let confirmed = seen.report.as_ref().is_some_and(|r| r.hash == item.hash);
        seen.patience = if confirmed { None } else { world.patience.left(&uid, &item.hash) };
        if confirmed {
            world.patience.over(&uid);
        }
    }
    seen
}

/// Whether the lane is declared closed and its controller says that it is.
fn closed(world: &World, namespace: &str, lane: &Lane) -> bool {
    if lane.spec.admission != Admission::Closed {
        return false;
    }
    let controller = crate::lane::controller_device(&world.caches, namespace, lane);
    let agent = controller.and_then(|device| AgentId::new(namespace, device.spec.agent_ref.as_str()).ok());
    let uid = lane.uid().unwrap_or_default();
    let report = agent.and_then(|agent| world.link.report(&agent, &uid));
    report.and_then(|r| r.lane.clone()).is_some_and(|l| l.admission == LaneAdmission::Closed)
}
