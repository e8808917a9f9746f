//! `Crossing`: a bridge or road over the border.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocked::BlockedBy;
use crate::lane::{Direction, Service};
use crate::units::Name;

/// Traffic of the crossing, when it may be used, and the capacity that it must never lose.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "Crossing",
    plural = "crossings",
    shortname = "xing",
    namespaced,
    status = "CrossingStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-field",
    category = "all",
    doc = "A bridge or road over the border: its traffic, its capacity floors, its legal authority and its counterpart.",
    selectable = ".spec.phase",
    selectable = ".spec.traffic",
    printcolumn(name = "Traffic", type_ = "string", json_path = ".spec.traffic"),
    printcolumn(name = "Transport", type_ = "string", json_path = ".spec.transport"),
    printcolumn(name = "Open", type_ = "integer", json_path = ".status.openLanes"),
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
#[x_kube(validation = Rule::new("self.traffic == oldSelf.traffic").message("`traffic` must not change: declare a new Crossing").field_path(".traffic"))]
pub struct CrossingSpec {
    /// What crosses the border here: people, or goods with their vehicles.
    pub traffic: Traffic,
    /// How traffic crosses the border.
    #[serde(default)]
    pub transport: Transport,
    /// IANA time zone of the hours and windows of this crossing, for example Asia/Ho_Chi_Minh.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"))]
    pub time_zone: String,
    /// Capacity that must stay in service, one entry for each service and direction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    pub capacity_floors: Vec<CapacityFloor>,
    /// The legal act under which the smart lanes of this crossing operate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// Names of the ChangeCalendars that define when this crossing operates and when it may be changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub change_calendars: Vec<Name>,
    /// Name of the BilateralLink to the authority on the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_ref: Option<Name>,
    /// Name of the Crossing that takes the traffic when this one cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Name>,
    /// Name of the Phase that this crossing belongs to; if unset, it is always live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Name>,
}

/// What passes over the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Traffic {
    /// People on foot or in coaches.
    Passenger,
    /// Goods with their vehicles.
    Cargo,
}

/// By which means the border is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Transport {
    /// On a road.
    #[default]
    Road,
    /// On a railway.
    Rail,
    /// On a monorail.
    Monorail,
}

/// Capacity of one service and direction that must stay open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityFloor {
    /// The service that this floor protects at the crossing.
    pub service: Service,
    /// The direction of travel that this floor protects.
    pub direction: Direction,
    /// Lanes that must stay open, as a count of lanes.
    #[schemars(range(min = 0, max = 64))]
    pub min_open_lanes: i64,
    /// Rated capacity that must stay open, in passages per hour.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub min_passages_per_hour: i64,
}

/// The legal act under which a crossing operates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.validFrom <= self.validUntil").message("`validUntil` must not be before `validFrom`").field_path(".validUntil"))]
pub struct Authority {
    /// Number and title of the legal act, never a person's name.
    #[schemars(length(min = 1, max = 256))]
    pub document: String,
    /// First day on which the act is in force, as year-month-day in the crossing's zone.
    #[schemars(length(min = 10, max = 10), regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub valid_from: String,
    /// Last day on which the act is in force, as year-month-day in the crossing's zone.
    #[schemars(length(min = 10, max = 10), regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub valid_until: String,
}

/// Observed state of the crossing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CrossingStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this crossing, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Lanes of this crossing that admit traffic now, as a count of lanes.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub open_lanes: i64,
    /// Lanes counted by service and direction of travel.
    #[serde(default)]
    #[schemars(length(max = 12))]
    pub lanes: Vec<LaneCount>,
    /// Unmanned vehicles that are declared at this crossing, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub igvs_declared: i64,
    /// Unmanned vehicles that are reporting now, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub igvs_seen: i64,
    /// Why this crossing makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}

/// Lanes of one service and direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneCount {
    /// The service of the lanes that are counted here.
    pub service: Service,
    /// The direction of travel of the lanes counted here.
    pub direction: Direction,
    /// Lanes that are declared at all, planned ones included, as a count.
    #[schemars(range(min = 0, max = 1000))]
    pub declared: i64,
    /// Lanes that admit traffic now, as a count of lanes.
    #[schemars(range(min = 0, max = 1000))]
    pub open: i64,
    /// Lanes that are being emptied now, as a count of lanes.
    #[schemars(range(min = 0, max = 1000))]
    pub draining: i64,
    /// Lanes that are closed as declared, as a count of lanes.
    #[schemars(range(min = 0, max = 1000))]
    pub closed: i64,
    /// Lanes that should be open and cannot serve, as a count of lanes.
    #[schemars(range(min = 0, max = 1000))]
    pub failed: i64,
    /// Lanes of a phase that is not open, as a count of lanes.
    #[schemars(range(min = 0, max = 1000))]
    pub planned: i64,
    /// Rated capacity of the open lanes together, in passages per hour.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub open_passages_per_hour: i64,
}
