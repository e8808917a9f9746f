//! What the status says of an IGV. Pure.

use std::time::Duration;

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::igv::{IGVStatus, Laden, Side, VehicleConnection};

use super::decide::Decision;
use super::observe::Observed;
use super::{conditions, readiness};
use crate::kit::link::Liveness;
use crate::kit::readiness::Readiness;
use crate::kit::reconciler::ReconcileResult;

/// When to look again while something is missing or contradicts: its end wakes no other vehicle.
const RECHECK: Duration = Duration::from_secs(15);

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<IGVStatus> {
    let Decision { placement } = decision;
    let result = match readiness::declared(observed) {
        Some(objection) => ReconcileResult::of(written(observed, Some(&objection))),
        None => {
            observed.agent.keeps_status(observed.igv.as_ref(), placement.order(), observed.now).unwrap_or_else(|| {
                let objection = readiness::realised(observed, placement.order());
                ReconcileResult::of(written(observed, objection.as_ref()))
            })
        }
    };
    let contradicts = observed.crossing.is_none() || !observed.duplicates.is_empty();
    placement.finish(result).sooner((contradicts && !observed.is_released()).then_some(RECHECK))
}

fn written(observed: &Observed, objection: Option<&Readiness>) -> IGVStatus {
    let generation = observed.igv.metadata.generation.unwrap_or_default();
    let old = observed.igv.status.clone().unwrap_or_default();
    let judged = conditions::all(observed, objection);
    let VehicleState { connection, operating_mode, side, laden } = VehicleState::of(observed, &old);
    IGVStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        connection,
        operating_mode,
        side,
        laden,
        // What it was last known to run stays known, as with any device.
        software: match observed.live_report() {
            Some(report) if !report.software.is_empty() => report.software.clone(),
            _ => old.software.clone(),
        },
        blocked_by: carry_since(&old.blocked_by, blocked(observed)),
    }
}

/// What the vehicle says of itself, or nothing where that cannot be known.
#[derive(Default)]
struct VehicleState {
    connection: VehicleConnection,
    operating_mode: Option<String>,
    side: Side,
    laden: Laden,
}

impl VehicleState {
    fn of(observed: &Observed, old: &IGVStatus) -> Self {
        if observed.is_released() {
            return Self::default();
        }
        if observed.agent.liveness() == Liveness::Pending {
            let IGVStatus { connection, operating_mode, side, laden, .. } = old.clone();
            return Self { connection, operating_mode, side, laden };
        }
        let Some(report) = observed.live_report().filter(|report| report.broker) else { return Self::default() };
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

fn blocked(observed: &Observed) -> Vec<BlockedBy> {
    let (spec, agent, now) = (&observed.igv.spec, &observed.agent, observed.now);
    if observed.is_released() {
        let deleting = observed.igv.metadata.deletion_timestamp.is_some();
        let holds = agent.blocks_by_holding(
            "Look at the box: it has to let go of the vehicle.",
            "The agent has been told to let go of the vehicle.",
            now,
        );
        return holds.filter(|_| deleting).into_iter().collect();
    }
    let missing = |subject: String, say: &str| BlockedBy::new(BlockCode::MissingReference, subject, say, now);
    let mut blocked = Vec::new();
    if observed.crossing.is_none() {
        let subject = format!("Crossing/{}", spec.crossing_ref);
        blocked.push(missing(subject, "Declare the crossing, or name another one."));
    }
    if let (Some(firmware), None) = (&spec.firmware, &observed.release) {
        let subject = format!("FirmwareRelease/{}", firmware.release);
        blocked.push(missing(subject, "Declare the release, or name another one."));
    }
    blocked.extend(agent.blocks_by_absence(now).or_else(|| {
        let say = "Look at the box, its power and its uplink; the vehicle does not depend on it.";
        (agent.liveness() == Liveness::Lost).then(|| agent.blocks(BlockCode::AgentUnreachable, say, now))
    }));
    blocked
}
