//! Writes a status, only where it differs from the cached one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kalong_crds::field_manager;
use kalong_crds::kinds::Kind;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::caches::Controlled;
use super::link::Wake;
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

/// Remembers the last write of this process to each object.
#[derive(Debug, Default)]
pub struct StatusWriter {
    last: Mutex<HashMap<(Kind, Wake), LastWrite>>,
}

#[derive(Debug)]
struct LastWrite {
    uid: String,
    version: u64,
    at: Instant,
}

impl StatusWriter {
    /// Whether the cached object is older than what this process wrote itself (KEP-5647: a controller's own staleness).
    pub fn cache_is_behind<K: Controlled>(&self, object: &K) -> bool {
        let Some(observed) = version(object.meta()) else { return false };
        self.last(object, |write| write.version > observed).unwrap_or_default()
    }

    /// How long ago this process wrote to this object; none before its first write.
    pub fn since_write<K: Controlled>(&self, object: &K) -> Option<Duration> {
        self.last(object, |write| write.at.elapsed())
    }

    fn last<K: Controlled, T>(&self, object: &K, look: impl FnOnce(&LastWrite) -> T) -> Option<T> {
        let last = self.last.lock();
        let write = last.get(&(K::KIND, Wake::of(object.meta())))?;
        (object.meta().uid.as_ref() == Some(&write.uid)).then(|| look(write))
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
                self.remember::<K>(stored.meta());
                Ok(WriteResult::Changed)
            }
            Err(error) if error.is_conflict() => Ok(WriteResult::Conflict),
            // The object was deleted meanwhile.
            Err(error) if error.is_not_found() => Ok(WriteResult::Unchanged),
            Err(error) => Err(error.into()),
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
                self.remember::<K>(&stored.metadata);
                Ok(WriteResult::Changed)
            }
            Err(error) if error.is_conflict() => Ok(WriteResult::Conflict),
            Err(error) if error.is_not_found() => Ok(WriteResult::Unchanged),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops what is remembered of a deleted object.
    pub fn forget<K: Controlled>(&self, object: Wake) {
        self.last.lock().remove(&(K::KIND, object));
    }

    fn remember<K: Controlled>(&self, stored: &ObjectMeta) {
        if let (Some(uid), Some(version)) = (stored.uid.clone(), version(stored)) {
            self.last.lock().insert((K::KIND, Wake::of(stored)), LastWrite { uid, version, at: Instant::now() });
        }
    }
}

/// The object with this status in the place of its own.
pub(super) fn with_status<K: Controlled>(object: &K, status: K::Status) -> K {
    let mut object = object.clone();
    *object.status_mut() = Some(status);
    object
}

fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref()?.parse().ok()
}
