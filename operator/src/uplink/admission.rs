//! What of a report is believed. An allow-list: the agent's own items, known words, bounded texts.
//!
//! The image keeps every item as it was said, because its digest covers all of them; controllers see only what passed here.

use std::collections::BTreeSet;

use kalong_crds::Reason;
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::event::Event;
use kalong_crds::wire::order::DeviceOrder;
use kalong_crds::wire::reported::{DeviceReport, ItemState, ReportedItem};

/// Deepest nesting of a message.
pub const MAX_DEPTH: usize = 8;
/// Longest message text, in characters.
pub const MAX_TEXT: usize = 1024;
/// Longest error text of a firmware attempt, in characters.
const MAX_ERROR: usize = 512;
/// Longest name, version or code, in characters.
const MAX_WORD: usize = 63;
/// Longest time in RFC 3339, in characters.
const MAX_TIME: usize = 35;
/// Health codes of one device.
const MAX_CODES: usize = 8;
/// Highest number of a firmware attempt.
const MAX_ATTEMPT: i64 = 1_000_000;

/// Whether the nesting of this JSON stays within the bound; the parser then never sees a deep one.
pub fn shallow(json: &[u8]) -> bool {
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

/// The health codes that a device's order lists; none for other kinds.
pub fn codes(item: &Item) -> BTreeSet<String> {
    let order = (item.kind == ItemKind::Device).then(|| serde_json::from_value::<DeviceOrder>(item.spec.clone()));
    match order {
        Some(Ok(order)) => order.health_codes.into_iter().map(|code| code.name).collect(),
        _ => BTreeSet::new(),
    }
}

/// What a report may say of an item of this kind with these health codes. Nothing if it is of another kind.
pub fn admit(said: &ReportedItem, kind: ItemKind, codes: &BTreeSet<String>) -> Option<ReportedItem> {
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
        device: said.device.as_ref().filter(|_| kind == ItemKind::Device).map(|device| admit_device(device, codes)),
        lane: said.lane.clone().filter(|_| kind == ItemKind::Lane),
        igv: None,
        link: None,
    })
}

fn admit_device(said: &DeviceReport, codes: &BTreeSet<String>) -> DeviceReport {
    let mut device = said.clone();
    if let Some(health) = &mut device.health {
        health.codes.retain(|code| codes.contains(code));
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

/// One of the documented words; an unknown one becomes the plainest word that fits the state.
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

/// The documented reason of this name.
pub fn documented(word: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == word)
}

/// The text without control characters, which could forge lines in logs, cut at so many characters.
pub fn text(said: &str, most: usize) -> String {
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// Whether an event may become a Kubernetes Event: a documented reason, and names that can be names of objects.
pub fn admit_event(agent: &AgentId, event: &Event) -> bool {
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
    use kalong_crds::device::{FirmwareStatus, Health, HealthState};
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
            device: Some(DeviceReport {
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
            }),
            lane: Some(Default::default()),
            igv: None,
            link: None,
        }
    }

    #[test]
    fn report_is_cut_to_its_bounds_and_to_the_models_words() {
        let codes = ["LensDirty".to_owned()].into();
        let item = admit(&said("Bogus", ItemState::Failed), ItemKind::Device, &codes).unwrap();
        assert_eq!((item.reason.as_str(), item.applied, item.lane), ("FailedOnDevice", 2, None));
        assert!(item.message.len() == MAX_TEXT && !item.message.contains('\n'));
        let device = item.device.unwrap();
        assert_eq!(device.health.unwrap().codes, ["LensDirty"]);
        let firmware = device.firmware.unwrap();
        assert_eq!(
            (firmware.running.len(), firmware.attempt, firmware.since, firmware.security_counter),
            (63, 0, None, 0)
        );
        assert_eq!(admit(&said("", ItemState::Applied), ItemKind::Lane, &codes), None);
    }

    #[test]
    fn documented_reason_stays() {
        let item = admit(&said("DeviceUnreachable", ItemState::Failed), ItemKind::Device, &BTreeSet::new()).unwrap();
        assert_eq!(item.reason, "DeviceUnreachable");
    }

    #[test]
    fn depth_is_counted_outside_of_texts() {
        assert!(shallow(br#"{"a":"[[[[[[[[[[[[[[\"[[[[","b":[[[[[[[]]]]]]]}"#));
        assert!(!shallow(&[b'['; 9]));
    }
}
