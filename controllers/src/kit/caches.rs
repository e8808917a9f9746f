//! One cache and one queue a kind, shared by all controllers, and the snapshots that decisions look up.

use std::collections::HashMap;
use std::sync::Arc;

use kalong_crds::lane::SlotRole;
use kalong_crds::lane_drain::DrainTarget;
use kalong_crds::phase::PhaseState;
use kalong_crds::{Device, InspectionStation, Lane};
use kalong_rules::snapshot::Tabled;
use kube::{Resource, ResourceExt};
use kube_runtime::reflector::{ObjectRef, Store};
use parking_lot::Mutex;

use super::queue::ReconcileQueue;
use super::sites::{SiteGuard, Sites};

/// A kind that this crate controls: it has a watch, a cache and a queue.
pub trait Controlled: Tabled {
    /// The cache of the kind.
    fn cache(caches: &Caches) -> &Store<Self>;
    /// The queue of the kind.
    fn queue(triggers: &Triggers) -> &Arc<ReconcileQueue>;
}

macro_rules! controlled {
    ($($kind:ident { $list:ident $($facts:tt)* })+) => {
        /// What the API server last said, by kind.
        #[derive(Clone, Debug)]
        pub struct Caches {
            $(#[doc = concat!("The objects of kind ", stringify!($kind), ".")] pub $list: Store<kalong_crds::$kind>,)+
            /// The same objects by site, indexed by what is looked up.
            pub sites: Sites,
        }

        /// What waits to be reconciled, by kind.
        #[derive(Clone, Debug, Default)]
        pub struct Triggers {
            $(#[doc = concat!("The objects of kind ", stringify!($kind), ".")] pub $list: Arc<ReconcileQueue>,)+
            /// The state in force that was last routed, by namespace and name of the phase.
            pub(super) phase_states: PhaseStates,
        }

        $(impl Controlled for kalong_crds::$kind {
            fn cache(caches: &Caches) -> &Store<Self> {
                &caches.$list
            }

            fn queue(triggers: &Triggers) -> &Arc<ReconcileQueue> {
                &triggers.$list
            }
        })+
    };
}

kalong_crds::for_each_kind!(controlled);

/// The state in force of each phase, by namespace and name; none before the first reconcile.
pub(super) type PhaseStates = Arc<Mutex<HashMap<(String, String), Option<PhaseState>>>>;

/// The cached object of this name.
pub fn get<K: Controlled>(cache: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>> {
    cache.get(&ObjectRef::new(name).within(namespace))
}

/// What changed of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It appeared, its spec or metadata changed, or it went.
    Substance,
    /// Only its status changed.
    Status,
}

pub(super) fn namespaced_name<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Caches {
    /// The site of this namespace. It does not change while the guard is held, which holds up the watches: drop it soon.
    pub fn site(&self, namespace: &str) -> SiteGuard<'_> {
        self.sites.read(namespace)
    }

    /// The stations with a slot that names this device.
    pub fn stations_of(&self, namespace: &str, device: &str) -> Vec<Arc<InspectionStation>> {
        self.site(namespace).stations_of(device).cloned().collect()
    }

    /// The lanes that cannot run without this station.
    pub fn lanes_behind(&self, namespace: &str, station: &InspectionStation) -> Vec<Arc<Lane>> {
        self.site(namespace).lanes_behind(station).cloned().collect()
    }

    /// The lanes that this target stands for.
    pub fn lanes_under(&self, namespace: &str, target: &DrainTarget) -> Vec<Arc<Lane>> {
        self.site(namespace).lanes_under(target).into_iter().cloned().collect()
    }

    /// The device in the slot with role Controller of this lane.
    pub fn controller_of(&self, namespace: &str, lane: &Lane) -> Option<Arc<Device>> {
        let slot = lane.spec.slots.iter().find(|slot| slot.role == SlotRole::Controller)?;
        get(&self.devices, namespace, slot.device_ref.as_str())
    }

    /// The lanes with a slot that names this device.
    pub fn lanes_of(&self, namespace: &str, device: &str) -> Vec<Arc<Lane>> {
        self.site(namespace).lanes_of(device).cloned().collect()
    }
}
