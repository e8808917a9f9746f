//! What to say of an InspectionStation. Pure.

use std::time::Duration;

use kalong_crds::blocked::{BlockCode, BlockedBy, carry_since};
use kalong_crds::condition::settle;
use kalong_crds::device::GuardKind;
use kalong_crds::inspection_station::InspectionStationStatus;
use kalong_crds::lane::Need;
use kalong_crds::units::Name;

use super::judge;
use super::licence;
use super::observe::{Fallback, Guarded, Observed};

/// When to look again for something that is missing or contradicts: its appearance does not wake every station.
const LOOK: Duration = Duration::from_secs(15);

/// What to say, and when to look again.
pub(super) struct Plan {
    pub(super) status: InspectionStationStatus,
    pub(super) again: Option<Duration>,
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let generation = observed.station.metadata.generation.unwrap_or_default();
    let old = observed.station.status.clone().unwrap_or_default();
    let declared = judge::declared(observed);
    let judged = judge::conditions(observed, declared.as_ref());
    let status = InspectionStationStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
        closed_lanes: closed_lanes(observed),
        blocked_by: carry_since(&old.blocked_by, blocked(observed)),
    };
    let contradicts = declared.is_some_and(|verdict| matches!(verdict, crate::kit::readiness::Readiness::Stuck(..)));
    let again = licence::turns_in(&observed.station, observed.crossing.as_deref(), observed.now);
    Plan { status, again: if contradicts { Some(again.map_or(LOOK, |again| again.min(LOOK))) } else { again } }
}

/// The lanes that cannot run past this station, while one of its interlocks is open. One that cannot be read closes nothing, because
/// the PLC of the lane holds the interlock itself; but what was open stays open until it was read to be safe.
pub(super) fn closed_lanes(observed: &Observed) -> Vec<Name> {
    let open = observed.guards(GuardKind::Interlock).iter().any(Guarded::closes);
    if !(open && observed.acts()) {
        return Vec::new();
    }
    let served = observed.station.spec.serves_lanes.iter().filter(|served| served.need == Need::Required);
    let mut lanes: Vec<Name> = served.map(|served| served.name.clone()).collect();
    lanes.sort();
    lanes.dedup();
    lanes
}

fn blocked(observed: &Observed) -> Vec<BlockedBy> {
    let block = |code, subject: String, message: String| BlockedBy::new(code, subject, message, observed.now);
    if !observed.acts() {
        return Vec::new();
    }
    let spec = &observed.station.spec;
    let missing = |kind: &str, name: &Name| {
        let say = format!("Declare the {kind}, or take its name out of the spec.");
        block(BlockCode::MissingReference, format!("{kind}/{name}"), say)
    };
    let mut blocked = Vec::new();
    if observed.crossing.is_none() {
        blocked.push(missing("Crossing", &spec.crossing_ref));
    }
    let devices = observed.members.iter().filter(|member| member.device.is_none());
    blocked.extend(devices.map(|member| missing("Device", &member.slot.device_ref)));
    blocked.extend(observed.missing_lanes.iter().map(|lane| missing("Lane", lane)));
    if let (Fallback::Missing, Some(fallback)) = (observed.fallback, &spec.fallback_ref) {
        blocked.push(missing("InspectionStation", fallback));
    }
    for guarded in observed.guards(GuardKind::Interlock) {
        if guarded.closes() {
            let say = format!("Interlock {} is open: make it safe at the station.", guarded.guard.name);
            let subject = format!("Device/{}", guarded.device);
            if !blocked.iter().any(|b: &BlockedBy| b.code == BlockCode::InterlockOpen && b.subject == subject) {
                blocked.push(block(BlockCode::InterlockOpen, subject, say));
            }
        }
    }
    blocked.truncate(16);
    blocked
}
