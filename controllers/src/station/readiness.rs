//! Where the readiness of an InspectionStation is judged: ordered chains of small checks.

use jiff::tz::TimeZone;
use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::units::Name;
use kalong_rules::lifecycle::{LifecycleStage, unknown_phase};
use kube::ResourceExt;

use super::licence::{LicenceState, licence_state};
use super::observe::{Fallback, FilledSlot, Observed};
use crate::kit::readiness::{Readiness, first, listed};

/// Objections that stand whatever the devices say.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    let spec = &observed.station.spec;
    match observed.life {
        LifecycleStage::Planned => return Some(Readiness::Resting(Reason::Planned)),
        LifecycleStage::UnknownPhase => return stuck(Reason::UnknownPhase, unknown_phase(spec.phase.as_ref())),
        LifecycleStage::Commissioning | LifecycleStage::InService => {}
    }
    if spec.suspend {
        return Some(Readiness::Resting(Reason::Suspended));
    }
    let crossing = observed.crossing.is_none().then_some(&spec.crossing_ref);
    let devices = observed.slots.iter().filter(|filled| filled.device.is_none());
    let fallback = spec.fallback_ref.iter().filter(|_| observed.fallback == Fallback::Missing);
    first([
        missing("Crossing", crossing.into_iter().collect()),
        zone(observed),
        missing("Device", devices.map(|filled| &filled.slot.device_ref).collect()),
        missing("Lane", observed.missing_lanes.iter().collect()),
        missing("InspectionStation", fallback.collect()),
        own_fallback(observed),
        impossible_licence(observed),
        filled_elsewhere(observed),
        planned_member(observed),
    ])
}

fn stuck(reason: Reason, say: String) -> Option<Readiness> {
    Some(Readiness::Stuck(reason, say))
}

fn missing(kind: &str, names: Vec<&Name>) -> Option<Readiness> {
    if names.is_empty() {
        return None;
    }
    let say = format!("{kind} {} does not exist in this namespace: declare it, or correct the spec.", listed(names));
    stuck(Reason::MissingReference, say)
}

fn own_fallback(observed: &Observed) -> Option<Readiness> {
    let fallback = observed.station.spec.fallback_ref.as_ref()?;
    (fallback.as_str() == observed.station.name_any()).then(|| {
        let say = "`spec.fallbackRef` names the station itself: name another one.".to_owned();
        Readiness::Stuck(Reason::InvalidSpec, say)
    })
}

fn impossible_licence(observed: &Observed) -> Option<Readiness> {
    let licence = licence_state(&observed.station, observed.crossing.as_deref(), observed.now);
    (licence == LicenceState::NoDay).then(|| {
        let say = "`spec.licence.validUntil` is no day of the calendar: correct it.".to_owned();
        Readiness::Stuck(Reason::InvalidSpec, say)
    })
}

fn filled_elsewhere(observed: &Observed) -> Option<Readiness> {
    (!observed.elsewhere.is_empty()).then(|| {
        let say = format!(
            "{} fills a slot of another station or of a lane too: a device fills one slot.",
            listed(&observed.elsewhere)
        );
        Readiness::Stuck(Reason::SlotConflict, say)
    })
}

fn zone(observed: &Observed) -> Option<Readiness> {
    let crossing = observed.crossing.as_ref()?;
    let zone = &crossing.spec.time_zone;
    TimeZone::get(zone).is_err().then(|| {
        let say = format!("`timeZone` {zone} of Crossing {} is no IANA time zone: correct it.", crossing.name_any());
        Readiness::Stuck(Reason::InvalidSpec, say)
    })
}

/// A live station with a device that may not be contacted can never become Ready.
fn planned_member(observed: &Observed) -> Option<Readiness> {
    let planned = |filled: &&FilledSlot| {
        filled.device.as_ref().is_some_and(|d| d.reason(ConditionType::Ready) == Reason::Planned.as_str())
    };
    let FilledSlot { slot, device, model: _ } = observed.slots.iter().find(planned)?;
    let phase = device.as_ref()?.spec.phase.clone()?;
    stuck(
        Reason::InvalidSpec,
        format!(
            "Slot {} is filled by {}, which belongs to phase {phase} and is not live: use a device of the station's own phase.",
            slot.name, slot.device_ref
        ),
    )
}

/// Objections that rest on what the devices say.
pub(super) fn realised(observed: &Observed) -> Option<Readiness> {
    let waiting: Vec<&FilledSlot> = observed.slots.iter().filter(|filled| !filled.is(ConditionType::Ready)).collect();
    if waiting.is_empty() {
        return None;
    }
    let say = format!("Devices not Ready: {}.", listed(waiting.iter().map(|filled| &filled.slot.device_ref)));
    Some(if waiting.iter().any(|filled| filled.status(ConditionType::Ready) == Some(ConditionStatus::Unknown)) {
        Readiness::Unknown(Reason::DeviceNotReady, say)
    } else {
        Readiness::Converging(Reason::DeviceNotReady, say)
    })
}
