//! Where the readiness of an InspectionStation is judged.

use jiff::tz::TimeZone;
use kalong_crds::condition::{ConditionType, Conditioned, Judgement, Reason, Truth};
use kalong_crds::device::{GuardKind, GuardState};
use kalong_crds::lane::Need;
use kalong_crds::units::Name;
use kube::ResourceExt;

use super::licence::{Standing, standing};
use super::observe::{Fallback, Guarded, Member, Seen};
use super::plan::closed_lanes;
use crate::kit::life::{Life, unknown_phase};
use crate::kit::readiness::{Verdict, commissioning, first, ready};

/// Names that one message lists.
const LISTED: usize = 8;

fn stuck(reason: Reason, say: String) -> Option<Verdict> {
    Some(Verdict::Stuck(reason, say))
}

/// Objections that stand whatever the devices say.
pub(super) fn declared(seen: &Seen) -> Option<Verdict> {
    let spec = &seen.station.spec;
    let missing = |kind: &str, names: Vec<&Name>| {
        if names.is_empty() {
            return None;
        }
        let say = format!("{kind} {} does not exist in this namespace: declare it, or correct the spec.", list(names));
        stuck(Reason::MissingReference, say)
    };
    match seen.life {
        Life::Planned => return Some(Verdict::Resting(Reason::Planned)),
        Life::UnknownPhase => return stuck(Reason::UnknownPhase, unknown_phase(spec.phase.as_ref())),
        Life::Commissioning | Life::InService => {}
    }
    if spec.suspend {
        return Some(Verdict::Resting(Reason::Suspended));
    }
    let devices = seen.members.iter().filter(|member| member.device.is_none());
    let fallback = spec.fallback_ref.iter().filter(|_| seen.fallback == Fallback::Missing);
    first([
        missing("Crossing", seen.crossing.is_none().then_some(&spec.crossing_ref).into_iter().collect()),
        zone(seen),
        missing("Device", devices.map(|member| &member.slot.device_ref).collect()),
        missing("Lane", seen.missing_lanes.iter().collect()),
        missing("InspectionStation", fallback.collect()),
        spec.fallback_ref.as_ref().filter(|fallback| fallback.as_str() == seen.station.name_any()).and_then(|_| {
            stuck(Reason::InvalidSpec, "`spec.fallbackRef` names the station itself: name another one.".to_owned())
        }),
        (standing(&seen.station, seen.crossing.as_deref(), seen.now) == Standing::NoDay).then(|| {
            Verdict::Stuck(
                Reason::InvalidSpec,
                "`spec.licence.validUntil` is no day of the calendar: correct it.".to_owned(),
            )
        }),
        (!seen.elsewhere.is_empty()).then(|| {
            let say = format!(
                "{} fills a slot of another station or of a lane too: a device fills one slot.",
                list(seen.elsewhere.iter())
            );
            Verdict::Stuck(Reason::SlotConflict, say)
        }),
        planned_member(seen),
    ])
}

fn zone(seen: &Seen) -> Option<Verdict> {
    let crossing = seen.crossing.as_ref()?;
    let zone = &crossing.spec.time_zone;
    TimeZone::get(zone).is_err().then(|| {
        let say = format!("`timeZone` {zone} of Crossing {} is no IANA time zone: correct it.", crossing.name_any());
        Verdict::Stuck(Reason::InvalidSpec, say)
    })
}

/// A live station with a device that may not be contacted can never become Ready.
fn planned_member(seen: &Seen) -> Option<Verdict> {
    let planned = |member: &&Member| {
        member.device.as_ref().is_some_and(|d| d.reason(ConditionType::Ready) == Reason::Planned.as_str())
    };
    let Member { slot, device, model: _ } = seen.members.iter().find(planned)?;
    let phase = device.as_ref()?.spec.phase.clone()?;
    stuck(
        Reason::InvalidSpec,
        format!(
            "Slot {} is filled by {}, which belongs to phase {phase} and is not live: use a device of the station's own phase.",
            slot.name, slot.device_ref
        ),
    )
}

fn realised(seen: &Seen) -> Option<Verdict> {
    let waiting: Vec<&Member> = seen.members.iter().filter(|member| !member.is(ConditionType::Ready)).collect();
    if waiting.is_empty() {
        return None;
    }
    let say = format!("Devices not Ready: {}.", list(waiting.iter().map(|member| &member.slot.device_ref)));
    Some(if waiting.iter().any(|member| member.status(ConditionType::Ready) == Some(Truth::Unknown)) {
        Verdict::Unknown(Reason::DeviceNotReady, say)
    } else {
        Verdict::Converging(Reason::DeviceNotReady, say)
    })
}

impl Member {
    fn is(&self, kind: ConditionType) -> bool {
        self.status(kind) == Some(Truth::True)
    }

    /// Whether the condition of the device was written and holds.
    fn status(&self, kind: ConditionType) -> Option<Truth> {
        let condition = self.device.as_ref()?.condition(kind)?;
        [Truth::True, Truth::False, Truth::Unknown].into_iter().find(|truth| truth.as_str() == condition.status)
    }

    fn reason(&self, kind: ConditionType) -> Option<Reason> {
        Reason::parse(self.device.as_ref()?.reason(kind))
    }
}

/// All conditions, in the order for readers.
pub(super) fn conditions(seen: &Seen, declared: Option<&Verdict>) -> Vec<Judgement> {
    let verdict = declared.cloned().or_else(|| realised(seen));
    let [is_ready, reconciling, stalled] = if seen.life == Life::Commissioning && !seen.station.spec.suspend {
        commissioning(verdict.as_ref())
    } else {
        ready(verdict.as_ref())
    };
    vec![is_ready, available(seen), interlocks(seen), licensed(seen), calibrated(seen), reconciling, stalled]
}

/// Why the station is out of use on purpose.
fn resting(seen: &Seen) -> Option<Reason> {
    match seen.life {
        Life::Planned => Some(Reason::Planned),
        _ if seen.station.spec.suspend => Some(Reason::Suspended),
        Life::Commissioning => Some(Reason::Commissioning),
        Life::InService | Life::UnknownPhase => None,
    }
}

fn available(seen: &Seen) -> Judgement {
    let kind = ConditionType::Available;
    if let Some(reason) = resting(seen) {
        return Judgement::no(kind, reason, "");
    }
    let mut judged = serves(seen);
    if let (Truth::False | Truth::Unknown, Fallback::Serves, Some(fallback)) =
        (judged.status, seen.fallback, &seen.station.spec.fallback_ref)
    {
        let takes_over = format!("{}: InspectionStation {fallback} takes over.", Reason::FallbackServes);
        judged.message =
            if judged.message.is_empty() { takes_over } else { format!("{} {takes_over}", judged.message) };
    }
    judged
}

/// Whether it can serve now: first what forbids it, then what it lacks, then what nobody can tell.
fn serves(seen: &Seen) -> Judgement {
    let kind = ConditionType::Available;
    let (interlocks, licensed, calibrated) = (interlocks(seen), licensed(seen), calibrated(seen));
    let passed_on = |judged: &Judgement| Judgement { kind, ..judged.clone() };
    for judged in [&interlocks, &licensed] {
        if judged.status == Truth::False {
            return passed_on(judged);
        }
    }
    if calibrated.reason == Reason::SealBroken {
        return passed_on(&calibrated);
    }
    let required = || {
        let lost = |member: &&Member| member.slot.need == Need::Required && !member.is(ConditionType::Available);
        seen.members.iter().filter(lost)
    };
    let (unknown, lost): (Vec<&Member>, Vec<&Member>) =
        required().partition(|member| member.status(ConditionType::Available) == Some(Truth::Unknown));
    if !lost.is_empty() {
        let say = format!("Required devices cannot serve: {}.", list(lost.iter().map(|m| &m.slot.device_ref)));
        return Judgement::no(kind, Reason::DeviceNotAvailable, say);
    }
    if let Some(first) = unknown.first() {
        let say = format!(
            "Nobody can tell whether these devices serve: {}.",
            list(unknown.iter().map(|m| &m.slot.device_ref))
        );
        return Judgement::unknown(kind, first.reason(kind).unwrap_or(Reason::DeviceNotAvailable), say);
    }
    for judged in [&interlocks, &licensed] {
        if judged.status == Truth::Unknown {
            return passed_on(judged);
        }
    }
    Judgement::yes(kind, Reason::Serving)
}

fn interlocks(seen: &Seen) -> Judgement {
    let kind = ConditionType::InterlocksSafe;
    if let Some(reason) = resting(seen).filter(|reason| *reason != Reason::Commissioning) {
        return Judgement::unknown(kind, reason, "");
    }
    let all = seen.guards(GuardKind::Interlock);
    let open: Vec<_> = in_state(&all, GuardState::Unsafe);
    if !open.is_empty() {
        let lanes = closed_lanes(seen);
        let closed = if lanes.is_empty() {
            "Make it safe at the station.".to_owned()
        } else {
            format!("Closed until it is safe: lanes {}.", list(lanes.iter()))
        };
        return Judgement::no(kind, Reason::InterlockOpen, format!("Open: {}. {closed}", open.join(", ")));
    }
    let unread = in_state(&all, GuardState::Unknown);
    if !unread.is_empty() {
        let lanes = closed_lanes(seen);
        let then = if lanes.is_empty() {
            "No lane is closed for it: the PLC holds the interlock itself".to_owned()
        } else {
            format!("It was open, so lanes {} stay closed until it is read to be safe", list(lanes.iter()))
        };
        let say = format!("Cannot be read: {}. {then}. Look at the device and its agent.", unread.join(", "));
        return Judgement::unknown(kind, Reason::InterlockUnknown, say);
    }
    Judgement::yes(kind, if all.is_empty() { Reason::NoInterlock } else { Reason::InterlocksClosed })
}

fn licensed(seen: &Seen) -> Judgement {
    let kind = ConditionType::Licensed;
    let number = seen.station.spec.licence.as_ref().map(|licence| licence.number.as_str()).unwrap_or_default();
    match standing(&seen.station, seen.crossing.as_deref(), seen.now) {
        Standing::NotDeclared => Judgement::yes(kind, Reason::NoLicence),
        Standing::InForce => Judgement::yes(kind, Reason::LicenceValid),
        Standing::Ending(last) => Judgement {
            message: format!("Licence {number} ends after {last}: have it prolonged and record the new day."),
            ..Judgement::yes(kind, Reason::LicenceEnding)
        },
        Standing::Ended(last) => Judgement::no(
            kind,
            Reason::LicenceExpired,
            format!("Licence {number} ended after {last}: the station may not operate until a new one is recorded."),
        ),
        Standing::NoDay => {
            Judgement::no(kind, Reason::InvalidSpec, "`spec.licence.validUntil` is no day of the calendar: correct it.")
        }
        Standing::NoZone => Judgement::unknown(
            kind,
            Reason::MissingReference,
            "The zone of the crossing is not known, so nobody can tell which day it is there.",
        ),
    }
}

fn calibrated(seen: &Seen) -> Judgement {
    let kind = ConditionType::Calibrated;
    if let Some(reason) = resting(seen).filter(|reason| *reason != Reason::Commissioning) {
        return Judgement::unknown(kind, reason, "");
    }
    let seals = seen.guards(GuardKind::Seal);
    let broken = in_state(&seals, GuardState::Unsafe);
    if !broken.is_empty() {
        let say = format!("Broken: {}. Find out why, and have the instrument verified and sealed.", broken.join(", "));
        return Judgement::no(kind, Reason::SealBroken, say);
    }
    let of = |truth: Truth| {
        let named = seen.members.iter().filter(move |member| member.status(kind) == Some(truth));
        named.map(|member| &member.slot.device_ref).collect::<Vec<_>>()
    };
    let (expired, unknown) = (of(Truth::False), of(Truth::Unknown));
    if !expired.is_empty() {
        let say = format!("Not calibrated: {}. Have them calibrated and sealed.", list(expired));
        return Judgement::no(kind, Reason::CalibrationExpired, say);
    }
    let unread = in_state(&seals, GuardState::Unknown);
    if !unread.is_empty() || !unknown.is_empty() {
        let names = unread.into_iter().chain(unknown.iter().map(|name| name.to_string())).collect::<Vec<_>>();
        let reason = seen.members.iter().find(|member| member.status(kind) == Some(Truth::Unknown));
        let reason = reason.and_then(|member| member.reason(kind)).unwrap_or(Reason::DeviceNotReady);
        return Judgement::unknown(kind, reason, format!("Cannot be read: {}.", names.join(", ")));
    }
    let judged = !seals.is_empty() || !of(Truth::True).is_empty();
    Judgement::yes(kind, if judged { Reason::CalibrationValid } else { Reason::NothingDeclared })
}

/// `<device>.<name>` of the guards in this state, at most eight.
fn in_state(guards: &[Guarded], state: GuardState) -> Vec<String> {
    let found = guards.iter().filter(|guarded| guarded.guard.state == state);
    found.map(|guarded| format!("{}.{}", guarded.device, guarded.guard.name)).take(LISTED).collect()
}

fn list<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
    names.into_iter().map(Name::as_str).take(LISTED).collect::<Vec<_>>().join(", ")
}
