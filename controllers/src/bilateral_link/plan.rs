//! What to do about a BilateralLink and what to say of it. Pure.

use std::time::Duration;

use kalong_crds::bilateral_link::BilateralLinkStatus;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::wire::order::LinkMode;
use kube::ResourceExt;

use super::agreement::{AgreementState, turns_in};
use super::judge;
use super::observe::Observed;
use crate::kit::finalizer;
use crate::kit::link::{CONFIRMATION, Holding, Liveness};
use crate::kit::placement::{self, Placement};

/// When to look again for a crossing that is missing: its appearance wakes no link.
const LOOK: Duration = Duration::from_secs(15);

/// What to do.
pub(super) struct Plan {
    /// What its agent is told.
    pub(super) placement: Placement,
    /// What to say; none leaves the status as it is.
    pub(super) status: Option<BilateralLinkStatus>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let agreement_state = placement::Assignment {
        agent: observed.agent_id.as_ref().ok(),
        order: observed.order.as_ref().and_then(|order| order.as_ref().ok()),
        holding: observed.holding,
        leaves: observed.leaves(),
        wrong_holders: observed.wrong_holders.clone(),
    };
    let placement = Placement::of(observed.link.as_ref(), finalizers(observed), agreement_state);
    let (status, again) = status(observed);
    let again = [
        again,
        turns_in(&observed.link, observed.crossing.as_deref(), observed.now),
        // Whoever was never wanted in this process is not woken by the confirmation either.
        (!placement.remove.is_empty()).then_some(CONFIRMATION),
        (observed.crossing.is_none() && !observed.leaves()).then_some(LOOK),
    ];
    Plan { placement, status, again: again.into_iter().flatten().min() }
}

fn finalizers(observed: &Observed) -> Option<Vec<String>> {
    let present = observed.link.finalizers();
    if observed.link.metadata.deletion_timestamp.is_some() {
        finalizer::without(present, observed.holding, observed.agent.as_deref())
    } else {
        finalizer::with(present, observed.order.is_some())
    }
}

fn status(observed: &Observed) -> (Option<BilateralLinkStatus>, Option<Duration>) {
    let generation = observed.link.metadata.generation.unwrap_or_default();
    let old = observed.link.status.clone().unwrap_or_default();
    let known = observed.liveness();
    let first_visit = old.conditions.is_empty();
    let declared = judge::declared(observed);
    // After a start the last word stands, unless it speaks of another mode than today's.
    let stands = known == Liveness::Pending && !first_visit && old.observed_generation == generation;
    if stands && declared.is_none() && !observed.not_enrolled() && judge::speaks_of(&observed.link, observed.mode()) {
        return (None, observed.facts.as_ref().and_then(|f| f.grace_left(observed.now)));
    }
    if let Some(left) = observed.debounce.filter(|_| !first_visit && declared.is_none() && known == Liveness::Live) {
        return (None, Some(left));
    }
    let judged = judge::conditions(observed, declared.as_ref());
    let status = BilateralLinkStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        blocked_by: carry_since(&old.blocked_by, blocked(observed, known)),
    };
    (Some(status), None)
}

fn blocked(observed: &Observed, known: Liveness) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: &str| BlockedBy::new(code, subject, message, observed.now);
    let spec = &observed.link.spec;
    let agent = format!("EdgeAgent/{}", spec.agent_ref);
    let mut blocked = Vec::new();
    if observed.leaves() {
        let deleting = observed.link.metadata.deletion_timestamp.is_some();
        if deleting && observed.holding != Holding::NotHeld && observed.agent.is_some() {
            let (code, say) = match known {
                Liveness::Lost => {
                    (BlockCode::AgentUnreachable, "Look at the gateway box: it has to let go of the link.")
                }
                Liveness::Pending | Liveness::Live => {
                    (BlockCode::AgentConfirmation, "The gateway has been told to let go of the link.")
                }
            };
            blocked.push(block(code, agent, say));
        }
        return blocked;
    }
    if observed.crossing.is_none() {
        let subject = format!("Crossing/{}", spec.crossing_ref);
        blocked.push(block(BlockCode::MissingReference, subject, "Declare the crossing, or name another one."));
    }
    if observed.agent.is_none() {
        blocked.push(block(BlockCode::MissingReference, agent, "Declare the agent, or name another one."));
    } else if observed.not_enrolled() {
        let say = format!("Run `kubectl kalong enrol {}` and the command that it prints on the box.", spec.agent_ref);
        blocked.push(block(BlockCode::AgentNotEnrolled, agent, &say));
    } else if known == Liveness::Lost && !observed.is_cut() {
        let say = match observed.mode() {
            LinkMode::Cut => "Look at the gateway box, or cut its line: it has not confirmed that the link is cut.",
            LinkMode::Watch => "Look at the gateway box, its power and its uplink.",
        };
        blocked.push(block(BlockCode::AgentUnreachable, agent, say));
    } else if known == Liveness::Live && !observed.confirmed() {
        blocked.push(block(
            BlockCode::AgentConfirmation,
            agent,
            "The gateway has been told; it confirms within a second.",
        ));
    }
    let waits = matches!(
        observed.agreement_state(),
        AgreementState::NotDeclared | AgreementState::Begins(..) | AgreementState::Ended(..)
    );
    if waits && !spec.suspend {
        let subject = format!("Counterpart/{}", spec.counterpart.country);
        blocked.push(block(BlockCode::Agreement, subject, &judge::no_agreement(&observed.agreement_state())));
    }
    blocked
}
