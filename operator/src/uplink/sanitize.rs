//! What of a report is believed: the agent's own items, listed terms, bounded texts. Pure.
//!
//! The reported state keeps every item as it came, since its digest covers all of them; controllers see only what passed here.

use std::collections::BTreeSet;

use kalong_crds::Reason;
use kalong_crds::device::{GuardKind, GuardState};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::event::Event;
use kalong_crds::wire::order::DeviceOrder;
use kalong_crds::wire::reported::{
    DeviceReport, DrainRefusal, IgvReport, ItemState, LaneReport, ReportBody, ReportedItem,
};

/// Deepest nesting of a message.
const MAX_DEPTH: usize = 8;
/// Longest message text, in characters.
pub(super) const MAX_TEXT: usize = 1024;
/// Longest error text of a firmware attempt, in characters.
const MAX_ERROR: usize = 512;
/// Longest name, version or code, in characters.
const MAX_WORD: usize = 63;
/// Longest time in RFC 3339, in characters.
const MAX_TIME: usize = 35;
/// Health codes of one device.
const MAX_CODES: usize = 8;
/// Interlocks and seals of one device.
const MAX_GUARDS: usize = 16;
/// Claims that one refusal names.
const MAX_DRAINS: usize = 16;
/// Longest name of an object, in characters.
const MAX_NAME: usize = 253;
const MAX_MAPS: usize = 16;
/// Software parts of one vehicle.
const MAX_SOFTWARE: usize = 16;
/// Error types of one vehicle.
const MAX_ERRORS: usize = 8;
/// Highest number of a firmware attempt.
const MAX_ATTEMPT: i64 = 1_000_000;

/// Whether the nesting of this JSON stays within [`MAX_DEPTH`]: the parser must never see a deep one.
pub(super) fn is_shallow(json: &[u8]) -> bool {
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' | b'[' if !text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b'}' | b']' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// The names that a device may use in its reports: those of its model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AllowedTerms {
    pub codes: BTreeSet<String>,
    pub guards: BTreeSet<(String, GuardKind)>,
}

impl AllowedTerms {
    /// The terms that a device's order lists; none for other kinds.
    pub fn of(item: &Item) -> Self {
        let Ok(order) = item.order::<DeviceOrder>() else { return Self::default() };
        let interlocks =
            order.regulatory.interlocks.into_iter().map(|interlock| (interlock.name, GuardKind::Interlock));
        let seals = order.regulatory.seals.into_iter().map(|seal| (seal.name, GuardKind::Seal));
        Self {
            codes: order.health_codes.into_iter().map(|code| code.name).collect(),
            guards: interlocks.chain(seals).collect(),
        }
    }
}

/// What is believed of a report on an item of this kind. Nothing if it reports another kind.
pub(super) fn item(said: &ReportedItem, kind: ItemKind, allowed: &AllowedTerms) -> Option<ReportedItem> {
    if said.kind != kind {
        return None;
    }
    Some(ReportedItem {
        uid: said.uid.clone(),
        kind,
        generation: said.generation,
        hash: said.hash.clone(),
        applied: said.applied.clamp(0, said.generation.max(0)),
        state: said.state,
        reason: reason(&said.reason, said.state),
        message: text(&said.message, MAX_TEXT),
        body: said.body.as_ref().and_then(|said| body(said, kind, allowed)),
    })
}

fn body(said: &ReportBody, kind: ItemKind, allowed: &AllowedTerms) -> Option<ReportBody> {
    Some(match (said, kind) {
        (ReportBody::Device(said), ItemKind::Device) => ReportBody::Device(device(said, allowed)),
        (ReportBody::Lane(said), ItemKind::Lane) => ReportBody::Lane(lane(said)),
        (ReportBody::Igv(said), ItemKind::Igv) => ReportBody::Igv(igv(said)),
        (ReportBody::Link(said), ItemKind::Link) => ReportBody::Link(said.clone()),
        _ => return None,
    })
}

fn lane(said: &LaneReport) -> LaneReport {
    LaneReport { refusal: said.refusal.as_ref().and_then(refusal), ..said.clone() }
}

/// A refusal with one of its two reasons. Any other is dropped: the lane then merely counts as not empty yet.
fn refusal(said: &DrainRefusal) -> Option<DrainRefusal> {
    let reason =
        documented(&said.reason).filter(|word| matches!(word, Reason::DrainTimedOut | Reason::DrainRefused))?;
    Some(DrainRefusal {
        drains: said.drains.iter().take(MAX_DRAINS).map(|name| text(name, MAX_NAME)).collect(),
        reason: reason.to_string(),
        message: text(&said.message, MAX_TEXT),
    })
}

fn igv(said: &IgvReport) -> IgvReport {
    let mut igv = said.clone();
    igv.operating_mode = igv.operating_mode.as_deref().map(|mode| text(mode, MAX_WORD)).filter(|mode| !mode.is_empty());
    if let Some(maps) = &mut igv.maps {
        maps.truncate(MAX_MAPS);
        for map in maps {
            map.name = text(&map.name, MAX_WORD);
            map.version = text(&map.version, MAX_WORD);
        }
    }
    igv.software.retain(|part| !part.name.is_empty());
    igv.software.truncate(MAX_SOFTWARE);
    for part in &mut igv.software {
        part.name = text(&part.name, MAX_WORD);
        part.version = text(&part.version, MAX_WORD);
    }
    igv.software.sort();
    igv.errors.truncate(MAX_ERRORS);
    for error in &mut igv.errors {
        *error = text(error, MAX_WORD);
    }
    igv
}

fn device(said: &DeviceReport, allowed: &AllowedTerms) -> DeviceReport {
    let mut device = said.clone();
    device.guards.retain(|guard| allowed.guards.contains(&(guard.name.clone(), guard.kind)));
    // Of two reports on one guard the unsafe one is kept.
    device.guards.sort_by_key(|guard| (guard.name.clone(), guard.kind, guard.state != GuardState::Unsafe));
    device.guards.dedup_by(|later, earlier| (&later.name, later.kind) == (&earlier.name, earlier.kind));
    device.guards.truncate(MAX_GUARDS);
    if let Some(health) = &mut device.health {
        health.codes.retain(|code| allowed.codes.contains(code));
        health.codes.sort();
        health.codes.dedup();
        health.codes.truncate(MAX_CODES);
    }
    if let Some(firmware) = &mut device.firmware {
        firmware.running = text(&firmware.running, MAX_WORD);
        for version in [&mut firmware.previous, &mut firmware.staged] {
            *version = version.as_deref().map(|v| text(v, MAX_WORD));
        }
        firmware.attempt = firmware.attempt.clamp(0, MAX_ATTEMPT);
        firmware.since = firmware.since.as_deref().filter(|since| is_time(since)).map(str::to_owned);
        firmware.last_error = firmware.last_error.as_deref().map(|error| text(error, MAX_ERROR));
        firmware.security_counter = firmware.security_counter.max(0);
    }
    device.calibrated_until = device.calibrated_until.as_deref().map(|day| text(day, MAX_TIME));
    device
}

fn is_time(text: &str) -> bool {
    text.len() <= MAX_TIME && text.parse::<jiff::Timestamp>().is_ok()
}

/// A documented reason; an unknown one is replaced by the most general reason for the state.
fn reason(word: &str, state: ItemState) -> String {
    if let Some(known) = documented(word) {
        return known.as_str().to_owned();
    }
    match state {
        ItemState::Applied => String::new(),
        ItemState::Applying => Reason::Applying.to_string(),
        ItemState::Failed => Reason::FailedOnDevice.to_string(),
        ItemState::Rejected => Reason::RejectedByAgent.to_string(),
    }
}

fn documented(word: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == word)
}

/// The text without control characters, which could forge lines in logs, cut at so many characters.
pub(super) fn text(said: &str, most: usize) -> String {
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// Whether an event may become a Kubernetes Event: it has a documented reason, and its names can be names of objects.
pub(super) fn is_recordable(agent: &AgentId, event: &Event) -> bool {
    let name = |text: &str| {
        !text.is_empty()
            && text.len() <= 253
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    };
    let own = event.kind != ItemKind::Agent || event.name == agent.name();
    own && documented(&event.reason).is_some() && name(&event.name) && event.uid.len() <= MAX_WORD
}

#[cfg(test)]
mod tests {
    use kalong_crds::device::{FirmwareStatus, Guard, Health, HealthState};
    use kalong_crds::igv::{SoftwareVersion, VehicleMap};
    use kalong_crds::units::Digest;

    use super::*;

    fn said(reason: &str, state: ItemState) -> ReportedItem {
        ReportedItem {
            uid: "u".into(),
            kind: ItemKind::Device,
            generation: 2,
            hash: Digest::of(b"x"),
            applied: 9,
            state,
            reason: reason.into(),
            message: format!("line\nforged {}", "x".repeat(3000)),
            body: Some(ReportBody::Device(DeviceReport {
                connected: true,
                health: Some(Health {
                    state: HealthState::Degraded,
                    codes: ["Unknown", "LensDirty", "LensDirty"].map(str::to_owned).to_vec(),
                }),
                firmware: Some(FirmwareStatus {
                    running: "v".repeat(100),
                    attempt: -1,
                    since: Some("yesterday".into()),
                    security_counter: -4,
                    ..FirmwareStatus::default()
                }),
                ..DeviceReport::default()
            })),
        }
    }

    #[test]
    fn report_is_cut_to_its_bounds_and_to_the_models_terms() {
        let allowed = AllowedTerms { codes: ["LensDirty".to_owned()].into(), ..AllowedTerms::default() };
        let item = item(&said("Bogus", ItemState::Failed), ItemKind::Device, &allowed).unwrap();
        assert_eq!((item.reason.as_str(), item.applied), ("FailedOnDevice", 2));
        assert!(item.message.len() == MAX_TEXT && !item.message.contains('\n'));
        let device = item.device().unwrap();
        assert_eq!(device.health.as_ref().unwrap().codes, ["LensDirty"]);
        let firmware = device.firmware.as_ref().unwrap();
        assert_eq!(
            (firmware.running.len(), firmware.attempt, firmware.since.as_deref(), firmware.security_counter),
            (63, 0, None, 0)
        );
        assert_eq!(super::item(&said("", ItemState::Applied), ItemKind::Lane, &allowed), None);
    }

    #[test]
    fn only_guards_of_the_model_are_believed_and_none_twice() {
        let guard = |name: &str, kind, state| Guard { name: name.into(), kind, state };
        let mut item = said("", ItemState::Applied);
        let Some(ReportBody::Device(device)) = &mut item.body else { panic!("{item:?}") };
        device.guards = vec![
            guard("searchComplete", GuardKind::Interlock, GuardState::Unsafe),
            guard("searchComplete", GuardKind::Interlock, GuardState::Safe),
            guard("searchComplete", GuardKind::Seal, GuardState::Safe),
            guard("invented", GuardKind::Interlock, GuardState::Safe),
        ];
        let allowed = AllowedTerms {
            guards: [("searchComplete".to_owned(), GuardKind::Interlock)].into(),
            ..AllowedTerms::default()
        };
        let admitted = super::item(&item, ItemKind::Device, &allowed).unwrap();
        assert_eq!(
            admitted.device().unwrap().guards,
            [guard("searchComplete", GuardKind::Interlock, GuardState::Unsafe)]
        );
    }

    #[test]
    fn refusal_has_one_of_two_reasons_and_bounded_names() {
        let report = |reason: &str| LaneReport {
            refusal: Some(DrainRefusal {
                drains: vec!["d\n".repeat(400); 40],
                reason: reason.into(),
                message: "m".repeat(3000),
            }),
            ..LaneReport::default()
        };
        let admitted = |reason: &str| {
            let body = Some(ReportBody::Lane(report(reason)));
            let lane = ReportedItem { kind: ItemKind::Lane, body, ..said("", ItemState::Applied) };
            item(&lane, ItemKind::Lane, &AllowedTerms::default()).unwrap().lane().unwrap().refusal.clone()
        };
        let refusal = admitted("DrainTimedOut").unwrap();
        assert_eq!((refusal.drains.len(), refusal.message.len()), (MAX_DRAINS, MAX_TEXT));
        assert!(refusal.drains.iter().all(|name| name.len() <= MAX_NAME && !name.contains('\n')));
        assert_eq!((admitted("SafeToGo"), admitted("Closed")), (None, None));
    }

    #[test]
    fn vehicle_is_told_within_bounds_and_only_as_a_vehicle() {
        let long = "v".repeat(200);
        let igv = IgvReport {
            operating_mode: Some(long.clone()),
            maps: Some(vec![VehicleMap { name: long.clone(), version: long.clone() }; 40]),
            software: vec![SoftwareVersion { name: long.clone(), version: long.clone() }; 40],
            errors: vec![long; 40],
            ..IgvReport::default()
        };
        let body = Some(ReportBody::Igv(igv));
        let item = ReportedItem { kind: ItemKind::Igv, body, ..said("", ItemState::Applied) };
        let admitted = super::item(&item, ItemKind::Igv, &AllowedTerms::default()).unwrap();
        let igv = admitted.igv().unwrap();
        assert_eq!((igv.maps.as_ref().unwrap().len(), igv.software.len(), igv.errors.len()), (16, 16, 8));
        assert!(igv.operating_mode.as_ref().unwrap().len() == 63 && igv.software[0].version.len() == 63);
        for kind in [ItemKind::Device, ItemKind::Lane, ItemKind::Link] {
            let disguised = ReportedItem { kind, ..item.clone() };
            assert_eq!(super::item(&disguised, kind, &AllowedTerms::default()).unwrap().body, None, "{kind:?}");
        }
    }

    #[test]
    fn documented_reason_stays() {
        let item =
            item(&said("DeviceUnreachable", ItemState::Failed), ItemKind::Device, &AllowedTerms::default()).unwrap();
        assert_eq!(item.reason, "DeviceUnreachable");
    }

    #[test]
    fn depth_is_counted_outside_of_texts() {
        assert!(is_shallow(br#"{"a":"[[[[[[[[[[[[[[\"[[[[","b":[[[[[[[]]]]]]]}"#));
        assert!(!is_shallow(&[b'['; 9]));
    }
}
