//! `Lane`: the service unit of a gate.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocked::BlockedBy;
use crate::units::{Digest, Name};

/// Devices in the lane, its direction, whether it admits traffic, and how it is drained.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "Lane",
    plural = "lanes",
    shortname = "lane",
    namespaced,
    status = "LaneStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-field",
    category = "all",
    doc = "The service unit of a gate: slots filled by devices, a direction, and whether traffic is admitted.",
    selectable = ".spec.phase",
    selectable = ".spec.crossingRef",
    selectable = ".spec.service",
    selectable = ".spec.admission",
    printcolumn(name = "Crossing", type_ = "string", json_path = ".spec.crossingRef"),
    printcolumn(name = "Direction", type_ = "string", json_path = ".spec.direction"),
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.service"),
    printcolumn(name = "Wanted", type_ = "string", json_path = ".spec.admission"),
    printcolumn(name = "Actual", type_ = "string", json_path = ".status.admission"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".spec.phase", priority = 1),
    printcolumn(name = "Firmware", type_ = "string", json_path = ".status.firmware", priority = 1),
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
    validation = Rule::new("self.slots.filter(s, s.role == 'Controller').size() == 1").message("`slots` must hold exactly one slot with role Controller: the LanePlc or EGate that runs this lane").field_path(".slots"),
    validation = Rule::new("self.slots.all(s, self.slots.filter(t, t.deviceRef == s.deviceRef).size() == 1)").message("`slots` must not name one device twice: a device fills one slot").field_path(".slots"),
    validation = Rule::new("self.slots.all(s, s.role != 'Controller' || s.need == 'Required')").message("`slots` must hold the slot with role Controller with need Required: nothing runs the lane without it").field_path(".slots"),
    validation = Rule::new("self.crossingRef == oldSelf.crossingRef").message("`crossingRef` must not change: declare a new Lane").field_path(".crossingRef"),
    validation = Rule::new("oldSelf.admission == 'Closed' || self.direction == oldSelf.direction").message("`direction` must not change while the lane is Open: close it first").field_path(".direction")
)]
pub struct LaneSpec {
    /// Name of the Crossing that this lane belongs to.
    pub crossing_ref: Name,
    /// Direction of traffic through this lane.
    pub direction: Direction,
    /// The kind of traffic that this lane serves.
    pub service: Service,
    /// Whether this lane should admit traffic.
    #[serde(default)]
    pub admission: Admission,
    /// The places of this lane and the devices that fill them; a device fills at most one slot anywhere.
    #[schemars(length(min = 1, max = 32))]
    pub slots: Vec<Slot>,
    /// Rated capacity of this lane, in passages per hour.
    #[schemars(range(min = 1, max = 10_000))]
    pub rated_passages_per_hour: i64,
    /// Cargo classes that may use this lane; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub allowed_cargo_classes: Vec<CargoClass>,
    /// How this lane is drained before it is changed or closed.
    #[serde(default)]
    pub drain: Drain,
    /// Names of the lanes that take over, in the order to try them, when this one cannot serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub fallback: Vec<Name>,
    /// Name of the Phase that this lane belongs to; if unset, it is always live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Name>,
}

/// Direction of travel as seen from the country that runs this control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// Into the country.
    Inbound,
    /// Out of the country.
    Outbound,
    /// Changes with the hour.
    Tidal,
}

/// The kind of traffic that a lane serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Service {
    /// Vehicles cleared by machines.
    Smart,
    /// Vehicles cleared by officers.
    Traditional,
    /// People.
    Passenger,
    /// Unmanned guided vehicles.
    Igv,
}

/// Whether traffic is meant to be admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Admission {
    /// Traffic is admitted.
    Open,
    /// Traffic is not admitted.
    #[default]
    Closed,
}

/// What a lane really does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LaneAdmission {
    /// Traffic is admitted.
    Open,
    /// No more traffic is admitted and what is inside leaves.
    Draining,
    /// Empty and held.
    Drained,
    /// Closed as declared.
    Closed,
    /// Not known.
    #[default]
    Unknown,
}

/// One place in a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// Name of this place within the lane, for example entry-barrier.
    pub name: Name,
    /// What the device in this place does for the lane.
    pub role: SlotRole,
    /// Whether the lane can serve without the device in this place.
    #[serde(default)]
    pub need: Need,
    /// Name of the Device that fills this place.
    pub device_ref: Name,
}

/// What a device does for its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SlotRole {
    /// Runs the lane: a LanePlc or an EGate.
    Controller,
    /// Holds or lets pass.
    Barrier,
    /// Reads plates.
    PlateReader,
    /// Reads container codes.
    ContainerReader,
    /// Watches the lane.
    Overview,
    /// Weighs.
    Weighing,
    /// Looks for radiation.
    Radiation,
    /// Reads tags, codes or drivers' documents.
    Reader,
    /// Shows signs and messages.
    Display,
    /// Feeds and measures power.
    Power,
    /// Anything else.
    Other,
}

/// Whether a lane can serve without this slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Need {
    /// The lane cannot serve without it.
    #[default]
    Required,
    /// The lane serves without it.
    Optional,
}

/// A cargo class that a lane may be reserved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum CargoClass {
    /// Vegetables and fruit.
    FreshProduce,
    /// Frozen seafood.
    FrozenSeafood,
    /// Electronics and parts.
    Electronics,
    /// Anything else.
    General,
}

/// How a lane is emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.strategy == 'Divert') == has(self.divertTo)").message("`divertTo` must name a lane when `strategy` is Divert and must be absent otherwise").field_path(".divertTo"))]
pub struct Drain {
    /// What happens to the traffic that waits before the lane.
    #[serde(default)]
    pub strategy: DrainStrategy,
    /// Name of the lane that waiting traffic is sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divert_to: Option<Name>,
    /// How long the lane may take to become empty, in seconds.
    #[serde(default = "Drain::default_timeout")]
    #[schemars(range(min = 10, max = 14_400))]
    pub timeout_seconds: i64,
}

impl Drain {
    fn default_timeout() -> i64 {
        900
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { strategy: DrainStrategy::default(), divert_to: None, timeout_seconds: Self::default_timeout() }
    }
}

/// What happens to waiting traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrainStrategy {
    /// It waits until the lane opens again.
    #[default]
    Wait,
    /// It is sent to another lane.
    Divert,
}

/// Observed state of the lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this lane, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Admission state that the lane's controller reports.
    #[serde(default)]
    pub admission: LaneAdmission,
    /// Names of the accepted LaneDrains that hold this lane, or empty it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub held_by: Vec<Name>,
    /// Digest over the firmware that the lane's devices run; equal digests mean equal sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Digest>,
    /// Why this lane makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}
