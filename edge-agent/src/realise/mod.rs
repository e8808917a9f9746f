//! Dispatch: every item of the desired set goes to the room of its kind, and what is removed leaves it again.
//!
//! The rooms start from the store, before there is any network, and never need the operator to go on with what is stored.

pub mod inbox;

mod rooms;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::order::AgentOrder;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::clock::Now;
use crate::context::AgentContext;
use crate::crash_point;
use crate::device::DeviceTask;
use crate::store::attempt::Record;
use crate::store::desired::{DesiredSet, DesiredUpdate, StoredItem};
use crate::store::durable::DurableState;
use inbox::{ApplyError, ApplyRequest, DesiredSink};
pub use rooms::Rooms;

/// How long the start waits for the first visit of every device before the uplink may connect.
const FIRST_VISITS: Duration = Duration::from_secs(5);
/// Removed items whose release may wait to be noted.
const RELEASES: usize = 16;

/// Keeps the desired set, runs one task for every device in it, and passes each item to the room of its kind.
pub struct Dispatcher {
    agent: Arc<AgentContext>,
    rooms: Rooms,
    desired: DesiredSet,
    records: BTreeMap<String, Record>,
    durable: BTreeMap<String, DurableState>,
    /// Where the tasks of the devices take their orders from, by uid.
    tasks: BTreeMap<String, watch::Sender<Arc<StoredItem>>>,
    inbox: mpsc::Receiver<ApplyRequest>,
    /// Removed items that nothing works on any more, by uid.
    released: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl Dispatcher {
    /// A dispatcher of what the store held at start.
    pub fn new(
        agent: Arc<AgentContext>,
        rooms: Rooms,
        desired: DesiredSet,
        records: BTreeMap<String, Record>,
        durable: BTreeMap<String, DurableState>,
    ) -> (Self, DesiredSink) {
        let (sink, inbox) = DesiredSink::new();
        let released = mpsc::channel(RELEASES);
        (Self { agent, rooms, desired, records, durable, tasks: BTreeMap::new(), inbox, released }, sink)
    }

    /// Realises what was stored, before any network; then applies updates until the sink is gone.
    pub async fn start(mut self) -> tokio::task::JoinHandle<()> {
        let stored: Vec<_> = self.desired.iter().cloned().collect();
        let mut first = Vec::new();
        // Lanes first: a controller's task must know its lane at its first visit.
        let (devices, others): (Vec<_>, Vec<_>) = stored.into_iter().partition(|s| s.item.kind == ItemKind::Device);
        for stored in others.into_iter().chain(devices) {
            self.place(stored, &mut first);
        }
        let visits = async {
            for visit in first {
                let _ = visit.await;
            }
        };
        if timeout(FIRST_VISITS, visits).await.is_err() {
            tracing::info!("Not every device was visited within the first seconds; the uplink starts anyway.");
        }
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    request = self.inbox.recv() => {
                        let Some(ApplyRequest { update, fence, answer }) = request else { return };
                        let _ = answer.send(self.apply(update, fence).await);
                    }
                    Some(uid) = self.released.1.recv() => self.forget(&uid).await,
                }
            }
        })
    }

    async fn apply(&mut self, update: DesiredUpdate, fence: Fence) -> Result<(), ApplyError> {
        let (next, change) = self.desired.merged(&update)?;
        crash_point!(DesiredVerified);
        let fresh = self.agent.store.apply(change.clone(), fence).await?;
        crash_point!(DesiredStored);
        self.durable.extend(fresh);
        self.desired = next;
        for (old, new) in &change.renamed {
            self.rename(old, new);
        }
        let mut first = Vec::new();
        let (devices, others): (Vec<_>, Vec<_>) = change.put.into_iter().partition(|s| s.item.kind == ItemKind::Device);
        let lanes: Vec<_> =
            others.iter().filter(|s| s.item.kind == ItemKind::Lane).map(|s| s.item.uid.clone()).collect();
        for stored in others.into_iter().chain(devices) {
            self.place(stored, &mut first);
        }
        self.agent.reported.holds(self.desired.rev(), self.desired.orphans(), fence);
        for lane in lanes {
            self.rooms.lanes.save(&lane).await;
        }
        Ok(())
    }

    fn rename(&mut self, old: &str, new: &str) {
        tracing::info!(old, new, "An object was recreated; the device or lane behind it is adopted in place.");
        if let Some(durable) = self.durable.remove(old) {
            self.durable.insert(new.to_owned(), durable);
        }
        self.rooms.rename(old, new);
        self.agent.counters.rename(old, new);
        if let Some(task) = self.tasks.remove(old) {
            self.tasks.insert(new.to_owned(), task);
        }
        self.agent.reported.remove(old);
    }

    fn place(&mut self, stored: Arc<StoredItem>, first: &mut Vec<oneshot::Receiver<()>>) {
        match stored.item.kind {
            ItemKind::Device => self.place_device(stored, first),
            ItemKind::Lane => self.place_lane(stored),
            ItemKind::Agent => self.place_agent(&stored),
            ItemKind::Igv | ItemKind::Link => self.place_observed(stored),
        }
    }

    fn place_device(&mut self, stored: Arc<StoredItem>, first: &mut Vec<oneshot::Receiver<()>>) {
        let uid = stored.item.uid.clone();
        if let Some(task) = self.tasks.get(&uid) {
            task.send_replace(stored);
            return;
        }
        let wake = Arc::new(Notify::new());
        let (orders, inbox) = watch::channel(stored);
        let (visited, visit) = oneshot::channel();
        first.push(visit);
        let record = self.records.remove(&uid);
        let durable = self.durable.get(&uid).cloned().unwrap_or_default();
        let task = DeviceTask::new(self.rooms.devices.clone(), inbox, wake.clone(), record, durable);
        tokio::spawn(task.run(visited, self.released.0.clone()));
        self.rooms.lanes.register(&uid, wake);
        self.tasks.insert(uid, orders);
    }

    fn place_lane(&mut self, stored: Arc<StoredItem>) {
        let uid = stored.item.uid.clone();
        let lanes = &self.rooms.lanes;
        if stored.leaving {
            lanes.with(|table| table.remove(&uid));
            self.release(uid);
            return;
        }
        let durable = self.durable.get(&uid).cloned().unwrap_or_default();
        let adopted = stored.adopted;
        lanes.with(|table| table.put(stored, &durable, &Now::of(&self.agent.clock)));
        if adopted {
            lanes.report(&uid);
        } else {
            self.agent.reported.remove(&uid);
        }
        let controller = lanes.with(|table| table.controller_of(&uid));
        if let Some(controller) = controller {
            lanes.wake(&controller);
        }
    }

    /// A vehicle or a link: observed by the agent, and never changed.
    fn place_observed(&mut self, stored: Arc<StoredItem>) {
        let uid = stored.item.uid.clone();
        if stored.leaving {
            self.rooms.fleet.remove(&uid);
            self.rooms.links.remove(&uid);
            self.release(uid);
        } else if stored.item.kind == ItemKind::Link {
            self.rooms.links.place(stored);
        } else {
            self.rooms.fleet.place(stored);
        }
    }

    fn place_agent(&mut self, stored: &StoredItem) {
        if stored.leaving {
            self.release(stored.item.uid.clone());
            return;
        }
        let result = match stored.item.order::<AgentOrder>() {
            Ok(order) => {
                self.agent.configure(order);
                Ok(None)
            }
            Err(error) => Err(format!("the settings of the box cannot be read: {error}")),
        };
        self.agent.report_order(stored, result);
    }

    /// Has a removed item forgotten once the update that removed it is through.
    fn release(&self, uid: String) {
        let released = self.released.0.clone();
        tokio::spawn(async move {
            // At a shutdown nothing is lost: the item is marked as leaving in the store.
            let _ = released.send(uid).await;
        });
    }

    /// Forgets a removed item that nothing works on any more; a device is left as it is.
    async fn forget(&mut self, uid: &str) {
        if !self.desired.get(uid).is_some_and(|s| s.leaving) {
            return;
        }
        let Some(change) = self.desired.drop_item(uid) else { return };
        if let Err(error) = self.agent.store.apply(change, Fence::default()).await {
            tracing::error!(uid, %error, "A removed item could not be forgotten; it goes at the next start.");
        }
        self.tasks.remove(uid);
        self.durable.remove(uid);
        self.agent.counters.forget(uid);
        self.rooms.lanes.forget_device(uid);
        self.agent.reported.remove(uid);
    }
}
