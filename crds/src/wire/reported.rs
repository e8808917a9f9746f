//! Up: what is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::desired::ItemKind;
use super::digest::{CanonicalError, Rev, digest_of};
use crate::device::{FirmwareStatus, Guard, Health};
use crate::igv::{Laden, Side, SoftwareVersion, VehicleConnection, VehicleMap};
use crate::lane::LaneAdmission;
use crate::units::Digest;

/// How far an agent is with one item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ItemState {
    /// In force, and read back.
    Applied,
    /// Under way.
    #[default]
    Applying,
    /// Did not work; it is tried again.
    Failed,
    /// Cannot work; something has to be declared differently.
    Rejected,
}

/// What an agent says of one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedItem {
    /// UID of the object.
    pub uid: String,
    /// What kind of thing.
    pub kind: ItemKind,
    /// Generation that the agent holds.
    pub generation: i64,
    /// Hash of the order that the agent holds.
    pub hash: Digest,
    /// Generation whose configuration is in force on the device; 0 before the first.
    pub applied: i64,
    /// How far it is.
    pub state: ItemState,
    /// One of the documented reasons; empty when applied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is wrong and what to do, as a sentence; empty when applied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Facts of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceReport>,
    /// Facts of a lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneReport>,
    /// Facts of a vehicle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub igv: Option<IgvReport>,
    /// Facts of a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkReport>,
}

/// Facts of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// Whether the agent reaches it.
    pub connected: bool,
    /// What it says of itself; absent before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What runs and how far a change has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareStatus>,
    /// Digest of the image that runs, as read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_digest: Option<Digest>,
    /// Last day of its calibration, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated_until: Option<String>,
    /// Its interlocks and seals, by the names of its model, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
}

/// Facts of a lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneReport {
    /// What its controller says that it does.
    pub admission: LaneAdmission,
    /// Whether the offline policy holds it closed.
    #[serde(default)]
    pub held_by_offline_policy: bool,
    /// Whether an open interlock keeps it closed.
    #[serde(default)]
    pub closed_by_interlock: bool,
    /// Why the agent does not empty the lane although it was told to, or gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<DrainRefusal>,
}

/// Why an agent does not hold a lane empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainRefusal {
    /// Names of the LaneDrains that were refused, as they were told.
    pub drains: Vec<String>,
    /// DrainTimedOut or DrainRefused.
    pub reason: String,
    /// What stands in the way, as a sentence.
    pub message: String,
}

/// Facts of a vehicle. Position, charge and speed travel as telemetry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgvReport {
    /// Whether the fleet's broker is reached.
    pub broker: bool,
    /// The vehicle's link to its fleet.
    pub connection: VehicleConnection,
    /// Whether its last state is fresh: 45 s while it is online.
    pub fresh: bool,
    /// Its operating mode in the words of the standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operating_mode: Option<String>,
    /// Whether it knows where it is; absent before its first state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localised: Option<bool>,
    /// On which side of the line it is.
    pub side: Side,
    /// Whether it carries a load.
    pub laden: Laden,
    /// Whether it stands at a service node, idle, charged as declared.
    pub at_service: bool,
    /// Maps that are enabled; absent where the vehicle does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maps: Option<Vec<VehicleMap>>,
    /// Versions of its parts from the factsheet, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub software: Vec<SoftwareVersion>,
    /// Types of errors that stop it, sorted, at most eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Facts of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkReport {
    /// Whether the gateway contacts the peer at all.
    pub contacting: bool,
    /// Whether the peer answers; absent while it is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
    /// Whether the clocks agree; absent while nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<PeerClock>,
}

/// How far the clock of the peer is from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PeerClock {
    /// Two seconds or less.
    Agrees,
    /// More than two seconds.
    Differs,
    /// More than thirty seconds: messages would be refused.
    Refused,
}

/// An item that the agent holds and that is in no whole that it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orphan {
    /// What kind of thing.
    pub kind: ItemKind,
    /// Name of the object that it came from.
    pub name: String,
    /// UID of the object that it came from.
    pub uid: String,
}

/// The whole, or what changed since `base`. The first message of a session is always the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reported {
    /// Digest over the desired set that the agent holds.
    pub desired_rev: Rev,
    /// Asks for the desired whole: what came did not fit what the agent holds.
    #[serde(default)]
    pub want_whole: bool,
    /// Highest term that the agent has verified.
    pub term: u64,
    /// Highest sequence number within it.
    pub term_seq: u64,
    /// The reported set that this builds on; none means that this is the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Rev>,
    /// The reported set after applying it.
    pub rev: Rev,
    /// Number of this part, counted from 1.
    pub part: u32,
    /// Number of parts.
    pub parts: u32,
    /// Items that are new or changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ReportedItem>,
    /// UIDs whose removal is done, and that the agent no longer reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// About the agent itself; in the last part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Version of its program.
    pub version: String,
    /// Whether its outbox is full and holds back what must not be lost.
    #[serde(default)]
    pub outbox_full: bool,
    /// Items without an owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
    /// Digest of the release key document that it pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_keys: Option<Digest>,
}

/// The digest over a set of reported items: everything in them counts.
pub fn rev_of<'a>(items: impl IntoIterator<Item = &'a ReportedItem>) -> Result<Rev, CanonicalError> {
    let hashed = items
        .into_iter()
        .map(|i| Ok((i.uid.as_str(), i.generation, digest_of(i)?)))
        .collect::<Result<Vec<_>, CanonicalError>>()?;
    Ok(Rev::over(hashed.iter().map(|(uid, generation, hash)| (*uid, *generation, hash))))
}
