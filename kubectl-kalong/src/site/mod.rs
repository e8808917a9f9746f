//! A site as the API server shows it: every object of one namespace, and what they say of each other.

mod load;
mod thing;

use std::collections::BTreeMap;

use kalong_crds::condition::Conditioned;
use kalong_crds::lane::SlotRole;
use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};
use kube::ResourceExt;

#[cfg(test)]
pub(crate) use load::fixture;
pub(crate) use load::{Reach, Unread, load};
pub(crate) use thing::{Thing, Viewed};

use crate::kind::{Kind, Reference};

/// Every object of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Site {
    pub(crate) namespace: String,
    pub(crate) phases: Vec<Phase>,
    pub(crate) crossings: Vec<Crossing>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) drains: Vec<LaneDrain>,
    pub(crate) stations: Vec<InspectionStation>,
    pub(crate) igvs: Vec<IGV>,
    pub(crate) links: Vec<BilateralLink>,
    pub(crate) agents: Vec<EdgeAgent>,
    pub(crate) devices: Vec<Device>,
    pub(crate) models: Vec<DeviceModel>,
    pub(crate) releases: Vec<FirmwareRelease>,
    /// Where each device has its place; made by [`Site::index`].
    places: BTreeMap<String, Vec<Reference>>,
}

/// The object of this name.
pub(crate) fn named<'a, K: ResourceExt>(list: &'a [K], name: &str) -> Option<&'a K> {
    list.iter().find(|object| object.meta().name.as_deref() == Some(name))
}

impl Site {
    /// An empty site of this name.
    pub(crate) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    /// Notes which device stands where. Without it a site of thousands of devices is searched for each of them.
    pub(crate) fn index(&mut self) {
        let mut places: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
        for lane in &self.lanes {
            for slot in &lane.spec.slots {
                places.entry(slot.device_ref.0.clone()).or_default().push(Reference::new(Kind::Lane, lane.name_any()));
            }
        }
        for station in &self.stations {
            for slot in &station.spec.slots {
                let place = Reference::new(Kind::InspectionStation, station.name_any());
                places.entry(slot.device_ref.0.clone()).or_default().push(place);
            }
        }
        self.places = places;
    }

    /// Whether nothing is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.things().next().is_none()
    }

    /// Every object.
    pub(crate) fn things(&self) -> impl Iterator<Item = Thing<'_>> {
        Kind::ALL.iter().flat_map(|kind| self.of_kind(*kind))
    }

    /// Every object of a kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> Vec<Thing<'_>> {
        match kind {
            Kind::Phase => views(&self.phases),
            Kind::Crossing => views(&self.crossings),
            Kind::Lane => views(&self.lanes),
            Kind::LaneDrain => views(&self.drains),
            Kind::InspectionStation => views(&self.stations),
            Kind::IGV => views(&self.igvs),
            Kind::BilateralLink => views(&self.links),
            Kind::EdgeAgent => views(&self.agents),
            Kind::Device => views(&self.devices),
            Kind::DeviceModel => views(&self.models),
            Kind::FirmwareRelease => views(&self.releases),
        }
    }

    /// The object of this kind and name.
    pub(crate) fn thing(&self, reference: &Reference) -> Option<Thing<'_>> {
        let name = reference.name.as_str();
        match reference.kind {
            Kind::Phase => named(&self.phases, name).map(Viewed::view),
            Kind::Crossing => named(&self.crossings, name).map(Viewed::view),
            Kind::Lane => named(&self.lanes, name).map(Viewed::view),
            Kind::LaneDrain => named(&self.drains, name).map(Viewed::view),
            Kind::InspectionStation => named(&self.stations, name).map(Viewed::view),
            Kind::IGV => named(&self.igvs, name).map(Viewed::view),
            Kind::BilateralLink => named(&self.links, name).map(Viewed::view),
            Kind::EdgeAgent => named(&self.agents, name).map(Viewed::view),
            Kind::Device => named(&self.devices, name).map(Viewed::view),
            Kind::DeviceModel => named(&self.models, name).map(Viewed::view),
            Kind::FirmwareRelease => named(&self.releases, name).map(Viewed::view),
        }
    }

    /// The lanes and stations in which a device has its place.
    pub(crate) fn places(&self, device: &str) -> &[Reference] {
        self.places.get(device).map_or(&[], Vec::as_slice)
    }

    /// The device that runs a lane.
    pub(crate) fn controller(&self, lane: &Lane) -> Option<&Device> {
        let slot = lane.spec.slots.iter().find(|slot| slot.role == SlotRole::Controller)?;
        named(&self.devices, slot.device_ref.as_str())
    }

    /// The lanes that a claim is about, by its target.
    pub(crate) fn targets(&self, drain: &LaneDrain) -> Vec<&Lane> {
        let target = Reference::new(drain_kind(drain), drain.spec.target.name.as_str());
        self.concerned(&target)
    }

    /// The lanes that are emptied when this object is.
    pub(crate) fn concerned(&self, target: &Reference) -> Vec<&Lane> {
        let name = target.name.as_str();
        match target.kind {
            Kind::Lane => named(&self.lanes, name).into_iter().collect(),
            Kind::Crossing => self.lanes.iter().filter(|lane| lane.spec.crossing_ref.as_str() == name).collect(),
            Kind::InspectionStation => {
                let served = named(&self.stations, name).map(|s| s.spec.serves_lanes.as_slice()).unwrap_or_default();
                let needed = served.iter().filter(|l| l.need == kalong_crds::lane::Need::Required);
                needed.filter_map(|l| named(&self.lanes, l.name.as_str())).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The kind of a claim's target.
pub(crate) fn drain_kind(drain: &LaneDrain) -> Kind {
    use kalong_crds::lane_drain::TargetKind;
    match drain.spec.target.kind {
        TargetKind::Lane => Kind::Lane,
        TargetKind::InspectionStation => Kind::InspectionStation,
        TargetKind::Crossing => Kind::Crossing,
    }
}

fn views<K: Viewed + Conditioned>(list: &[K]) -> Vec<Thing<'_>> {
    list.iter().map(Viewed::view).collect()
}
