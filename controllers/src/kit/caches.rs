//! One watch and one cache a kind, shared by all controllers, and what a change of one object means for others.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kalong_crds::condition::{Reason, settle};
use kalong_crds::field_manager;
use kalong_crds::lane::Need;
use kalong_crds::lane_drain::{DrainTarget, TargetKind};
use kalong_crds::phase::PhaseState;
use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Client, Resource, ResourceExt};
use kube_runtime::reflector::{ObjectRef, Store, store::Writer};
use kube_runtime::{WatchStreamExt, watcher};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::queue::ReconcileQueue;
use super::readiness::{Readiness, ready};
use super::within;

/// A kind that this crate controls.
pub trait Kind:
    Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// What the API server last said, by kind.
#[derive(Clone, Debug)]
pub struct Caches {
    /// Crossings.
    pub crossings: Store<Crossing>,
    /// Lanes.
    pub lanes: Store<Lane>,
    /// Devices.
    pub devices: Store<Device>,
    /// Models.
    pub models: Store<DeviceModel>,
    /// Agents.
    pub agents: Store<EdgeAgent>,
    /// Releases.
    pub releases: Store<FirmwareRelease>,
    /// Stations.
    pub stations: Store<InspectionStation>,
    /// Vehicles.
    pub igvs: Store<IGV>,
    /// Links.
    pub links: Store<BilateralLink>,
    /// Drains.
    pub drains: Store<LaneDrain>,
    /// Phases.
    pub phases: Store<Phase>,
}

/// What waits to be looked at, by kind.
#[derive(Clone, Debug, Default)]
pub struct Triggers {
    /// Crossings.
    pub crossings: Arc<ReconcileQueue>,
    /// Lanes.
    pub lanes: Arc<ReconcileQueue>,
    /// Devices.
    pub devices: Arc<ReconcileQueue>,
    /// Models.
    pub models: Arc<ReconcileQueue>,
    /// Agents.
    pub agents: Arc<ReconcileQueue>,
    /// Releases.
    pub releases: Arc<ReconcileQueue>,
    /// Stations.
    pub stations: Arc<ReconcileQueue>,
    /// Vehicles.
    pub igvs: Arc<ReconcileQueue>,
    /// Links.
    pub links: Arc<ReconcileQueue>,
    /// Drains.
    pub drains: Arc<ReconcileQueue>,
    /// Phases.
    pub phases: Arc<ReconcileQueue>,
    /// The state in force that was last routed, by namespace and name of the phase.
    pub(super) phase_states: PhaseStates,
}

/// The state in force of each phase, by namespace and name; none before the first visit.
pub(super) type PhaseStates = Arc<Mutex<HashMap<(String, String), Option<PhaseState>>>>;

/// The cached object of this name.
pub fn get<K: Kind>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>> {
    store.get(&ObjectRef::new(name).within(namespace))
}

/// All cached objects of this namespace that fit.
pub fn select<K: Kind>(store: &Store<K>, namespace: &str, fits: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
    store.state_filter(|object| object.meta().namespace.as_deref() == Some(namespace) && fits(object))
}

/// What changed of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It appeared, its spec or metadata changed, or it went.
    Substance,
    /// Only its status changed.
    Status,
}

struct WatchFeed<K: Kind> {
    client: Client,
    namespaces: Vec<String>,
    store: Store<K>,
    writer: Writer<K>,
    /// Unreadable objects whose status says so already, by uid, with the generation that was judged.
    told: HashMap<String, i64>,
}

impl<K: Kind> WatchFeed<K> {
    fn new(client: &Client, namespaces: &[String]) -> (Self, Store<K>) {
        let writer = Writer::<K>::new(());
        let store = writer.as_reader();
        let (client, namespaces) = (client.clone(), namespaces.to_vec());
        (Self { client, namespaces, store: store.clone(), writer, told: HashMap::new() }, store)
    }

    /// Whether the object belongs to this operator; several namespaces are watched as all, and sorted here.
    fn ours(&self, namespace: Option<&str>) -> bool {
        self.namespaces.is_empty() || namespace.is_some_and(|ns| self.namespaces.iter().any(|n| n == ns))
    }

    /// Keeps the cache current for as long as the process lives. A malformed object never ends the watch and never replaces
    /// what is known of it.
    async fn follow(mut self, on_change: impl Fn(&K, Change) + Send) {
        let guarded: Api<DeserializeGuard<K>> = match self.namespaces.as_slice() {
            [one] => Api::namespaced(self.client.clone(), one),
            _ => Api::all(self.client.clone()),
        };
        let stream = watcher(guarded, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        loop {
            match stream.try_next().await {
                Ok(Some(event)) => match readable(event) {
                    Ok(watcher::Event::Apply(o) | watcher::Event::InitApply(o) | watcher::Event::Delete(o))
                        if !self.ours(o.meta().namespace.as_deref()) => {}
                    Ok(event) => self.take(event, &on_change),
                    Err(invalid) if !self.ours(invalid.metadata.namespace.as_deref()) => {}
                    Err(invalid) => self.refuse(invalid).await,
                },
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "The watch broke off; it is taken up again with backoff.");
                }
            }
        }
    }

    fn take(&mut self, event: watcher::Event<K>, on_change: &impl Fn(&K, Change)) {
        let changed = match &event {
            watcher::Event::Apply(object) => {
                let old = self.store.get(&ObjectRef::from_obj(object));
                let same = old.is_some_and(|old| same_substance(old.meta(), object.meta()));
                Some((object.clone(), if same { Change::Status } else { Change::Substance }))
            }
            watcher::Event::Delete(object) => Some((object.clone(), Change::Substance)),
            watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone => None,
        };
        let listed = matches!(event, watcher::Event::InitDone);
        self.writer.apply_watcher_event(&event);
        if let Some((object, change)) = changed {
            on_change(&object, change);
        }
        if listed {
            // Whatever happened while the watch was broken is in the list: look at everything once.
            for object in self.store.state() {
                on_change(&object, Change::Substance);
            }
        }
    }

    /// The object says itself that it cannot be read. Only its conditions are touched, and once a generation.
    async fn refuse(&mut self, invalid: Box<InvalidObject>) {
        let meta = &invalid.metadata;
        let (uid, generation) = (meta.uid.clone().unwrap_or_default(), meta.generation.unwrap_or_default());
        if self.told.insert(uid, generation) == Some(generation) {
            return;
        }
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        tracing::error!(
            kind = %K::kind(&()), namespace, name, error = invalid.error,
            "The stored object cannot be read; what was known of it stays in force."
        );
        let message = format!(
            "The stored object cannot be read: {}. Correct it with kubectl edit; nothing that runs is touched.",
            invalid.error
        );
        let verdict = Readiness::Stuck(Reason::InvalidSpec, message);
        let conditions = settle(&[], &ready(Some(&verdict)), generation, jiff::Timestamp::now());
        let patch = serde_json::json!({"status": {"observedGeneration": generation, "conditions": conditions}});
        let kind = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &kind);
        let params = PatchParams { field_manager: Some(field_manager::STATUS.to_owned()), ..PatchParams::default() };
        if let Err(error) =
            within("say that an object cannot be read", api.patch_status(&name, &params, &Patch::Merge(&patch))).await
        {
            tracing::warn!(namespace, name, %error, "The object's status could not be written.");
        }
    }
}

/// Whether anything but the status differs.
fn same_substance(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid == new.uid
        && old.generation == new.generation
        && old.deletion_timestamp == new.deletion_timestamp
        && old.finalizers == new.finalizers
        && old.annotations == new.annotations
}

fn readable<K: Kind>(event: watcher::Event<DeserializeGuard<K>>) -> Result<watcher::Event<K>, Box<InvalidObject>> {
    let open = |guard: DeserializeGuard<K>| {
        guard.0.map_err(Box::new).map(|mut object| {
            // Half of a small object; a PUT without it does not reset it on the server.
            object.managed_fields_mut().clear();
            object
        })
    };
    Ok(match event {
        watcher::Event::Apply(o) => watcher::Event::Apply(open(o)?),
        watcher::Event::InitApply(o) => watcher::Event::InitApply(open(o)?),
        watcher::Event::Delete(o) => watcher::Event::Delete(open(o)?),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

pub(super) fn namespaced_name<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// How long the first lists may take.
const FIRST_LIST: Duration = Duration::from_secs(60);

/// The first lists did not come.
#[derive(Debug, thiserror::Error)]
#[error(
    "the API server did not list kind {0} within {1:?}: are the CRDs installed (helm install kalong-crds) and may the operator list them?"
)]
pub struct CacheError(&'static str, Duration);

impl Caches {
    /// Starts one watch a kind and waits until every cache holds the first list. No namespaces mean all.
    pub async fn start(
        client: &Client,
        namespaces: &[String],
        wakes: &Triggers,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, CacheError> {
        let (crossing_feed, crossings) = WatchFeed::<Crossing>::new(client, namespaces);
        let (lane_feed, lanes) = WatchFeed::<Lane>::new(client, namespaces);
        let (device_feed, devices) = WatchFeed::<Device>::new(client, namespaces);
        let (model_feed, models) = WatchFeed::<DeviceModel>::new(client, namespaces);
        let (agent_feed, agents) = WatchFeed::<EdgeAgent>::new(client, namespaces);
        let (release_feed, releases) = WatchFeed::<FirmwareRelease>::new(client, namespaces);
        let (station_feed, stations) = WatchFeed::<InspectionStation>::new(client, namespaces);
        let (igv_feed, igvs) = WatchFeed::<IGV>::new(client, namespaces);
        let (link_feed, links) = WatchFeed::<BilateralLink>::new(client, namespaces);
        let (drain_feed, drains) = WatchFeed::<LaneDrain>::new(client, namespaces);
        let (phase_feed, phases) = WatchFeed::<Phase>::new(client, namespaces);
        let caches =
            Self { crossings, lanes, devices, models, agents, releases, stations, igvs, links, drains, phases };

        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(crossing_feed.follow(move |o, change| w.crossing_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(lane_feed.follow(move |o, change| w.lane_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(device_feed.follow(move |o, change| w.device_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(model_feed.follow(move |o, change| w.model_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(agent_feed.follow(move |o, change| w.agent_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(release_feed.follow(move |o, change| w.release_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(station_feed.follow(move |o, change| w.station_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(igv_feed.follow(move |o, change| w.igv_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(link_feed.follow(move |o, change| w.link_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(drain_feed.follow(move |o, change| w.drain_changed(&c, o, change)));
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(phase_feed.follow(move |o, change| w.phase_changed(&c, o, change)));

        listed(&caches.crossings, "Crossing").await?;
        listed(&caches.lanes, "Lane").await?;
        listed(&caches.devices, "Device").await?;
        listed(&caches.models, "DeviceModel").await?;
        listed(&caches.agents, "EdgeAgent").await?;
        listed(&caches.releases, "FirmwareRelease").await?;
        listed(&caches.stations, "InspectionStation").await?;
        listed(&caches.igvs, "IGV").await?;
        listed(&caches.links, "BilateralLink").await?;
        listed(&caches.drains, "LaneDrain").await?;
        listed(&caches.phases, "Phase").await?;
        Ok(caches)
    }

    /// The stations with a slot that names this device.
    pub fn stations_of(&self, namespace: &str, device: &str) -> Vec<Arc<InspectionStation>> {
        select(&self.stations, namespace, |station| {
            station.spec.slots.iter().any(|slot| slot.device_ref.as_str() == device)
        })
    }

    /// The lanes that cannot run without this station.
    pub fn lanes_behind(&self, namespace: &str, station: &InspectionStation) -> Vec<Arc<Lane>> {
        let served = station.spec.serves_lanes.iter().filter(|served| served.need == Need::Required);
        served.filter_map(|served| get(&self.lanes, namespace, served.name.as_str())).collect()
    }

    /// The lanes that this target stands for.
    pub fn lanes_under(&self, namespace: &str, target: &DrainTarget) -> Vec<Arc<Lane>> {
        let name = target.name.as_str();
        match target.kind {
            TargetKind::Lane => get(&self.lanes, namespace, name).into_iter().collect(),
            TargetKind::InspectionStation => get(&self.stations, namespace, name)
                .map(|station| self.lanes_behind(namespace, &station))
                .unwrap_or_default(),
            TargetKind::Crossing => select(&self.lanes, namespace, |lane| lane.spec.crossing_ref.as_str() == name),
        }
    }

    /// The lanes with a slot that names this device.
    pub fn lanes_of(&self, namespace: &str, device: &str) -> Vec<Arc<Lane>> {
        select(&self.lanes, namespace, |lane| lane.spec.slots.iter().any(|s| s.device_ref.as_str() == device))
    }
}

async fn listed<K: Kind>(store: &Store<K>, kind: &'static str) -> Result<(), CacheError> {
    match tokio::time::timeout(FIRST_LIST, store.wait_until_ready()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(CacheError(kind, FIRST_LIST)),
    }
}
