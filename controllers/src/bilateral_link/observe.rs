//! Everything that a decision about a BilateralLink rests on, in one struct.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::units::{AgentId, AgentIdError};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::digest::CanonicalError;
use kalong_crds::wire::order::{LinkMode, LinkOrder};
use kalong_crds::wire::reported::{LinkReport, ReportedItem};
use kalong_crds::{BilateralLink, Crossing, EdgeAgent};
use kube::ResourceExt;

use super::agreement::{AgreementState, agreement_state, ends};
use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::life::LifecycleStage;
use crate::kit::link::{AgentFacts, Holding, Liveness};

/// Everything that a decision about one BilateralLink rests on.
pub(super) struct Observed {
    pub(super) link: Arc<BilateralLink>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) crossing: Option<Arc<Crossing>>,
    pub(super) agent: Option<Arc<EdgeAgent>>,
    pub(super) agent_id: Result<AgentId, AgentIdError>,
    /// None while the identity is impossible.
    pub(super) facts: Option<AgentFacts>,
    pub(super) report: Option<Arc<ReportedItem>>,
    pub(super) holding: Holding,
    /// Agents that hold this link and should not.
    pub(super) wrong_holders: Vec<AgentId>,
    /// The order as it would be sent now.
    pub(super) order: Option<Result<Item, CanonicalError>>,
    /// How much longer to wait for the confirmation of that order before the status says so.
    pub(super) debounce: Option<Duration>,
}

impl Observed {
    /// What can be said of the gateway's agent.
    pub(super) fn liveness(&self) -> Liveness {
        self.facts.as_ref().map_or(Liveness::Pending, AgentFacts::liveness)
    }

    /// Whether no gateway shall know of the link any more.
    pub(super) fn leaves(&self) -> bool {
        self.link.metadata.deletion_timestamp.is_some() || self.life == LifecycleStage::Planned
    }

    pub(super) fn agreement_state(&self) -> AgreementState {
        agreement_state(&self.link, self.crossing.as_deref(), self.now)
    }

    /// What the gateway may do. Every doubt cuts.
    pub(super) fn mode(&self) -> LinkMode {
        let agreed = matches!(self.agreement_state(), AgreementState::InForce(_));
        if agreed && self.life == LifecycleStage::InService && !self.link.spec.suspend {
            LinkMode::Watch
        } else {
            LinkMode::Cut
        }
    }

    /// What the agent that is heard says of the link.
    pub(super) fn heard(&self) -> Option<&LinkReport> {
        self.report.as_ref().filter(|_| self.liveness() == Liveness::Live)?.link.as_ref()
    }

    /// Whether the agent holds the order as it would be sent now.
    pub(super) fn confirmed(&self) -> bool {
        let Some(report) = &self.report else { return false };
        matches!(&self.order, Some(Ok(item)) if item.hash == report.hash)
    }

    /// Whether the gateway is known to contact nobody: it said so, or there is no box that could.
    pub(super) fn is_cut(&self) -> bool {
        let said = self.report.as_ref().and_then(|report| report.link.as_ref()).is_some_and(|link| !link.contacting);
        self.mode() == LinkMode::Cut && ((self.confirmed() && said) || self.not_enrolled())
    }

    /// Whether the agent has no certificate yet.
    pub(super) fn not_enrolled(&self) -> bool {
        self.agent.as_ref().is_some_and(|a| a.status.as_ref().is_none_or(|s| s.certificate.is_none()))
    }
}

pub(super) fn observe(ctx: &Context, link: Arc<BilateralLink>) -> Observed {
    let namespace = link.namespace().unwrap_or_default();
    let uid = link.uid().unwrap_or_default();
    let spec = &link.spec;
    let agent_id = AgentId::new(&namespace, spec.agent_ref.as_str());
    let mut observed = Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, spec.phase.as_ref()),
        crossing: caches::get(&ctx.caches.crossings, &namespace, spec.crossing_ref.as_str()),
        agent: caches::get(&ctx.caches.agents, &namespace, spec.agent_ref.as_str()),
        facts: agent_id.as_ref().ok().map(|id| ctx.link.facts(id)),
        report: agent_id.as_ref().ok().and_then(|id| ctx.link.report(id, &uid)),
        holding: agent_id.as_ref().map_or(Holding::NotHeld, |id| ctx.link.holding(id, &uid)),
        wrong_holders: ctx.link.holders(&uid).into_iter().filter(|h| agent_id.as_ref().ok() != Some(h)).collect(),
        agent_id,
        order: None,
        debounce: None,
        link,
    };
    observed.order = compose(&observed);
    if let Some(Ok(item)) = &observed.order {
        if observed.confirmed() {
            ctx.debounce.over(&uid);
        } else {
            observed.debounce = ctx.debounce.left(&uid, &item.hash);
        }
    }
    observed
}

/// What the gateway is told: always something while there is a gateway, so that the switch works whatever else is wrong.
pub(super) fn compose(observed: &Observed) -> Option<Result<Item, CanonicalError>> {
    let link = &observed.link;
    // Nothing is contacted anew while the phase is not known; a gateway that has the link already is cut.
    let known = observed.life != LifecycleStage::UnknownPhase || observed.holding != Holding::NotHeld;
    if observed.leaves() || observed.agent.is_none() || observed.agent_id.is_err() || !known {
        return None;
    }
    let mode = observed.mode();
    let order = LinkOrder {
        profile: link.spec.transport.profile,
        endpoint: link.spec.transport.endpoint.clone(),
        mode,
        until: match mode {
            LinkMode::Watch => ends(link, observed.crossing.as_deref(), observed.now).map(|end| end.to_string()),
            LinkMode::Cut => None,
        },
    };
    let namespace = link.namespace().unwrap_or_default();
    let (name, uid) = (link.name_any(), link.uid().unwrap_or_default());
    Some(Item::new(ItemKind::Link, &namespace, &name, &uid, link.metadata.generation.unwrap_or_default(), &order))
}
