//! The conditions of an InspectionStation. Pure.

use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Reason};
use kalong_crds::device::{GuardKind, GuardState};
use kalong_crds::lane::Need;
use kalong_rules::lifecycle::LifecycleStage;

use super::decide::Decision;
use super::licence::{LicenceState, licence_state};
use super::observe::{Fallback, FilledSlot, Guarded, Observed};
use crate::kit::readiness::{LISTED, Readiness, commissioning, listed, ready};

/// All conditions, in the order for readers.
pub(super) fn all(observed: &Observed, decision: &Decision, objection: Option<&Readiness>) -> Vec<ConditionUpdate> {
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning && !observed.station.spec.suspend {
            commissioning(objection)
        } else {
            ready(objection)
        };
    vec![
        is_ready,
        available(observed, decision),
        interlocks(observed, decision),
        licensed(observed),
        calibrated(observed),
        reconciling,
        stalled,
    ]
}

/// Why the station is out of use on purpose.
fn resting(observed: &Observed) -> Option<Reason> {
    match observed.life {
        LifecycleStage::Planned => Some(Reason::Planned),
        _ if observed.station.spec.suspend => Some(Reason::Suspended),
        LifecycleStage::Commissioning => Some(Reason::Commissioning),
        LifecycleStage::InService | LifecycleStage::UnknownPhase => None,
    }
}

fn available(observed: &Observed, decision: &Decision) -> ConditionUpdate {
    let kind = ConditionType::Available;
    if let Some(reason) = resting(observed) {
        return ConditionUpdate::no(kind, reason, "");
    }
    let mut judged = serves(observed, decision);
    if let (ConditionStatus::False | ConditionStatus::Unknown, Fallback::Serves, Some(fallback)) =
        (judged.status, observed.fallback, &observed.station.spec.fallback_ref)
    {
        let takes_over = format!("{}: InspectionStation {fallback} takes over.", Reason::FallbackServes);
        judged.message =
            if judged.message.is_empty() { takes_over } else { format!("{} {takes_over}", judged.message) };
    }
    judged
}

/// Whether it can serve now: first what forbids it, then what it lacks, then what is unknown.
fn serves(observed: &Observed, decision: &Decision) -> ConditionUpdate {
    let kind = ConditionType::Available;
    let (interlocks, licensed, calibrated) = (interlocks(observed, decision), licensed(observed), calibrated(observed));
    let passed_on = |judged: &ConditionUpdate| ConditionUpdate { kind, ..judged.clone() };
    for judged in [&interlocks, &licensed] {
        if judged.status == ConditionStatus::False {
            return passed_on(judged);
        }
    }
    if calibrated.reason == Reason::SealBroken {
        return passed_on(&calibrated);
    }
    let required = || {
        let lost = |filled: &&FilledSlot| filled.slot.need == Need::Required && !filled.is(ConditionType::Available);
        observed.slots.iter().filter(lost)
    };
    let (unknown, lost): (Vec<&FilledSlot>, Vec<&FilledSlot>) =
        required().partition(|filled| filled.status(ConditionType::Available) == Some(ConditionStatus::Unknown));
    if !lost.is_empty() {
        let say = format!("Required devices cannot serve: {}.", listed(lost.iter().map(|m| &m.slot.device_ref)));
        return ConditionUpdate::no(kind, Reason::DeviceNotAvailable, say);
    }
    if let Some(first) = unknown.first() {
        let say = format!(
            "Nobody can tell whether these devices serve: {}.",
            listed(unknown.iter().map(|m| &m.slot.device_ref))
        );
        return ConditionUpdate::unknown(kind, first.reason(kind).unwrap_or(Reason::DeviceNotAvailable), say);
    }
    for judged in [&interlocks, &licensed] {
        if judged.status == ConditionStatus::Unknown {
            return passed_on(judged);
        }
    }
    ConditionUpdate::yes(kind, Reason::Serving)
}

fn interlocks(observed: &Observed, decision: &Decision) -> ConditionUpdate {
    let kind = ConditionType::InterlocksSafe;
    if let Some(reason) = resting(observed).filter(|reason| *reason != Reason::Commissioning) {
        return ConditionUpdate::unknown(kind, reason, "");
    }
    let all = observed.guards(GuardKind::Interlock);
    let open: Vec<_> = in_state(&all, GuardState::Unsafe);
    if !open.is_empty() {
        let lanes = &decision.closed_lanes;
        let closed = if lanes.is_empty() {
            "Make it safe at the station.".to_owned()
        } else {
            format!("Closed until it is safe: lanes {}.", listed(lanes))
        };
        return ConditionUpdate::no(kind, Reason::InterlockOpen, format!("Open: {}. {closed}", open.join(", ")));
    }
    let unread = in_state(&all, GuardState::Unknown);
    if !unread.is_empty() {
        let lanes = &decision.closed_lanes;
        let then = if lanes.is_empty() {
            "No lane is closed for it: the PLC holds the interlock itself".to_owned()
        } else {
            format!("It was open, so lanes {} stay closed until it is read to be safe", listed(lanes))
        };
        let say = format!("Cannot be read: {}. {then}. Look at the device and its agent.", unread.join(", "));
        return ConditionUpdate::unknown(kind, Reason::InterlockUnknown, say);
    }
    ConditionUpdate::yes(kind, if all.is_empty() { Reason::NoInterlock } else { Reason::InterlocksClosed })
}

fn licensed(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Licensed;
    let number = observed.station.spec.licence.as_ref().map(|licence| licence.number.as_str()).unwrap_or_default();
    match licence_state(&observed.station, observed.crossing.as_deref(), observed.now) {
        LicenceState::NotDeclared => ConditionUpdate::yes(kind, Reason::NoLicence),
        LicenceState::InForce => ConditionUpdate::yes(kind, Reason::LicenceValid),
        LicenceState::Ending(last) => ConditionUpdate {
            message: format!("Licence {number} ends after {last}: have it prolonged and record the new day."),
            ..ConditionUpdate::yes(kind, Reason::LicenceEnding)
        },
        LicenceState::Ended(last) => ConditionUpdate::no(
            kind,
            Reason::LicenceExpired,
            format!("Licence {number} ended after {last}: the station may not operate until a new one is recorded."),
        ),
        LicenceState::NoDay => ConditionUpdate::no(
            kind,
            Reason::InvalidSpec,
            "`spec.licence.validUntil` is no day of the calendar: correct it.",
        ),
        LicenceState::NoZone => ConditionUpdate::unknown(
            kind,
            Reason::MissingReference,
            "The zone of the crossing is not known, so nobody can tell which day it is there.",
        ),
    }
}

fn calibrated(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Calibrated;
    if let Some(reason) = resting(observed).filter(|reason| *reason != Reason::Commissioning) {
        return ConditionUpdate::unknown(kind, reason, "");
    }
    let seals = observed.guards(GuardKind::Seal);
    let broken = in_state(&seals, GuardState::Unsafe);
    if !broken.is_empty() {
        let say = format!("Broken: {}. Find out why, and have the instrument verified and sealed.", broken.join(", "));
        return ConditionUpdate::no(kind, Reason::SealBroken, say);
    }
    let of = |expected: ConditionStatus| {
        let named = observed.slots.iter().filter(move |filled| filled.status(kind) == Some(expected));
        named.map(|filled| &filled.slot.device_ref).collect::<Vec<_>>()
    };
    let (expired, unknown) = (of(ConditionStatus::False), of(ConditionStatus::Unknown));
    if !expired.is_empty() {
        let say = format!("Not calibrated: {}. Have them calibrated and sealed.", listed(expired));
        return ConditionUpdate::no(kind, Reason::CalibrationExpired, say);
    }
    let unread = in_state(&seals, GuardState::Unknown);
    if !unread.is_empty() || !unknown.is_empty() {
        let names = unread.into_iter().chain(unknown.iter().map(|name| name.to_string())).collect::<Vec<_>>();
        let reason = observed.slots.iter().find(|filled| filled.status(kind) == Some(ConditionStatus::Unknown));
        let reason = reason.and_then(|filled| filled.reason(kind)).unwrap_or(Reason::DeviceNotReady);
        return ConditionUpdate::unknown(kind, reason, format!("Cannot be read: {}.", names.join(", ")));
    }
    let judged = !seals.is_empty() || !of(ConditionStatus::True).is_empty();
    ConditionUpdate::yes(kind, if judged { Reason::CalibrationValid } else { Reason::NothingDeclared })
}

/// `<device>.<name>` of the guards in this state, at most eight.
fn in_state(guards: &[Guarded], state: GuardState) -> Vec<String> {
    let found = guards.iter().filter(|guarded| guarded.guard.state == state);
    found.map(|guarded| format!("{}.{}", guarded.device, guarded.guard.name)).take(LISTED).collect()
}
