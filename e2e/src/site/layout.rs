//! A site with every device named, placed in its slot and given an address: what manifests and simulator both start from.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use kalong_crds::device_model::ProtocolName;
use kalong_crds::lane::{Admission, Need, Service, SlotRole};
use thiserror::Error;

use super::model::{self, Model};
use super::plan::{AgentPlan, DeviceSet, LanePlan, PhasePlan, SitePlan, Stage, StationPlan, VehiclePlan};
use super::report::Switch;

/// Most devices that one box talks to.
pub const DEVICES_AN_AGENT: usize = 60;
/// The first box of a phase that is not open has this number in its devices' addresses.
const FIRST_PLANNED: u8 = 101;
/// The fleet's broker and the peer of the link stand beside the boxes: 127.<network>.0.<n>.
const OUTSIDE: u8 = 0;
const BROKER_PORT: u16 = 1883;
const PEER_PORT: u16 = 8090;

/// Where the fleet's MQTT broker listens in the network with this second number.
pub fn broker_endpoint(network: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, network, OUTSIDE, 1), BROKER_PORT)
}

/// Where the simulated gateway of the other country listens in the network with this second number.
pub fn peer_endpoint(network: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, network, OUTSIDE, 2), PEER_PORT)
}

/// A site, device by device.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What it was made from.
    pub plan: SitePlan,
    /// Every device, by box and in the order of the boxes.
    pub devices: Vec<Placed>,
}

/// A device with its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Name of the Device.
    pub name: String,
    /// What it is.
    pub model: &'static Model,
    /// Name of its box.
    pub agent: String,
    /// Phase that it belongs to.
    pub phase: Stage,
    /// Where it stands in a lane.
    pub slot: Option<PlacedSlot>,
    /// Third and fourth number of its address.
    pub address: (u8, u8),
}

/// A place in a lane.
#[derive(Clone, Debug)]
pub struct PlacedSlot {
    /// Name of the Lane.
    pub lane: String,
    /// Whether that lane is declared to admit traffic.
    pub admission: Admission,
    /// Name of the slot.
    pub name: &'static str,
    /// What the device does there.
    pub role: SlotRole,
    /// Whether the lane can serve without it.
    pub need: Need,
}

/// Why a plan cannot be laid out.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// A model that nobody knows.
    #[error("`{0}` is not in the list of models: add it to e2e/src/site/model/catalogue.rs")]
    UnknownModel(String),
    /// A box with too many devices.
    #[error("agent `{0}` has {1} devices, at most {DEVICES_AN_AGENT}: give some to another agent")]
    TooManyDevices(String, usize),
    /// More boxes than addresses.
    #[error("more than 100 agents: a site of this size does not fit into one network of loopback addresses")]
    TooManyAgents,
    /// Two devices of one name.
    #[error("two devices are named `{0}`: give their place another stem")]
    SameName(String),
}

impl LayoutError {
    /// The word for logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::UnknownModel(_) => "unknownModel",
            Self::TooManyDevices(..) => "tooManyDevices",
            Self::TooManyAgents => "tooManyAgents",
            Self::SameName(_) => "sameName",
        }
    }
}

impl Placed {
    /// Where it listens in the network with this second number.
    pub fn endpoint(&self, network: u8) -> SocketAddrV4 {
        let (agent, device) = self.address;
        SocketAddrV4::new(Ipv4Addr::new(127, network, agent, device), port(self.model.protocol))
    }

    /// Whether its phase is open.
    pub fn is_live(&self) -> bool {
        self.phase == Stage::Live
    }
}

/// Ports above 1024, so that nobody needs rights of the administrator.
fn port(protocol: ProtocolName) -> u16 {
    match protocol {
        ProtocolName::ModbusTcp => 5020,
        ProtocolName::ToledoContinuous => 4001,
        ProtocolName::OnvifHttp | ProtocolName::GenericHttp => 8080,
    }
}

impl Layout {
    /// Gives names, slots and addresses.
    ///
    /// # Errors
    /// The plan does not fit: see [`LayoutError`].
    pub fn of(plan: SitePlan) -> Result<Self, LayoutError> {
        let mut devices = Vec::new();
        let mut numbers: BTreeMap<&str, u8> = BTreeMap::new();
        let (mut live, mut planned) = (1..FIRST_PLANNED, FIRST_PLANNED..=u8::MAX);
        for agent in &plan.agents {
            let number = match agent.phase {
                Stage::Live => live.next(),
                Stage::Planned => planned.next(),
            };
            let number = number.ok_or(LayoutError::TooManyAgents)?;
            numbers.insert(&agent.name, number);
            devices.extend(place(agent, number)?);
        }
        let mut names = std::collections::BTreeSet::new();
        if let Some(twice) = devices.iter().find(|d| !names.insert(d.name.clone())) {
            return Err(LayoutError::SameName(twice.name.clone()));
        }
        Ok(Self { plan, devices })
    }

    /// Devices of the phase that is open.
    pub fn live(&self) -> impl Iterator<Item = &Placed> {
        self.devices.iter().filter(|d| d.is_live())
    }

    /// Boxes of the phase that is open.
    pub fn live_agents(&self) -> impl Iterator<Item = &AgentPlan> {
        self.plan.agents.iter().filter(|a| a.phase == Stage::Live)
    }

    /// Lanes with the phase of their box.
    pub fn lanes(&self) -> impl Iterator<Item = (&LanePlan, Stage)> {
        self.plan.agents.iter().flat_map(|a| a.lanes.iter().map(|l| (l, a.phase)))
    }

    /// Devices of this lane, by slot.
    pub fn members<'a>(&'a self, lane: &'a str) -> impl Iterator<Item = (&'a Placed, &'a PlacedSlot)> {
        self.devices.iter().filter_map(move |d| d.slot.as_ref().filter(|s| s.lane == lane).map(|s| (d, s)))
    }

    /// The phase of this stage.
    pub fn phase(&self, stage: Stage) -> Option<&PhasePlan> {
        self.plan.phases.iter().find(|p| p.stage == stage)
    }

    /// Inspection stations.
    pub fn stations(&self) -> &[StationPlan] {
        &self.plan.stations
    }

    /// Unmanned vehicles.
    pub fn vehicles(&self) -> &[VehiclePlan] {
        &self.plan.vehicles
    }

    /// Vehicles that are declared and switched off when the site starts.
    pub fn silent_vehicles(&self) -> impl Iterator<Item = &VehiclePlan> {
        self.vehicles().iter().filter(|v| v.at_start == Switch::Off)
    }

    /// The first station that closes lanes, with the device that shows its interlock.
    pub fn interlocked_station(&self) -> Option<(&StationPlan, &Placed)> {
        self.stations().iter().filter(|s| s.serves.iter().any(|(_, need)| *need == Need::Required)).find_map(
            |station| {
                let here = |d: &&Placed| station.slots.iter().any(|(_, device)| *device == d.name);
                self.devices.iter().filter(here).find(|d| d.model.interlock.is_some()).map(|d| (station, d))
            },
        )
    }

    /// The live lane of this name.
    pub fn lane(&self, name: &str) -> Option<&LanePlan> {
        self.lanes().map(|(lane, _)| lane).find(|lane| lane.name == name)
    }

    /// Live lanes that are declared to admit traffic.
    pub fn open_lanes(&self) -> impl Iterator<Item = &LanePlan> {
        let open = |(lane, stage): &(&LanePlan, Stage)| *stage == Stage::Live && lane.admission == Admission::Open;
        self.lanes().filter(open).map(|(lane, _)| lane)
    }

    /// Plate cameras of the open cargo lanes: what a change that needs many drains is made on.
    pub fn plate_cameras_of_open_lanes(&self) -> impl Iterator<Item = (&Placed, &PlacedSlot)> {
        self.live().filter_map(|d| {
            let slot = d.slot.as_ref()?;
            (slot.role == SlotRole::PlateReader && slot.admission == Admission::Open).then_some((d, slot))
        })
    }

    /// Cameras that the agent can update and that stand in a live lane declared Closed, taken from the lanes in turn: only
    /// one device of a lane is changed at a time, so the first twelve are the twelve that are done soonest.
    pub fn cameras_of_closed_lanes(&self) -> Vec<&Placed> {
        let mut by_lane: BTreeMap<&str, Vec<&Placed>> = BTreeMap::new();
        for device in self.live().filter(|d| d.model.is_camera() && d.model.is_updatable()) {
            if let Some(slot) = device.slot.as_ref().filter(|s| s.admission == Admission::Closed) {
                by_lane.entry(&slot.lane).or_default().push(device);
            }
        }
        let mut ranked: Vec<(usize, &Placed)> =
            by_lane.values().flat_map(|lane| lane.iter().enumerate().map(|(rank, d)| (rank, *d))).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, d)| d).collect()
    }

    /// The first device of this box that has a setting, and that setting: what a change behind every box is made on.
    pub fn setting_behind(&self, agent: &str) -> Option<(&Placed, &'static model::Setting)> {
        self.live().filter(|d| d.agent == agent).find_map(|d| {
            let whole = |s: &&model::Setting| matches!(s.shape, model::Shape::Number(..));
            d.model.settings.iter().find(whole).or(d.model.settings.last()).map(|s| (d, s))
        })
    }
}

fn place(agent: &AgentPlan, number: u8) -> Result<Vec<Placed>, LayoutError> {
    let mut wanted: Vec<(String, &'static str, Option<PlacedSlot>)> = Vec::new();
    for lane in &agent.lanes {
        wanted.extend(lane_set(lane).iter().map(|&(slot, model, role, need)| {
            let placed = PlacedSlot { lane: lane.name.clone(), admission: lane.admission, name: slot, role, need };
            (format!("{}-{slot}", lane.name), model, Some(placed))
        }));
    }
    for group in &agent.equipment {
        let single = group.count == 1;
        wanted.extend((1..=group.count).map(|n| {
            let name = if single { group.stem.clone() } else { format!("{}-{n:02}", group.stem) };
            (name, group.model, None)
        }));
    }
    let count = wanted.len();
    if count > DEVICES_AN_AGENT {
        return Err(LayoutError::TooManyDevices(agent.name.clone(), count));
    }
    (1_u8..)
        .zip(wanted)
        .map(|(n, (name, model, slot))| {
            let model = model::find(model).ok_or_else(|| LayoutError::UnknownModel(model.to_owned()))?;
            let (agent, phase) = (agent.name.clone(), agent.phase);
            Ok(Placed { name, model, agent, phase, slot, address: (number, n) })
        })
        .collect()
}

type SetEntry = (&'static str, &'static str, SlotRole, Need);

/// Slot, model, role and need of each device that stands in a lane.
fn lane_set(lane: &LanePlan) -> Vec<SetEntry> {
    use Need::{Optional, Required};
    let mut set: Vec<SetEntry> = match lane.set {
        DeviceSet::Gate => vec![
            ("e-gate", "e-gate", SlotRole::Controller, Required),
            ("overview", "dome-camera", SlotRole::Overview, Optional),
        ],
        DeviceSet::WatchedGate => vec![
            ("e-gate", "e-gate", SlotRole::Controller, Required),
            ("overview", "dome-camera", SlotRole::Overview, Optional),
            ("exit-view", "dome-camera", SlotRole::Overview, Optional),
        ],
        DeviceSet::Planned => vec![
            ("plc", "lane-plc", SlotRole::Controller, Required),
            ("entry-barrier", "barrier", SlotRole::Barrier, Required),
            ("exit-barrier", "barrier", SlotRole::Barrier, Required),
            ("front-plate", "plate-camera", SlotRole::PlateReader, Required),
        ],
        DeviceSet::Cargo => vec![
            ("plc", "lane-plc", SlotRole::Controller, Required),
            ("entry-barrier", "barrier", SlotRole::Barrier, Required),
            ("exit-barrier", "barrier", SlotRole::Barrier, Required),
            ("front-plate", "plate-camera", SlotRole::PlateReader, Required),
            ("rear-plate", "plate-camera", SlotRole::PlateReader, Optional),
            ("left-code", "container-camera", SlotRole::ContainerReader, Optional),
            ("right-code", "container-camera", SlotRole::ContainerReader, Optional),
            ("top-code", "container-camera", SlotRole::ContainerReader, Optional),
            ("rear-code", "container-camera", SlotRole::ContainerReader, Required),
            ("overview", "dome-camera", SlotRole::Overview, Optional),
            ("weighbridge", "weighbridge", SlotRole::Weighing, Required),
            ("radiation", "radiation-portal", SlotRole::Radiation, Required),
            ("display", "display", SlotRole::Display, Optional),
            ("power", "power-meter", SlotRole::Power, Optional),
        ],
    };
    // Officers look at the driver; unmanned vehicles are known by their tag.
    match (lane.set, lane.service) {
        (DeviceSet::Cargo, Service::Traditional) => set.push(("driver", "driver-reader", SlotRole::Reader, Required)),
        (DeviceSet::Cargo, _) => set.push(("reader", "code-reader", SlotRole::Reader, Required)),
        _ => {}
    }
    set
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kalong_crds::lane::Direction;

    use super::*;
    use crate::site::preset;

    fn count(layout: &Layout, model: &str) -> usize {
        layout.live().filter(|d| d.model.name == model).count()
    }

    #[test]
    fn l1_sums_to_311_devices_behind_14_boxes() {
        let layout = Layout::of(preset::l1()).unwrap();
        assert_eq!(layout.live().count(), 311);
        assert_eq!(layout.live_agents().count(), 14);
        for agent in layout.live_agents() {
            let devices = layout.live().filter(|d| d.agent == agent.name).count();
            assert!((1..=DEVICES_AN_AGENT).contains(&devices), "{}: {devices}", agent.name);
            assert!(layout.setting_behind(&agent.name).is_some(), "{}", agent.name);
        }
    }

    #[test]
    fn l1_has_the_parts_of_the_formula() {
        let layout = Layout::of(preset::l1()).unwrap();
        let in_lane = |set| {
            let lanes: BTreeSet<_> =
                layout.lanes().filter(|(l, _)| l.set == set).map(|(l, _)| l.name.clone()).collect();
            layout.live().filter(|d| d.slot.as_ref().is_some_and(|s| lanes.contains(&s.lane))).count()
        };
        assert_eq!(in_lane(DeviceSet::Cargo), 90, "15 a cargo lane");
        assert_eq!(count(&layout, "e-gate"), 16);
        assert_eq!(in_lane(DeviceSet::WatchedGate), 3 * 16);
        // Seven cameras of each cargo lane are of the lane's fifteen; the 120 are the others.
        let cameras = layout.live().filter(|d| d.model.is_camera()).count();
        assert_eq!(cameras - 6 * 7, 120);
        assert_eq!(count(&layout, "x-ray-scanner"), 1);
        let rack = ["network-switch", "ups", "charger", "guidance-beacon", "fleet-controller"];
        let others: usize = rack.iter().map(|m| count(&layout, m)).sum::<usize>() + count(&layout, "display") - 6;
        assert_eq!(others, 60);
        assert_eq!(90 + 16 + 120 + 60 + 1 + 6 * 4, 311);
    }

    #[test]
    fn l1_has_22_live_lanes_and_12_cameras_of_closed_ones() {
        let layout = Layout::of(preset::l1()).unwrap();
        let live: Vec<_> = layout.lanes().filter(|(_, p)| *p == Stage::Live).map(|(l, _)| l).collect();
        let of = |service| live.iter().filter(|l| l.service == service).count();
        assert_eq!((of(Service::Traditional), of(Service::Igv), of(Service::Passenger)), (4, 2, 16));
        assert_eq!(live.iter().filter(|l| l.admission == Admission::Closed).count(), 6);
        let cameras = layout.cameras_of_closed_lanes();
        assert!(cameras.len() >= 12, "{}", cameras.len());
        let lanes: BTreeSet<_> = cameras.iter().take(6).filter_map(|d| d.slot.as_ref()).map(|s| &s.lane).collect();
        assert_eq!(lanes.len(), 6, "the first cameras are of different lanes");
    }

    #[test]
    fn every_smart_lane_falls_back_to_a_traditional_one_that_is_open() {
        for plan in [preset::l0(), preset::l1()] {
            let layout = Layout::of(plan).unwrap();
            let lanes: Vec<_> = layout.lanes().map(|(l, _)| l).collect();
            for lane in lanes.iter().filter(|l| matches!(l.service, Service::Igv | Service::Smart)) {
                let first = lane.fallback.first().unwrap_or_else(|| panic!("{}: none", lane.name));
                let target = lanes.iter().find(|l| l.name == *first).unwrap();
                assert_eq!((target.service, target.admission), (Service::Traditional, Admission::Open));
            }
        }
    }

    #[test]
    fn floors_make_the_second_lane_wait_and_one_lane_wait_for_its_reserve() {
        let layout = Layout::of(preset::l1()).unwrap();
        let mut stuck = Vec::new();
        for crossing in layout.plan.crossings.iter().filter(|c| c.phase == Stage::Live) {
            for floor in &crossing.floors {
                let same = |l: &&LanePlan| {
                    let place = (l.crossing.as_str(), l.service, l.direction);
                    place == (crossing.name.as_str(), floor.service, floor.direction)
                };
                let open = i64::try_from(layout.open_lanes().filter(same).count()).unwrap();
                let all = i64::try_from(layout.lanes().map(|(l, _)| l).filter(same).count()).unwrap();
                assert!(all > floor.min_open_lanes && open >= floor.min_open_lanes, "{floor:?}");
                if open == floor.min_open_lanes {
                    stuck.push((floor.service, floor.direction));
                }
            }
        }
        assert_eq!(stuck, [(Service::Traditional, Direction::Outbound)]);
        let trucks: Vec<_> = layout.open_lanes().filter(|l| l.service == Service::Traditional).collect();
        assert_eq!(trucks.iter().filter(|l| l.direction == Direction::Inbound).count(), 2, "the second has to wait");
        let small = Layout::of(preset::l0()).unwrap();
        assert!(small.plan.crossings.iter().all(|c| c.floors.is_empty()), "a lane of its kind can be changed");
    }

    #[test]
    fn stations_vehicles_link_and_phases_refer_to_what_is_there() {
        for plan in [preset::l0(), preset::l1()] {
            let layout = Layout::of(plan).unwrap();
            let agents: BTreeSet<_> = layout.plan.agents.iter().map(|a| a.name.as_str()).collect();
            let mut filled = BTreeSet::new();
            for station in layout.stations() {
                for (slot, device) in &station.slots {
                    let placed = layout.devices.iter().find(|d| d.name == *device);
                    let placed = placed.unwrap_or_else(|| panic!("{}: {slot} has no {device}", station.name));
                    assert!(placed.slot.is_none() && filled.insert(device), "{device}");
                    assert_eq!(placed.agent, station.agent);
                }
                assert!(station.serves.iter().all(|(lane, _)| layout.lane(lane).is_some()), "{}", station.name);
                let fallback = station.fallback.as_ref();
                assert!(fallback.is_none_or(|f| layout.stations().iter().any(|s| s.name == *f)), "{}", station.name);
            }
            assert!(layout.vehicles().iter().all(|v| agents.contains(v.agent.as_str())));
            assert!(agents.contains(layout.plan.link.as_ref().unwrap().agent.as_str()));
            let (station, _) = layout.interlocked_station().unwrap();
            assert!(station.serves.iter().any(|(_, need)| *need == Need::Required));
            for phase in &layout.plan.phases {
                for milestone in &phase.spec.milestones {
                    assert!(phase.spec.crossings.contains(&milestone.crossing_ref), "{}", milestone.name);
                }
            }
        }
    }

    #[test]
    fn l1_declares_five_vehicles_and_hears_four() {
        let layout = Layout::of(preset::l1()).unwrap();
        assert_eq!((layout.vehicles().len(), layout.silent_vehicles().count()), (5, 1));
        assert_eq!(layout.stations().len(), 6);
    }

    #[test]
    fn phase_2_comes_on_top() {
        let layout = Layout::of(preset::l1()).unwrap();
        assert_eq!(layout.devices.len() - layout.live().count(), 8);
        assert_eq!(layout.plan.agents.len(), 15);
        assert_eq!(layout.lanes().filter(|(_, p)| *p == Stage::Planned).count(), 2);
    }

    #[test]
    fn l0_is_44_devices_behind_two_boxes() {
        let layout = Layout::of(preset::l0()).unwrap();
        assert_eq!((layout.devices.len(), layout.plan.agents.len()), (44, 2));
        assert!(!layout.cameras_of_closed_lanes().is_empty());
    }

    #[test]
    fn no_two_devices_share_an_address() {
        let layout = Layout::of(preset::l1()).unwrap();
        let addresses: BTreeSet<_> = layout.devices.iter().map(|d| d.endpoint(20)).collect();
        assert_eq!(addresses.len(), layout.devices.len());
    }
}
