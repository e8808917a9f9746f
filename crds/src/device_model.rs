//! `DeviceModel`: a type of instrument, as data.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::property::Property;
use crate::protocol::{self, Protocol};

/// Class, protocol, properties, update method and legal constraints of instruments of this type.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kalong.dev",
    version = "v1alpha1",
    kind = "DeviceModel",
    plural = "devicemodels",
    shortname = "kmodel",
    namespaced,
    status = "DeviceModelStatus",
    derive = "PartialEq",
    category = "kalong",
    category = "kalong-field",
    doc = "A type of instrument: its class, its protocol with the register map, its properties, how it updates and what the law says of it.",
    selectable = ".spec.class",
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.protocol.name"),
    printcolumn(name = "Slots", type_ = "string", json_path = ".spec.update.slots"),
    printcolumn(name = "Devices", type_ = "integer", json_path = ".status.devices"),
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
#[x_kube(
    validation = Rule::new("self.class == oldSelf.class").message("`class` must not change: declare a new DeviceModel").field_path(".class"),
    validation = Rule::new("self.update.slots != 'External' || self.update.rollback == 'None'").message("`update.rollback` must be None when `update.slots` is External: the vendor's tool decides").field_path(".update.rollback"),
    validation = Rule::new(protocol::registers_rule()).message(protocol::registers_message().as_str()).field_path(".protocol.registers"),
    validation = Rule::new(protocol::firmware_rule()).message(protocol::firmware_message().as_str()).field_path(".update.slots")
)]
pub struct DeviceModelSpec {
    /// The class of instrument in the words of the field.
    pub class: DeviceClass,
    /// Hardware revisions that this model covers, for the compatibility check of releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub hardware_revisions: Vec<String>,
    /// How the agent communicates with instruments of this type.
    pub protocol: Protocol,
    /// What can be read from and set on instruments of this type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 48))]
    pub properties: Vec<Property>,
    /// Health codes that instruments of this type can report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub health_codes: Vec<HealthCode>,
    /// How firmware gets onto instruments of this type and is proven there.
    #[serde(default)]
    pub update: Update,
    /// Legal requirements for instruments of this type.
    #[serde(default)]
    pub regulatory: Regulatory,
}

/// Classes of instruments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeviceClass {
    /// A boom that stops vehicles.
    Barrier,
    /// A camera that reads number plates.
    AnprCamera,
    /// A portal that reads container and seal numbers.
    OcrPortal,
    /// A camera that gives an overview of an area.
    Camera,
    /// A scale for vehicles.
    Weighbridge,
    /// A scanner that X-rays cargo.
    XRayScanner,
    /// A portal that detects radiation.
    RadiationPortal,
    /// An automatic gate for people.
    EGate,
    /// A reader of bar codes and radio tags.
    CodeReader,
    /// The controller that runs a lane.
    LanePlc,
    /// A belt that moves baggage or parcels.
    Conveyor,
    /// A station that disinfects vehicles.
    Disinfection,
    /// A beacon that guides vehicles.
    GuidanceBeacon,
    /// A station that charges vehicles.
    Charger,
    /// A meter of electrical energy.
    PowerMeter,
    /// The controller of a fleet of unmanned vehicles.
    IgvFleetController,
    /// A reader of faces or fingers.
    BiometricReader,
    /// A panel that shows text or signs.
    Display,
    /// A traffic light or horn.
    Signal,
    /// A switch of the lane's network.
    NetworkSwitch,
    /// A power supply that bridges an outage.
    Ups,
}

impl DeviceClass {
    /// Firmware of these classes needs the signatures of two authors.
    pub fn is_safety(self) -> bool {
        matches!(self, Self::Barrier | Self::LanePlc)
    }

    /// Devices of these classes can run a lane.
    pub fn runs_lanes(self) -> bool {
        matches!(self, Self::LanePlc | Self::EGate)
    }
}

/// A code with which an instrument reports a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCode {
    /// Name of the code in upper camel case, for example LensDirty.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub name: String,
    /// Severity of the code.
    pub severity: Severity,
    /// Bit in the instrument's `healthBits` register that stands for this code, counted from 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 31))]
    pub bit: i64,
}

/// How much a health code takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// The instrument serves with a limitation.
    Degraded,
    /// The instrument cannot serve.
    Faulty,
}

/// How firmware gets onto an instrument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// How many images the instrument can hold, and who writes them.
    #[serde(default)]
    pub slots: UpdateSlots,
    /// Whether the lane must be empty while the instrument is changed.
    #[serde(default)]
    pub lane_drain: LaneDrainNeed,
    /// Time for which the instrument is unreachable while it starts the new image, in seconds.
    #[serde(default = "Update::default_downtime")]
    #[schemars(range(min = 1, max = 3600))]
    pub downtime_seconds: i64,
    /// Whether the previous image can be put back.
    #[serde(default)]
    pub rollback: Rollback,
    /// How long the new image must run without a fault before it is proven, in seconds.
    #[serde(default = "Update::default_soak")]
    #[schemars(range(min = 0, max = 86_400))]
    pub soak_seconds: i64,
    /// Probes that the new image must pass, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub probes: Vec<Probe>,
}

impl Update {
    fn default_downtime() -> i64 {
        60
    }

    fn default_soak() -> i64 {
        600
    }
}

impl Default for Update {
    fn default() -> Self {
        Self {
            slots: UpdateSlots::default(),
            lane_drain: LaneDrainNeed::default(),
            downtime_seconds: Self::default_downtime(),
            rollback: Rollback::default(),
            soak_seconds: Self::default_soak(),
            probes: Vec::new(),
        }
    }
}

/// How many images an instrument holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UpdateSlots {
    /// Two: one runs while the other is written.
    Dual,
    /// One: it is overwritten, and a rollback writes the previous image again.
    Single,
    /// The vendor's own tool writes; Kalong watches which version runs.
    #[default]
    External,
}

/// Whether a change needs an empty lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LaneDrainNeed {
    /// The lane must be empty and closed.
    #[default]
    Needed,
    /// The instrument may be changed while the lane serves.
    NotNeeded,
}

/// Whether the previous image can be put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Rollback {
    /// It can.
    Supported,
    /// It cannot.
    #[default]
    None,
}

/// What a new image must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Probe {
    /// The instrument reports the new version and digest.
    Identity,
    /// The instrument's own test passes.
    SelfTest,
    /// The configuration is read back unchanged.
    Configuration,
    /// No health code of severity Faulty is active.
    Health,
}

/// What the law asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Regulatory {
    /// What a change of legally relevant software requires (OIML D 31).
    #[serde(default)]
    pub recertification: Recertification,
    /// Whether instruments of this type must carry a valid calibration.
    #[serde(default)]
    pub calibration: Calibration,
    /// Interlocks that must be safe before an instrument of this type is changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub interlocks: Vec<Interlock>,
    /// Seals whose state instruments of this type report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub seals: Vec<Seal>,
}

/// What a change of legally relevant software asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Recertification {
    /// Nothing.
    #[default]
    None,
    /// An audit record.
    Traced,
    /// A new seal before the instrument may be used for trade.
    Verified,
}

/// Whether a calibration is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Calibration {
    /// It is not.
    #[default]
    NotRequired,
    /// It is; the property `calibratedUntil` carries its last day.
    Required,
}

/// A property that must have a value before an instrument is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interlock {
    /// Name of the property that shows the state of the interlock.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z][A-Za-z0-9]*$"))]
    pub name: String,
    /// Value of the property at which a change is safe.
    #[schemars(length(min = 1, max = 63))]
    pub safe: String,
}

/// A property that shows whether a seal is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// Name of the property that shows the state of the seal.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z][A-Za-z0-9]*$"))]
    pub name: String,
    /// Value of the property while the seal is whole.
    #[schemars(length(min = 1, max = 63))]
    pub intact: String,
}

/// Observed state of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceModelStatus {
    /// The generation of the spec that this status describes; -1 before the first reconcile.
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// Conditions of this model, one entry per condition type.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Devices of this site that name this model, as a count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub devices: i64,
}
