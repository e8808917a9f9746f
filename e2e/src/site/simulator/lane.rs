//! What a device is for its lane: what guards it, and what it writes down.

use kalong_crds::units::Value;

use super::device::{Device, DeviceState};
use crate::site::report::InterlockState;
use crate::site::traffic::TouchKind;

/// What guards people from a device, or a device from people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GuardKind {
    Interlock,
    Seal,
}

impl Device {
    /// Writes down that somebody touched this device, if it stands in a lane.
    pub fn touched(&self, kind: TouchKind) {
        if let Some(lane_log) = self.lane_log() {
            lane_log.touch(&self.placed.name, kind);
        }
    }

    /// Writes down what the lane does, if this device runs it.
    pub fn show_lane(&self, state: &DeviceState) {
        if let Some(lane_log) = self.lane_log().filter(|_| self.model().class().runs_lanes()) {
            lane_log.show(state.admission_state(), state.occupied());
        }
    }

    /// Opens the interlock or breaks the seal of this device, or makes it good again.
    ///
    /// # Errors
    /// It has none, and what to take instead.
    pub fn guard(&self, which: GuardKind, wanted: InterlockState) -> Result<(), String> {
        let guard = match which {
            GuardKind::Interlock => self.model().interlock().map(|interlock| (&interlock.name, &interlock.safe)),
            GuardKind::Seal => self.model().seal().map(|seal| (&seal.name, &seal.intact)),
        };
        let Some((name, safe)) = guard else {
            return Err(format!("{} is a {} and has no {which:?}", self.placed.name, self.model().name));
        };
        let words = self.declared(name).map(|property| property.values.as_slice()).unwrap_or_default();
        let other = words.iter().find(|word| *word != safe).unwrap_or(safe);
        let shown = if wanted == InterlockState::Safe { safe } else { other };
        self.state().shown.insert(name.clone(), Value::from(shown.as_str()));
        Ok(())
    }
}

impl DeviceState {
    /// What the lane does: it is closed only once nobody is inside.
    pub fn admission_state(&self) -> &'static str {
        match (self.admission, self.occupied()) {
            ("Open", _) => "Open",
            (_, 0) => "Closed",
            _ => "Draining",
        }
    }

    /// How many are inside the lane.
    pub fn occupied(&self) -> i64 {
        self.occupancy + self.inside
    }
}
