//! Objects to reconcile: a set for each kind, so that a thousand reports of one device are one entry.

use std::collections::HashSet;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt, unfold};
use kalong_controllers::kit::link::Wake;
use kalong_crds::wire::desired::ItemKind;
use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Clone, Default)]
pub(super) struct WakeQueues {
    agents: Arc<WakeSet>,
    devices: Arc<WakeSet>,
    lanes: Arc<WakeSet>,
    igvs: Arc<WakeSet>,
    links: Arc<WakeSet>,
}

#[derive(Default)]
struct WakeSet {
    waiting: Mutex<HashSet<Wake>>,
    more: Notify,
}

impl WakeQueues {
    fn of(&self, kind: ItemKind) -> &Arc<WakeSet> {
        match kind {
            ItemKind::Agent => &self.agents,
            ItemKind::Device => &self.devices,
            ItemKind::Lane => &self.lanes,
            ItemKind::Igv => &self.igvs,
            ItemKind::Link => &self.links,
        }
    }

    /// Adds an object; false if it was waiting already.
    pub fn add(&self, kind: ItemKind, wake: Wake) -> bool {
        let set = self.of(kind);
        let new = set.waiting.lock().insert(wake);
        set.more.notify_one();
        new
    }

    /// The waiting objects of a kind. One reader.
    pub fn stream(&self, kind: ItemKind) -> BoxStream<'static, Wake> {
        let set = Arc::clone(self.of(kind));
        unfold(set, |set| async move {
            loop {
                let next = {
                    let mut waiting = set.waiting.lock();
                    let next = waiting.iter().next().cloned();
                    next.and_then(|wake| waiting.take(&wake))
                };
                match next {
                    Some(wake) => return Some((wake, set)),
                    None => set.more.notified().await,
                }
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_wakes_of_one_object_are_one() {
        let wakes = WakeQueues::default();
        let wake = |name: &str| Wake { namespace: "ns".into(), name: name.into() };
        assert!(wakes.add(ItemKind::Device, wake("a")));
        assert!(!wakes.add(ItemKind::Device, wake("a")));
        wakes.add(ItemKind::Lane, wake("l"));
        let mut devices = wakes.stream(ItemKind::Device);
        assert_eq!(devices.next().await, Some(wake("a")));
        let more = tokio::spawn(async move { devices.next().await });
        wakes.add(ItemKind::Device, wake("b"));
        assert_eq!(more.await.unwrap(), Some(wake("b")));
    }
}
