//! `IGV`: one unmanned guided vehicle, seen over VDA 5050 and never driven from here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocked::BlockedBy;
use crate::device::{Ownership, WantedFirmware};
use crate::units::Name;

/// Identity of the vehicle, its broker, its maps and zones, and where and when it may be changed.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "IGV",
    plural = "igvs",
    shortname = "igv",
    namespaced,
    status = "IGVStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-field",
    category = "all",
    doc = "One unmanned guided vehicle: its VDA 5050 identity, its maps and zones, and where and when it may be changed.",
    selectable = ".spec.phase",
    selectable = ".spec.crossingRef",
    selectable = ".spec.agentRef",
    printcolumn(name = "Crossing", type_ = "string", json_path = ".spec.crossingRef"),
    printcolumn(name = "Serial", type_ = "string", json_path = ".spec.vda5050.serialNumber"),
    printcolumn(name = "Connection", type_ = "string", json_path = ".status.connection"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.operatingMode"),
    printcolumn(name = "Side", type_ = "string", json_path = ".status.side"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".spec.phase", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.vda5050.manufacturer == oldSelf.vda5050.manufacturer && self.vda5050.serialNumber == oldSelf.vda5050.serialNumber").message("`vda5050.manufacturer` and `vda5050.serialNumber` must not change: declare a new IGV").field_path(".vda5050"))]
pub struct IGVSpec {
    /// Name of the Crossing whose yard is home to this vehicle.
    pub crossing_ref: Name,
    /// Name of the EdgeAgent that subscribes to the fleet's broker.
    pub agent_ref: Name,
    /// MQTT broker of the fleet to which this vehicle publishes.
    pub broker: FleetBroker,
    /// Identity of this vehicle in VDA 5050.
    pub vda5050: Vda5050,
    /// Maps that this vehicle should carry, enabled in these versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub maps: Vec<VehicleMap>,
    /// Zones that decide on which side of the border line the vehicle is; the content of one id never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_set: Option<ZoneSet>,
    /// The software that this vehicle should run; if absent, what runs is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<WantedFirmware>,
    /// Where and in which state this vehicle may be changed.
    #[serde(default)]
    pub change_at: ChangeAt,
    /// Usable energy of the full battery, in unit watt-hours; energy used is computed from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 2_000_000))]
    pub battery_watt_hours: Option<i64>,
    /// Stops listening to the vehicle: nothing is received and nothing is judged.
    #[serde(default)]
    pub suspend: bool,
    /// Owner of this vehicle, who approves changes to it.
    #[serde(default)]
    pub ownership: Ownership,
    /// Name of the Phase that this vehicle belongs to; if unset, it is always live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Name>,
}

/// The fleet's MQTT broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetBroker {
    /// Host and port of the broker in the yard's network, for example 10.30.1.2:1883.
    #[schemars(length(min = 3, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+:[0-9]{1,5}$"))]
    pub endpoint: String,
    /// First level of the topics on this broker.
    #[serde(default = "FleetBroker::default_interface")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9_.-]+$"))]
    pub interface_name: String,
}

impl FleetBroker {
    fn default_interface() -> String {
        "uagv".to_owned()
    }
}

/// Identity of a vehicle in VDA 5050.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vda5050 {
    /// Version of the interface that this vehicle speaks.
    #[serde(default)]
    pub version: Vda5050Version,
    /// Manufacturer of this vehicle as it stands in its topics.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9_.:-]+$"))]
    pub manufacturer: String,
    /// Serial number of this vehicle as it stands in its topics.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9_.:-]+$"))]
    pub serial_number: String,
}

/// A version of VDA 5050.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Vda5050Version {
    /// Version 2.1, of August 2024.
    #[default]
    #[serde(rename = "2.1")]
    V2_1,
}

/// A map in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VehicleMap {
    /// Identity of the map, as the fleet knows it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9_.:-]+$"))]
    pub name: String,
    /// Version of the map that should be enabled.
    #[schemars(length(min = 1, max = 63))]
    pub version: String,
}

/// Zones by which the side of the line is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneSet {
    /// Identity of this zone set, derived from its content.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9_.:-]+$"))]
    pub id: String,
    /// The zones in the order in which they are tried; the first that holds the vehicle tells its side.
    #[schemars(length(min = 1, max = 16))]
    pub zones: Vec<Zone>,
}

/// A polygon on one map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Zone {
    /// The name of this zone within its set.
    pub name: Name,
    /// The side of the border line on which this zone lies.
    pub side: ZoneSide,
    /// Identity of the map on which the corners are given.
    #[schemars(length(min = 1, max = 63))]
    pub map: String,
    /// Corners of the zone in order, at least three.
    #[schemars(length(min = 3, max = 16))]
    pub corners: Vec<Corner>,
}

/// A corner of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Corner {
    /// Distance along the first axis of the map, in unit centimetres.
    #[schemars(range(min = -100_000_000, max = 100_000_000))]
    pub x_centimetres: i64,
    /// Distance along the second axis of the map, in unit centimetres.
    #[schemars(range(min = -100_000_000, max = 100_000_000))]
    pub y_centimetres: i64,
}

/// The side on which a zone lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ZoneSide {
    /// At home.
    Domestic,
    /// On the line or the bridge over it.
    OnLine,
    /// On the other side.
    Foreign,
}

/// Where and in which state a vehicle may be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeAt {
    /// Identities of the service nodes at which this vehicle may be changed; none means nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub nodes: Vec<String>,
    /// Lowest charge of the battery at which a change may begin, in unit percent.
    #[serde(default = "ChangeAt::default_charge")]
    #[schemars(range(min = 0, max = 100))]
    pub min_charge: i64,
}

impl ChangeAt {
    fn default_charge() -> i64 {
        40
    }
}

impl Default for ChangeAt {
    fn default() -> Self {
        Self { nodes: Vec::new(), min_charge: Self::default_charge() }
    }
}

/// Observed state of the vehicle. Position, charge and speed are metrics, never status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IGVStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this vehicle, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Connection of the vehicle to its fleet, as reported by the vehicle or its last will.
    #[serde(default)]
    pub connection: VehicleConnection,
    /// The operating mode that the vehicle reports, in the words of its standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub operating_mode: Option<String>,
    /// The side of the border line on which the vehicle is, by the zones declared for it.
    #[serde(default)]
    pub side: Side,
    /// Whether the vehicle carries a load, as far as it says so.
    #[serde(default)]
    pub laden: Laden,
    /// Versions of the vehicle's parts, from its factsheet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub software: Vec<SoftwareVersion>,
    /// Why this vehicle makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}

/// A vehicle's link to its fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum VehicleConnection {
    /// Never heard.
    #[default]
    Unknown,
    /// Connected.
    Online,
    /// It disconnected cleanly.
    Offline,
    /// Its connection broke.
    Broken,
}

/// The side of the border line on which a vehicle is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Side {
    /// At home.
    Domestic,
    /// On the line or the bridge over it.
    OnLine,
    /// On the other side.
    Foreign,
    /// Not known.
    #[default]
    Unknown,
}

/// Whether a vehicle carries a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Laden {
    /// It carries a load.
    Laden,
    /// It is empty.
    Empty,
    /// It does not say.
    #[default]
    Unknown,
}

/// The version of one part of a vehicle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareVersion {
    /// The part as the factsheet calls it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The version of this part that runs.
    #[schemars(length(max = 63))]
    pub version: String,
}
