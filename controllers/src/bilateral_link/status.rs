//! What the status says of a BilateralLink. Pure.

use std::time::Duration;

use kalong_crds::bilateral_link::BilateralLinkStatus;
use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::{ConditionType, Conditioned, Reason, settle};
use kalong_crds::wire::order::LinkMode;
use kalong_rules::agreement::{AgreementState, turns_in};

use super::conditions::no_agreement;
use super::decide::Decision;
use super::observe::Observed;
use super::{conditions, readiness};
use crate::kit::link::Liveness;
use crate::kit::readiness::Readiness;
use crate::kit::reconciler::ReconcileResult;

/// When to look again for a crossing that is missing: its appearance wakes no link.
const RECHECK: Duration = Duration::from_secs(15);

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<BilateralLinkStatus> {
    let result = match readiness::declared(observed, decision) {
        Some(objection) => ReconcileResult::of(written(observed, decision, Some(&objection))),
        None => kept(observed, decision).unwrap_or_else(|| {
            let objection = readiness::realised(observed, decision);
            ReconcileResult::of(written(observed, decision, objection.as_ref()))
        }),
    };
    decision
        .placement
        .finish(result)
        .sooner(turns_in(&observed.link, observed.crossing.as_deref(), observed.now))
        .sooner((observed.crossing.is_none() && !observed.is_released()).then_some(RECHECK))
}

/// After a start the last word stands, unless it speaks of another mode than today's.
fn kept(observed: &Observed, decision: &Decision) -> Option<ReconcileResult<BilateralLinkStatus>> {
    let agent = &observed.agent;
    let stands =
        agent.liveness() != Liveness::Pending || (!agent.is_unenrolled() && speaks_of(observed, decision.mode));
    agent.keeps_status(observed.link.as_ref(), decision.placement.order(), observed.now).filter(|_| stands)
}

fn speaks_of(observed: &Observed, mode: LinkMode) -> bool {
    let said = observed.link.reason(ConditionType::Available);
    let cut = [Reason::DryRun, Reason::Suspended, Reason::Commissioning, Reason::Planned];
    cut.iter().any(|reason| reason.as_str() == said) == (mode == LinkMode::Cut)
}

fn written(observed: &Observed, decision: &Decision, objection: Option<&Readiness>) -> BilateralLinkStatus {
    let generation = observed.link.metadata.generation.unwrap_or_default();
    let old = observed.link.status.clone().unwrap_or_default();
    let judged = conditions::all(observed, decision, objection);
    BilateralLinkStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        blocked_by: carry_since(&old.blocked_by, blocked(observed, decision)),
    }
}

fn blocked(observed: &Observed, decision: &Decision) -> Vec<BlockedBy> {
    let (spec, agent, now) = (&observed.link.spec, &observed.agent, observed.now);
    if observed.is_released() {
        let deleting = observed.link.metadata.deletion_timestamp.is_some();
        let holds = agent.blocks_by_holding(
            "Look at the gateway box: it has to let go of the link.",
            "The gateway has been told to let go of the link.",
            now,
        );
        return holds.filter(|_| deleting).into_iter().collect();
    }
    let mut blocked = Vec::new();
    if observed.crossing.is_none() {
        let (subject, say) = (format!("Crossing/{}", spec.crossing_ref), "Declare the crossing, or name another one.");
        blocked.push(BlockedBy::new(BlockCode::MissingReference, subject, say, now));
    }
    blocked.extend(agent.blocks_by_absence(now).or_else(|| blocked_by_gateway(observed, decision)));
    let waits = matches!(
        decision.agreement,
        AgreementState::NotDeclared | AgreementState::Begins(..) | AgreementState::Ended(..)
    );
    if waits && !spec.suspend {
        let subject = format!("Counterpart/{}", spec.counterpart.country);
        blocked.push(BlockedBy::new(BlockCode::Agreement, subject, no_agreement(&decision.agreement), now));
    }
    blocked
}

fn blocked_by_gateway(observed: &Observed, decision: &Decision) -> Option<BlockedBy> {
    let (code, say) = match (observed.agent.liveness(), decision.mode) {
        (Liveness::Lost, _) if decision.is_cut(observed) => return None,
        (Liveness::Lost, LinkMode::Cut) => (
            BlockCode::AgentUnreachable,
            "Look at the gateway box, or cut its line: it has not confirmed that the link is cut.",
        ),
        (Liveness::Lost, LinkMode::Watch) => {
            (BlockCode::AgentUnreachable, "Look at the gateway box, its power and its uplink.")
        }
        (Liveness::Live, _) if !decision.is_confirmed(observed) => {
            (BlockCode::AgentConfirmation, "The gateway has been told; it confirms within a second.")
        }
        (Liveness::Live | Liveness::Pending, _) => return None,
    };
    Some(observed.agent.blocks(code, say, observed.now))
}
