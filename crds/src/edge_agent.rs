//! `EdgeAgent`: the box at the gate that talks to devices.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocked::BlockedBy;
use crate::device::Ownership;
use crate::units::Name;

/// Behaviour of the box while it is cut off, the lifetime of its certificate, and whether it may connect.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "EdgeAgent",
    plural = "edgeagents",
    shortname = "kagent",
    namespaced,
    status = "EdgeAgentStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-field",
    doc = "The box at the gate that talks to devices: its identity, its certificate and what it does when it is cut off.",
    selectable = ".spec.phase",
    printcolumn(name = "Identity", type_ = "string", json_path = ".status.agentId"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Devices", type_ = "integer", json_path = ".status.devices"),
    printcolumn(
        name = "Connected",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Connected\")].status"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".spec.phase", priority = 1),
    printcolumn(name = "Certificate", type_ = "string", json_path = ".status.certificate.notAfter", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeAgentSpec {
    /// What the box does with its lanes when it cannot reach the operator.
    #[serde(default)]
    pub offline: Offline,
    /// How the box gets and renews its certificate.
    #[serde(default)]
    pub enrolment: Enrolment,
    /// Shuts the box out: its session ends within a second and no new one is admitted.
    #[serde(default)]
    pub suspend: bool,
    /// Owner of this box, who approves changes to it.
    #[serde(default)]
    pub ownership: Ownership,
    /// Name of the Phase that this box belongs to; if unset, it is always live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Name>,
}

/// What a box does when it is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offline {
    /// What happens to the lanes after the given time without the operator.
    #[serde(default)]
    pub policy: OfflinePolicy,
    /// Time without the operator after which the policy takes effect, in seconds.
    #[serde(default = "Offline::default_after")]
    #[schemars(range(min = 10, max = 604_800))]
    pub after_seconds: i64,
}

impl Offline {
    fn default_after() -> i64 {
        3600
    }
}

impl Default for Offline {
    fn default() -> Self {
        Self { policy: OfflinePolicy::default(), after_seconds: Self::default_after() }
    }
}

/// What happens to the lanes of a box that is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OfflinePolicy {
    /// Every lane stays as last ordered, for any length of time.
    #[default]
    Hold,
    /// Smart and vehicle lanes stop admitting; traditional and passenger lanes stay as last ordered.
    Degrade,
    /// Every lane stops admitting.
    SafeClose,
}

/// How a box gets its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrolment {
    /// Life of a certificate, in hours; it is renewed at two thirds of it.
    #[serde(default = "Enrolment::default_validity")]
    #[schemars(range(min = 1, max = 720))]
    pub validity_hours: i64,
}

impl Enrolment {
    fn default_validity() -> i64 {
        168
    }
}

impl Default for Enrolment {
    fn default() -> Self {
        Self { validity_hours: Self::default_validity() }
    }
}

/// Observed state of the box.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeAgentStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this box, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Identity of the box: certificate name, client id and topic level at once.
    #[serde(default)]
    #[schemars(length(max = 127))]
    pub agent_id: String,
    /// Version of the agent program that the box reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub version: Option<String>,
    /// Devices of live phases that name this box, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub devices: i64,
    /// Public X25519 key of the box in base64, to which device credentials are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sealing_key: Option<String>,
    /// Certificate last issued to the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
    /// Names of items that the box holds but that are not declared, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub orphans: Vec<String>,
    /// Why this box makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}

/// The certificate of a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Serial number of the certificate in hexadecimal digits.
    #[schemars(length(max = 64))]
    pub serial: String,
    /// End of the certificate's life, in RFC 3339 with UTC.
    #[schemars(length(max = 35))]
    pub not_after: String,
}
