//! Up: what is.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

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
    /// Facts by the kind of thing; absent before there are any, and for the agent itself.
    #[serde(flatten, deserialize_with = "body")]
    #[schemars(with = "Bodies")]
    pub body: Option<ReportBody>,
}

impl ReportedItem {
    /// Facts of a device; none for an item of another kind.
    pub fn device(&self) -> Option<&DeviceReport> {
        match &self.body {
            Some(ReportBody::Device(device)) => Some(device),
            _ => None,
        }
    }

    /// Facts of a lane; none for an item of another kind.
    pub fn lane(&self) -> Option<&LaneReport> {
        match &self.body {
            Some(ReportBody::Lane(lane)) => Some(lane),
            _ => None,
        }
    }

    /// Facts of a vehicle; none for an item of another kind.
    pub fn igv(&self) -> Option<&IgvReport> {
        match &self.body {
            Some(ReportBody::Igv(igv)) => Some(igv),
            _ => None,
        }
    }

    /// Facts of a link; none for an item of another kind.
    pub fn link(&self) -> Option<&LinkReport> {
        match &self.body {
            Some(ReportBody::Link(link)) => Some(link),
            _ => None,
        }
    }
}

/// Facts of one kind of thing. In JSON each stands under a key of its own beside the other fields of the item.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReportBody {
    /// Key `device`.
    Device(DeviceReport),
    /// Key `lane`.
    Lane(LaneReport),
    /// Key `igv`.
    Igv(IgvReport),
    /// Key `link`.
    Link(LinkReport),
}

/// The keys of [`ReportBody`] as JSON has them. A flattened `Option<ReportBody>` would take a malformed body for none.
#[derive(Deserialize, JsonSchema)]
struct Bodies {
    /// Facts of a device.
    device: Option<DeviceReport>,
    /// Facts of a lane.
    lane: Option<LaneReport>,
    /// Facts of a vehicle.
    igv: Option<IgvReport>,
    /// Facts of a link.
    link: Option<LinkReport>,
}

fn body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ReportBody>, D::Error> {
    let Bodies { device, lane, igv, link } = Bodies::deserialize(deserializer)?;
    let bodies = [
        device.map(ReportBody::Device),
        lane.map(ReportBody::Lane),
        igv.map(ReportBody::Igv),
        link.map(ReportBody::Link),
    ];
    let mut bodies = bodies.into_iter().flatten();
    match (bodies.next(), bodies.next()) {
        (body, None) => Ok(body),
        (_, Some(_)) => Err(D::Error::custom("an item has the facts of two kinds of things")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#""uid":"u","kind":"Device","generation":3,"hash":"sha256:0000000000000000000000000000000000000000000000000000000000000000","applied":2,"state":"Applying""#;

    #[test]
    fn bodies_keep_their_keys_and_their_place_byte_for_byte() {
        for (tail, digest) in [
            ("", "8f996d82c9a4841d694a1d111ba868efa2c2ab08773f7182fe31ccc65645f935"),
            (
                r#","reason":"Applying","message":"x""#,
                "defa357aac232a5cc024a3a71ec100b3a415d505e32a6628462a7e98a9a2478e",
            ),
            (
                r#","device":{"connected":true,"health":{"state":"OK"},"calibratedUntil":"2027-01-31"}"#,
                "d71741156b7fe8f7277c6f38a1b31690818e16172004d25898f8ba877b5e62b4",
            ),
            (
                r#","reason":"R","lane":{"admission":"Open","heldByOfflinePolicy":true,"closedByInterlock":false}"#,
                "6f649566ffd22821eabcaf26b24d69361eaa152647cd7dac5ad5670b8446a3fb",
            ),
            (
                r#","igv":{"broker":true,"connection":"Online","fresh":true,"side":"Domestic","laden":"Empty","atService":false}"#,
                "e4d505483259554af4bcc91f28beb6b3244b03a03c7e48684c2b51bec6347392",
            ),
            (
                r#","link":{"contacting":true,"reachable":false}"#,
                "460aa81257924c94bfc177f34fc32bbfe7fbf65fb914f783aebc1249293c08f4",
            ),
        ] {
            let json = format!("{{{HEAD}{tail}}}");
            let item: ReportedItem = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&item).unwrap(), json);
            assert_eq!(digest_of(&item).unwrap().hex(), digest);
        }
    }

    #[test]
    fn a_body_is_one_and_well_formed() {
        let read = |tail: &str| serde_json::from_str::<ReportedItem>(&format!("{{{HEAD}{tail}}}"));
        assert!(read(r#","link":{"contacting":true},"lane":{"admission":"Open"}"#).is_err());
        assert!(read(r#","lane":{"admission":"Ajar"}"#).is_err());
        assert_eq!(read(r#","lane":null,"later":{"x":1}"#).unwrap().body, None);
    }
}
