//! `Phase`: a stage of the programme, opened by changing one field in Git.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::blocked::BlockedBy;
use crate::units::Name;

/// What belongs to the stage, what must hold before it opens and completes, and the requested state.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "Phase",
    plural = "phases",
    shortname = "phase",
    namespaced,
    status = "PhaseStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-rollout",
    doc = "A stage of the programme: its crossings, its milestones, its gates, and the state that a pull request asks for.",
    selectable = ".spec.state",
    selectable = ".status.state",
    printcolumn(name = "Wanted", type_ = "string", json_path = ".spec.state"),
    printcolumn(name = "Actual", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Late", type_ = "string", json_path = ".status.conditions[?(@.type==\"Late\")].status"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.after) || self.after.all(a, self.after.filter(b, b == a).size() == 1)").message("`after` must not name one Phase twice").field_path(".after"))]
pub struct PhaseSpec {
    /// Requested state of this stage; status shows the state in force.
    #[serde(default)]
    pub state: PhaseState,
    /// Names of the Crossings that this stage is about.
    #[schemars(length(min = 1, max = 16))]
    pub crossings: Vec<Name>,
    /// Names of the Phases that have to be Open or Complete before this one opens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub after: Vec<Name>,
    /// What is due on which day, by crossing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub milestones: Vec<Milestone>,
    /// What must hold before this stage opens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub entry_gates: Vec<Gate>,
    /// What must hold before this stage is complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub exit_gates: Vec<Gate>,
    /// The legal act under which this stage is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_basis: Option<LegalBasis>,
}

/// A state of a stage.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
pub enum PhaseState {
    /// No device is contacted.
    #[default]
    Planned,
    /// Devices are contacted, configured and proven; lanes stay closed and alerts do not page.
    Commissioning,
    /// In service.
    Open,
    /// In service, exit gates met, nothing more to come.
    Complete,
}

impl PhaseState {
    /// The state as it stands in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether objects of a stage in this state serve.
    pub fn is_in_service(self) -> bool {
        matches!(self, Self::Open | Self::Complete)
    }
}

/// What is due on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Milestone {
    /// The name of this milestone within the stage, for example passenger-lanes.
    pub name: Name,
    /// Name of the Crossing at which something is due.
    pub crossing_ref: Name,
    /// Last day on which it is on time, as year-month-day in the crossing's zone.
    #[schemars(length(min = 10, max = 10), regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub due: String,
    /// How much must be present and proven by that day.
    pub expects: Inventory,
}

/// How much is there, or is to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Lanes of this stage and crossing, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub lanes: i64,
    /// Unmanned guided vehicles of this stage, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub igvs: i64,
    /// Inspection stations of this stage and crossing, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub stations: i64,
    /// Devices of this stage and crossing, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub devices: i64,
}

/// A condition that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Name of this gate in status and messages.
    pub name: Name,
    /// How this gate is evaluated.
    #[serde(rename = "type")]
    pub kind: GateType,
}

/// What a gate looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateType {
    /// Whatever is declared for the stage was reported by an agent and is as declared; a Planned object counts as missing.
    Inventory,
}

/// The legal act of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LegalBasis {
    /// Number and title of the legal act, never a person's name.
    #[schemars(length(min = 1, max = 256))]
    pub document: String,
    /// Last day on which the act is in force, as year-month-day; absent while it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 10), regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub valid_until: Option<String>,
}

/// Observed state of the stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this stage, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The state in force, which decides what happens to the objects of this stage.
    #[serde(default)]
    pub state: PhaseState,
    /// Result of each gate of this stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40))]
    pub gates: Vec<GateResult>,
    /// Progress of each milestone of this stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub milestones: Vec<Progress>,
    /// Objects of earlier stages that this one changes, as `Kind/name`: those annotated with kalong.dev/changed-for-phase.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub changes: Vec<String>,
    /// Why this stage makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}

/// Result of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateResult {
    /// The name of the gate, or after-<phase> for a stage that has to come first.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Whether the gate lets the stage pass.
    pub result: GateVerdict,
    /// What is missing and who can supply it, as one sentence; empty when the gate is met.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Whether a gate lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateVerdict {
    /// It does.
    Met,
    /// It does not.
    Failed,
}

/// Progress of a milestone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The name of the milestone within the stage.
    pub name: Name,
    /// How much this milestone expects.
    pub expects: Inventory,
    /// How much has been reported by an agent and matches its declaration.
    pub seen: Inventory,
}
