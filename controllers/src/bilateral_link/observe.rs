//! Everything that a decision about a BilateralLink rests on, in one struct.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::wire::reported::LinkReport;
use kalong_crds::{BilateralLink, Crossing};
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use crate::kit::agent_object::AgentView;
use crate::kit::caches;
use crate::kit::context::Context;

pub(super) struct Observed {
    pub(super) link: Arc<BilateralLink>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) crossing: Option<Arc<Crossing>>,
    /// The agent of the gateway.
    pub(super) agent: AgentView,
}

impl Observed {
    /// Whether no gateway shall know of the link any more.
    pub(super) fn is_released(&self) -> bool {
        self.link.metadata.deletion_timestamp.is_some() || self.life == LifecycleStage::Planned
    }

    /// What a live gateway says of the link.
    pub(super) fn live_report(&self) -> Option<&LinkReport> {
        self.agent.live_report()?.link()
    }
}

pub(super) fn observe(ctx: &Context, link: Arc<BilateralLink>) -> Observed {
    let namespace = link.namespace().unwrap_or_default();
    let spec = &link.spec;
    Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, spec.phase.as_ref()),
        crossing: caches::get(&ctx.caches.crossings, &namespace, spec.crossing_ref.as_str()),
        agent: AgentView::observe(ctx, link.as_ref(), spec.agent_ref.as_str()),
        link,
    }
}
