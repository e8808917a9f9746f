//! Gathers what a decision about a Device needs.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::units::AgentId;
use kalong_crds::wire::order::Permit;
use kalong_crds::wire::reported::DeviceReport;
use kalong_crds::{ABANDON, Device, DeviceModel, FirmwareRelease, Lane, LaneDrain};
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::credential::{self, Credential};
use super::neighbours::blocking_device;
use crate::claim;
use crate::kit::Error;
use crate::kit::agent_object::AgentView;
use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::link::{Holding, Liveness};

/// Everything that a decision about a Device rests on.
pub(super) struct Observed {
    pub(super) device: Arc<Device>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) model: Option<Arc<DeviceModel>>,
    /// The agent that the spec names. While the device moves, facts and report are those of the agent that still has it.
    pub(super) agent: AgentView,
    /// Other agents that got an order for the device and have not let go of it.
    pub(super) previous_agents: Vec<(AgentId, Liveness)>,
    /// Lanes with a slot for this device; more than one is a contradiction.
    pub(super) lanes: Vec<Arc<Lane>>,
    /// Of the first of these lanes.
    pub(super) lane_life: Option<LifecycleStage>,
    /// The claims that the operator made for this device.
    pub(super) own_claims: Vec<ExistingClaim>,
    /// Another device of the lane that is at work, or may be.
    pub(super) blocking_device: Option<String>,
    /// The permit that the device has.
    pub(super) held_permit: Option<Permit>,
    /// Whether another device of the lane has one.
    pub(super) lane_permit_taken: bool,
    pub(super) release: Option<Arc<FirmwareRelease>>,
    pub(super) credential: Credential,
}

/// A claim that the operator made for the device.
#[derive(Clone, Debug)]
pub(super) struct ExistingClaim {
    pub(super) drain: Arc<LaneDrain>,
    /// When it lets go of the lane at the latest; none before it was accepted.
    pub(super) until: Option<Timestamp>,
}

impl Observed {
    /// The device's part of what a live agent says.
    pub(super) fn live_facts(&self) -> Option<&DeviceReport> {
        self.agent.live_report()?.device()
    }

    /// Whether another agent still has the device and this one got no order for it yet: until the other let go, it alone speaks
    /// for the device.
    pub(super) fn moving(&self) -> bool {
        is_moving(&self.device, self.agent.holding, &self.previous_agents)
    }

    pub(super) fn deleting(&self) -> bool {
        self.device.metadata.deletion_timestamp.is_some()
    }

    /// What could not be read is a failure of this reconcile.
    pub(super) fn gathered(self) -> Result<(), Error> {
        if let Credential::Failed(error) = self.credential { Err(error) } else { Ok(()) }
    }
}

/// Reads caches and memory; asks the API server only for a credential that was never read.
pub(super) async fn observe(ctx: &Context, device: Arc<Device>) -> Observed {
    let (namespace, name) = (device.namespace().unwrap_or_default(), device.name_any());
    let uid = device.uid().unwrap_or_default();
    let spec = &device.spec;
    let lanes = ctx.caches.lanes_of(&namespace, &name);
    let agent = AgentView::observe(ctx, device.as_ref(), spec.agent_ref.as_str());
    let credential = match &agent.id {
        Ok(id) => credential::sealed(ctx, &device, id, agent.object.as_deref()).await,
        Err(_) => Credential::NotNamed,
    };
    let previous_agents = previous_agents(ctx, &device, &agent.wrong_holders);
    let speaker = previous_agents.first().filter(|_| is_moving(&device, agent.holding, &previous_agents));
    let agent = match speaker {
        Some((id, _)) => AgentView { facts: Some(ctx.link.facts(id)), report: ctx.link.report(id, &uid), ..agent },
        None => agent,
    };
    Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, spec.phase.as_ref()),
        model: caches::get(&ctx.caches.models, &namespace, spec.model_ref.as_str()),
        lane_life: lanes.first().map(|lane| ctx.life(&namespace, lane.spec.phase.as_ref())),
        own_claims: own_claims(ctx, &device, &lanes),
        blocking_device: lanes.first().and_then(|lane| blocking_device(ctx, &device, lane)),
        held_permit: ctx.permits.of(&uid),
        lane_permit_taken: lanes
            .first()
            .is_some_and(|lane| ctx.permits.is_taken(&format!("{namespace}/{}", lane.name_any()), &uid)),
        release: spec.firmware.as_ref().and_then(|f| caches::get(&ctx.caches.releases, &namespace, f.release.as_str())),
        agent,
        previous_agents,
        lanes,
        credential,
        device,
    }
}

fn is_moving(device: &Device, holding: Holding, previous_agents: &[(AgentId, Liveness)]) -> bool {
    let last = device.status.as_ref().and_then(|s| s.agent.as_ref());
    let is_new = last != Some(&device.spec.agent_ref) && holding != Holding::Held;
    is_new && !previous_agents.is_empty()
}

/// The agents that may still act on the device although it is another's now: those that report it, and the one whose order for it was the
/// last. An agent without an EdgeAgent, one that never enrolled and one that was abandoned never report that they let go.
fn previous_agents(ctx: &Context, device: &Device, wrong_holders: &[AgentId]) -> Vec<(AgentId, Liveness)> {
    let (namespace, uid) = (device.namespace().unwrap_or_default(), device.uid().unwrap_or_default());
    let last = device.status.as_ref().and_then(|s| s.agent.as_ref()).filter(|last| **last != device.spec.agent_ref);
    let last =
        last.and_then(|last| AgentId::new(&namespace, last.as_str()).ok()).filter(|last| !wrong_holders.contains(last));
    let answers = |id: &AgentId| {
        caches::get(&ctx.caches.agents, &namespace, id.name()).is_some_and(|agent| {
            let enrolled = agent.status.as_ref().is_some_and(|status| status.certificate.is_some());
            enrolled && !agent.annotations().contains_key(ABANDON)
        })
    };
    last.iter()
        .chain(wrong_holders)
        .filter(|id| answers(id) && ctx.link.holding(id, &uid) != Holding::NotHeld)
        .map(|id| (id.clone(), ctx.link.facts(id).liveness()))
        .collect()
}

fn own_claims(ctx: &Context, device: &Device, lanes: &[Arc<Lane>]) -> Vec<ExistingClaim> {
    let namespace = device.namespace().unwrap_or_default();
    let until = |drain: &Arc<LaneDrain>| {
        let hold = claim::hold(ctx, lanes.first()?, std::slice::from_ref(drain))?;
        hold.until.parse().ok()
    };
    let claims = claim::own_claims(&ctx.caches, &namespace, &claim::requester(device));
    claims.into_iter().map(|drain| ExistingClaim { until: until(&drain), drain }).collect()
}
