//! A site as the API server shows it: every object of one namespace, and what they say of each other.

mod load;
mod object_view;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kalong_crds::lane_drain::{DrainTarget, TargetKind};
use kalong_crds::{Device, Kind, Lane, LaneDrain, Reference, for_each_kind};
use kalong_rules::snapshot::Tabled;
use kalong_rules::{SiteObject, SiteSnapshot};

#[cfg(test)]
pub(crate) use load::fixture;
pub(crate) use load::{Scope, Skipped, load};
pub(crate) use object_view::{AsView, ObjectView};

/// The objects of one kind in the order in which the API server listed them, which is the order in which people see them.
#[derive(Debug)]
pub(crate) struct Listing<K> {
    objects: Vec<Arc<K>>,
    by_name: HashMap<String, Arc<K>>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self { objects: Vec::new(), by_name: HashMap::new() }
    }
}

impl<K> Listing<K> {
    pub(crate) fn objects(&self) -> impl Iterator<Item = &K> {
        self.objects.iter().map(Arc::as_ref)
    }
}

/// The object of this name.
pub(crate) fn named<'a, K>(listing: &'a Listing<K>, name: &str) -> Option<&'a K> {
    listing.by_name.get(name).map(Arc::as_ref)
}

macro_rules! site {
    ($($kind:ident { $list:ident $($facts:tt)* })+) => {
        /// Every object of one namespace.
        #[derive(Debug, Default)]
        pub(crate) struct Site {
            pub(crate) namespace: String,
            /// What objects say of each other.
            pub(crate) snapshot: SiteSnapshot,
            $(pub(crate) $list: Listing<kalong_crds::$kind>,)+
        }

        impl Site {
            /// Every object of a kind.
            pub(crate) fn of_kind(&self, kind: Kind) -> Vec<ObjectView<'_>> {
                match kind { $(Kind::$kind => self.$list.objects().map(AsView::view).collect(),)+ }
            }

            /// The object of this kind and name.
            pub(crate) fn object(&self, reference: &Reference) -> Option<ObjectView<'_>> {
                match reference.kind { $(Kind::$kind => named(&self.$list, &reference.name).map(AsView::view),)+ }
            }
        }
    };
}

for_each_kind!(site);

impl Site {
    /// An empty site of this name.
    pub(crate) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    /// Adds an object at the end of its list, which `list` names.
    fn push<K: Tabled>(&mut self, object: K, list: fn(&mut Self) -> &mut Listing<K>) {
        let object = Arc::new(object);
        let listing = list(self);
        listing.by_name.insert(object.name().to_owned(), object.clone());
        listing.objects.push(object.clone());
        self.snapshot.upsert(object);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.objects().next().is_none()
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectView<'_>> {
        Kind::ALL.iter().flat_map(|kind| self.of_kind(*kind))
    }

    /// The lanes and stations with a slot for this device.
    pub(crate) fn places(&self, device: &str) -> Vec<Reference> {
        let lanes = self.snapshot.lanes_of(device).map(|lane| Reference::new(Kind::Lane, lane.name()));
        let stations =
            self.snapshot.stations_of(device).map(|station| Reference::new(Kind::InspectionStation, station.name()));
        lanes.chain(stations).collect()
    }

    /// The lanes that the target of this claim stands for.
    pub(crate) fn targets(&self, drain: &LaneDrain) -> Vec<&Lane> {
        self.lanes_under(&drain.spec.target)
    }

    /// The device that runs a lane.
    pub(crate) fn controller(&self, lane: &Lane) -> Option<&Device> {
        self.snapshot.controller(lane).map(Arc::as_ref)
    }

    /// The lanes that a claim on this object would concern.
    pub(crate) fn concerned(&self, object: &Reference) -> Vec<&Lane> {
        let kind = match object.kind {
            Kind::Lane => TargetKind::Lane,
            Kind::Crossing => TargetKind::Crossing,
            Kind::InspectionStation => TargetKind::InspectionStation,
            _ => return Vec::new(),
        };
        let target = DrainTarget { kind, name: object.name.as_str().into() };
        self.lanes_under(&target)
    }

    fn lanes_under(&self, target: &DrainTarget) -> Vec<&Lane> {
        let under: BTreeSet<&str> = self.snapshot.lanes_under(target).into_iter().map(|lane| lane.name()).collect();
        self.lanes.objects().filter(|lane| under.contains(lane.name())).collect()
    }
}

/// The kind of a claim's target.
pub(crate) fn drain_kind(drain: &LaneDrain) -> Kind {
    match drain.spec.target.kind {
        TargetKind::Lane => Kind::Lane,
        TargetKind::InspectionStation => Kind::InspectionStation,
        TargetKind::Crossing => Kind::Crossing,
    }
}
