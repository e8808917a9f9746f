//! The specs of desired items: everything that an agent needs, so that it needs nobody afterwards.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::release::SignedRelease;
use crate::bilateral_link::LinkProfile;
use crate::device::Admin;
use crate::device_model::{DeviceClass, HealthCode, Regulatory, Update};
use crate::edge_agent::OfflinePolicy;
use crate::igv::{ChangeAt, FleetBroker, Vda5050, VehicleMap, ZoneSet};
use crate::lane::{Admission, Direction, Need, Service, SlotRole};
use crate::property::Property;
use crate::protocol::Protocol;
use crate::units::{Digest, Value};

/// What an agent does with one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceOrder {
    /// Class of the device.
    pub class: DeviceClass,
    /// Name of its model, for the compatibility check of releases.
    pub model: String,
    /// Hardware revisions that the model covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware_revisions: Vec<String>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// What can be read and set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// What it can complain of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_codes: Vec<HealthCode>,
    /// How it is updated.
    pub update: Update,
    /// What the law asks of it.
    pub regulatory: Regulatory,
    /// Host and port.
    pub endpoint: String,
    /// Protocol parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// Its credential, readable by this agent alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Sealed>,
    /// Settings that must be in force.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, Value>,
    /// Whether it takes part.
    pub admin: Admin,
    /// What it shall run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareOrder>,
}

/// What a device shall run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirmwareOrder {
    /// The release as its author signed it.
    pub release: SignedRelease,
    /// Lowest security counter that this device may run, from its last known status.
    #[serde(default)]
    pub counter_floor: i64,
    /// Attempt after which a person asked for another try (`kalong.dev/retry`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<i64>,
    /// Attempt whose quarantine a person ended (`kalong.dev/release-quarantine`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_quarantine: Option<i64>,
    /// Leave to touch the device, for one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Permit>,
}

/// Leave to touch a device whose lane is empty and held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permit {
    /// The attempt that it is for; no other may use it.
    pub attempt: i64,
    /// When it lapses, in RFC 3339; a device that is already being written is finished all the same.
    pub until: String,
}

/// A secret, sealed to one agent: HPKE base mode, X25519-HKDF-SHA256, ChaCha20-Poly1305.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// Encapsulated key in base64.
    pub encapsulated: String,
    /// Ciphertext of the JSON `{"username":…,"password":…}` in base64; associated data is `<agent>/<device uid>`.
    pub ciphertext: String,
}

/// The `info` of every sealing.
pub const SEALING_INFO: &[u8] = b"kalong.dev/credential/v1";

/// What an agent does with one lane; it goes to the agent of the lane's controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneOrder {
    /// Name of the crossing.
    pub crossing: String,
    /// Way of travel.
    pub direction: Direction,
    /// Kind of traffic.
    pub service: Service,
    /// Whether traffic is to be admitted.
    pub admission: Admission,
    /// UID of the device that runs the lane.
    pub controller: String,
    /// The devices of the lane.
    pub members: Vec<LaneMember>,
    /// The claim that the lane be empty; the lane is not admitted to while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<LaneHold>,
    /// Interlocks of stations that close this lane while they are open, wherever their devices are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interlocks: Vec<LaneInterlock>,
    /// Interlocks that an agent, this one or another, reports open: the lane closes at once, without a drain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_interlocks: Vec<String>,
}

/// An accepted claim that a lane be empty. All claims on a lane come as one: the lane reopens when none is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneHold {
    /// Names of the LaneDrains, sorted.
    pub drains: Vec<String>,
    /// Name of the lane to which waiting traffic is sent, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divert_to: Option<String>,
    /// When the lane has to be empty, in RFC 3339; else the agent gives up, reopens and reports DrainTimedOut.
    pub empty_by: String,
    /// When the hold ends by itself, in RFC 3339: the agent then reopens without asking anybody, once no device is in work.
    pub until: String,
}

/// An interlock on which a lane depends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneInterlock {
    /// UID of the device that shows it. An agent that holds this device closes the lane by itself, with nobody reached.
    pub device: String,
    /// Name of the property.
    pub name: String,
}

/// What an agent does with one unmanned vehicle: it listens, and sends nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgvOrder {
    /// Name of the crossing at whose yard it is at home; what it uses is counted there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub crossing: String,
    /// The fleet's broker.
    pub broker: FleetBroker,
    /// Identity of the vehicle.
    pub vda5050: Vda5050,
    /// Maps that shall be enabled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<VehicleMap>,
    /// Zones by which the side is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_set: Option<ZoneSet>,
    /// Where it may be changed.
    pub change_at: ChangeAt,
    /// Energy of the full battery in watt-hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery_watt_hours: Option<i64>,
}

/// What the gateway box does with one link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkOrder {
    /// How the peer is reached.
    pub profile: LinkProfile,
    /// Host and port of the peer's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What the gateway may do. Every doubt is `Cut`.
    pub mode: LinkMode,
    /// When the last agreement that is in force today ends, in RFC 3339: the gateway then cuts by itself, with nobody reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What a gateway may do with its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LinkMode {
    /// Nothing: no packet leaves for the peer.
    Cut,
    /// An agreement is in force: reach the peer and compare clocks. What is exchanged comes with the message profile.
    Watch,
}

/// A device of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneMember {
    /// Name of its slot.
    pub slot: String,
    /// What it does there.
    pub role: SlotRole,
    /// Whether the lane can serve without it.
    pub need: Need,
    /// UID of the device.
    pub uid: String,
}

/// The agent's own settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentOrder {
    /// What to do when cut off.
    pub offline_policy: OfflinePolicy,
    /// After how many seconds.
    pub offline_after_seconds: i64,
    /// How often the agent beats, in milliseconds; three missed beats are the grace time.
    pub heartbeat_millis: i64,
    /// Digest of the key document that releases are judged by; a mismatch is reported, never followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_keys: Option<Digest>,
}

/// Heartbeat interval of an agent that no order has reached, in seconds.
pub const DEFAULT_HEARTBEAT_SECONDS: u64 = 30;
