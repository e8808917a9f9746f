//! What to do about a BilateralLink and what to say of it. Pure.

use std::time::Duration;

use kalong_crds::bilateral_link::BilateralLinkStatus;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::wire::order::LinkMode;
use kube::ResourceExt;

use super::agreement::{Standing, turns_in};
use super::judge;
use super::observe::Seen;
use crate::kit::finalizer;
use crate::kit::link::{CONFIRMATION, Hearing, Holding};
use crate::kit::telling::{self, Telling};

/// When to look again for a crossing that is missing: its appearance wakes no link.
const LOOK: Duration = Duration::from_secs(15);

/// What to do.
pub(super) struct Plan {
    /// What its agent is told.
    pub(super) telling: Telling,
    /// What to say; none leaves the status as it is.
    pub(super) status: Option<BilateralLinkStatus>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

pub(super) fn plan(seen: &Seen) -> Plan {
    let standing = telling::Standing {
        agent: seen.agent_id.as_ref().ok(),
        order: seen.order.as_ref().and_then(|order| order.as_ref().ok()),
        holding: seen.holding,
        leaves: seen.leaves(),
        strays: seen.strays.clone(),
    };
    let telling = Telling::of(seen.link.as_ref(), finalizers(seen), standing);
    let (status, again) = status(seen);
    let again = [
        again,
        turns_in(&seen.link, seen.crossing.as_deref(), seen.now),
        // Whoever was never wanted in this process is not woken by the confirmation either.
        (!telling.remove.is_empty()).then_some(CONFIRMATION),
        (seen.crossing.is_none() && !seen.leaves()).then_some(LOOK),
    ];
    Plan { telling, status, again: again.into_iter().flatten().min() }
}

fn finalizers(seen: &Seen) -> Option<Vec<String>> {
    let present = seen.link.finalizers();
    if seen.link.metadata.deletion_timestamp.is_some() {
        finalizer::without(present, seen.holding, seen.agent.as_deref())
    } else {
        finalizer::with(present, seen.order.is_some())
    }
}

fn status(seen: &Seen) -> (Option<BilateralLinkStatus>, Option<Duration>) {
    let generation = seen.link.metadata.generation.unwrap_or_default();
    let old = seen.link.status.clone().unwrap_or_default();
    let known = seen.hearing();
    let first_visit = old.conditions.is_empty();
    let declared = judge::declared(seen);
    // After a start the last word stands, unless it speaks of another mode than today's.
    let stands = known == Hearing::Wait && !first_visit && old.observed_generation == generation;
    if stands && declared.is_none() && !seen.not_enrolled() && judge::speaks_of(&seen.link, seen.mode()) {
        return (None, seen.facts.as_ref().and_then(|f| f.grace_left(seen.now)));
    }
    if let Some(left) = seen.patience.filter(|_| !first_visit && declared.is_none() && known == Hearing::Heard) {
        return (None, Some(left));
    }
    let judged = judge::conditions(seen, declared.as_ref());
    let status = BilateralLinkStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, seen.now),
        blocked_by: carry_since(&old.blocked_by, blocked(seen, known)),
    };
    (Some(status), None)
}

fn blocked(seen: &Seen, known: Hearing) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: &str| BlockedBy::new(code, subject, message, seen.now);
    let spec = &seen.link.spec;
    let agent = format!("EdgeAgent/{}", spec.agent_ref);
    let mut blocked = Vec::new();
    if seen.leaves() {
        let deleting = seen.link.metadata.deletion_timestamp.is_some();
        if deleting && seen.holding != Holding::NotHeld && seen.agent.is_some() {
            let (code, say) = match known {
                Hearing::Silent => {
                    (BlockCode::AgentUnreachable, "Look at the gateway box: it has to let go of the link.")
                }
                Hearing::Wait | Hearing::Heard => {
                    (BlockCode::AgentConfirmation, "The gateway has been told to let go of the link.")
                }
            };
            blocked.push(block(code, agent, say));
        }
        return blocked;
    }
    if seen.crossing.is_none() {
        let subject = format!("Crossing/{}", spec.crossing_ref);
        blocked.push(block(BlockCode::MissingReference, subject, "Declare the crossing, or name another one."));
    }
    if seen.agent.is_none() {
        blocked.push(block(BlockCode::MissingReference, agent, "Declare the agent, or name another one."));
    } else if seen.not_enrolled() {
        let say = format!("Run `kubectl kalong enrol {}` and the command that it prints on the box.", spec.agent_ref);
        blocked.push(block(BlockCode::AgentNotEnrolled, agent, &say));
    } else if known == Hearing::Silent && !seen.is_cut() {
        let say = match seen.mode() {
            LinkMode::Cut => "Look at the gateway box, or cut its line: it has not confirmed that the link is cut.",
            LinkMode::Watch => "Look at the gateway box, its power and its uplink.",
        };
        blocked.push(block(BlockCode::AgentUnreachable, agent, say));
    } else if known == Hearing::Heard && !seen.confirmed() {
        blocked.push(block(
            BlockCode::AgentConfirmation,
            agent,
            "The gateway has been told; it confirms within a second.",
        ));
    }
    let waits = matches!(seen.standing(), Standing::NotDeclared | Standing::Begins(..) | Standing::Ended(..));
    if waits && !spec.suspend {
        let subject = format!("Counterpart/{}", spec.counterpart.country);
        blocked.push(block(BlockCode::Agreement, subject, &judge::no_agreement(&seen.standing())));
    }
    blocked
}
