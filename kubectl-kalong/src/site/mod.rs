//! A site as the API server shows it: every object of one namespace, and what they say of each other.

mod load;
mod object_view;

use std::collections::BTreeMap;

use kalong_crds::lane::SlotRole;
use kalong_crds::{ApiObject, Device, Kind, Lane, LaneDrain, Reference, for_each_kind};
use kube::ResourceExt;

#[cfg(test)]
pub(crate) use load::fixture;
pub(crate) use load::{Scope, Skipped, load};
pub(crate) use object_view::{AsView, ObjectView};

macro_rules! site {
    ($($kind:ident { $list:ident $($facts:tt)* })+) => {
        /// Every object of one namespace.
        #[derive(Debug, Default)]
        pub(crate) struct Site {
            pub(crate) namespace: String,
            $(pub(crate) $list: Vec<kalong_crds::$kind>,)+
            /// Where each device has its place; made by [`Site::index`].
            places: BTreeMap<String, Vec<Reference>>,
        }

        impl Site {
            /// Every object of a kind.
            pub(crate) fn of_kind(&self, kind: Kind) -> Vec<ObjectView<'_>> {
                match kind { $(Kind::$kind => self.$list.iter().map(AsView::view).collect(),)+ }
            }

            /// The object of this kind and name.
            pub(crate) fn object(&self, reference: &Reference) -> Option<ObjectView<'_>> {
                match reference.kind { $(Kind::$kind => named(&self.$list, &reference.name).map(AsView::view),)+ }
            }
        }
    };
}

for_each_kind!(site);

/// The object of this name.
pub(crate) fn named<'a, K: ApiObject>(list: &'a [K], name: &str) -> Option<&'a K> {
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
        self.objects().next().is_none()
    }

    /// Every object.
    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectView<'_>> {
        Kind::ALL.iter().flat_map(|kind| self.of_kind(*kind))
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
