//! What a running site says of its traffic: JSON of the control port, the same types on both sides.

use std::collections::BTreeMap;

use kalong_crds::lane::{CargoClass, LaneAdmission};
use serde::{Deserialize, Serialize};

/// An order to let traffic come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficOrder {
    /// The list of those who come follows from it.
    pub seed: u64,
    /// How many times faster than real time, 1 to 100.
    pub speed: u32,
}

/// All lanes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficReport {
    /// Time of the traffic's clock; it stands still once the traffic was stopped.
    pub traffic_millis: u64,
    /// The moment of this report, in milliseconds since 1970: every other moment in here is told in the same way.
    pub now_millis: u64,
    /// What was ordered; absent before the first traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<TrafficOrder>,
    /// Every lane of the site, those of phase 2 included, by name.
    pub lanes: Vec<LaneTraffic>,
}

/// What one lane's own controller says. At every moment `due` is the sum of who passed, who is inside and who waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneTraffic {
    pub name: String,
    /// Name of the device that runs it.
    pub controller: String,
    /// How many have come up to now, by the list that follows from the seed.
    pub due: u64,
    /// How many wait before the lane.
    pub waiting: u64,
    pub inside: u64,
    /// How many passed, by class, since the controller was made.
    pub passed: BTreeMap<CargoClass, u64>,
    /// Time of their transactions together, in tenths of a second.
    pub gate_tenths: u64,
    /// Time from arrival at the crossing to release of all of them together, in seconds.
    pub clearance_seconds: u64,
    /// What the lane did, at each turn; only the latest ones of a long run.
    pub admission: Vec<AdmissionChange>,
    /// When devices of the lane were touched; only the latest ones of a long run.
    pub touched: Vec<Touch>,
}

impl LaneTraffic {
    #[must_use]
    pub fn total(&self) -> u64 {
        self.passed.values().sum()
    }

    /// What the lane does now.
    #[must_use]
    pub fn state(&self) -> LaneAdmission {
        self.admission.last().map(|turn| turn.state).unwrap_or_default()
    }

    /// Whether the lane admits traffic now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state() == LaneAdmission::Open
    }
}

/// A turn of what a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionChange {
    /// When, in milliseconds since 1970.
    pub at_millis: u64,
    /// What it does from then on: `Open`, `Draining` or `Closed`.
    pub state: LaneAdmission,
}

/// A device of a lane was touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Touch {
    /// When, in milliseconds since 1970.
    pub at_millis: u64,
    pub device: String,
    /// What was done to it.
    pub kind: TouchKind,
    /// How many were inside the lane at that moment.
    pub inside: u64,
    /// What the lane did at that moment.
    pub state: LaneAdmission,
}

/// What was done to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TouchKind {
    /// Settings were written. Orders to open or close are none.
    Setting,
    Upload,
    Install,
    /// It went away and started.
    Restart,
}
