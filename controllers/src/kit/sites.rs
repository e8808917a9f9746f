//! The snapshots of all sites, which the watches keep current.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use kalong_rules::SiteSnapshot;
use kalong_rules::snapshot::Tabled;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};

static EMPTY: LazyLock<SiteSnapshot> = LazyLock::new(SiteSnapshot::default);

/// One snapshot a namespace. Never behind the caches: what a cache shows, its snapshot shows too.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    snapshots: Arc<RwLock<HashMap<String, SiteSnapshot>>>,
}

/// A site that does not change for as long as this is held, since it holds up the watches.
pub type SiteGuard<'a> = MappedRwLockReadGuard<'a, SiteSnapshot>;

impl Sites {
    /// The site of this namespace; an empty one if nothing is there.
    pub fn read(&self, namespace: &str) -> SiteGuard<'_> {
        // Recursive: a decision that holds one guard may look something up through another while a watch waits to write.
        let snapshots = self.snapshots.read_recursive();
        RwLockReadGuard::map(snapshots, |snapshots| snapshots.get(namespace).unwrap_or(&*EMPTY))
    }

    pub(super) fn upsert<K: Tabled>(&self, object: Arc<K>) {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let mut snapshots = self.snapshots.write();
        match snapshots.get_mut(namespace) {
            Some(site) => drop(site.upsert(object)),
            None => {
                let namespace = namespace.to_owned();
                snapshots.entry(namespace).or_default().upsert(object);
            }
        }
    }

    pub(super) fn remove<K: Tabled>(&self, object: &K) {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        if let Some(site) = self.snapshots.write().get_mut(namespace) {
            site.remove::<K>(object.name());
        }
    }
}
