//! Everything that a decision about an EdgeAgent rests on, in one struct.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::units::{AgentId, AgentIdError};
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::{ABANDON, EdgeAgent};
use kalong_rules::Relation;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use crate::kit::context::Context;
use crate::kit::link::{AgentFacts, Liveness};

pub(super) struct Observed {
    pub(super) agent: Arc<EdgeAgent>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) id: Result<AgentId, AgentIdError>,
    /// None while the identity is impossible.
    pub(super) facts: Option<AgentFacts>,
    /// Live devices that name this agent, as a count.
    pub(super) live_devices: usize,
    /// Devices, vehicles and links that name this agent, as a count.
    pub(super) references: usize,
    /// How often the agent beats.
    pub(super) heartbeat: Duration,
    /// The authors whose signatures count on the box.
    pub(super) release_keys: ReleaseKeys,
}

impl Observed {
    pub(super) fn deleting(&self) -> bool {
        self.agent.metadata.deletion_timestamp.is_some()
    }

    /// Whether a person has given the box up.
    pub(super) fn is_abandoned(&self) -> bool {
        self.agent.annotations().contains_key(ABANDON)
    }

    pub(super) fn is_enrolled(&self) -> bool {
        self.agent.status.as_ref().is_some_and(|s| s.certificate.is_some())
    }

    /// After a start nothing may be concluded until the agent was heard or its grace is over.
    pub(super) fn is_pending(&self) -> bool {
        self.is_enrolled() && self.facts.as_ref().is_some_and(|f| f.liveness() == Liveness::Pending)
    }
}

pub(super) fn observe(ctx: &Context, agent: Arc<EdgeAgent>) -> Observed {
    let (namespace, name) = (agent.namespace().unwrap_or_default(), agent.name_any());
    let id = AgentId::new(&namespace, &name);
    let site = ctx.site(&namespace);
    let devices = || site.devices.by(Relation::EdgeAgent, &name);
    let vehicles = site.igvs.by(Relation::EdgeAgent, &name).count();
    let links = site.links.by(Relation::EdgeAgent, &name).count();
    Observed {
        now: ctx.clock.now(),
        life: site.life(agent.spec.phase.as_ref()),
        facts: id.as_ref().ok().map(|id| ctx.link.facts(id)),
        id,
        live_devices: devices().filter(|device| site.life(device.spec.phase.as_ref()).is_live()).count(),
        references: devices().count() + vehicles + links,
        heartbeat: ctx.settings.heartbeat,
        release_keys: ctx.settings.release_keys.clone(),
        agent,
    }
}
