//! Objects that wait to be reconciled: a set, so that however often something wakes an object, it is reconciled once.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube_runtime::reflector::{Lookup, ObjectRef};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::link::Wake;

/// The waiting objects of one kind, first come, first served. One reader.
#[derive(Debug, Default)]
pub struct ReconcileQueue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    order: VecDeque<Wake>,
    /// What stands in `order`.
    waiting: HashSet<Wake>,
    /// What the reader has and is not done with.
    in_hand: HashSet<Wake>,
}

impl State {
    fn pop(&mut self) -> Option<Wake> {
        let wake = self.order.pop_front()?;
        self.waiting.remove(&wake);
        Some(wake)
    }

    /// The next one that is not in hand, unless so many are.
    fn take(&mut self, limit: usize) -> Option<Wake> {
        if self.in_hand.len() >= limit {
            return None;
        }
        let place = self.order.iter().position(|wake| !self.in_hand.contains(wake))?;
        let wake = self.order.remove(place)?;
        self.waiting.remove(&wake);
        self.in_hand.insert(wake.clone());
        Some(wake)
    }
}

impl ReconcileQueue {
    /// Adds an object by its name.
    pub fn wake(&self, namespace: &str, name: &str) {
        self.add(Wake { namespace: namespace.to_owned(), name: name.to_owned() });
    }

    /// Adds an object; false if it was waiting already.
    pub fn add(&self, wake: Wake) -> bool {
        let new = {
            let mut state = self.state.lock();
            let new = state.waiting.insert(wake.clone());
            if new {
                state.order.push_back(wake);
            }
            new
        };
        if new {
            self.changed.notify_one();
        }
        new
    }

    /// The reader is done with an object that [`turns`](Self::turns) gave.
    pub fn done(&self, wake: &Wake) {
        if self.state.lock().in_hand.remove(wake) {
            self.changed.notify_one();
        }
    }

    /// The names of the objects that wait.
    #[cfg(test)]
    pub(super) fn take_names(&self) -> Vec<String> {
        let mut state = self.state.lock();
        std::iter::from_fn(|| state.pop()).map(|wake| wake.name).collect()
    }

    /// The objects, for a reader who only hands them on.
    pub fn wakes(self: Arc<Self>) -> impl Stream<Item = Wake> + Send + 'static {
        self.read(State::pop)
    }

    /// The objects for a controller, at most so many that it is not [`done`](Self::done) with. A controller serves the newest of what it
    /// was given first: given everything at once, it would never come to the oldest while new wakes go on.
    pub fn turns<K>(self: Arc<Self>, limit: usize) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
    where
        K: Lookup<DynamicType = ()> + 'static,
    {
        self.read(move |state| state.take(limit)).map(|wake| ObjectRef::new(&wake.name).within(&wake.namespace))
    }

    fn read<F>(self: Arc<Self>, take: F) -> impl Stream<Item = Wake> + Send + 'static
    where
        F: Fn(&mut State) -> Option<Wake> + Send + 'static,
    {
        futures::stream::unfold((self, take), |(queue, take)| async move {
            loop {
                let taken = take(&mut queue.state.lock());
                if let Some(wake) = taken {
                    return Some((wake, (queue, take)));
                }
                queue.changed.notified().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

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

    #[tokio::test]
    async fn oldest_has_its_turn_however_often_others_wake() {
        let queue = Arc::new(ReconcileQueue::default());
        let done = |name: &str| queue.done(&Wake { namespace: "ns".into(), name: name.into() });
        let name = |turn: Option<ObjectRef<kalong_crds::Device>>| turn.unwrap().name;
        ["a", "b", "c"].into_iter().for_each(|name| queue.wake("ns", name));
        let mut turns = Box::pin(Arc::clone(&queue).turns(2));
        assert_eq!((name(turns.next().await), name(turns.next().await)), ("a".into(), "b".into()));
        queue.wake("ns", "a");
        assert_eq!(turns.next().now_or_never(), None, "two are in hand");
        done("a");
        assert_eq!(name(turns.next().await), "c");
        done("b");
        assert_eq!(name(turns.next().await), "a");
        queue.wake("ns", "a");
        done("c");
        assert_eq!(turns.next().now_or_never(), None, "one object is not in hand twice");
        done("a");
        assert_eq!(name(turns.next().await), "a");
    }
}
