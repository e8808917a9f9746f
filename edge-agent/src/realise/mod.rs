//! From what was told to what is: one task a device, the lanes that some of them run, and the policy for a box that is cut off.
//!
//! A task observes its device, plans purely, acts through the driver and reports what it read back. It starts from the
//! store, before there is any network, and never needs the operator to go on with what it was told.

pub mod act;
pub mod device;
pub mod hold;
pub mod lane;
pub mod offline;
pub mod plan;
pub mod traffic;

mod site;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::order::AgentOrder;
use kalong_crds::wire::reported::{ItemState, ReportedItem};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::crash_point;
use crate::firmware::attempt::Record;
use crate::fleet::Fleet;
use crate::link::Links;
use crate::store::StoreError;
use crate::store::desired::{Held, Holdings, Misfit, Told};
use crate::store::journal::Memory;
use device::Worker;
use hold::Now;
pub use site::{DriverFactory, Parts, Site};

/// How long the start waits for the first visit of every device before it turns to the network.
const FIRST_VISITS: Duration = Duration::from_secs(5);
/// Messages to the realiser that may wait.
const QUEUE: usize = 16;

/// Why something told was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It does not fit what the box holds.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// It could not be stored, so it was not done.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The box is going down.
    #[error("the box is going down")]
    Ended,
}

impl TakeError {
    /// The word for logs and metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Misfit(_) => "misfit",
            Self::Store(error) => error.category(),
            Self::Ended => "ended",
        }
    }
}

enum Message {
    Told(Told, Fence, oneshot::Sender<Result<(), TakeError>>),
    Gone(String),
}

/// Hands what was told to the realiser.
#[derive(Clone)]
pub struct Teller {
    inbox: mpsc::Sender<Message>,
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

impl Teller {
    /// Returns once it is durable and its tasks know of it.
    pub async fn tell(&self, told: Told, fence: Fence) -> Result<(), TakeError> {
        let (tx, rx) = oneshot::channel();
        self.inbox.send(Message::Told(told, fence, tx)).await.map_err(|_| TakeError::Ended)?;
        rx.await.map_err(|_| TakeError::Ended)?
    }

    pub(crate) async fn gone(&self, uid: String) {
        // A box that is going down needs no goodbye: the item is marked as leaving in the store.
        let _ = self.inbox.send(Message::Gone(uid)).await;
    }
}

struct Handle {
    orders: watch::Sender<Arc<Held>>,
    wake: Arc<Notify>,
}

/// Keeps one task for every device that the box holds.
pub struct Realiser {
    site: Arc<Site>,
    holdings: Holdings,
    records: BTreeMap<String, Record>,
    memories: BTreeMap<String, Memory>,
    workers: BTreeMap<String, Handle>,
    teller: Teller,
    inbox: mpsc::Receiver<Message>,
}

impl Realiser {
    /// A realiser of what the store held at start.
    pub fn new(
        site: Arc<Site>,
        holdings: Holdings,
        records: BTreeMap<String, Record>,
        memories: BTreeMap<String, Memory>,
    ) -> (Self, Teller) {
        let (tx, inbox) = mpsc::channel(QUEUE);
        let teller = Teller { inbox: tx };
        let realiser =
            Self { site, holdings, records, memories, workers: BTreeMap::new(), teller: teller.clone(), inbox };
        (realiser, teller)
    }

    /// Applies what was held, before any network; then takes in what is told, for ever.
    pub async fn start(mut self) -> tokio::task::JoinHandle<()> {
        let held: Vec<_> = self.holdings.iter().cloned().collect();
        let mut first = Vec::new();
        // Lanes first: a controller's task must know its lane at its first visit.
        for item in held.iter().filter(|h| h.item.kind != ItemKind::Device) {
            self.place(item.clone(), &mut first);
        }
        for item in held.iter().filter(|h| h.item.kind == ItemKind::Device) {
            self.place(item.clone(), &mut first);
        }
        let visits = async {
            for visit in first {
                let _ = visit.await;
            }
        };
        if timeout(FIRST_VISITS, visits).await.is_err() {
            tracing::info!("not every device was visited within the first seconds; the uplink starts all the same");
        }
        tokio::spawn(async move {
            while let Some(message) = self.inbox.recv().await {
                match message {
                    Message::Told(told, fence, answer) => {
                        let result = self.take(told, fence).await;
                        let _ = answer.send(result);
                    }
                    Message::Gone(uid) => self.let_go(&uid).await,
                }
            }
        })
    }

    async fn take(&mut self, told: Told, fence: Fence) -> Result<(), TakeError> {
        let (next, change) = self.holdings.merged(&told)?;
        crash_point!(DesiredVerified);
        let fresh = self.site.store.hold(change.clone(), fence).await?;
        crash_point!(DesiredStored);
        self.memories.extend(fresh);
        self.holdings = next;
        for (old, new) in &change.renamed {
            self.rename(old, new);
        }
        let mut first = Vec::new();
        let (lanes, devices): (Vec<_>, Vec<_>) = change.put.into_iter().partition(|h| h.item.kind != ItemKind::Device);
        let told: Vec<_> = lanes.iter().filter(|h| h.item.kind == ItemKind::Lane).map(|h| h.item.uid.clone()).collect();
        for held in lanes.into_iter().chain(devices) {
            self.place(held, &mut first);
        }
        self.site.image.holds(self.holdings.rev(), self.holdings.orphans(), fence);
        for lane in told {
            self.site.save_lane(&lane).await;
        }
        Ok(())
    }

    fn rename(&mut self, old: &str, new: &str) {
        tracing::info!(old, new, "an object was made anew; what it stands for is adopted in place");
        for map in [&mut self.memories] {
            if let Some(memory) = map.remove(old) {
                map.insert(new.to_owned(), memory);
            }
        }
        self.site.lanes.rename(old, new);
        self.site.fleet.rename(old, new);
        self.site.links.rename(old, new);
        self.site.counters.rename(old, new);
        if let Some(worker) = self.workers.remove(old) {
            if let Ok(mut wakes) = self.site.wakes.lock() {
                wakes.remove(old);
                wakes.insert(new.to_owned(), worker.wake.clone());
            }
            self.workers.insert(new.to_owned(), worker);
        }
        self.site.image.remove(old);
    }

    fn place(&mut self, held: Arc<Held>, first: &mut Vec<oneshot::Receiver<()>>) {
        match held.item.kind {
            ItemKind::Device => self.place_device(held, first),
            ItemKind::Lane => self.place_lane(held),
            ItemKind::Agent => self.place_agent(&held),
            ItemKind::Igv | ItemKind::Link => self.place_peer(held),
        }
    }

    fn place_device(&mut self, held: Arc<Held>, first: &mut Vec<oneshot::Receiver<()>>) {
        let uid = held.item.uid.clone();
        if let Some(worker) = self.workers.get(&uid) {
            worker.orders.send_replace(held);
            return;
        }
        let wake = Arc::new(Notify::new());
        let (orders, inbox) = watch::channel(held);
        let (tx, rx) = oneshot::channel();
        first.push(rx);
        let record = self.records.remove(&uid);
        let memory = self.memories.get(&uid).cloned().unwrap_or_default();
        let worker = Worker::new(self.site.clone(), inbox, wake.clone(), record, memory);
        tokio::spawn(worker.run(tx, self.teller.clone()));
        if let Ok(mut wakes) = self.site.wakes.lock() {
            wakes.insert(uid.clone(), wake.clone());
        }
        self.workers.insert(uid, Handle { orders, wake });
    }

    fn place_lane(&mut self, held: Arc<Held>) {
        let uid = held.item.uid.clone();
        if held.leaving {
            self.site.lanes.remove(&uid);
            self.leave_later(uid);
            return;
        }
        let memory = self.memories.get(&uid).cloned().unwrap_or_default();
        let adopted = held.adopted;
        self.site.lanes.put(held, &memory, &Now::of(&self.site.clock));
        if adopted {
            self.site.report_lane(&uid);
        } else {
            self.site.image.remove(&uid);
        }
        if let Some(controller) = self.site.lanes.controller(&uid) {
            self.site.wake(&controller);
        }
    }

    /// A vehicle or a link: somebody of whom the box is not the master.
    fn place_peer(&mut self, held: Arc<Held>) {
        let uid = held.item.uid.clone();
        if held.leaving {
            self.site.fleet.remove(&uid);
            self.site.links.remove(&uid);
            self.leave_later(uid);
            return;
        }
        if held.item.kind == ItemKind::Link {
            Links::place(&self.site, held);
        } else {
            Fleet::place(&self.site, held);
        }
    }

    fn place_agent(&mut self, held: &Held) {
        let item = &held.item;
        if held.leaving {
            self.leave_later(item.uid.clone());
            return;
        }
        let order = item.order::<AgentOrder>();
        let (state, applied, message) = match &order {
            Ok(_) => (ItemState::Applied, item.generation, String::new()),
            Err(error) => (ItemState::Rejected, 0, format!("the settings of the box cannot be read: {error}")),
        };
        if let Ok(order) = order {
            self.site.settings.send_replace(Some(order));
        }
        if !held.adopted {
            self.site.image.remove(&item.uid);
            return;
        }
        self.site.image.set(ReportedItem {
            uid: item.uid.clone(),
            kind: ItemKind::Agent,
            generation: item.generation,
            hash: item.hash.clone(),
            applied,
            state,
            reason: if message.is_empty() { String::new() } else { "InvalidSpec".to_owned() },
            message,
            device: None,
            lane: None,
            igv: None,
            link: None,
        });
    }

    fn leave_later(&self, uid: String) {
        let teller = self.teller.clone();
        tokio::spawn(async move { teller.gone(uid).await });
    }

    /// An item that was removed is not in work any more: it is forgotten, and the device is left as it is.
    async fn let_go(&mut self, uid: &str) {
        if !self.holdings.get(uid).is_some_and(|h| h.leaving) {
            return;
        }
        let Some(change) = self.holdings.drop_item(uid) else { return };
        if let Err(error) = self.site.store.hold(change, Fence::default()).await {
            tracing::error!(uid, %error, "a removed item could not be forgotten; it goes at the next start");
        }
        self.workers.remove(uid);
        self.memories.remove(uid);
        self.site.counters.forget(uid);
        self.site.lanes.forget_device(uid);
        if let Ok(mut wakes) = self.site.wakes.lock() {
            wakes.remove(uid);
        }
        self.site.image.remove(uid);
    }
}
