//! Up: counters. Each is cumulative since its instrument was made, so a lost message loses nothing. Nothing here is status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lane::CargoClass;

/// Counters of an agent, sent at QoS 0 when something in them changed, at most every second and in parts of at most
/// [`super::PART_BUDGET`] bytes. Each message stands for itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// Lanes whose counters are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<LaneCounters>,
    /// Vehicles whose counters are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub igvs: Vec<IgvCounters>,
}

/// What passed one lane, without any identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneCounters {
    /// UID of the lane.
    pub uid: String,
    /// Passages by class of cargo; `General` for people and for what has no class.
    pub passages: Vec<ClassCount>,
    /// Time of the gate transactions, from arrival at the gate to leaving it.
    pub gate: Timing,
    /// Time from arrival at the crossing to release.
    pub clearance: Timing,
}

/// Passages of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassCount {
    /// The class.
    pub class: CargoClass,
    /// Passages since the lane's controller was made.
    pub count: u64,
}

/// A distribution of times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// How many were timed.
    pub count: u64,
    /// Their times together, in milliseconds.
    pub sum_millis: u64,
    /// How many took at most [`GATE_BOUNDS`] or [`CLEARANCE_BOUNDS`] seconds, cumulative, one entry a bound.
    pub buckets: Vec<u64>,
}

/// Bounds of the distribution of gate transactions, in seconds.
pub const GATE_BOUNDS: [u64; 8] = [5, 10, 15, 30, 60, 120, 300, 900];
/// Bounds of the distribution of clearances, in seconds: the objectives are four and six hours.
pub const CLEARANCE_BOUNDS: [u64; 9] = [60, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 86_400];

/// What one vehicle used, and how it is. Position stays at the gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgvCounters {
    /// UID of the vehicle.
    pub uid: String,
    /// Energy taken from its battery since the agent first heard it, in watt-hours.
    pub energy_watt_hours: u64,
    /// Charge of its battery in percent; absent where it does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge_percent: Option<u8>,
    /// Messages that it numbered and that never came.
    pub lost_messages: u64,
}
