//! `InspectionStation`: a place where goods or vehicles are looked at, and the lanes that depend on it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocked::BlockedBy;
use crate::device::Ownership;
use crate::lane::Need;
use crate::units::Name;

/// Devices in the station, the lanes that it serves, and its licence.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "InspectionStation",
    plural = "inspectionstations",
    shortname = "stn",
    namespaced,
    status = "InspectionStationStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-field",
    category = "all",
    doc = "A place where goods or vehicles are inspected: its devices, its interlocks, its licence and the lanes that depend on it.",
    selectable = ".spec.phase",
    selectable = ".spec.crossingRef",
    selectable = ".spec.type",
    printcolumn(name = "Crossing", type_ = "string", json_path = ".spec.crossingRef"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(
        name = "Interlocks",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"InterlocksSafe\")].status"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".spec.phase", priority = 1),
    printcolumn(name = "Licence", type_ = "string", json_path = ".spec.licence.validUntil", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.slots.all(s, self.slots.filter(t, t.deviceRef == s.deviceRef).size() == 1)").message("`slots` must not name one device twice: a device fills one slot").field_path(".slots"),
    validation = Rule::new("self.crossingRef == oldSelf.crossingRef").message("`crossingRef` must not change: declare a new InspectionStation").field_path(".crossingRef"),
    validation = Rule::new("self.type != 'XRay' || has(self.licence)").message("`licence` must be given for type XRay: a source of radiation runs under a licence").field_path(".licence")
)]
pub struct InspectionStationSpec {
    /// Name of the Crossing that this station belongs to.
    pub crossing_ref: Name,
    /// What this station does.
    #[serde(rename = "type")]
    pub kind: StationType,
    /// The places of this station and the devices that fill them; a device fills at most one slot anywhere.
    #[schemars(length(min = 1, max = 32))]
    pub slots: Vec<StationSlot>,
    /// The lanes that send traffic through this station.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub serves_lanes: Vec<ServedLane>,
    /// Inspections that this station can carry out, as a count per hour.
    #[schemars(range(min = 1, max = 10_000))]
    pub capacity_per_hour: i64,
    /// Name of the InspectionStation that takes over while this one cannot serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_ref: Option<Name>,
    /// The licence under which this station operates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<Licence>,
    /// Takes the station out of use: it stays declared but serves no lane.
    #[serde(default)]
    pub suspend: bool,
    /// Owner of this station, who approves changes to it.
    #[serde(default)]
    pub ownership: Ownership,
    /// Name of the Phase that this station belongs to; if unset, it is always live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Name>,
}

/// What is done at a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StationType {
    /// Vehicles and containers are X-rayed.
    XRay,
    /// Vehicles are weighed.
    Weighing,
    /// Vehicles and goods are disinfected and held.
    Quarantine,
    /// Officers open and inspect goods.
    Inspection,
    /// Samples are examined.
    Laboratory,
    /// Goods change from one vehicle to another.
    Transload,
}

/// One place in a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StationSlot {
    /// Name of this place within the station, for example scanner.
    pub name: Name,
    /// Whether the station can serve without the device in this place.
    #[serde(default)]
    pub need: Need,
    /// Name of the Device that fills this place.
    pub device_ref: Name,
}

/// A lane that sends traffic through a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServedLane {
    /// Name of the Lane that sends traffic through this station.
    pub name: Name,
    /// Whether the lane can run past this station: a Required one closes while an interlock of the station is open.
    #[serde(default)]
    pub need: Need,
}

/// The licence of a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Licence {
    /// Number of the licence as the authority issued it.
    #[schemars(length(min = 1, max = 63))]
    pub number: String,
    /// Last day on which the licence is in force, as year-month-day in the crossing's zone.
    #[schemars(length(min = 10, max = 10), regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub valid_until: String,
}

/// Observed state of the station.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InspectionStationStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this station, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Lanes that an open interlock of this station keeps closed now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub closed_lanes: Vec<Name>,
    /// Why this station makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}
