//! One watch and one cache a kind, shared by all controllers, and what a change of one object means for others.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kalong_crds::{Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, Lane};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt};
use kube_runtime::reflector::{ObjectRef, Store, store::Writer};
use kube_runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::wakes::WakeSet;

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
}

/// What waits to be looked at, by kind.
#[derive(Clone, Debug, Default)]
pub struct Wakes {
    /// Crossings.
    pub crossings: Arc<WakeSet>,
    /// Lanes.
    pub lanes: Arc<WakeSet>,
    /// Devices.
    pub devices: Arc<WakeSet>,
    /// Models.
    pub models: Arc<WakeSet>,
    /// Agents.
    pub agents: Arc<WakeSet>,
    /// Releases.
    pub releases: Arc<WakeSet>,
}

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
enum Change {
    /// It appeared, its spec or metadata changed, or it went.
    Substance,
    /// Only its status changed.
    Status,
}

struct Feed<K: Kind> {
    api: Api<K>,
    client: Client,
    namespace: Option<String>,
    store: Store<K>,
    writer: Writer<K>,
}

impl<K: Kind> Feed<K> {
    fn new(client: &Client, namespace: Option<&str>) -> (Self, Store<K>) {
        let writer = Writer::<K>::new(());
        let store = writer.as_reader();
        let api = namespace.map_or_else(|| Api::all(client.clone()), |ns| Api::namespaced(client.clone(), ns));
        let feed =
            Self { api, client: client.clone(), namespace: namespace.map(str::to_owned), store: store.clone(), writer };
        (feed, store)
    }

    /// Keeps the cache current for as long as the process lives. A malformed object never ends the watch and never replaces
    /// what is known of it.
    async fn follow(mut self, on_change: impl Fn(&K, Change) + Send) {
        let guarded: Api<DeserializeGuard<K>> = match &self.namespace {
            Some(ns) => Api::namespaced(self.client.clone(), ns),
            None => Api::all(self.client.clone()),
        };
        drop(self.api);
        let stream = watcher(guarded, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        loop {
            let event = match stream.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "The watch broke off; it is taken up again with backoff.");
                    continue;
                }
            };
            let Some(event) = valid(event) else { continue };
            let (object, gone) = match &event {
                watcher::Event::Apply(o) | watcher::Event::InitApply(o) => (Some(o.clone()), false),
                watcher::Event::Delete(o) => (Some(o.clone()), true),
                watcher::Event::Init | watcher::Event::InitDone => (None, false),
            };
            let before = object.as_ref().and_then(|o| self.store.get(&ObjectRef::from_obj(o)));
            let relisted = matches!(event, watcher::Event::InitDone);
            self.writer.apply_watcher_event(&event);
            if let Some(object) = object {
                let change = if gone || before.is_none_or(|old| substance(old.meta()) != substance(object.meta())) {
                    Change::Substance
                } else {
                    Change::Status
                };
                on_change(&object, change);
            } else if relisted {
                // After a broken watch whatever happened meanwhile is in the list: look at everything once.
                for object in self.store.state() {
                    on_change(&object, Change::Substance);
                }
            }
        }
    }
}

type Meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

fn substance(
    meta: &Meta,
) -> (Option<&str>, Option<i64>, bool, Option<&Vec<String>>, Option<&std::collections::BTreeMap<String, String>>) {
    (
        meta.uid.as_deref(),
        meta.generation,
        meta.deletion_timestamp.is_some(),
        meta.finalizers.as_ref(),
        meta.annotations.as_ref(),
    )
}

fn valid<K: Kind>(event: watcher::Event<DeserializeGuard<K>>) -> Option<watcher::Event<K>> {
    let open = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            // Half of a small object; a PUT without it does not reset it on the server.
            object.managed_fields_mut().clear();
            Some(object)
        }
        Err(invalid) => {
            tracing::error!(
                kind = %K::kind(&()), namespace = invalid.metadata.namespace, name = invalid.metadata.name, error = invalid.error,
                "The stored object cannot be read; what was known of it stays in force. Correct it with kubectl edit."
            );
            None
        }
    };
    Some(match event {
        watcher::Event::Apply(o) => watcher::Event::Apply(open(o)?),
        watcher::Event::InitApply(o) => watcher::Event::InitApply(open(o)?),
        watcher::Event::Delete(o) => watcher::Event::Delete(open(o)?),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

fn place<K: Resource>(object: &K) -> (String, String) {
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
    /// Starts one watch a kind and waits until every cache holds the first list. `namespaces` empty means all.
    pub async fn start(
        client: &Client,
        namespace: Option<&str>,
        wakes: &Wakes,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, CacheError> {
        let (crossing_feed, crossings) = Feed::<Crossing>::new(client, namespace);
        let (lane_feed, lanes) = Feed::<Lane>::new(client, namespace);
        let (device_feed, devices) = Feed::<Device>::new(client, namespace);
        let (model_feed, models) = Feed::<DeviceModel>::new(client, namespace);
        let (agent_feed, agents) = Feed::<EdgeAgent>::new(client, namespace);
        let (release_feed, releases) = Feed::<FirmwareRelease>::new(client, namespace);
        let caches = Self { crossings, lanes, devices, models, agents, releases };

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

        listed(&caches.crossings, "Crossing").await?;
        listed(&caches.lanes, "Lane").await?;
        listed(&caches.devices, "Device").await?;
        listed(&caches.models, "DeviceModel").await?;
        listed(&caches.agents, "EdgeAgent").await?;
        listed(&caches.releases, "FirmwareRelease").await?;
        Ok(caches)
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

/// Whom a change concerns.
impl Wakes {
    fn crossing_changed(&self, _: &Caches, crossing: &Crossing, _: Change) {
        let (ns, name) = place(crossing);
        self.crossings.wake(&ns, &name);
    }

    fn lane_changed(&self, caches: &Caches, lane: &Lane, change: Change) {
        let (ns, name) = place(lane);
        self.lanes.wake(&ns, &name);
        self.crossings.wake(&ns, lane.spec.crossing_ref.as_str());
        for slot in &lane.spec.slots {
            self.devices.wake(&ns, slot.device_ref.as_str());
            if change == Change::Substance {
                for other in caches.lanes_of(&ns, slot.device_ref.as_str()) {
                    self.lanes.wake(&ns, &other.name_any());
                }
            }
        }
    }

    fn device_changed(&self, caches: &Caches, device: &Device, change: Change) {
        let (ns, name) = place(device);
        self.devices.wake(&ns, &name);
        for lane in caches.lanes_of(&ns, &name) {
            self.lanes.wake(&ns, &lane.name_any());
        }
        if change == Change::Substance {
            self.models.wake(&ns, device.spec.model_ref.as_str());
            self.agents.wake(&ns, device.spec.agent_ref.as_str());
        }
    }

    fn model_changed(&self, caches: &Caches, model: &DeviceModel, change: Change) {
        let (ns, name) = place(model);
        self.models.wake(&ns, &name);
        if change == Change::Substance {
            for device in select(&caches.devices, &ns, |d| d.spec.model_ref.as_str() == name) {
                self.devices.wake(&ns, &device.name_any());
            }
            for release in select(&caches.releases, &ns, |r| r.spec.models.iter().any(|m| m.as_str() == name)) {
                self.releases.wake(&ns, &release.name_any());
            }
        }
    }

    fn agent_changed(&self, caches: &Caches, agent: &EdgeAgent, _: Change) {
        let (ns, name) = place(agent);
        self.agents.wake(&ns, &name);
        for device in select(&caches.devices, &ns, |d| d.spec.agent_ref.as_str() == name) {
            self.devices.wake(&ns, &device.name_any());
        }
    }

    fn release_changed(&self, caches: &Caches, release: &FirmwareRelease, _: Change) {
        let (ns, name) = place(release);
        self.releases.wake(&ns, &name);
        let names = |d: &Device| d.spec.firmware.as_ref().is_some_and(|f| f.release.as_str() == name);
        for device in select(&caches.devices, &ns, names) {
            self.devices.wake(&ns, &device.name_any());
        }
    }

    /// Everything there is, once: the first pass of a leader.
    pub fn everything(&self, caches: &Caches) {
        fn all<K: Kind>(store: &Store<K>, set: &WakeSet) {
            for object in store.state() {
                let (ns, name) = place(object.as_ref());
                set.wake(&ns, &name);
            }
        }
        all(&caches.models, &self.models);
        all(&caches.releases, &self.releases);
        all(&caches.agents, &self.agents);
        all(&caches.devices, &self.devices);
        all(&caches.lanes, &self.lanes);
        all(&caches.crossings, &self.crossings);
    }
}
