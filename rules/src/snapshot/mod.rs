//! A site at one moment: the objects of one namespace, by name and by what they name.
//!
//! Kept by increments: the operator applies each watch event with [`SiteSnapshot::upsert`] and [`SiteSnapshot::remove`], the kubectl
//! plugin adds what it has listed. Either costs as much as the one object names. Every lookup costs as much as what it finds: no
//! decision scans a kind.

mod keys;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kalong_crds::lane::{Need, SlotRole};
use kalong_crds::lane_drain::{DrainTarget, TargetKind};
use kalong_crds::units::Name;
use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};

use crate::lifecycle::{LifecycleStage, in_force};

pub use keys::{Relation, SiteObject};
pub use table::Table;

macro_rules! snapshot {
    ($($kind:ident { $list:ident $($facts:tt)* })+) => {
        /// Every object of one namespace. The objects are shared, so a copy of the snapshot copies names alone.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct SiteSnapshot {
            $(#[doc = concat!("The objects of kind ", stringify!($kind), ".")] pub $list: Table<$kind>,)+
        }

        /// A kind that has its table in a [`SiteSnapshot`].
        pub trait Tabled: SiteObject {
            /// The table of the kind.
            fn table(site: &SiteSnapshot) -> &Table<Self>;
            /// The table of the kind, to be changed.
            fn table_mut(site: &mut SiteSnapshot) -> &mut Table<Self>;
        }

        $(impl Tabled for $kind {
            fn table(site: &SiteSnapshot) -> &Table<Self> {
                &site.$list
            }

            fn table_mut(site: &mut SiteSnapshot) -> &mut Table<Self> {
                &mut site.$list
            }
        })+
    };
}

kalong_crds::for_each_kind!(snapshot);

impl SiteSnapshot {
    /// Adds the object, or puts it in the place of an earlier version, which is returned.
    pub fn upsert<K: Tabled>(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        K::table_mut(self).upsert(object)
    }

    /// Removes the object of this kind and name, and returns it.
    pub fn remove<K: Tabled>(&mut self, name: &str) -> Option<Arc<K>> {
        K::table_mut(self).remove(name)
    }

    /// The object of this kind and name.
    pub fn get<K: Tabled>(&self, name: &str) -> Option<&Arc<K>> {
        K::table(self).get(name)
    }

    /// The lanes with a slot for this device. More than one is a contradiction in the declaration.
    pub fn lanes_of(&self, device: &str) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.by(Relation::Device, device)
    }

    /// The stations with a slot for this device.
    pub fn stations_of(&self, device: &str) -> impl Iterator<Item = &Arc<InspectionStation>> {
        self.stations.by(Relation::Device, device)
    }

    /// The stations without which this lane cannot run.
    pub fn stations_required_by(&self, lane: &str) -> impl Iterator<Item = &Arc<InspectionStation>> {
        let required = move |station: &&Arc<InspectionStation>| {
            station.spec.serves_lanes.iter().any(|served| served.need == Need::Required && served.name.as_str() == lane)
        };
        self.stations.by(Relation::ServedLane, lane).filter(required)
    }

    /// The lanes that cannot run without this station.
    pub fn lanes_behind(&self, station: &InspectionStation) -> impl Iterator<Item = &Arc<Lane>> {
        let required = station.spec.serves_lanes.iter().filter(|served| served.need == Need::Required);
        required.filter_map(|served| self.lanes.get(served.name.as_str()))
    }

    /// The lanes that a claim on this target concerns, in the order of their names; none as well when the target does not exist.
    pub fn lanes_under(&self, target: &DrainTarget) -> Vec<&Arc<Lane>> {
        let name = target.name.as_str();
        match target.kind {
            TargetKind::Lane => self.lanes.get(name).into_iter().collect(),
            TargetKind::Crossing => self.lanes.by(Relation::Crossing, name).collect(),
            TargetKind::InspectionStation => {
                let mut lanes: Vec<_> =
                    self.stations.get(name).into_iter().flat_map(|station| self.lanes_behind(station)).collect();
                lanes.sort_by(|a, b| a.name().cmp(b.name()));
                lanes.dedup_by(|a, b| a.name() == b.name());
                lanes
            }
        }
    }

    /// Whether what a claim is about exists.
    pub fn has_target(&self, target: &DrainTarget) -> bool {
        let name = target.name.as_str();
        match target.kind {
            TargetKind::Lane => self.lanes.get(name).is_some(),
            TargetKind::InspectionStation => self.stations.get(name).is_some(),
            TargetKind::Crossing => self.crossings.get(name).is_some(),
        }
    }

    /// The claims whose target stands for this lane and that have not ended, in the order of their names.
    pub fn claims_on(&self, lane: &Lane) -> Vec<&Arc<LaneDrain>> {
        let of_lane = self.drains.by(Relation::TargetLane, lane.name());
        let of_crossing = self.drains.by(Relation::TargetCrossing, lane.spec.crossing_ref.as_str());
        let of_stations = self
            .stations_required_by(lane.name())
            .flat_map(|station| self.drains.by(Relation::TargetStation, station.name()));
        let mut claims: Vec<_> = of_lane.chain(of_crossing).chain(of_stations).collect();
        claims.sort_by(|a, b| a.name().cmp(b.name()));
        claims
    }

    /// The device in the slot with role Controller.
    pub fn controller(&self, lane: &Lane) -> Option<&Arc<Device>> {
        let slot = lane.spec.slots.iter().find(|slot| slot.role == SlotRole::Controller)?;
        self.devices.get(slot.device_ref.as_str())
    }

    /// The stage of an object that belongs to this phase, or to none: by the state in force, never by the one asked for.
    pub fn life(&self, phase: Option<&Name>) -> LifecycleStage {
        let Some(name) = phase else { return LifecycleStage::InService };
        let state = self.phases.get(name.as_str()).and_then(|phase| in_force(phase));
        state.map_or(LifecycleStage::UnknownPhase, LifecycleStage::of)
    }
}
