//! One watch a kind, which keeps cache and snapshot current and routes what changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kalong_crds::condition::{Reason, settle};
use kalong_crds::field_manager;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Client, ResourceExt};
use kube_runtime::reflector::{ObjectRef, store::Writer};
use kube_runtime::{WatchStreamExt, watcher};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::caches::{Caches, Change, Controlled, Triggers};
use super::readiness::{Readiness, ready};
use super::routing::{self, Routed};
use super::sites::Sites;
use super::within;

/// Keeps one cache current, with the snapshots, and routes what changed.
struct WatchFeed<K: Controlled> {
    client: Client,
    namespaces: Vec<String>,
    writer: Writer<K>,
    caches: Caches,
    triggers: Triggers,
    /// What a list in progress has brought so far.
    listed: Vec<Arc<K>>,
    /// Resolved by the first complete list.
    ready: Option<oneshot::Sender<()>>,
    /// Unreadable objects whose status says so already, by uid, with the generation that it speaks of.
    refused: HashMap<String, i64>,
}

impl<K: Controlled + Routed> WatchFeed<K> {
    /// Whether the object belongs to this operator; several namespaces are watched as all, and sorted here.
    fn ours(&self, namespace: Option<&str>) -> bool {
        self.namespaces.is_empty() || namespace.is_some_and(|ns| self.namespaces.iter().any(|n| n == ns))
    }

    /// Keeps the cache current for as long as the process lives. A malformed object never ends the watch.
    async fn follow(mut self) {
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
                    Ok(event) => self.take(event),
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

    /// The snapshot is written before the cache: whoever finds an object in the cache finds no older one in the snapshot.
    fn take(&mut self, event: watcher::Event<K>) {
        match &event {
            watcher::Event::Apply(object) => {
                let old = K::cache(&self.caches).get(&ObjectRef::from_obj(object));
                self.caches.sites.upsert(Arc::new(object.clone()));
                self.writer.apply_watcher_event(&event);
                self.share(object);
                match old {
                    Some(old) if same_substance(old.meta(), object.meta()) => self.route(object, Change::Status),
                    // What it named before is concerned too.
                    Some(old) => {
                        self.route(&old, Change::Substance);
                        self.route(object, Change::Substance);
                    }
                    None => self.route(object, Change::Substance),
                }
            }
            watcher::Event::Delete(object) => {
                self.caches.sites.remove(object);
                self.writer.apply_watcher_event(&event);
                self.route(object, Change::Substance);
            }
            watcher::Event::Init => {
                self.listed.clear();
                self.writer.apply_watcher_event(&event);
            }
            watcher::Event::InitApply(object) => {
                self.listed.push(Arc::new(object.clone()));
                self.writer.apply_watcher_event(&event);
            }
            watcher::Event::InitDone => self.relist(),
        }
    }

    /// A complete list replaces what is known. Only what differs, or is gone, is routed.
    fn relist(&mut self) {
        let key = |object: &K| (object.meta().namespace.clone().unwrap_or_default(), object.name().to_owned());
        let before = K::cache(&self.caches).state();
        let mut gone: HashMap<_, _> = before.into_iter().map(|object| (key(&object), object)).collect();
        let mut changed = Vec::new();
        for object in self.listed.drain(..) {
            let old = gone.remove(&key(&object));
            let same = old.is_some_and(|old| same_version(old.meta(), object.meta()));
            self.caches.sites.upsert(object.clone());
            if !same {
                changed.push(object);
            }
        }
        gone.values().for_each(|object| self.caches.sites.remove(object.as_ref()));
        self.writer.apply_watcher_event(&watcher::Event::InitDone);
        for object in K::cache(&self.caches).state() {
            self.caches.sites.upsert(object);
        }
        for object in changed.iter().chain(gone.values()) {
            self.route(object, Change::Substance);
        }
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(());
        }
    }

    /// Cache and snapshot hold one copy of the object.
    fn share(&self, object: &K) {
        if let Some(cached) = K::cache(&self.caches).get(&ObjectRef::from_obj(object)) {
            self.caches.sites.upsert(cached);
        }
    }

    fn route(&self, object: &K, change: Change) {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        routing::route(&self.caches.site(namespace), &self.triggers, object, change);
    }

    /// The object says itself that it cannot be read. Only its conditions are touched, and once a generation.
    async fn refuse(&mut self, invalid: Box<InvalidObject>) {
        let meta = &invalid.metadata;
        let (uid, generation) = (meta.uid.clone().unwrap_or_default(), meta.generation.unwrap_or_default());
        if self.refused.insert(uid, generation) == Some(generation) {
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

/// Whether nothing but the status differs.
fn same_substance(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid == new.uid
        && old.generation == new.generation
        && old.deletion_timestamp == new.deletion_timestamp
        && old.finalizers == new.finalizers
        && old.annotations == new.annotations
}

/// Whether this is one version of one object.
fn same_version(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid == new.uid && old.resource_version == new.resource_version
}

fn readable<K: Controlled>(
    event: watcher::Event<DeserializeGuard<K>>,
) -> Result<watcher::Event<K>, Box<InvalidObject>> {
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
        triggers: &Triggers,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, CacheError> {
        macro_rules! start {
            ($($kind:ident { $list:ident $($facts:tt)* })+) => {{
                $(let $list = Writer::<kalong_crds::$kind>::new(());)+
                let caches = Self { $($list: $list.as_reader(),)+ sites: Sites::default() };
                $(let $list = caches.feed(client, namespaces, triggers, $list, tasks);)+
                $(listed($list, stringify!($kind)).await?;)+
                Ok(caches)
            }};
        }
        kalong_crds::for_each_kind!(start)
    }

    /// Starts the watch of one kind. The receiver resolves with its first complete list.
    fn feed<K: Controlled + Routed>(
        &self,
        client: &Client,
        namespaces: &[String],
        triggers: &Triggers,
        writer: Writer<K>,
        tasks: &mut JoinSet<()>,
    ) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let feed = WatchFeed {
            client: client.clone(),
            namespaces: namespaces.to_vec(),
            writer,
            caches: self.clone(),
            triggers: triggers.clone(),
            listed: Vec::new(),
            ready: Some(sender),
            refused: HashMap::new(),
        };
        tasks.spawn(feed.follow());
        receiver
    }
}

async fn listed(ready: oneshot::Receiver<()>, kind: &'static str) -> Result<(), CacheError> {
    match tokio::time::timeout(FIRST_LIST, ready).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(CacheError(kind, FIRST_LIST)),
    }
}
