//! `LaneDrain`: a claim that something in service be empty, and stay empty while the claim lasts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::blocked::BlockedBy;
use crate::lane::LaneAdmission;
use crate::units::Name;

/// What must be empty, who requests it, why, and until when.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "LaneDrain",
    plural = "lanedrains",
    shortname = "drain",
    namespaced,
    status = "LaneDrainStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-rollout",
    doc = "A claim that a lane, a station's lanes or a whole crossing be empty and stay empty until the claim ends. Deleting it ends it.",
    selectable = ".spec.class",
    selectable = ".spec.target.kind",
    selectable = ".spec.target.name",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requester"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Drained", type_ = "string", json_path = ".status.conditions[?(@.type==\"Drained\")].status"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Deadline", type_ = "string", json_path = ".spec.deadline", priority = 1),
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
    validation = Rule::new("self.target == oldSelf.target").message("`target` must not change: declare a new LaneDrain").field_path(".target"),
    validation = Rule::new("self.class == oldSelf.class").message("`class` must not change: declare a new LaneDrain").field_path(".class"),
    validation = Rule::new("self.class != 'Emergency' || has(self.deadline)").message("`deadline` must be set when `class` is Emergency: what breaks a floor has an end").field_path(".deadline")
)]
pub struct LaneDrainSpec {
    /// What must be empty and closed to traffic.
    pub target: DrainTarget,
    /// Whether this claim waits for the capacity floors or is accepted at once.
    #[serde(default)]
    pub class: DrainClass,
    /// Requester, as `Kind/name` of an object or as a role such as duty-officer; never a person's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9./-]*$"))]
    pub requester: String,
    /// Why the target has to be empty, as one sentence.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
    /// Priority among waiting claims; the higher number goes first.
    #[serde(default = "LaneDrainSpec::default_priority")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: i64,
    /// How long the target may take to become empty once the claim was accepted, in seconds; if absent, the lane's own timeout applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 14_400))]
    pub timeout_seconds: Option<i64>,
    /// When this claim ends by itself, in RFC 3339 with UTC, for example 2026-11-22T18:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 20, max = 20),
        regex(
            pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
        )
    )]
    pub deadline: Option<String>,
}

impl LaneDrainSpec {
    fn default_priority() -> i64 {
        100
    }
}

/// What is to be empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainTarget {
    /// Kind of the object that must be empty.
    pub kind: TargetKind,
    /// Name of the object that must be empty, in the same namespace.
    pub name: Name,
}

/// What can be emptied.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
pub enum TargetKind {
    /// One lane.
    Lane,
    /// Every lane that needs this station.
    InspectionStation,
    /// Every lane of this crossing.
    Crossing,
}

impl TargetKind {
    /// The kind as it stands in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How a claim meets the capacity floors.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
pub enum DrainClass {
    /// It waits until the floors hold after it, and for its turn.
    #[default]
    Change,
    /// It is accepted at once and names the floors that it breaks; only people make it.
    Emergency,
}

impl DrainClass {
    /// The class as it stands in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Observed state of the claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneDrainStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this claim, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// When the claim was accepted, in RFC 3339 with UTC; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35))]
    pub accepted_at: Option<String>,
    /// When the target has to be empty or the claim is abandoned, in RFC 3339 with UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35))]
    pub empty_by: Option<String>,
    /// Lanes that this claim concerns, and the progress of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub responders: Vec<Responder>,
    /// Lanes of this claim that are not empty and held yet, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 64))]
    pub remaining: i64,
    /// Why this claim makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}

/// One lane that a claim concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Responder {
    /// The name of the lane that has to be empty.
    pub name: Name,
    /// Admission state that the lane's agent last reported.
    pub state: LaneAdmission,
}
