//! What the status says of an InspectionStation. Pure.

use std::time::Duration;

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::device::GuardKind;
use kalong_crds::inspection_station::InspectionStationStatus;
use kalong_crds::units::Name;

use super::decide::Decision;
use super::observe::{Fallback, Observed};
use super::{conditions, licence, readiness};
use crate::kit::readiness::Readiness;
use crate::kit::reconciler::ReconcileResult;

/// When to look again for something that is missing or contradicts: its appearance does not wake every station.
const RECHECK: Duration = Duration::from_secs(15);
/// The bound of `status.blockedBy` in the CRD.
const BLOCKS: usize = 16;

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<InspectionStationStatus> {
    let generation = observed.station.metadata.generation.unwrap_or_default();
    let old = observed.station.status.clone().unwrap_or_default();
    let declared = readiness::declared(observed);
    let contradicts = matches!(declared, Some(Readiness::Stuck(..)));
    let objection = declared.or_else(|| readiness::realised(observed));
    let judged = conditions::all(observed, decision, objection.as_ref());
    let status = InspectionStationStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        closed_lanes: decision.closed_lanes.clone(),
        blocked_by: carry_since(&old.blocked_by, blocked(observed)),
    };
    ReconcileResult::of(status)
        .sooner(licence::turns_in(&observed.station, observed.crossing.as_deref(), observed.now))
        .sooner(contradicts.then_some(RECHECK))
}

fn blocked(observed: &Observed) -> Vec<BlockedBy> {
    if !observed.acts() {
        return Vec::new();
    }
    let mut blocked = missing(observed);
    for guarded in observed.guards(GuardKind::Interlock).iter().filter(|guarded| guarded.closes()) {
        let subject = format!("Device/{}", guarded.device);
        if !blocked.iter().any(|b| b.code == BlockCode::InterlockOpen && b.subject == subject) {
            let say = format!("Interlock {} is open: make it safe at the station.", guarded.guard.name);
            blocked.push(BlockedBy::new(BlockCode::InterlockOpen, subject, say, observed.now));
        }
    }
    blocked.truncate(BLOCKS);
    blocked
}

fn missing(observed: &Observed) -> Vec<BlockedBy> {
    let spec = &observed.station.spec;
    let missing = |kind: &str, name: &Name| {
        let say = format!("Declare the {kind}, or take its name out of the spec.");
        BlockedBy::new(BlockCode::MissingReference, format!("{kind}/{name}"), say, observed.now)
    };
    let crossing = observed.crossing.is_none().then_some(&spec.crossing_ref);
    let devices = observed.slots.iter().filter(|slot| slot.device.is_none()).map(|slot| &slot.slot.device_ref);
    let fallback = spec.fallback_ref.iter().filter(|_| observed.fallback == Fallback::Missing);
    crossing
        .into_iter()
        .map(|crossing| missing("Crossing", crossing))
        .chain(devices.map(|device| missing("Device", device)))
        .chain(observed.missing_lanes.iter().map(|lane| missing("Lane", lane)))
        .chain(fallback.map(|fallback| missing("InspectionStation", fallback)))
        .collect()
}
