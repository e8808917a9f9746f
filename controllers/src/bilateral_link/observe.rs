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

use super::agreement::{Standing, ends, standing};
use crate::kit::caches;
use crate::kit::life::Life;
use crate::kit::link::{AgentFacts, Hearing, Holding};
use crate::kit::world::World;

/// The world as one BilateralLink sees it.
pub(super) struct Seen {
    pub(super) link: Arc<BilateralLink>,
    pub(super) now: Timestamp,
    pub(super) life: Life,
    pub(super) crossing: Option<Arc<Crossing>>,
    pub(super) agent: Option<Arc<EdgeAgent>>,
    pub(super) agent_id: Result<AgentId, AgentIdError>,
    /// None while the identity is impossible.
    pub(super) facts: Option<AgentFacts>,
    pub(super) report: Option<Arc<ReportedItem>>,
    pub(super) holding: Holding,
    /// Agents that hold this link and should not.
    pub(super) strays: Vec<AgentId>,
    /// The order as it would be sent now.
    pub(super) order: Option<Result<Item, CanonicalError>>,
    /// How much longer to wait for the confirmation of that order before the status says so.
    pub(super) patience: Option<Duration>,
}

impl Seen {
    /// What can be said of the gateway's agent.
    pub(super) fn hearing(&self) -> Hearing {
        self.facts.as_ref().map_or(Hearing::Wait, AgentFacts::hearing)
    }

    /// Whether no gateway shall know of the link any more.
    pub(super) fn leaves(&self) -> bool {
        self.link.metadata.deletion_timestamp.is_some() || self.life == Life::Planned
    }

    pub(super) fn standing(&self) -> Standing {
        standing(&self.link, self.crossing.as_deref(), self.now)
    }

    /// What the gateway may do. Every doubt cuts.
    pub(super) fn mode(&self) -> LinkMode {
        let agreed = matches!(self.standing(), Standing::InForce(_));
        if agreed && self.life == Life::InService && !self.link.spec.suspend { LinkMode::Watch } else { LinkMode::Cut }
    }

    /// What the agent that is heard says of the link.
    pub(super) fn heard(&self) -> Option<&LinkReport> {
        self.report.as_ref().filter(|_| self.hearing() == Hearing::Heard)?.link.as_ref()
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

pub(super) fn observe(world: &World, link: Arc<BilateralLink>) -> Seen {
    let namespace = link.namespace().unwrap_or_default();
    let uid = link.uid().unwrap_or_default();
    let spec = &link.spec;
    let agent_id = AgentId::new(&namespace, spec.agent_ref.as_str());
    let mut seen = Seen {
        now: world.clock.now(),
        life: world.life(&namespace, spec.phase.as_ref()),
        crossing: caches::get(&world.caches.crossings, &namespace, spec.crossing_ref.as_str()),
        agent: caches::get(&world.caches.agents, &namespace, spec.agent_ref.as_str()),
        facts: agent_id.as_ref().ok().map(|id| world.link.facts(id)),
        report: agent_id.as_ref().ok().and_then(|id| world.link.report(id, &uid)),
        holding: agent_id.as_ref().map_or(Holding::NotHeld, |id| world.link.holding(id, &uid)),
        strays: world.link.holders(&uid).into_iter().filter(|h| agent_id.as_ref().ok() != Some(h)).collect(),
        agent_id,
        order: None,
        patience: None,
        link,
    };
    seen.order = compose(&seen);
    if let Some(Ok(item)) = &seen.order {
        if seen.confirmed() {
            world.patience.over(&uid);
        } else {
            seen.patience = world.patience.left(&uid, &item.hash);
        }
    }
    seen
}

/// What the gateway is told: always something while there is a gateway, so that the switch works whatever else is wrong.
pub(super) fn compose(seen: &Seen) -> Option<Result<Item, CanonicalError>> {
    let link = &seen.link;
    // Nothing is contacted anew while the phase is not known; a gateway that has the link already is cut.
    let known = seen.life != Life::UnknownPhase || seen.holding != Holding::NotHeld;
    if seen.leaves() || seen.agent.is_none() || seen.agent_id.is_err() || !known {
        return None;
    }
    let mode = seen.mode();
    let order = LinkOrder {
        profile: link.spec.transport.profile,
        endpoint: link.spec.transport.endpoint.clone(),
        mode,
        until: match mode {
            LinkMode::Watch => ends(link, seen.crossing.as_deref(), seen.now).map(|end| end.to_string()),
            LinkMode::Cut => None,
        },
    };
    let namespace = link.namespace().unwrap_or_default();
    let (name, uid) = (link.name_any(), link.uid().unwrap_or_default());
    Some(Item::new(ItemKind::Link, &namespace, &name, &uid, link.metadata.generation.unwrap_or_default(), &order))
}
