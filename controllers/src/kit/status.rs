//! Writes a status, only where it differs from the cached one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kalong_crds::field_manager;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::caches::Controlled;
use super::{Error, within};

/// A kind whose status says which generation it speaks of.
pub trait HasStatus: Controlled {
    /// The generation of which the status speaks.
    fn observed_generation(&self) -> Option<i64>;
}

macro_rules! has_status {
    ($($kind:ident { $list:ident $($facts:tt)* })+) => {
        $(impl HasStatus for kalong_crds::$kind {
            fn observed_generation(&self) -> Option<i64> {
                self.status.as_ref().map(|status| status.observed_generation)
            }
        })+
    };
}

kalong_crds::for_each_kind!(has_status);

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// It equals what is there: nothing was sent.
    Unchanged,
    /// The API server stored it.
    Changed,
    /// The cache is older than the last write of this process: look again shortly.
    CacheBehind,
    /// The object changed meanwhile, so that the decision rests on an old version.
    Conflict,
}

/// The last resource version that this process wrote, and when, by uid.
#[derive(Debug, Default)]
pub struct StatusWriter {
    last: Mutex<HashMap<String, (u64, Instant)>>,
}

impl StatusWriter {
    /// Whether the cached object is older than what this process wrote itself (KEP-5647: a controller's own staleness).
    pub fn cache_is_behind<K: Resource>(&self, object: &K) -> bool {
        let (Some(uid), Some(observed)) = (object.meta().uid.as_deref(), version(object)) else { return false };
        self.last.lock().get(uid).is_some_and(|(written, _)| *written > observed)
    }

    /// How long ago this process wrote to this object; none before its first write.
    pub fn since_write(&self, uid: &str) -> Option<Duration> {
        self.last.lock().get(uid).map(|(_, at)| at.elapsed())
    }

    /// Writes the status if it differs from the cached one.
    pub async fn write<K: Controlled<Status: PartialEq>>(
        &self,
        client: &Client,
        object: &K,
        status: K::Status,
    ) -> Result<WriteResult, Error> {
        if object.status() == Some(&status) {
            return Ok(WriteResult::Unchanged);
        }
        let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
        let params = PostParams { field_manager: Some(field_manager::STATUS.to_owned()), ..PostParams::default() };
        let body = with_status(object, status);
        match within("write status", api.replace_status(&object.name_any(), &params, &body)).await {
            Ok(stored) => {
                self.remember(&stored);
                Ok(WriteResult::Changed)
            }
            Err(Error::Api { source, .. }) if is_conflict(&source) => Ok(WriteResult::Conflict),
            // The object was deleted meanwhile.
            Err(Error::Api { source, .. }) if is_not_found(&source) => Ok(WriteResult::Unchanged),
            Err(error) => Err(error),
        }
    }

    /// Replaces the finalizers, unless the object changed meanwhile.
    pub async fn set_finalizers<K: Controlled>(
        &self,
        client: &Client,
        object: &K,
        finalizers: Vec<String>,
    ) -> Result<WriteResult, Error> {
        let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()}});
        let params =
            PatchParams { field_manager: Some(field_manager::FINALIZERS.to_owned()), ..PatchParams::default() };
        match within("set finalizers", api.patch_metadata(&object.name_any(), &params, &Patch::Merge(&patch))).await {
            Ok(stored) => {
                self.remember(&stored);
                Ok(WriteResult::Changed)
            }
            Err(Error::Api { source, .. }) if is_conflict(&source) => Ok(WriteResult::Conflict),
            Err(Error::Api { source, .. }) if is_not_found(&source) => Ok(WriteResult::Unchanged),
            Err(error) => Err(error),
        }
    }

    /// Drops what is remembered of a deleted object.
    pub fn forget(&self, uid: &str) {
        self.last.lock().remove(uid);
    }

    fn remember<K: Resource>(&self, stored: &K) {
        if let (Some(uid), Some(written)) = (stored.meta().uid.clone(), version(stored)) {
            self.last.lock().insert(uid, (written, Instant::now()));
        }
    }
}

/// The object with this status in the place of its own.
pub(super) fn with_status<K: Controlled>(object: &K, status: K::Status) -> K {
    let mut object = object.clone();
    *object.status_mut() = Some(status);
    object
}

fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}
