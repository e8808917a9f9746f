//! What to do about an IGV and what to say of it. Pure.

use std::time::Duration;

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::igv::{IGVStatus, Laden, Side, VehicleConnection};
use kube::ResourceExt;

use super::judge;
use super::observe::Observed;
use crate::kit::finalizer;
use crate::kit::link::{CONFIRMATION, Holding, Liveness};
use crate::kit::placement::{Assignment, Placement};

/// When to look again for what is missing or contradicts: its end wakes no other vehicle.
const LOOK: Duration = Duration::from_secs(15);

/// What to do.
pub(super) struct Plan {
    /// What its agent is told.
    pub(super) placement: Placement,
    /// What to say; none leaves the status as it is.
    pub(super) status: Option<IGVStatus>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let assignment = Assignment {
        agent: observed.agent_id.as_ref().ok(),
        order: observed.order.as_ref().and_then(|order| order.as_ref().ok()),
        holding: observed.holding,
        leaves: observed.leaves(),
        wrong_holders: observed.wrong_holders.clone(),
    };
    let placement = Placement::of(observed.igv.as_ref(), finalizers(observed), assignment);
    let (status, again) = status(observed);
    let contradicts = observed.crossing.is_none() || !observed.twins.is_empty();
    let again = [
        again,
        // Whoever was never wanted in this process is not woken by the confirmation either.
        (!placement.remove.is_empty()).then_some(CONFIRMATION),
        (contradicts && !observed.leaves()).then_some(LOOK),
    ];
    Plan { placement, status, again: again.into_iter().flatten().min() }
}

fn finalizers(observed: &Observed) -> Option<Vec<String>> {
    let present = observed.igv.finalizers();
    if observed.igv.metadata.deletion_timestamp.is_some() {
        finalizer::without(present, observed.holding, observed.agent.as_deref())
    } else {
        finalizer::with(present, observed.order.is_some())
    }
}

fn status(observed: &Observed) -> (Option<IGVStatus>, Option<Duration>) {
    let generation = observed.igv.metadata.generation.unwrap_or_default();
    let old = observed.igv.status.clone().unwrap_or_default();
    let known = observed.liveness();
    let first_visit = old.conditions.is_empty();
    let declared = judge::declared(observed);
    if known == Liveness::Pending && declared.is_none() && !first_visit && old.observed_generation == generation {
        return (None, observed.facts.as_ref().and_then(|f| f.grace_left(observed.now)));
    }
    if let Some(left) = observed.debounce.filter(|_| !first_visit && declared.is_none() && known == Liveness::Live) {
        return (None, Some(left));
    }
    let judged = judge::conditions(observed, declared.as_ref());
    let facts = Facts::of(observed, known, &old);
    let status = IGVStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        connection: facts.connection,
        operating_mode: facts.operating_mode,
        side: facts.side,
        laden: facts.laden,
        // What it was last known to run stays known, as with any device.
        software: match observed.heard() {
            Some(report) if !report.software.is_empty() => report.software.clone(),
            _ => old.software.clone(),
        },
        blocked_by: carry_since(&old.blocked_by, blocked(observed, known)),
    };
    (Some(status), None)
}

/// What the vehicle says of itself, or nothing where nobody can tell.
#[derive(Default)]
struct Facts {
    connection: VehicleConnection,
    operating_mode: Option<String>,
    side: Side,
    laden: Laden,
}

impl Facts {
    fn of(observed: &Observed, known: Liveness, old: &IGVStatus) -> Self {
        if observed.leaves() {
            return Self::default();
        }
        if known == Liveness::Pending {
            let IGVStatus { connection, operating_mode, side, laden, .. } = old.clone();
            return Self { connection, operating_mode, side, laden };
        }
        let Some(report) = observed.heard().filter(|report| report.broker) else { return Self::default() };
        if !report.fresh || report.connection != VehicleConnection::Online {
            // An old state says nothing of where the vehicle is now.
            return Self { connection: report.connection, ..Self::default() };
        }
        Self {
            connection: report.connection,
            operating_mode: report.operating_mode.clone(),
            side: report.side,
            laden: report.laden,
        }
    }
}

fn blocked(observed: &Observed, known: Liveness) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: &str| BlockedBy::new(code, subject, message, observed.now);
    let (spec, deleting) = (&observed.igv.spec, observed.igv.metadata.deletion_timestamp.is_some());
    let agent = format!("EdgeAgent/{}", spec.agent_ref);
    let mut blocked = Vec::new();
    if observed.leaves() {
        if deleting && observed.holding != Holding::NotHeld && observed.agent.is_some() {
            let (code, say) = match known {
                Liveness::Lost => (BlockCode::AgentUnreachable, "Look at the box: it has to let go of the vehicle."),
                Liveness::Pending | Liveness::Live => {
                    (BlockCode::AgentConfirmation, "The agent has been told to let go of the vehicle.")
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
    if let (Some(firmware), None) = (&spec.firmware, &observed.release) {
        let subject = format!("FirmwareRelease/{}", firmware.release);
        blocked.push(block(BlockCode::MissingReference, subject, "Declare the release, or name another one."));
    }
    if observed.agent.is_none() {
        blocked.push(block(BlockCode::MissingReference, agent, "Declare the agent, or name another one."));
    } else if observed.not_enrolled() {
        let say = format!("Run `kubectl kalong enrol {}` and the command that it prints on the box.", spec.agent_ref);
        blocked.push(block(BlockCode::AgentNotEnrolled, agent, &say));
    } else if known == Liveness::Lost {
        let say = "Look at the box, its power and its uplink; the vehicle does not depend on it.";
        blocked.push(block(BlockCode::AgentUnreachable, agent, say));
    }
    blocked
}
