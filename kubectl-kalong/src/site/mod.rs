//! A site as the API server shows it: every object of one namespace, and what they say of each other.

mod load;
mod object_view;

use std::ops::Deref;
use std::sync::Arc;

use kalong_crds::lane_drain::{DrainTarget, TargetKind};
use kalong_crds::{Kind, Lane, LaneDrain, Reference, for_each_kind};
use kalong_rules::snapshot::Table;
use kalong_rules::{SiteObject, SiteSnapshot};

#[cfg(test)]
pub(crate) use load::fixture;
pub(crate) use load::{Scope, Skipped, load};
pub(crate) use object_view::{AsView, ObjectView};

/// Every object of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Site {
    pub(crate) namespace: String,
    pub(crate) snapshot: SiteSnapshot,
}

impl Deref for Site {
    type Target = SiteSnapshot;

    fn deref(&self) -> &SiteSnapshot {
        &self.snapshot
    }
}

macro_rules! views {
    ($($kind:ident { $list:ident $($facts:tt)* })+) => {
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

for_each_kind!(views);

/// The object of this name.
pub(crate) fn named<'a, K>(table: &'a Table<K>, name: &str) -> Option<&'a K> {
    table.get(name).map(Arc::as_ref)
}

impl Site {
    /// An empty site of this name.
    pub(crate) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.objects().next().is_none()
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectView<'_>> {
        Kind::ALL.iter().flat_map(|kind| self.of_kind(*kind))
    }

    /// The lanes and stations with a slot for this device.
    pub(crate) fn places(&self, device: &str) -> Vec<Reference> {
        let lanes = self.lanes_of(device).map(|lane| Reference::new(Kind::Lane, lane.name()));
        let stations = self.stations_of(device).map(|station| Reference::new(Kind::InspectionStation, station.name()));
        lanes.chain(stations).collect()
    }

    /// The lanes that the target of this claim stands for.
    pub(crate) fn targets(&self, drain: &LaneDrain) -> Vec<&Lane> {
        self.lanes_under(&drain.spec.target).into_iter().map(Arc::as_ref).collect()
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
        self.lanes_under(&target).into_iter().map(Arc::as_ref).collect()
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
