//! Whether the gateway may contact the peer. Pure.

use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::order::{LinkMode, LinkOrder};
use kalong_rules::agreement::{AgreementState, agreement_state, ends};
use kalong_rules::lifecycle::LifecycleStage;

use super::observe::Observed;
use crate::kit::link::Holding;
use crate::kit::placement::{Assignment, Placement};

#[derive(Debug)]
pub(super) struct Decision {
    pub(super) agreement: AgreementState,
    pub(super) mode: LinkMode,
    pub(super) placement: Placement,
}

impl Decision {
    /// Whether the gateway has exactly the order as it is now.
    pub(super) fn is_confirmed(&self, observed: &Observed) -> bool {
        observed.agent.has_confirmed(self.placement.order())
    }

    /// Whether the gateway is known to contact no peer: it said so, or there is no box that could.
    pub(super) fn is_cut(&self, observed: &Observed) -> bool {
        let report = observed.agent.report.as_ref().and_then(|report| report.link());
        let said = report.is_some_and(|link| !link.contacting);
        self.mode == LinkMode::Cut && ((self.is_confirmed(observed) && said) || observed.agent.is_unenrolled())
    }
}

pub(super) fn decide(observed: &Observed) -> Decision {
    let agreement = agreement_state(&observed.link, observed.crossing.as_deref(), observed.now);
    let mode = mode(observed, &agreement);
    let placement = Placement::of(observed.link.as_ref(), &observed.agent, assignment(observed, mode));
    Decision { agreement, mode, placement }
}

/// The peer is contacted only while nothing at all speaks against it: every doubt cuts.
fn mode(observed: &Observed, agreement: &AgreementState) -> LinkMode {
    let agreed = matches!(agreement, AgreementState::InForce(_));
    if agreed && observed.life == LifecycleStage::InService && !observed.link.spec.suspend {
        LinkMode::Watch
    } else {
        LinkMode::Cut
    }
}

/// Always an order while there is a gateway, so that the switch works whatever else is wrong.
fn assignment(observed: &Observed, mode: LinkMode) -> Assignment {
    let Observed { link, now, life, crossing, agent } = observed;
    if observed.is_released() {
        return Assignment::Release;
    }
    // A gateway gets no link of an unknown phase, and one that has it already is cut.
    let known = *life != LifecycleStage::UnknownPhase || agent.holding != Holding::NotHeld;
    if !(agent.is_addressable() && known) {
        return Assignment::Keep;
    }
    let order = LinkOrder {
        profile: link.spec.transport.profile,
        endpoint: link.spec.transport.endpoint.clone(),
        mode,
        until: match mode {
            LinkMode::Watch => ends(link, crossing.as_deref(), *now).map(|end| end.to_string()),
            LinkMode::Cut => None,
        },
    };
    Assignment::realise(link.as_ref(), ItemKind::Link, &order)
}
