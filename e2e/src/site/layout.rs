//! A site as tests and simulator see it: its objects from Git, joined with what only the simulator knows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use kalong_crds::device::DeviceSpec;
use kalong_crds::lane::{Admission, SlotRole};
use kalong_crds::phase::PhaseState;
use kalong_crds::property::{Property, PropertyType};
use kalong_crds::units::Name;
use kalong_crds::{EdgeAgent, Lane};
use kube::ResourceExt;
use thiserror::Error;

use super::facts::{FactsError, SimulatorFacts};
use super::gitops::{self, GitopsError, SiteObjects};
use super::model::{FactoryFirmware, Model};
use super::preset::SiteSource;
use super::traffic::LaneDemand;

/// A site, device by device.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What is declared, lanes in the order of their devices.
    pub objects: SiteObjects,
    /// What only the simulator knows.
    pub facts: SimulatorFacts,
    /// Every device, in the order of Git.
    pub devices: Vec<Placed>,
    models: BTreeMap<String, Arc<Model>>,
}

/// A device with its place.
#[derive(Clone, Debug)]
pub struct Placed {
    pub name: String,
    /// What is declared of it.
    pub spec: DeviceSpec,
    pub model: Arc<Model>,
    pub agent: String,
    /// Where it stands in a lane.
    pub slot: Option<PlacedSlot>,
    address: Loopback,
    is_live: bool,
}

/// A place in a lane.
#[derive(Clone, Debug)]
pub struct PlacedSlot {
    pub lane: String,
    /// Whether that lane is declared to admit traffic.
    pub admission: Admission,
    /// What the device does there.
    pub role: SlotRole,
}

/// An address in whatever network the simulator runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Loopback {
    host: (u8, u8),
    port: u16,
}

impl Loopback {
    /// Of an endpoint in the network of the manifests.
    fn parse(endpoint: &str, network: u8) -> Option<Self> {
        let address: SocketAddrV4 = endpoint.parse().ok()?;
        match address.ip().octets() {
            [127, second, third, fourth] if second == network => {
                Some(Self { host: (third, fourth), port: address.port() })
            }
            _ => None,
        }
    }

    fn at(self, network: u8) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, network, self.host.0, self.host.1), self.port)
    }
}

/// Why a site cannot be laid out.
#[derive(Debug, Error)]
pub enum LayoutError {
    #[error(transparent)]
    Gitops(#[from] GitopsError),
    /// What only the simulator knows.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// An object that another one names and that is not there.
    #[error("`{by}` names `{name}`, which the site does not have")]
    Reference {
        /// The object that names it.
        by: String,
        name: String,
    },
    /// An address on which no simulator can listen.
    #[error("`{name}` is at {endpoint}, which is not in 127.{network}.0.0/16, the facts' network")]
    Address { name: String, endpoint: String, network: u8 },
    /// Two devices at one address.
    #[error("`{0}` is at the address of another device")]
    SameAddress(String),
}

impl Placed {
    /// Where it listens in the network with this second number.
    pub fn endpoint(&self, network: u8) -> SocketAddrV4 {
        self.address.at(network)
    }

    /// Whether its phase is more than planned.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// Whether it asks for a user name and a password.
    pub fn wants_login(&self) -> bool {
        self.spec.connection.secret_ref.is_some()
    }
}

impl Layout {
    /// Reads the site.
    ///
    /// # Errors
    /// Its files do not describe a site that can be simulated: see [`LayoutError`].
    pub fn read(source: &SiteSource) -> Result<Self, LayoutError> {
        let objects = SiteObjects::parse(&gitops::read(&source.gitops)?)?;
        Self::of(objects, SimulatorFacts::read(&source.facts)?)
    }

    /// Joins objects and facts.
    ///
    /// # Errors
    /// They do not fit.
    pub fn of(objects: SiteObjects, facts: SimulatorFacts) -> Result<Self, LayoutError> {
        facts.check(&objects)?;
        let models = models(&objects, &facts);
        let mut layout = Self { objects, facts, devices: Vec::new(), models };
        layout.devices = layout.place()?;
        let mut taken = BTreeSet::new();
        if let Some(second) = layout.devices.iter().find(|device| !taken.insert(device.address)) {
            return Err(LayoutError::SameAddress(second.name.clone()));
        }
        let order: BTreeMap<&str, usize> =
            layout.devices.iter().enumerate().map(|(place, device)| (device.name.as_str(), place)).collect();
        let first = |lane: &Lane| lane.spec.slots.first().and_then(|slot| order.get(slot.device_ref.as_str()).copied());
        layout.objects.lanes.sort_by_key(first);
        Ok(layout)
    }

    fn place(&self) -> Result<Vec<Placed>, LayoutError> {
        let mut slots = BTreeMap::new();
        for lane in &self.objects.lanes {
            for slot in &lane.spec.slots {
                let place = PlacedSlot { lane: lane.name_any(), admission: lane.spec.admission, role: slot.role };
                slots.insert(slot.device_ref.as_str(), place);
            }
        }
        let mut devices = Vec::new();
        for device in &self.objects.devices {
            let (name, spec) = (device.name_any(), device.spec.clone());
            let model = self.models.get(spec.model_ref.as_str()).cloned();
            let model = model
                .ok_or_else(|| LayoutError::Reference { by: name.clone(), name: spec.model_ref.as_str().to_owned() })?;
            let (address, agent) = (self.loopback(&name, &spec.connection.endpoint)?, spec.agent_ref.0.clone());
            let (slot, is_live) = (slots.remove(name.as_str()), self.is_live(spec.phase.as_ref()));
            devices.push(Placed { name, spec, model, agent, slot, address, is_live });
        }
        // A lane whose device is missing would never open.
        match slots.pop_first() {
            Some((device, slot)) => Err(LayoutError::Reference { by: slot.lane, name: device.to_owned() }),
            None => Ok(devices),
        }
    }

    fn loopback(&self, name: &str, endpoint: &str) -> Result<Loopback, LayoutError> {
        let network = self.facts.network;
        Loopback::parse(endpoint, network).ok_or_else(|| LayoutError::Address {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            network,
        })
    }

    /// Name of the site, which is the namespace.
    pub fn site(&self) -> &str {
        &self.objects.site
    }

    /// Types of instrument, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The type of instrument of this name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// Whether what belongs to this phase is more than planned; what belongs to none always is.
    pub fn is_live(&self, phase: Option<&Name>) -> bool {
        let phase = phase.and_then(|name| SiteObjects::named(&self.objects.phases, name.as_str()));
        phase.is_none_or(|phase| phase.spec.state != PhaseState::Planned)
    }

    /// The first phase that is only planned.
    pub fn planned_phase(&self) -> Option<String> {
        let mut phases = self.objects.phases.iter();
        phases.find(|phase| phase.spec.state == PhaseState::Planned).map(ResourceExt::name_any)
    }

    /// Devices that are more than planned.
    pub fn live(&self) -> impl Iterator<Item = &Placed> {
        self.devices.iter().filter(|device| device.is_live())
    }

    /// Boxes that are more than planned.
    pub fn live_agents(&self) -> impl Iterator<Item = &EdgeAgent> {
        self.objects.agents.iter().filter(|agent| self.is_live(agent.spec.phase.as_ref()))
    }

    /// The lane of this name.
    pub fn lane(&self, name: &str) -> Option<&Lane> {
        SiteObjects::named(&self.objects.lanes, name)
    }

    /// Who comes to each lane.
    pub fn demands(&self) -> Vec<LaneDemand> {
        self.objects.lanes.iter().filter_map(|lane| self.demand(lane)).collect()
    }

    /// Who comes to this lane; none where the facts have no traffic of its service, which they must have.
    pub fn demand(&self, lane: &Lane) -> Option<LaneDemand> {
        self.facts.traffic.get(&lane.spec.service).map(|pace| LaneDemand::of(lane, *pace))
    }

    /// Where the fleet's MQTT broker listens in this network; none where there are no vehicles.
    ///
    /// # Errors
    /// It is not on loopback.
    pub fn broker_endpoint(&self, network: u8) -> Result<Option<SocketAddrV4>, LayoutError> {
        let first = self.objects.vehicles.first();
        let address = first.map(|vehicle| self.loopback(&vehicle.name_any(), &vehicle.spec.broker.endpoint));
        Ok(address.transpose()?.map(|address| address.at(network)))
    }

    /// Where the gateway of the other country listens in this network; none where no link has an endpoint.
    ///
    /// # Errors
    /// It is not on loopback.
    pub fn peer_endpoint(&self, network: u8) -> Result<Option<SocketAddrV4>, LayoutError> {
        let first = self.objects.links.iter().find_map(|link| Some((link, link.spec.transport.endpoint.as_ref()?)));
        let address = first.map(|(link, endpoint)| self.loopback(&link.name_any(), endpoint));
        Ok(address.transpose()?.map(|address| address.at(network)))
    }

    /// Cameras that the agent can update and that stand in a live lane declared Closed, taken from the lanes in turn: only
    /// one device of a lane is changed at a time, so the first twelve are the twelve that are done soonest.
    pub fn cameras_of_closed_lanes(&self) -> Vec<&Placed> {
        let mut by_lane: BTreeMap<&str, Vec<&Placed>> = BTreeMap::new();
        for device in self.live().filter(|device| device.model.is_camera() && device.model.is_updatable()) {
            if let Some(slot) = device.slot.as_ref().filter(|slot| slot.admission == Admission::Closed) {
                by_lane.entry(&slot.lane).or_default().push(device);
            }
        }
        let mut ranked: Vec<(usize, &Placed)> =
            by_lane.values().flat_map(|lane| lane.iter().enumerate().map(|(rank, device)| (rank, *device))).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, device)| device).collect()
    }

    /// The first device of this box that has a setting, and that setting: what a change behind every box is made on.
    pub fn setting_behind(&self, agent: &str) -> Option<(&Placed, &Property)> {
        self.live().filter(|device| device.agent == agent).find_map(|device| {
            let number = device.model.settings().find(|setting| setting.kind == PropertyType::Integer);
            number.or_else(|| device.model.settings().last()).map(|setting| (device, setting))
        })
    }
}

fn models(objects: &SiteObjects, facts: &SimulatorFacts) -> BTreeMap<String, Arc<Model>> {
    let mut models = BTreeMap::new();
    for model in &objects.models {
        let name = model.name_any();
        let known = facts.models.get(&name).cloned().unwrap_or_default();
        let release = known.firmware.and_then(|release| SiteObjects::named(&objects.releases, &release));
        let firmware = release.map(FactoryFirmware::from);
        let model = Model {
            name: name.clone(),
            spec: model.spec.clone(),
            factory: known.factory,
            shows: known.shows,
            firmware,
        };
        models.insert(name, Arc::new(model));
    }
    models
}

#[cfg(test)]
mod tests;
