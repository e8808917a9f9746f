//! `FirmwareRelease`: an immutable, signed version of firmware.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Digest, Name};

/// Kind, models, artifact and signatures of the release. It never changes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "FirmwareRelease",
    plural = "firmwarereleases",
    shortname = "kfw",
    namespaced,
    status = "FirmwareReleaseStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-rollout",
    doc = "An immutable version of firmware, model weights, a map or a zone set, with its digest and its author's signatures.",
    selectable = ".spec.version",
    selectable = ".spec.kind",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Counter", type_ = "integer", json_path = ".spec.securityCounter"),
    printcolumn(name = "Verified", type_ = "string", json_path = ".status.conditions[?(@.type==\"Verified\")].status"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".spec.artifact.digest", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a FirmwareRelease must not change: publish a new one with a higher `securityCounter`"))]
pub struct FirmwareReleaseSpec {
    /// What kind of artifact this release is.
    #[serde(default)]
    pub kind: ReleaseKind,
    /// Names of the DeviceModels that this release is made for.
    #[schemars(length(min = 1, max = 32))]
    pub models: Vec<Name>,
    /// Hardware revisions that this release runs on; none means all revisions of the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub hardware_revisions: Vec<String>,
    /// Version as the instrument itself reports it once the release runs.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[0-9A-Za-z][0-9A-Za-z.+_-]*$"))]
    pub version: String,
    /// Security counter, a number that never decreases on a device; to downgrade, declare a new release with a higher counter.
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub security_counter: i64,
    /// The artifact of this release: its address, length and digest.
    pub artifact: Artifact,
    /// Versions of which one must run before this release may be installed; none means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub requires: Vec<String>,
    /// Signatures of the authors; two are needed for barriers, lane controllers and vehicles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub signatures: Vec<ReleaseSignature>,
    /// Time after which this release must not be installed any more, in RFC 3339 with UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 20, max = 20),
        regex(
            pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
        )
    )]
    pub expires: Option<String>,
}

/// Kinds of artifacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseKind {
    /// Software of an instrument.
    #[default]
    Firmware,
    /// Weights of a recognition model.
    Model,
    /// A map for vehicles.
    Map,
    /// A set of zones for vehicles.
    ZoneSet,
    /// The edge agent itself.
    Agent,
}

/// The bytes of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Address from which the operator fetches the artifact; the host must be on its allow-list.
    #[schemars(length(min = 9, max = 1024), regex(pattern = r"^https://[^\s]+$"))]
    pub url: String,
    /// SHA-256 digest over all bytes of the artifact.
    pub digest: Digest,
    /// Length of the artifact in bytes.
    #[schemars(range(min = 1, max = 17_179_869_184_i64))]
    pub size: i64,
}

/// An author's signature over the release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSignature {
    /// Name of the key in the pinned key document.
    pub key_id: Name,
    /// Ed25519 signature over the canonical release in unpadded base64url.
    #[schemars(length(min = 86, max = 86), regex(pattern = r"^[A-Za-z0-9_-]{86}$"))]
    pub signature: String,
}

/// Observed state of the release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirmwareReleaseStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this release, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
