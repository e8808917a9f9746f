//! `BilateralLink`: our half of the link to the other country. Nothing is sent unless an agreement says so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocked::BlockedBy;
use crate::units::Name;

/// The peer on the other side, how to reach it, and what the agreements allow.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "BilateralLink",
    plural = "bilaterallinks",
    shortname = "blink",
    namespaced,
    status = "BilateralLinkStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-link",
    category = "all",
    doc = "Our half of the link to the other country: the peer, the transport, the agreements, and the switch that cuts it.",
    selectable = ".spec.phase",
    selectable = ".spec.crossingRef",
    selectable = ".spec.agentRef",
    printcolumn(name = "Crossing", type_ = "string", json_path = ".spec.crossingRef"),
    printcolumn(name = "Country", type_ = "string", json_path = ".spec.counterpart.country"),
    printcolumn(name = "Profile", type_ = "string", json_path = ".spec.transport.profile"),
    printcolumn(
        name = "Agreement",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"AgreementInForce\")].status"
    ),
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
#[x_kube(validation = Rule::new("self.counterpart.country == oldSelf.counterpart.country").message("`counterpart.country` must not change: declare a new BilateralLink").field_path(".counterpart.country"))]
pub struct BilateralLinkSpec {
    /// Name of the Crossing that this link serves.
    pub crossing_ref: Name,
    /// Name of the EdgeAgent whose box is the gateway to the other side.
    pub agent_ref: Name,
    /// The peer on the other side of this link.
    pub counterpart: Counterpart,
    /// How to reach the other side.
    pub transport: LinkTransport,
    /// What may be exchanged, and under which agreement; without one nothing is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub agreements: Vec<Agreement>,
    /// Cuts the link: the gateway stops within a second and contacts nobody.
    #[serde(default)]
    pub suspend: bool,
    /// Name of the Phase that this link belongs to; if unset, it is always live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Name>,
}

/// Who is on the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counterpart {
    /// Country code of the other side in ISO 3166-1, two capital letters.
    #[schemars(length(min = 2, max = 2), regex(pattern = r"^[A-Z]{2}$"))]
    pub country: String,
    /// Name of the authority on the other side, never a person's name.
    #[schemars(length(min = 1, max = 128))]
    pub authority: String,
    /// Name of the crossing as the other side calls it.
    #[schemars(length(min = 1, max = 128))]
    pub crossing: String,
}

/// How to reach the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.profile == 'FileDrop' || has(self.endpoint)").message("`endpoint` must be given unless `profile` is FileDrop").field_path(".endpoint"))]
pub struct LinkTransport {
    /// How messages are exchanged over this link.
    pub profile: LinkProfile,
    /// Host and port of the peer's gateway, for example gateway.example.org:8443.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+:[0-9]{1,5}$"))]
    pub endpoint: Option<String>,
    /// Name of a Secret with our certificate for the peer; used once messages are exchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret_ref: Option<Name>,
}

/// The way in which messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum LinkProfile {
    /// Signed JSON over HTTPS.
    HttpsJws,
    /// A simulated peer over plain HTTP, for trials.
    Simulated,
    /// Files carried over an air gap.
    FileDrop,
}

/// What may be exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.validFrom <= self.validUntil").message("`validUntil` must not be before `validFrom`").field_path(".validUntil"))]
pub struct Agreement {
    /// Name of this agreement in status and messages.
    pub name: Name,
    /// The dataset that may be exchanged.
    pub dataset: Dataset,
    /// Direction in which the data may travel.
    pub direction: DataDirection,
    /// Fields of the dataset that may be exchanged; a field that is not listed is never sent.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63), regex(pattern = r"^[a-z][A-Za-z0-9]*$")))]
    pub fields: Vec<String>,
    /// Number and title of the agreement between the two sides.
    #[schemars(length(min = 1, max = 256))]
    pub legal_ref: String,
    /// Number of the impact assessment required by law.
    #[schemars(length(min = 1, max = 256))]
    pub impact_assessment_ref: String,
    /// First day on which the agreement is in force, as year-month-day in the crossing's zone.
    #[schemars(length(min = 10, max = 10), regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub valid_from: String,
    /// Last day on which the agreement is in force, as year-month-day in the crossing's zone.
    #[schemars(length(min = 10, max = 10), regex(pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub valid_until: String,
}

/// The sets of data that can be agreed on at all; there is no word for anything personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Dataset {
    /// Which lanes are open, held or closed.
    LaneState,
    /// Vehicles per hour that can be taken.
    Capacity,
    /// Closures that are planned.
    PlannedClosure,
    /// Journeys of unmanned vehicles over the line.
    IgvMission,
    /// References of manifests.
    ManifestRef,
    /// Released or held, and nothing more.
    InspectionOutcome,
    /// Heartbeats and versions of the link itself.
    LinkHealth,
}

/// Which way data travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum DataDirection {
    /// From us to them.
    Outbound,
    /// From them to us, as advice.
    Inbound,
    /// Both ways.
    Both,
}

/// Observed state of the link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BilateralLinkStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this link, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Why this link makes no progress, and what it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub blocked_by: Vec<BlockedBy>,
}
