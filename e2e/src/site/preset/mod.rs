//! Presets: how many of what. The figures are assumptions (`docs/site-assumptions.md`); no public count of devices exists.

mod lane;
mod programme;
mod station;

use kalong_crds::crossing::Traffic;
use kalong_crds::lane::{Admission, Service};
use serde::{Deserialize, Serialize};

use super::plan::{AgentPlan, CrossingPlan, DeviceSet, Equipment, LanePlan, SitePlan, Stage};
use lane::{admission, directed, floors};
pub use station::Station;

/// How many of what a site has. Every number may be changed; manifests and simulator follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// Name of the site, which is the namespace.
    pub site: String,
    /// Name of the crossing for passengers.
    pub passenger_crossing: String,
    /// Stem of the names at the passenger crossing.
    pub passenger_stem: String,
    /// Name of the crossing for goods.
    pub cargo_crossing: String,
    /// Stem of the names at the cargo crossing.
    pub cargo_stem: String,
    /// How the devices are spread over boxes.
    pub grouping: Grouping,
    /// Cargo lanes with officers, fifteen devices each.
    pub traditional_lanes: usize,
    /// Of these, lanes that are declared Closed: a reserve for the season.
    pub reserve_traditional_lanes: usize,
    /// Lanes for unmanned vehicles, fifteen devices each.
    pub igv_lanes: usize,
    /// Passenger lanes, an e-gate each.
    pub e_gates: usize,
    /// Cameras over each e-gate, one or two.
    pub gate_cameras: usize,
    /// Of these, lanes that are declared Closed: a reserve for holidays.
    pub reserve_e_gates: usize,
    /// Cameras of the passenger hall beside those over the e-gates.
    pub hall_cameras: usize,
    /// Cameras over the approach of each cargo lane, beside the seven within the lane.
    pub approach_cameras: usize,
    /// Cameras of each inspection station.
    pub station_cameras: usize,
    /// Cameras of the vehicle yard.
    pub yard_cameras: usize,
    /// Displays, switches and UPS of the passenger hall.
    pub hall_equipment: Rack,
    /// Displays, switches and UPS of the approach of each cargo lane.
    pub approach_equipment: Rack,
    /// Displays, switches and UPS of each inspection station.
    pub station_equipment: Rack,
    /// Displays, switches and UPS of the vehicle yard.
    pub yard_equipment: Rack,
    /// Chargers of the vehicle yard.
    pub chargers: usize,
    /// Beacons that guide vehicles.
    pub beacons: usize,
    /// Computers that dispatch vehicles.
    pub fleet_controllers: usize,
    /// X-ray scanners, at the first station.
    pub scanners: usize,
    /// Inspection stations, four devices each.
    pub stations: Vec<Station>,
    /// Unmanned vehicles.
    pub vehicles: usize,
    /// Of these, vehicles that are switched off when the site starts.
    pub silent_vehicles: usize,
    /// Name of the link to the other country; none where there is no link.
    pub link: Option<String>,
    /// Lanes of the phase that is not open, four devices each; they come on top of everything above.
    pub planned_lanes: usize,
}

/// The network gear, power and signs of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rack {
    /// Displays and signs.
    pub displays: usize,
    /// Network switches.
    pub switches: usize,
    /// Uninterruptible power supplies.
    pub ups: usize,
}

/// How devices are spread over boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grouping {
    /// A box a cargo lane, one for the passenger hall, one a station, one for the yard.
    PerPlace,
    /// Two boxes: one for the lanes and the yard, one for hall and stations.
    Two,
}

/// L0, a small gate for developers: 44 devices behind two boxes.
pub fn l0() -> SitePlan {
    l0_counts().plan()
}

/// L1, Mong Cai in phase 1: 22 lanes, 311 devices behind fourteen boxes, and a few objects of phase 2 on top.
pub fn l1() -> SitePlan {
    l1_counts().plan()
}

/// The counts of [`l0`].
pub fn l0_counts() -> Counts {
    Counts {
        site: "small-gate".into(),
        passenger_crossing: "foot-bridge".into(),
        passenger_stem: "fb".into(),
        cargo_crossing: "truck-bridge".into(),
        cargo_stem: "tb".into(),
        grouping: Grouping::Two,
        traditional_lanes: 1,
        reserve_traditional_lanes: 0,
        igv_lanes: 1,
        e_gates: 2,
        reserve_e_gates: 1,
        gate_cameras: 1,
        hall_cameras: 0,
        approach_cameras: 1,
        station_cameras: 0,
        yard_cameras: 0,
        hall_equipment: Rack { displays: 0, switches: 1, ups: 1 },
        approach_equipment: Rack::default(),
        station_equipment: Rack::default(),
        yard_equipment: Rack::default(),
        chargers: 1,
        beacons: 1,
        fleet_controllers: 0,
        scanners: 0,
        stations: vec![Station::Quarantine],
        vehicles: 1,
        silent_vehicles: 0,
        link: Some("small-gate-peer".into()),
        planned_lanes: 0,
    }
}

/// The counts of [`l1`].
pub fn l1_counts() -> Counts {
    Counts {
        site: "mong-cai".into(),
        passenger_crossing: "bac-luan-1".into(),
        passenger_stem: "bl1".into(),
        cargo_crossing: "bac-luan-2".into(),
        cargo_stem: "bl2".into(),
        grouping: Grouping::PerPlace,
        traditional_lanes: 4,
        reserve_traditional_lanes: 1,
        igv_lanes: 2,
        e_gates: 16,
        reserve_e_gates: 5,
        gate_cameras: 2,
        hall_cameras: 4,
        approach_cameras: 8,
        station_cameras: 4,
        yard_cameras: 12,
        hall_equipment: Rack { displays: 2, switches: 2, ups: 2 },
        approach_equipment: Rack { displays: 2, switches: 1, ups: 0 },
        station_equipment: Rack { displays: 1, switches: 1, ups: 1 },
        yard_equipment: Rack { displays: 0, switches: 1, ups: 1 },
        chargers: 5,
        beacons: 10,
        fleet_controllers: 1,
        scanners: 1,
        stations: vec![
            Station::XRay,
            Station::Weighing,
            Station::Quarantine,
            Station::Inspection,
            Station::Laboratory,
            Station::Transload,
        ],
        vehicles: 5,
        silent_vehicles: 1,
        link: Some("mong-cai-dongxing".into()),
        planned_lanes: 2,
    }
}

impl Counts {
    /// The site that has these.
    pub fn plan(&self) -> SitePlan {
        let mut agents = self.group();
        agents.extend(self.planned_agent());
        SitePlan {
            site: self.site.clone(),
            crossings: self.crossings(),
            agents,
            stations: self.station_plans(),
            vehicles: self.vehicle_plans(),
            link: self.link_plan(),
            phases: self.phase_plans(),
        }
    }

    fn crossings(&self) -> Vec<CrossingPlan> {
        let passengers = floors(&self.hall().lanes);
        let trucks: Vec<_> = (1..=self.traditional_lanes).map(|n| self.traditional_lane(n)).collect();
        let mut list = vec![
            CrossingPlan {
                name: self.passenger_crossing.clone(),
                title: "the bridge for people on foot and in coaches",
                traffic: Traffic::Passenger,
                floors: passengers,
                phase: Stage::Live,
            },
            CrossingPlan {
                name: self.cargo_crossing.clone(),
                title: "the bridge for goods with their vehicles",
                traffic: Traffic::Cargo,
                floors: floors(&trucks),
                phase: Stage::Live,
            },
        ];
        if self.planned_lanes > 0 {
            list.push(CrossingPlan {
                name: PLANNED_CROSSING.into(),
                title: "the planned steel bridge at Km3+4",
                traffic: Traffic::Cargo,
                floors: vec![],
                phase: Stage::Planned,
            });
        }
        list
    }

    fn group(&self) -> Vec<AgentPlan> {
        let (lanes, hall, stations, yard) = (self.cargo_places(), self.hall(), self.station_places(), self.yard());
        match self.grouping {
            Grouping::PerPlace => lanes.into_iter().chain([hall]).chain(stations).chain([yard]).collect(),
            Grouping::Two => vec![
                merge("gate", "lanes and yard", lanes.into_iter().chain([yard])),
                merge("hall", "passenger hall and inspection", [hall].into_iter().chain(stations)),
            ],
        }
    }

    fn cargo_places(&self) -> Vec<AgentPlan> {
        let place = |lane: LanePlan| {
            let name = lane.name.clone();
            let mut equipment = vec![equipment(&name, "camera", "dome-camera", self.approach_cameras)];
            equipment.extend(rack(&name, self.approach_equipment));
            AgentPlan { title: format!("lane {name}"), name, lanes: vec![lane], equipment, phase: Stage::Live }
        };
        self.cargo_lanes().into_iter().map(place).collect()
    }

    fn hall(&self) -> AgentPlan {
        let name = format!("{}-hall", self.passenger_stem);
        let lane = |n: usize| {
            let (direction, rank, of) = directed(n, self.e_gates);
            LanePlan {
                name: format!("{}-gate-{n:02}", self.passenger_stem),
                crossing: self.passenger_crossing.clone(),
                service: Service::Passenger,
                direction,
                admission: admission(direction, rank, of, self.reserve_e_gates),
                fallback: vec![],
                passages_per_hour: GATE_PER_HOUR,
                cargo: vec![],
                set: if self.gate_cameras > 1 { DeviceSet::WatchedGate } else { DeviceSet::Gate },
            }
        };
        let mut list = vec![equipment(&name, "camera", "dome-camera", self.hall_cameras)];
        list.extend(rack(&name, self.hall_equipment));
        AgentPlan {
            title: "passenger hall".into(),
            lanes: (1..=self.e_gates).map(lane).collect(),
            equipment: list,
            name,
            phase: Stage::Live,
        }
    }

    fn yard(&self) -> AgentPlan {
        let name = format!("{}-yard", self.cargo_stem);
        let mut list = vec![
            equipment(&name, "charger", "charger", self.chargers),
            equipment(&name, "beacon", "guidance-beacon", self.beacons),
            equipment(&name, "fleet", "fleet-controller", self.fleet_controllers),
            equipment(&name, "camera", "dome-camera", self.yard_cameras),
        ];
        list.extend(rack(&name, self.yard_equipment));
        AgentPlan {
            title: "yard of the unmanned vehicles".into(),
            name,
            lanes: vec![],
            equipment: list,
            phase: Stage::Live,
        }
    }

    fn planned_agent(&self) -> Option<AgentPlan> {
        let lane = |n: usize| LanePlan {
            name: format!("{PLANNED_STEM}-igv-{n}"),
            crossing: PLANNED_CROSSING.into(),
            service: Service::Igv,
            direction: directed(n, self.planned_lanes).0,
            admission: Admission::Open,
            fallback: (1..=self.traditional_lanes).take(1).map(|n| self.traditional_lane(n).name).collect(),
            passages_per_hour: IGV_PER_HOUR,
            cargo: vec![],
            set: DeviceSet::Planned,
        };
        (self.planned_lanes > 0).then(|| AgentPlan {
            name: format!("{PLANNED_STEM}-lanes"),
            title: "lanes over the planned steel bridge".into(),
            lanes: (1..=self.planned_lanes).map(lane).collect(),
            equipment: vec![],
            phase: Stage::Planned,
        })
    }
}

const PLANNED_CROSSING: &str = "hai-yen";
const PLANNED_STEM: &str = "hy";
/// Rated passages of a lane with officers: 800 vehicles a day, twice that in peaks, a tenth of it in the peak hour, over four lanes with a reserve.
const TRADITIONAL_PER_HOUR: i64 = 45;
/// Rated passages of a lane for unmanned vehicles: 30 s a transaction, half of the hour.
const IGV_PER_HOUR: i64 = 60;
/// Rated passages of an e-gate: 15 s each.
const GATE_PER_HOUR: i64 = 240;

fn equipment(stem: &str, what: &str, model: &'static str, count: usize) -> Equipment {
    Equipment { stem: format!("{stem}-{what}"), model, count }
}

fn rack(stem: &str, rack: Rack) -> [Equipment; 3] {
    [
        equipment(stem, "display", "display", rack.displays),
        equipment(stem, "switch", "network-switch", rack.switches),
        equipment(stem, "ups", "ups", rack.ups),
    ]
}

fn merge(name: &str, title: &str, places: impl IntoIterator<Item = AgentPlan>) -> AgentPlan {
    let mut agent =
        AgentPlan { name: name.into(), title: title.into(), lanes: vec![], equipment: vec![], phase: Stage::Live };
    for place in places {
        agent.lanes.extend(place.lanes);
        agent.equipment.extend(place.equipment);
    }
    agent
}
