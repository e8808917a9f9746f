//! `Device`: one instrument.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocked::BlockedBy;
use crate::units::{Name, Value};

/// Model, agent, connection, configuration and firmware of the instrument.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "Device",
    plural = "devices",
    shortname = "kdev",
    namespaced,
    status = "DeviceStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-field",
    doc = "One instrument of a gate: its model, its agent, its connection, its configuration and its firmware.",
    selectable = ".spec.phase",
    selectable = ".spec.agentRef",
    selectable = ".spec.modelRef",
    selectable = ".spec.admin",
    selectable = ".status.firmware.running",
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.modelRef"),
    printcolumn(name = "Agent", type_ = "string", json_path = ".spec.agentRef", priority = 1),
    printcolumn(name = "Wanted", type_ = "string", json_path = ".spec.firmware.release"),
    printcolumn(name = "Running", type_ = "string", json_path = ".status.firmware.running"),
    printcolumn(name = "Previous", type_ = "string", json_path = ".status.firmware.previous"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".spec.phase", priority = 1),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.connection.endpoint", priority = 1),
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
    validation = Rule::new("self.modelRef == oldSelf.modelRef").message("`modelRef` must not change: another model is another Device").field_path(".modelRef"),
    validation = Rule::new("!has(self.config) || self.config.all(name, name.matches('^[a-z][A-Za-z0-9]{0,62}$'))").message("`config` must have property names of the model as keys: a lower-case letter, then letters and digits, at most 63 in all").field_path(".config")
)]
pub struct DeviceSpec {
    /// Name of the DeviceModel that describes this instrument.
    pub model_ref: Name,
    /// Name of the EdgeAgent that talks to this instrument.
    pub agent_ref: Name,
    /// Where and how the agent reaches this instrument.
    pub connection: Connection,
    /// Settings by property name; the model defines which exist and their bounds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub config: BTreeMap<String, Value>,
    /// Whether this instrument is in use, deliberately disabled, or quarantined.
    #[serde(default)]
    pub admin: Admin,
    /// The firmware that this instrument should run; if absent, what runs is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<WantedFirmware>,
    /// Owner of this instrument, who approves changes to it.
    #[serde(default)]
    pub ownership: Ownership,
    /// Name of the Phase that this instrument belongs to; if unset, it is always live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Name>,
}

/// Where and how an instrument is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.parameters) || self.parameters.all(name, name.matches('^[a-z][A-Za-z0-9]{0,62}$'))").message("`parameters` must have names of the protocol's page as keys: a lower-case letter, then letters and digits, at most 63 in all").field_path(".parameters"))]
pub struct Connection {
    /// Host and port of the instrument in the lane's network, for example 10.20.3.5:502.
    #[schemars(length(min = 3, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+:[0-9]{1,5}$"))]
    pub endpoint: String,
    /// Name of an immutable Secret with the instrument's `username` and `password`; rotation is a new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<Name>,
    /// Protocol parameters by name, for example the Modbus unit; the protocol's page lists them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub parameters: BTreeMap<String, Value>,
}

/// Whether an instrument takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Admin {
    /// In use.
    #[default]
    Enabled,
    /// Deliberately disabled; it may be deleted.
    Disabled,
    /// Monitored and never changed.
    Quarantined,
}

/// Who owns a thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ownership {
    /// The state.
    #[default]
    State,
    /// The investor.
    Investor,
}

/// The firmware that should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WantedFirmware {
    /// Name of the FirmwareRelease that should run.
    pub release: Name,
}

/// Observed state of the device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this instrument, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Name of the EdgeAgent that last received this instrument and has not released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// The generation of the spec that the agent confirmed to be in force on the device.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub applied: i64,
    /// Health that the instrument reports about itself, without measured values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Firmware that runs on the instrument, and the progress of a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareStatus>,
    /// Interlocks and seals of this instrument, and whether they are safe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub guards: Vec<Guard>,
    /// Why this instrument makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}

/// What an instrument says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The worst of the codes that the instrument reports now.
    pub state: HealthState,
    /// Codes that are active now, from the model's list, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 63)))]
    pub codes: Vec<String>,
}

/// An interlock or a seal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Guard {
    /// The name of the property that shows it, from the model.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Whether it is an interlock or a seal.
    pub kind: GuardKind,
    /// Whether it is safe, as the instrument itself reports.
    #[serde(default)]
    pub state: GuardState,
}

/// What guards an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum GuardKind {
    /// It protects people.
    Interlock,
    /// It shows that nobody changed the instrument.
    Seal,
}

/// The state of an interlock or a seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum GuardState {
    /// The interlock is closed, or the seal is whole.
    Safe,
    /// The interlock is open, or the seal is broken.
    Unsafe,
    /// It cannot be read.
    #[default]
    Unknown,
}

/// How well an instrument is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HealthState {
    /// No code is active.
    #[default]
    OK,
    /// It serves with a limitation.
    Degraded,
    /// It cannot serve.
    Faulty,
}

/// What runs, and how far a change has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirmwareStatus {
    /// Version that the instrument itself reports to run now.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub running: String,
    /// Version that ran before the last change, and that a rollback returns to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub previous: Option<String>,
    /// Version that waits on the agent for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub staged: Option<String>,
    /// How far the attempt has come; the words are those of the firmware state machine.
    #[serde(default)]
    pub step: Step,
    /// Number of the attempt that runs or ran last, counted from 1; 0 before the first.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub attempt: i64,
    /// When the attempt entered this step, in RFC 3339 with UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35))]
    pub since: Option<String>,
    /// Why the last attempt failed, as one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub last_error: Option<String>,
    /// Security counter that the device has reached and never falls below.
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub security_counter: i64,
}

/// The states of a firmware attempt, as in the firmware state machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Step {
    /// No attempt runs.
    #[default]
    Idle,
    /// Signatures, counter and compatibility are checked.
    Verifying,
    /// The artifact comes to the agent.
    Downloading,
    /// The artifact is on the agent.
    Staged,
    /// The agent asked for a permit.
    AwaitingDrain,
    /// The lane is being emptied.
    Draining,
    /// The lane is empty, safe, and held.
    Drained,
    /// The image goes to the device.
    Transferring,
    /// The device writes the image.
    Installing,
    /// The device switches to it.
    Activating,
    /// The new image is being proven.
    Probation,
    /// The new image is made permanent.
    Committing,
    /// The lane is given back.
    Undraining,
    /// The previous image is put back.
    RollingBack,
    /// The previous image runs again.
    RolledBack,
    /// The attempt was called off.
    Cancelled,
    /// The attempt ended without success.
    Failed,
    /// A person is needed.
    Quarantined,
    /// The seal is awaited.
    AwaitingRecertification,
}

impl Step {
    /// From here on the device itself is being changed and the attempt cannot be cancelled.
    pub fn touches_device(self) -> bool {
        matches!(
            self,
            Self::Transferring
                | Self::Installing
                | Self::Activating
                | Self::Probation
                | Self::Committing
                | Self::RollingBack
                | Self::RolledBack
        )
    }
}
