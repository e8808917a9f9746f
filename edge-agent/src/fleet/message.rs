//! Messages of VDA 5050 2.1, read liberally: unknown fields are passed over, unknown words are kept, and a field of another shape than the
//! standard's counts as absent. One odd field must never silence a vehicle.

use kalong_crds::igv::{SoftwareVersion, Vda5050, VehicleConnection, VehicleMap};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::zone::VehiclePosition;

/// Largest message that is read. A state of 60 nodes is 13 kB.
pub(super) const MAX_PAYLOAD: usize = 256 * 1024;
/// Longest word that is taken from a vehicle, in characters.
const MAX_WORD: usize = 63;
/// Most maps and software parts that are reported of one vehicle.
const MAX_ENTRIES: usize = 16;
/// Most types of errors that are reported of one vehicle.
const MAX_ERRORS: usize = 8;
/// Farthest place that is believed, in centimetres: ten thousand kilometres.
const MAX_DISTANCE: f64 = 1e9;

/// Why a message is dropped.
#[derive(Debug, thiserror::Error, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum MessageError {
    /// Larger than any vehicle has reason for.
    #[error("its message has {0} bytes, more than {MAX_PAYLOAD}: look at what the vehicle sends")]
    TooLarge(usize),
    /// The payload is no JSON object.
    #[error("its message is no JSON of VDA 5050: look at what the vehicle sends")]
    Unreadable,
    /// Two vehicles share a topic, or one is set up with another's name.
    #[error(
        "its message names {manufacturer}/{serial} in its header: set manufacturer and serial number right on the vehicle"
    )]
    Stranger {
        /// Manufacturer that the header names.
        manufacturer: String,
        /// Serial number in the header.
        serial: String,
    },
}

/// The topics of a vehicle that are listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// Its link to the broker; retained, and the last will.
    Connection,
    /// What the vehicle does; sent every 30 s at least.
    State,
    /// What the vehicle is; retained.
    Factsheet,
}

impl Topic {
    pub(super) const ALL: [Self; 3] = [Self::Connection, Self::Factsheet, Self::State];

    /// The last level of the topic.
    pub(super) fn level(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::State => "state",
            Self::Factsheet => "factsheet",
        }
    }
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum VehicleMessage {
    /// What its link to the broker is. The standard forbids to take this for its health.
    Connection(VehicleConnection),
    /// What the vehicle does, and where it is.
    State(StateMessage),
    /// Versions of its parts, sorted.
    Factsheet(Vec<SoftwareVersion>),
}

/// A message and the number that the vehicle gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NumberedMessage {
    /// Counts the messages of one topic.
    pub(super) header_id: Option<u32>,
    pub(super) message: VehicleMessage,
}

/// What is kept of a state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StateMessage {
    /// The operating mode in the vehicle's word.
    pub(super) mode: Option<String>,
    /// Whether it knows where it is.
    pub(super) localised: bool,
    /// Where it is, if it knows.
    pub(super) position: Option<VehiclePosition>,
    /// Whether it carries something; `None` where it does not report loads.
    pub(super) laden: Option<bool>,
    /// The node that it passed last or stands at.
    pub(super) last_node: Option<String>,
    /// It stands, has no order left and no action under way; a missing field counts against it.
    pub(super) idle: bool,
    /// Charge in thousandths of a percent.
    pub(super) charge: Option<i64>,
    /// Whether the battery is being charged; false where that is not reported.
    pub(super) charging: bool,
    /// Maps that are enabled, sorted; `None` where they are not reported.
    pub(super) maps: Option<Vec<VehicleMap>>,
    /// Types of errors that stop it, sorted.
    pub(super) errors: Vec<String>,
}

/// Reads a message that came on the topic of this vehicle.
pub(super) fn read(topic: Topic, vehicle: &Vda5050, payload: &[u8]) -> Result<NumberedMessage, MessageError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(MessageError::TooLarge(payload.len()));
    }
    // A list would pass for an object whose fields stand in order.
    if payload.trim_ascii_start().first() != Some(&b'{') {
        return Err(MessageError::Unreadable);
    }
    let header: MessageHeader = object(payload)?;
    let (manufacturer, serial) = (header.manufacturer.unwrap_or_default(), header.serial_number.unwrap_or_default());
    if manufacturer != vehicle.manufacturer || serial != vehicle.serial_number {
        return Err(MessageError::Stranger { manufacturer: word(&manufacturer), serial: word(&serial) });
    }
    let message = match topic {
        Topic::Connection => VehicleMessage::Connection(object::<RawConnection>(payload)?.read()),
        Topic::State => VehicleMessage::State(object::<RawState>(payload)?.read()),
        Topic::Factsheet => VehicleMessage::Factsheet(object::<RawFactsheet>(payload)?.read()),
    };
    Ok(NumberedMessage { header_id: header.header_id, message })
}

fn object<T: DeserializeOwned>(payload: &[u8]) -> Result<T, MessageError> {
    serde_json::from_slice(payload).map_err(|_| MessageError::Unreadable)
}

/// A field of another shape than expected is absent.
fn loose<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// A word that may stand in a report: visible ASCII and spaces, and not too long. Nothing else of a peer's text is passed on.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_WORD).collect()
}

/// A number in thousandths or hundredths, rounded to a whole; `as` would turn nonsense into a plausible zero.
fn whole(value: f64, bound: f64) -> Option<i64> {
    (value.is_finite() && value.abs() <= bound).then(|| format!("{value:.0}").parse().ok()).flatten()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MessageHeader {
    #[serde(deserialize_with = "loose")]
    header_id: Option<u32>,
    #[serde(deserialize_with = "loose")]
    manufacturer: Option<String>,
    #[serde(deserialize_with = "loose")]
    serial_number: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawConnection {
    #[serde(deserialize_with = "loose")]
    connection_state: Option<String>,
}

impl RawConnection {
    fn read(self) -> VehicleConnection {
        match self.connection_state.as_deref() {
            Some("ONLINE") => VehicleConnection::Online,
            Some("OFFLINE") => VehicleConnection::Offline,
            // 2.x has the one spelling in prose and schema, 3.0 the other; vehicles in the field send both.
            Some("CONNECTIONBROKEN" | "CONNECTION_BROKEN") => VehicleConnection::Broken,
            _ => VehicleConnection::Unknown,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawState {
    #[serde(deserialize_with = "loose")]
    operating_mode: Option<String>,
    #[serde(deserialize_with = "loose")]
    agv_position: Option<RawPosition>,
    #[serde(deserialize_with = "loose")]
    loads: Option<Vec<IgnoredAny>>,
    #[serde(deserialize_with = "loose")]
    last_node_id: Option<String>,
    #[serde(deserialize_with = "loose")]
    driving: Option<bool>,
    #[serde(deserialize_with = "loose")]
    node_states: Option<Vec<IgnoredAny>>,
    #[serde(deserialize_with = "loose")]
    edge_states: Option<Vec<IgnoredAny>>,
    #[serde(deserialize_with = "loose")]
    action_states: Option<Vec<RawAction>>,
    #[serde(deserialize_with = "loose")]
    battery_state: Option<RawBattery>,
    #[serde(deserialize_with = "loose")]
    maps: Option<Vec<RawMap>>,
    #[serde(deserialize_with = "loose")]
    errors: Option<Vec<RawError>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPosition {
    #[serde(deserialize_with = "loose")]
    position_initialized: Option<bool>,
    #[serde(deserialize_with = "loose")]
    map_id: Option<String>,
    #[serde(deserialize_with = "loose")]
    x: Option<f64>,
    #[serde(deserialize_with = "loose")]
    y: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawAction {
    #[serde(deserialize_with = "loose")]
    action_status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawBattery {
    #[serde(deserialize_with = "loose")]
    battery_charge: Option<f64>,
    #[serde(deserialize_with = "loose")]
    charging: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMap {
    #[serde(deserialize_with = "loose")]
    map_id: Option<String>,
    #[serde(deserialize_with = "loose")]
    map_version: Option<String>,
    #[serde(deserialize_with = "loose")]
    map_status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawError {
    #[serde(deserialize_with = "loose")]
    error_type: Option<String>,
    #[serde(deserialize_with = "loose")]
    error_level: Option<String>,
}

impl RawState {
    fn read(self) -> StateMessage {
        let position = self.agv_position.unwrap_or_default();
        let battery = self.battery_state.unwrap_or_default();
        let nothing_left = |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(Vec::is_empty);
        let is_over = |action: &RawAction| matches!(action.action_status.as_deref(), Some("FINISHED" | "FAILED"));
        StateMessage {
            mode: self.operating_mode.map(|mode| word(&mode)),
            localised: position.position_initialized == Some(true),
            position: position.position(),
            laden: self.loads.map(|loads| !loads.is_empty()),
            last_node: self.last_node_id,
            idle: self.driving == Some(false)
                && nothing_left(&self.node_states)
                && nothing_left(&self.edge_states)
                && self.action_states.is_some_and(|actions| actions.iter().all(is_over)),
            charge: battery.battery_charge.and_then(|percent| whole(percent.clamp(0.0, 100.0) * 1000.0, 100_000.0)),
            charging: battery.charging == Some(true),
            maps: self.maps.map(enabled),
            errors: fatal(self.errors.unwrap_or_default()),
        }
    }
}

impl RawPosition {
    fn position(self) -> Option<VehiclePosition> {
        let (true, Some(map), Some(x), Some(y)) = (self.position_initialized?, self.map_id, self.x, self.y) else {
            return None;
        };
        Some(VehiclePosition { map, x: whole(x * 100.0, MAX_DISTANCE)?, y: whole(y * 100.0, MAX_DISTANCE)? })
    }
}

/// The maps that a vehicle drives by, sorted; one that is only downloaded does not count.
fn enabled(maps: Vec<RawMap>) -> Vec<VehicleMap> {
    let enabled = maps.into_iter().filter(|m| m.map_status.as_deref() == Some("ENABLED"));
    let mut maps: Vec<_> = enabled
        .filter_map(|m| Some(VehicleMap { name: word(&m.map_id?), version: word(&m.map_version.unwrap_or_default()) }))
        .collect();
    maps.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    maps.dedup();
    maps.truncate(MAX_ENTRIES);
    maps
}

/// The types of the errors after which a vehicle does not go on by itself, sorted.
fn fatal(errors: Vec<RawError>) -> Vec<String> {
    let fatal = errors.into_iter().filter(|e| e.error_level.as_deref() == Some("FATAL"));
    let mut types: Vec<_> = fatal.map(|e| word(&e.error_type.unwrap_or_default())).collect();
    types.sort();
    types.dedup();
    types.truncate(MAX_ERRORS);
    types
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawFactsheet {
    #[serde(deserialize_with = "loose")]
    vehicle_config: Option<RawConfig>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawConfig {
    #[serde(deserialize_with = "loose")]
    versions: Option<Vec<RawVersion>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawVersion {
    #[serde(deserialize_with = "loose")]
    key: Option<String>,
    #[serde(deserialize_with = "loose")]
    value: Option<String>,
}

impl RawFactsheet {
    fn read(self) -> Vec<SoftwareVersion> {
        let versions = self.vehicle_config.unwrap_or_default().versions.unwrap_or_default();
        let mut software: Vec<_> = versions
            .into_iter()
            .filter_map(|v| Some(SoftwareVersion { name: word(&v.key?), version: word(&v.value.unwrap_or_default()) }))
            .filter(|v| !v.name.is_empty())
            .collect();
        software.sort();
        software.dedup();
        software.truncate(MAX_ENTRIES);
        software
    }
}
