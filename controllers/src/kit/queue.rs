//! Objects that wait to be reconciled: a set, so that however often something wakes an object, it is reconciled once.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube_runtime::reflector::{Lookup, ObjectRef};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::link::Wake;

/// The waiting objects of one kind.
#[derive(Debug, Default)]
pub struct ReconcileQueue {
    waiting: Mutex<HashSet<Wake>>,
    changed: Notify,
}

impl ReconcileQueue {
    /// Adds an object by its name.
    pub fn wake(&self, namespace: &str, name: &str) {
        self.add(Wake { namespace: namespace.to_owned(), name: name.to_owned() });
    }

    /// Adds an object; false if it was waiting already.
    pub fn add(&self, wake: Wake) -> bool {
        let new = self.waiting.lock().insert(wake);
        if new {
            self.changed.notify_one();
        }
        new
    }

    fn take(&self) -> Vec<Wake> {
        self.waiting.lock().drain().collect()
    }

    /// The names of the objects that wait, in no order.
    #[cfg(test)]
    pub(super) fn take_names(&self) -> Vec<String> {
        self.take().into_iter().map(|wake| wake.name).collect()
    }

    /// The objects in rounds: one that wakes again while it is handed out waits for the next round, so none starves. One reader.
    pub fn wakes(self: Arc<Self>) -> impl Stream<Item = Wake> + Send + 'static {
        futures::stream::unfold((self, Vec::new()), |(queue, mut ready): (Arc<Self>, Vec<Wake>)| async move {
            loop {
                if let Some(wake) = ready.pop() {
                    return Some((wake, (queue, ready)));
                }
                ready = queue.take();
                if ready.is_empty() {
                    queue.changed.notified().await;
                }
            }
        })
    }

    /// [`wakes`](Self::wakes) as references for a controller.
    pub fn stream<K>(self: Arc<Self>) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
    where
        K: Lookup<DynamicType = ()> + 'static,
    {
        self.wakes().map(|wake| ObjectRef::new(&wake.name).within(&wake.namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_wakes_of_one_object_are_one() {
        let queue = Arc::new(ReconcileQueue::default());
        let wake = |name: &str| Wake { namespace: "ns".into(), name: name.into() };
        assert!(queue.add(wake("a")));
        assert!(!queue.add(wake("a")));
        let mut wakes = Box::pin(Arc::clone(&queue).wakes());
        assert_eq!(wakes.next().await, Some(wake("a")));
        let more = tokio::spawn(async move { wakes.next().await });
        queue.wake("ns", "b");
        assert_eq!(more.await.unwrap(), Some(wake("b")));
    }
}
