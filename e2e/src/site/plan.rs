//! What a site has, before names and addresses are given to its devices.

use kalong_crds::crossing::{CapacityFloor, Traffic};
use kalong_crds::device::Ownership;
use kalong_crds::inspection_station::StationType;
use kalong_crds::lane::{Admission, CargoClass, Direction, Need, Service};
use kalong_crds::phase::PhaseSpec;

use super::report::Switch;

/// A site: its crossings and its boxes, each with the lanes and the equipment behind it.
#[derive(Clone, Debug)]
pub struct SitePlan {
    /// Name of the site, which is the namespace.
    pub site: String,
    /// Bridges and roads over the border.
    pub crossings: Vec<CrossingPlan>,
    /// Boxes that talk to devices, live ones first.
    pub agents: Vec<AgentPlan>,
    /// Inspection stations, all of phase 1.
    pub stations: Vec<StationPlan>,
    /// Unmanned vehicles, all of phase 1.
    pub vehicles: Vec<VehiclePlan>,
    /// The link to the other country, where there is one.
    pub link: Option<LinkPlan>,
    /// The phases, in the order in which they open.
    pub phases: Vec<PhasePlan>,
}

/// A phase of the programme.
#[derive(Clone, Debug)]
pub struct PhasePlan {
    /// Which one.
    pub stage: Stage,
    /// What it brings, for the reader of the file.
    pub title: &'static str,
    /// What is declared of it.
    pub spec: PhaseSpec,
}

/// An inspection station.
#[derive(Clone, Debug)]
pub struct StationPlan {
    /// Name of the InspectionStation.
    pub name: String,
    /// Name of the Crossing.
    pub crossing: String,
    /// Name of the box behind which its devices stand.
    pub agent: String,
    /// What is done there.
    pub kind: StationType,
    /// Name of each place and of the Device that fills it; the station needs all of them.
    pub slots: Vec<(String, String)>,
    /// Lanes that send traffic through it, and whether they can run past it.
    pub serves: Vec<(String, Need)>,
    /// Inspections an hour.
    pub per_hour: i64,
    /// Name of the InspectionStation that takes over.
    pub fallback: Option<String>,
    /// Number of its licence, where it needs one.
    pub licence: Option<&'static str>,
    /// Who owns it.
    pub ownership: Ownership,
}

/// An unmanned vehicle.
#[derive(Clone, Debug)]
pub struct VehiclePlan {
    /// Name of the IGV.
    pub name: String,
    /// Name of the Crossing at whose yard it is at home.
    pub crossing: String,
    /// Name of the box that listens to the fleet's broker.
    pub agent: String,
    /// Serial number in VDA 5050.
    pub serial: String,
    /// Whether it is heard when the site starts.
    pub at_start: Switch,
}

/// The link to the other country.
#[derive(Clone, Debug)]
pub struct LinkPlan {
    /// Name of the BilateralLink.
    pub name: String,
    /// Name of the Crossing over which it speaks.
    pub crossing: String,
    /// Name of the box that is the gateway.
    pub agent: String,
    /// What the other side calls the crossing.
    pub other_side: &'static str,
}

/// A bridge or road over the border.
#[derive(Clone, Debug)]
pub struct CrossingPlan {
    /// Name of the Crossing.
    pub name: String,
    /// What it is, for the reader of the file.
    pub title: &'static str,
    /// What passes.
    pub traffic: Traffic,
    /// Capacity that must stay in service.
    pub floors: Vec<CapacityFloor>,
    /// Phase that it belongs to.
    pub phase: Stage,
}

/// A box at the gate with everything behind it.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    /// Name of the EdgeAgent.
    pub name: String,
    /// What it is there for, for the reader of the file.
    pub title: String,
    /// Lanes whose devices it talks to.
    pub lanes: Vec<LanePlan>,
    /// Devices that stand in no lane.
    pub equipment: Vec<Equipment>,
    /// Phase that it belongs to.
    pub phase: Stage,
}

/// A lane.
#[derive(Clone, Debug)]
pub struct LanePlan {
    /// Name of the Lane, and stem of the names of its devices.
    pub name: String,
    /// Name of the Crossing.
    pub crossing: String,
    /// What it serves.
    pub service: Service,
    /// Which way.
    pub direction: Direction,
    /// Whether it is declared to admit traffic.
    pub admission: Admission,
    /// Lanes that take over, in this order.
    pub fallback: Vec<String>,
    /// Rated capacity.
    pub passages_per_hour: i64,
    /// Cargo that may use it; none means all.
    pub cargo: Vec<CargoClass>,
    /// What stands in it.
    pub set: DeviceSet,
}

/// What stands in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSet {
    /// The fifteen devices of a cargo lane.
    Cargo,
    /// An e-gate and the camera over it.
    Gate,
    /// An e-gate with a camera over its entry and one over its exit.
    WatchedGate,
    /// Four devices of a lane that is not built yet.
    Planned,
}

/// Devices of one model that stand in no lane.
#[derive(Clone, Debug)]
pub struct Equipment {
    /// Stem of the devices' names.
    pub stem: String,
    /// Name of the model.
    pub model: &'static str,
    /// How many.
    pub count: usize,
}

/// When a thing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is there: phase 1.
    Live,
    /// It is only planned: phase 2, which is not open.
    Planned,
}

/// Name of the phase whose objects are live.
pub const LIVE_PHASE: &str = "phase-1";
/// Name of the phase whose objects are planned.
pub const PLANNED_PHASE: &str = "phase-2";

impl Stage {
    /// Name of the phase.
    pub fn phase(self) -> &'static str {
        match self {
            Self::Live => LIVE_PHASE,
            Self::Planned => PLANNED_PHASE,
        }
    }
}
