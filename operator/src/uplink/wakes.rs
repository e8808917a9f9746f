//! Objects to reconcile, by kind.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use kalong_controllers::kit::link::Wake;
use kalong_controllers::kit::queue::ReconcileQueue;
use kalong_crds::wire::desired::ItemKind;

#[derive(Default)]
pub(super) struct WakeQueues {
    agents: Arc<ReconcileQueue>,
    devices: Arc<ReconcileQueue>,
    lanes: Arc<ReconcileQueue>,
    igvs: Arc<ReconcileQueue>,
    links: Arc<ReconcileQueue>,
}

impl WakeQueues {
    fn of(&self, kind: ItemKind) -> &Arc<ReconcileQueue> {
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
        self.of(kind).add(wake)
    }

    /// The waiting objects of a kind. One reader.
    pub fn stream(&self, kind: ItemKind) -> BoxStream<'static, Wake> {
        Arc::clone(self.of(kind)).wakes().boxed()
    }
}
