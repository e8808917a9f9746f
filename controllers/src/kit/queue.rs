//! Which objects to look at again. A set for each kind: however often something wakes an object, it is looked at once.

use parking_lot::Mutex;
use std::collections::HashSet;

use futures::Stream;
use kube_runtime::reflector::{Lookup, ObjectRef};
use tokio::sync::Notify;

/// The objects of one kind that wait to be looked at.
#[derive(Debug)]
pub struct ReconcileQueue {
    waiting: Mutex<HashSet<(String, String)>>,
    changed: Notify,
}

impl Default for ReconcileQueue {
    fn default() -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new() }
    }
}

impl ReconcileQueue {
    /// This object is to be looked at.
    pub fn wake(&self, namespace: &str, name: &str) {
        let mut waiting = self.waiting.lock();
        if waiting.insert((namespace.to_owned(), name.to_owned())) {
            self.changed.notify_one();
        }
    }

    fn take(&self) -> Vec<(String, String)> {
        self.waiting.lock().drain().collect()
    }

    /// The objects as they come. One reader.
    pub fn stream<K>(self: std::sync::Arc<Self>) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
    where
        K: Lookup<DynamicType = ()> + 'static,
    {
        futures::stream::unfold((self, Vec::new()), |(set, mut ready)| async move {
            loop {
                if let Some((namespace, name)) = ready.pop() {
                    let object: (String, String) = (namespace, name);
                    return Some((ObjectRef::new(&object.1).within(&object.0), (set, ready)));
                }
                ready = set.take();
                if ready.is_empty() {
                    set.changed.notified().await;
                }
            }
        })
    }
}
