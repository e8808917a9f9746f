//! What to do about an IGV and what to say of it. Pure.

use std::time::Duration;

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::igv::{IGVStatus, Laden, Side, VehicleConnection};
use kube::ResourceExt;

use super::judge;
use super::observe::Seen;
use crate::kit::finalizer;
use crate::kit::link::{CONFIRMATION, Hearing, Holding};
use crate::kit::telling::{Standing, Telling};

/// When to look again for what is missing or contradicts: its end wakes no other vehicle.
const LOOK: Duration = Duration::from_secs(15);

/// What to do.
pub(super) struct Plan {
    /// What its agent is told.
    pub(super) telling: Telling,
    /// What to say; none leaves the status as it is.
    pub(super) status: Option<IGVStatus>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

pub(super) fn plan(seen: &Seen) -> Plan {
    let standing = Standing {
        agent: seen.agent_id.as_ref().ok(),
        order: seen.order.as_ref().and_then(|order| order.as_ref().ok()),
        holding: seen.holding,
        leaves: seen.leaves(),
        strays: seen.strays.clone(),
    };
    let telling = Telling::of(seen.igv.as_ref(), finalizers(seen), standing);
    let (status, again) = status(seen);
    let contradicts = seen.crossing.is_none() || !seen.twins.is_empty();
    let again = [
        again,
        // Whoever was never wanted in this process is not woken by the confirmation either.
        (!telling.remove.is_empty()).then_some(CONFIRMATION),
        (contradicts && !seen.leaves()).then_some(LOOK),
    ];
    Plan { telling, status, again: again.into_iter().flatten().min() }
}

fn finalizers(seen: &Seen) -> Option<Vec<String>> {
    let present = seen.igv.finalizers();
    if seen.igv.metadata.deletion_timestamp.is_some() {
        finalizer::without(present, seen.holding, seen.agent.as_deref())
    } else {
        finalizer::with(present, seen.order.is_some())
    }
}

fn status(seen: &Seen) -> (Option<IGVStatus>, Option<Duration>) {
    let generation = seen.igv.metadata.generation.unwrap_or_default();
    let old = seen.igv.status.clone().unwrap_or_default();
    let known = seen.hearing();
    let first_visit = old.conditions.is_empty();
    let declared = judge::declared(seen);
    if known == Hearing::Wait && declared.is_none() && !first_visit && old.observed_generation == generation {
        return (None, seen.facts.as_ref().and_then(|f| f.grace_left(seen.now)));
    }
    if let Some(left) = seen.patience.filter(|_| !first_visit && declared.is_none() && known == Hearing::Heard) {
        return (None, Some(left));
    }
    let judged = judge::conditions(seen, declared.as_ref());
    let facts = Facts::of(seen, known, &old);
    let status = IGVStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, seen.now),
        connection: facts.connection,
        operating_mode: facts.operating_mode,
        side: facts.side,
        laden: facts.laden,
        // What it was last known to run stays known, as with any device.
        software: match seen.heard() {
            Some(report) if !report.software.is_empty() => report.software.clone(),
            _ => old.software.clone(),
        },
        blocked_by: carry_since(&old.blocked_by, blocked(seen, known)),
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
    fn of(seen: &Seen, known: Hearing, old: &IGVStatus) -> Self {
        if seen.leaves() {
            return Self::default();
        }
        if known == Hearing::Wait {
            let IGVStatus { connection, operating_mode, side, laden, .. } = old.clone();
            return Self { connection, operating_mode, side, laden };
        }
        let Some(report) = seen.heard().filter(|report| report.broker) else { return Self::default() };
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

fn blocked(seen: &Seen, known: Hearing) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: &str| BlockedBy::new(code, subject, message, seen.now);
    let (spec, deleting) = (&seen.igv.spec, seen.igv.metadata.deletion_timestamp.is_some());
    let agent = format!("EdgeAgent/{}", spec.agent_ref);
    let mut blocked = Vec::new();
    if seen.leaves() {
        if deleting && seen.holding != Holding::NotHeld && seen.agent.is_some() {
            let (code, say) = match known {
                Hearing::Silent => (BlockCode::AgentUnreachable, "Look at the box: it has to let go of the vehicle."),
                Hearing::Wait | Hearing::Heard => {
                    (BlockCode::AgentConfirmation, "The agent has been told to let go of the vehicle.")
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
    if let (Some(firmware), None) = (&spec.firmware, &seen.release) {
        let subject = format!("FirmwareRelease/{}", firmware.release);
        blocked.push(block(BlockCode::MissingReference, subject, "Declare the release, or name another one."));
    }
    if seen.agent.is_none() {
        blocked.push(block(BlockCode::MissingReference, agent, "Declare the agent, or name another one."));
    } else if seen.not_enrolled() {
        let say = format!("Run `kubectl kalong enrol {}` and the command that it prints on the box.", spec.agent_ref);
        blocked.push(block(BlockCode::AgentNotEnrolled, agent, &say));
    } else if known == Hearing::Silent {
        let say = "Look at the box, its power and its uplink; the vehicle does not depend on it.";
        blocked.push(block(BlockCode::AgentUnreachable, agent, say));
    }
    blocked
}
