//! Interlocks and seals: their states by a device's reading, and the lanes that an open interlock closes. Pure.
//!
//! The interlock itself is hard-wired and in the controller; this reads it and can never replace it. A lane closes on an interlock that
//! is seen open, never on one that cannot be read: the hard-wired one still protects, and a lost cable is no reason to stop a border.
//! Once seen open it stays open until it is seen safe: a lost cable reopens no lane.

use std::collections::BTreeMap;

use kalong_crds::device::{Guard, GuardKind, GuardState};
use kalong_crds::wire::order::{DeviceOrder, LaneInterlock, LaneOrder};

use crate::driver::Reading;

/// The interlocks and seals of a device by its model, sorted; Unknown where nothing is read.
pub fn guards(order: &DeviceOrder, reading: Option<&Reading>) -> Vec<Guard> {
    let state = |name: &str, good: &str| match reading.and_then(|r| r.properties.get(name)) {
        None => GuardState::Unknown,
        Some(value) if value.to_string() == good => GuardState::Safe,
        Some(_) => GuardState::Unsafe,
    };
    let regulatory = &order.regulatory;
    let interlocks = regulatory.interlocks.iter().map(|i| (&i.name, GuardKind::Interlock, state(&i.name, &i.safe)));
    let seals = regulatory.seals.iter().map(|s| (&s.name, GuardKind::Seal, state(&s.name, &s.intact)));
    let mut guards: Vec<_> =
        interlocks.chain(seals).map(|(name, kind, state)| Guard { name: name.clone(), kind, state }).collect();
    guards.sort_unstable();
    guards
}

/// The interlocks of one device of this box.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DeviceInterlocks {
    device: String,
    states: BTreeMap<String, GuardState>,
}

/// The interlocks that this box reads itself, by uid of the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterlockStates {
    devices: BTreeMap<String, DeviceInterlocks>,
}

impl InterlockStates {
    /// Takes in what a device shows; returns whether that differs from before.
    pub fn update(&mut self, uid: &str, name: &str, guards: &[Guard]) -> bool {
        let interlocks = guards.iter().filter(|g| g.kind == GuardKind::Interlock);
        let states = interlocks.map(|g| (g.name.clone(), g.state)).collect();
        let now = DeviceInterlocks { device: name.to_owned(), states };
        if self.devices.get(uid) == Some(&now) {
            return false;
        }
        self.devices.insert(uid.to_owned(), now);
        true
    }

    /// Forgets a device: its interlocks are Unknown from now on.
    pub fn forget(&mut self, uid: &str) {
        self.devices.remove(uid);
    }

    fn state(&self, interlock: &LaneInterlock) -> GuardState {
        let state = self.devices.get(&interlock.device).and_then(|d| d.states.get(&interlock.name));
        state.copied().unwrap_or_default()
    }

    fn label(&self, interlock: &LaneInterlock) -> String {
        let device = self.devices.get(&interlock.device).map_or(&interlock.device, |d| &d.device);
        format!("{device}.{}", interlock.name)
    }
}

/// The interlocks of this lane that are open: those seen open, and of those that cannot be read now the ones seen open before.
pub fn latched(order: &LaneOrder, states: &InterlockStates, before: &[LaneInterlock]) -> Vec<LaneInterlock> {
    let open = |interlock: &&LaneInterlock| match states.state(interlock) {
        GuardState::Unsafe => true,
        GuardState::Safe => false,
        GuardState::Unknown => before.contains(interlock),
    };
    order.interlocks.iter().filter(open).cloned().collect()
}

/// The names of everything that keeps this lane closed: what this box saw open, and what other boxes reported to the operator. What this
/// box reads as safe is safe, whatever the operator knew before.
pub fn open(order: &LaneOrder, states: &InterlockStates, latched: &[LaneInterlock]) -> Vec<String> {
    let names = |label: &str, told: &str| told == label || told.rsplit_once('/').is_some_and(|(_, rest)| rest == label);
    let safe: Vec<_> =
        order.interlocks.iter().filter(|i| states.state(i) == GuardState::Safe).map(|i| states.label(i)).collect();
    let mut open: Vec<String> =
        order.open_interlocks.iter().filter(|told| !safe.iter().any(|label| names(label, told))).cloned().collect();
    for label in latched.iter().map(|i| states.label(i)) {
        if !open.iter().any(|told| names(&label, told)) {
            open.push(label);
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use kalong_crds::device_model::{Interlock, Seal};
    use kalong_crds::lane::{Admission, Service};
    use kalong_crds::units::Value;

    use super::*;
    use crate::testing::{lane_order, order};

    fn reading(values: &[(&str, &str)]) -> Reading {
        let properties = values.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        Reading { properties, ..Reading::default() }
    }

    fn interlock(device: &str) -> LaneInterlock {
        LaneInterlock { device: device.into(), name: "beam".into() }
    }

    fn lane(interlocks: &[LaneInterlock], told: &[&str]) -> LaneOrder {
        LaneOrder {
            interlocks: interlocks.to_vec(),
            open_interlocks: told.iter().map(|t| (*t).to_owned()).collect(),
            ..lane_order("plc", &["plc"], Admission::Open, Service::Smart)
        }
    }

    fn beam(state: GuardState) -> Vec<Guard> {
        vec![Guard { name: "beam".into(), kind: GuardKind::Interlock, state }]
    }

    #[test]
    fn guards_are_safe_only_at_the_value_of_the_model_and_unknown_when_unread() {
        let mut order = order();
        order.regulatory.interlocks = vec![Interlock { name: "beam".into(), safe: "Off".into() }];
        order.regulatory.seals = vec![Seal { name: "cover".into(), intact: "Whole".into() }];
        let seen = |reading: Option<&Reading>| guards(&order, reading).iter().map(|g| g.state).collect::<Vec<_>>();
        use GuardState::{Safe, Unknown, Unsafe};
        assert_eq!(seen(Some(&reading(&[("beam", "Off"), ("cover", "Broken")]))), [Safe, Unsafe]);
        assert_eq!(seen(Some(&reading(&[("beam", "On")]))), [Unsafe, Unknown]);
        assert_eq!(seen(None), [Unknown, Unknown]);
    }

    #[test]
    fn interlock_that_cannot_be_read_neither_closes_nor_reopens() {
        let order = lane(&[interlock("x")], &[]);
        let mut states = InterlockStates::default();
        assert!(states.update("x", "xray", &beam(GuardState::Unknown)));
        assert!(latched(&order, &states, &[]).is_empty());
        states.update("x", "xray", &beam(GuardState::Unsafe));
        let open_now = latched(&order, &states, &[]);
        assert_eq!(open(&order, &states, &open_now), ["xray.beam"]);
        states.update("x", "xray", &beam(GuardState::Unknown));
        assert_eq!(latched(&order, &states, &open_now), open_now);
        states.update("x", "xray", &beam(GuardState::Safe));
        assert!(latched(&order, &states, &open_now).is_empty());
        assert!(latched(&lane(&[], &[]), &states, &open_now).is_empty(), "a lane that depends on it no more");
    }

    #[test]
    fn what_this_box_reads_as_safe_overrules_what_the_operator_heard_before() {
        let order = lane(&[interlock("x")], &["scan/xray.beam", "scan/far.door"]);
        let mut states = InterlockStates::default();
        assert_eq!(open(&order, &states, &[]), ["scan/xray.beam", "scan/far.door"]);
        states.update("x", "xray", &beam(GuardState::Safe));
        assert_eq!(open(&order, &states, &[]), ["scan/far.door"]);
        states.update("x", "xray", &beam(GuardState::Unsafe));
        assert_eq!(open(&order, &states, &[interlock("x")]), ["scan/xray.beam", "scan/far.door"], "each is named once");
        assert!(!states.update("x", "xray", &beam(GuardState::Unsafe)));
    }
}
