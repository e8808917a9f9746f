//! What the simulator's control port says and takes: JSON, the same types on both sides. No device protocol is in here.

use std::collections::BTreeMap;

use kalong_crds::units::{Digest, Value};
use serde::{Deserialize, Serialize};

/// What one simulated device holds and has been through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceSnapshot {
    pub name: String,
    pub model: String,
    pub agent: String,
    pub phase: String,
    pub endpoint: String,
    pub serial: String,
    /// Version that it reports; empty where its protocol has none.
    pub version: String,
    /// Digest of the image that runs; absent where it has none.
    pub digest: Option<Digest>,
    /// Digest of the complete image that does not run.
    pub written: Option<Digest>,
    /// Whether what runs is permanent.
    pub committed: bool,
    pub boot_count: i64,
    /// Settings as they are in force.
    pub settings: BTreeMap<String, Value>,
    /// What it does as the one that runs a lane.
    pub lane: Option<LaneSnapshot>,
    pub health: Vec<String>,
    pub power: Power,
    /// What was done to it.
    pub counts: Counts,
}

/// What a lane's controller does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneSnapshot {
    /// What it was last told.
    pub admission: String,
    pub state: String,
    pub occupancy: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    On,
    /// It is starting and not there.
    Starting,
    /// It takes connections and answers nothing.
    Hung,
    Unreachable,
}

/// What was done to a device since the simulator started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub connections: u64,
    /// Requests of any kind; a weighbridge gets none.
    pub requests: u64,
    /// Requests that set something: settings or admission. Firmware counts below.
    pub writes: u64,
    /// Settings that were set, whether the value was new or not.
    pub setting_writes: u64,
    /// Orders to open or close, whether they were new or not.
    pub admission_writes: u64,
    pub reboots: u64,
    pub uploads: u64,
    pub installs: u64,
}

impl Counts {
    pub fn plus(&self, other: &Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    pub fn since(&self, earlier: &Self) -> Self {
        self.each(earlier, u64::saturating_sub)
    }

    fn each(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            connections: of(self.connections, other.connections),
            requests: of(self.requests, other.requests),
            writes: of(self.writes, other.writes),
            setting_writes: of(self.setting_writes, other.setting_writes),
            admission_writes: of(self.admission_writes, other.admission_writes),
            reboots: of(self.reboots, other.reboots),
            uploads: of(self.uploads, other.uploads),
            installs: of(self.installs, other.installs),
        }
    }
}

/// What can go wrong with a device on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Fault {
    /// It takes connections and answers nothing; when the fault goes, it starts again.
    Hang,
    /// It starts over and over.
    RebootLoop,
    /// After the next change of its image it goes on reporting the version before.
    WrongVersionAfterUpdate,
    FlashError,
    /// Its lens is dirty: health code `LensDirty`; only models that have the code.
    DirtyLens,
    /// Its clock is wrong by so many seconds; only models with a clock.
    ClockStep {
        #[serde(default = "an_hour")]
        seconds: i64,
    },
    /// It loses power once, the next time that it comes to this point.
    PowerCutAt {
        point: CutPoint,
    },
    Unreachable,
    /// Every answer takes so long.
    Slow {
        #[serde(default = "two_seconds")]
        millis: u64,
    },
}

fn an_hour() -> i64 {
    3600
}

fn two_seconds() -> u64 {
    2000
}

/// Where the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CutPoint {
    /// When half of an image has arrived.
    Upload,
    /// While an image is written.
    Install,
    /// During the first start of a new image.
    Activate,
    /// Before a new image is made permanent.
    Commit,
}

/// A fault, to be put on or taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultOrder {
    #[serde(flatten)]
    pub fault: Fault,
    #[serde(default)]
    pub state: Switch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    #[default]
    On,
    Off,
}

/// Health codes to be active on one device, and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthOrder {
    /// Names of the model's codes.
    pub codes: Vec<String>,
}

/// Health codes of many devices at once, by name.
pub type HealthOrders = BTreeMap<String, Vec<String>>;

/// How many are inside a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccupancyOrder {
    pub count: i64,
}

/// What stands on a weighbridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    pub kilograms: i64,
    /// Tare that the indicator shows.
    #[serde(default)]
    pub tare_kilograms: i64,
    #[serde(default)]
    pub motion: Motion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Motion {
    #[default]
    Stable,
    Moving,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRefusal {
    /// What is wrong and what to do.
    pub error: String,
}

/// The line that the simulator prints once everything listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyLine {
    /// Address of the control port.
    pub control: String,
    pub devices: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InterlockState {
    /// It is open: whatever it guards must stand still.
    Open,
    /// It is as its model says that it is safe.
    Safe,
}

/// A device's interlock or seal, to be opened or made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardOrder {
    pub state: InterlockState,
}

/// What is done to a vehicle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VehicleOrder {
    /// It is switched on and connects.
    On,
    /// It loses its link without a word: its last will speaks.
    Off,
    /// It says goodbye and disconnects.
    Goodbye,
    /// It no longer knows where it is.
    Lose,
    Find,
}

/// The order as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VehicleOrdered {
    pub order: VehicleOrder,
}

/// How fast the clock of the yard runs; at 0 the vehicles come home and park.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct YardOrder {
    /// How many times faster than real time, 0 to 100.
    pub speed: u32,
}

/// One vehicle, as it is and not as it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VehicleReport {
    /// Serial number in VDA 5050.
    pub serial: String,
    pub power: Switch,
    /// Where it is over the border, in centimetres of the map's first axis.
    pub x_centimetres: i64,
    /// Side of the line by the declared zones.
    pub side: kalong_crds::igv::ZoneSide,
    pub driving: bool,
    /// Charge of its battery in thousandths of a percent.
    pub charge_millis: i64,
    /// Energy that it took from its battery since it was made, in watt-hours.
    pub used_watt_hours: i64,
    /// State messages that it sent.
    pub states_sent: u64,
}

/// What reached the simulated gateway of the other country.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    pub connections: u64,
    pub requests: u64,
}

/// How the gateway of the other country behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerOrder {
    #[serde(default)]
    pub state: Switch,
    /// How far its clock is ahead, in seconds.
    #[serde(default)]
    pub ahead_seconds: i64,
}
