//! Where the readiness of an InspectionStation is judged.

use jiff::tz::TimeZone;
use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Conditioned, Reason};
use kalong_crds::device::{GuardKind, GuardState};
use kalong_crds::lane::Need;
use kalong_crds::units::Name;
use kube::ResourceExt;

use super::licence::{LicenceState, licence_state};
use super::observe::{Fallback, Guarded, Member, Observed};
use super::plan::closed_lanes;
use crate::kit::life::{LifecycleStage, unknown_phase};
use crate::kit::readiness::{Readiness, commissioning, first, ready};

/// Names that one message lists.
const LISTED: usize = 8;

fn stuck(reason: Reason, say: String) -> Option<Readiness> {
    Some(Readiness::Stuck(reason, say))
}

/// Objections that stand whatever the devices say.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    let spec = &observed.station.spec;
    let missing = |kind: &str, names: Vec<&Name>| {
        if names.is_empty() {
            return None;
        }
        let say = format!("{kind} {} does not exist in this namespace: declare it, or correct the spec.", list(names));
        stuck(Reason::MissingReference, say)
    };
    match observed.life {
        LifecycleStage::Planned => return Some(Readiness::Resting(Reason::Planned)),
        LifecycleStage::UnknownPhase => return stuck(Reason::UnknownPhase, unknown_phase(spec.phase.as_ref())),
        LifecycleStage::Commissioning | LifecycleStage::InService => {}
    }
    if spec.suspend {
        return Some(Readiness::Resting(Reason::Suspended));
    }
    let devices = observed.members.iter().filter(|member| member.device.is_none());
    let fallback = spec.fallback_ref.iter().filter(|_| observed.fallback == Fallback::Missing);
    first([
        missing("Crossing", observed.crossing.is_none().then_some(&spec.crossing_ref).into_iter().collect()),
        zone(observed),
        missing("Device", devices.map(|member| &member.slot.device_ref).collect()),
        missing("Lane", observed.missing_lanes.iter().collect()),
        missing("InspectionStation", fallback.collect()),
        spec.fallback_ref.as_ref().filter(|fallback| fallback.as_str() == observed.station.name_any()).and_then(|_| {
            stuck(Reason::InvalidSpec, "`spec.fallbackRef` names the station itself: name another one.".to_owned())
        }),
        (licence_state(&observed.station, observed.crossing.as_deref(), observed.now) == LicenceState::NoDay).then(
            || {
                Readiness::Stuck(
                    Reason::InvalidSpec,
                    "`spec.licence.validUntil` is no day of the calendar: correct it.".to_owned(),
                )
            },
        ),
        (!observed.elsewhere.is_empty()).then(|| {
            let say = format!(
                "{} fills a slot of another station or of a lane too: a device fills one slot.",
                list(observed.elsewhere.iter())
            );
            Readiness::Stuck(Reason::SlotConflict, say)
        }),
        planned_member(observed),
    ])
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
    let planned = |member: &&Member| {
        member.device.as_ref().is_some_and(|d| d.reason(ConditionType::Ready) == Reason::Planned.as_str())
    };
    let Member { slot, device, model: _ } = observed.members.iter().find(planned)?;
    let phase = device.as_ref()?.spec.phase.clone()?;
    stuck(
        Reason::InvalidSpec,
        format!(
            "Slot {} is filled by {}, which belongs to phase {phase} and is not live: use a device of the station's own phase.",
            slot.name, slot.device_ref
        ),
    )
}

fn realised(observed: &Observed) -> Option<Readiness> {
    let waiting: Vec<&Member> = observed.members.iter().filter(|member| !member.is(ConditionType::Ready)).collect();
    if waiting.is_empty() {
        return None;
    }
    let say = format!("Devices not Ready: {}.", list(waiting.iter().map(|member| &member.slot.device_ref)));
    Some(if waiting.iter().any(|member| member.status(ConditionType::Ready) == Some(ConditionStatus::Unknown)) {
        Readiness::Unknown(Reason::DeviceNotReady, say)
    } else {
        Readiness::Converging(Reason::DeviceNotReady, say)
    })
}

impl Member {
    fn is(&self, kind: ConditionType) -> bool {
        self.status(kind) == Some(ConditionStatus::True)
    }

    /// Whether the condition of the device was written and holds.
    fn status(&self, kind: ConditionType) -> Option<ConditionStatus> {
        let condition = self.device.as_ref()?.condition(kind)?;
        [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown]
            .into_iter()
            .find(|truth| truth.as_str() == condition.status)
    }

    fn reason(&self, kind: ConditionType) -> Option<Reason> {
        Reason::parse(self.device.as_ref()?.reason(kind))
    }
}

/// All conditions, in the order for readers.
pub(super) fn conditions(observed: &Observed, declared: Option<&Readiness>) -> Vec<ConditionUpdate> {
    let verdict = declared.cloned().or_else(|| realised(observed));
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning && !observed.station.spec.suspend {
            commissioning(verdict.as_ref())
        } else {
            ready(verdict.as_ref())
        };
    vec![
        is_ready,
        available(observed),
        interlocks(observed),
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

fn available(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Available;
    if let Some(reason) = resting(observed) {
        return ConditionUpdate::no(kind, reason, "");
    }
    let mut judged = serves(observed);
    if let (ConditionStatus::False | ConditionStatus::Unknown, Fallback::Serves, Some(fallback)) =
        (judged.status, observed.fallback, &observed.station.spec.fallback_ref)
    {
        let takes_over = format!("{}: InspectionStation {fallback} takes over.", Reason::FallbackServes);
        judged.message =
            if judged.message.is_empty() { takes_over } else { format!("{} {takes_over}", judged.message) };
    }
    judged
}

/// Whether it can serve now: first what forbids it, then what it lacks, then what nobody can tell.
fn serves(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Available;
    let (interlocks, licensed, calibrated) = (interlocks(observed), licensed(observed), calibrated(observed));
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
        let lost = |member: &&Member| member.slot.need == Need::Required && !member.is(ConditionType::Available);
        observed.members.iter().filter(lost)
    };
    let (unknown, lost): (Vec<&Member>, Vec<&Member>) =
        required().partition(|member| member.status(ConditionType::Available) == Some(ConditionStatus::Unknown));
    if !lost.is_empty() {
        let say = format!("Required devices cannot serve: {}.", list(lost.iter().map(|m| &m.slot.device_ref)));
        return ConditionUpdate::no(kind, Reason::DeviceNotAvailable, say);
    }
    if let Some(first) = unknown.first() {
        let say = format!(
            "Nobody can tell whether these devices serve: {}.",
            list(unknown.iter().map(|m| &m.slot.device_ref))
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

fn interlocks(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::InterlocksSafe;
    if let Some(reason) = resting(observed).filter(|reason| *reason != Reason::Commissioning) {
        return ConditionUpdate::unknown(kind, reason, "");
    }
    let all = observed.guards(GuardKind::Interlock);
    let open: Vec<_> = in_state(&all, GuardState::Unsafe);
    if !open.is_empty() {
        let lanes = closed_lanes(observed);
        let closed = if lanes.is_empty() {
            "Make it safe at the station.".to_owned()
        } else {
            format!("Closed until it is safe: lanes {}.", list(lanes.iter()))
        };
        return ConditionUpdate::no(kind, Reason::InterlockOpen, format!("Open: {}. {closed}", open.join(", ")));
    }
    let unread = in_state(&all, GuardState::Unknown);
    if !unread.is_empty() {
        let lanes = closed_lanes(observed);
        let then = if lanes.is_empty() {
            "No lane is closed for it: the PLC holds the interlock itself".to_owned()
        } else {
            format!("It was open, so lanes {} stay closed until it is read to be safe", list(lanes.iter()))
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
    let of = |truth: ConditionStatus| {
        let named = observed.members.iter().filter(move |member| member.status(kind) == Some(truth));
        named.map(|member| &member.slot.device_ref).collect::<Vec<_>>()
    };
    let (expired, unknown) = (of(ConditionStatus::False), of(ConditionStatus::Unknown));
    if !expired.is_empty() {
        let say = format!("Not calibrated: {}. Have them calibrated and sealed.", list(expired));
        return ConditionUpdate::no(kind, Reason::CalibrationExpired, say);
    }
    let unread = in_state(&seals, GuardState::Unknown);
    if !unread.is_empty() || !unknown.is_empty() {
        let names = unread.into_iter().chain(unknown.iter().map(|name| name.to_string())).collect::<Vec<_>>();
        let reason = observed.members.iter().find(|member| member.status(kind) == Some(ConditionStatus::Unknown));
        let reason = reason.and_then(|member| member.reason(kind)).unwrap_or(Reason::DeviceNotReady);
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

fn list<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
    names.into_iter().map(Name::as_str).take(LISTED).collect::<Vec<_>>().join(", ")
}
