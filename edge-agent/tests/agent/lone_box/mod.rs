//! A box without an uplink: it holds what the test tells it, and what it would report is read directly.

#![allow(dead_code, reason = "each test that uses it needs another part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::wire::desired::{Item, ItemKind, Tombstone, rev_of};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::reported::{About, IgvReport, LinkReport, ReportedItem};
use kalong_crds::wire::telemetry::IgvCounters;
use kalong_edge_agent::clock::ClockJudge;
use kalong_edge_agent::context::AgentContext;
use kalong_edge_agent::counters::CounterScope;
use kalong_edge_agent::device::DeviceAccess;
use kalong_edge_agent::driver;
use kalong_edge_agent::firmware::download::Downloads;
use kalong_edge_agent::link::Links;
use kalong_edge_agent::realise::inbox::DesiredSink;
use kalong_edge_agent::realise::{Dispatcher, Rooms};
use kalong_edge_agent::reported::ReportedState;
use kalong_edge_agent::store::Store;
use kalong_edge_agent::store::desired::DesiredUpdate;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Longest wait for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Time between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// The box, on a thread of its own as in its process, so that it can end as a process ends.
pub struct LoneBox {
    agent: Arc<AgentContext>,
    sink: DesiredSink,
    seq: u64,
    folder: TempDir,
    /// The thread ends when this is dropped, with every task on it.
    _alive: oneshot::Sender<()>,
}

impl LoneBox {
    /// A box that holds nothing.
    pub async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap(), None).await
    }

    /// A box that asks the peers of its links this often.
    pub async fn asking(every: Duration) -> Self {
        Self::at(tempfile::tempdir().unwrap(), Some(every)).await
    }

    /// The same box after its process was ended and started again.
    pub async fn restarted(mut self) -> Self {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        drop(self);
        Self::at(folder, None).await
    }

    async fn at(folder: TempDir, asking: Option<Duration>) -> Self {
        // Waits for an ending life to let go of the store.
        let opened = Store::open(folder.path()).unwrap();
        let seq = opened.fence.seq;
        let downloads = Arc::new(Downloads::new(folder.path().join("a"), opened.store.clone()).unwrap());
        let agent = Arc::new(AgentContext::new(
            "mc.box".parse().unwrap(),
            opened.store,
            ReportedState::new(About::default(), Rev::empty(), opened.fence),
            ClockJudge::new("2026-01-01T00:00:00Z".parse().unwrap()),
        ));
        let access = DeviceAccess { sealing_secret: vec![], drivers: Arc::new(driver::connect) };
        let mut rooms = Rooms::new(&agent, downloads, ReleaseKeys::default(), access);
        if let Some(interval) = asking {
            rooms.links = Links::every(agent.clone(), interval);
        }
        let (dispatcher, sink) = Dispatcher::new(agent.clone(), rooms, opened.desired, opened.records, opened.durable);
        let (started, start) = oneshot::channel();
        let (_alive, end) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                drop(dispatcher.start().await);
                let _ = started.send(());
                let _ = end.await;
            });
        });
        start.await.unwrap();
        Self { agent, sink, seq, folder, _alive }
    }

    /// Tells the box the whole.
    pub async fn tell(&mut self, items: &[Item]) {
        self.take(items, vec![]).await;
    }

    /// Ends one item; the rest is as it was.
    pub async fn bury(&mut self, gone: &Item, rest: &[Item]) {
        self.take(rest, vec![Tombstone { uid: gone.uid.clone(), generation: gone.generation }]).await;
    }

    async fn take(&mut self, items: &[Item], removed: Vec<Tombstone>) {
        self.seq += 1;
        let update = DesiredUpdate { base: None, rev: Some(rev_of(items)), removed, items: items.to_vec() };
        self.sink.apply(update, Fence { term: 1, seq: self.seq }).await.unwrap();
    }

    /// What is reported of an object.
    pub fn item(&self, name: &str) -> Option<ReportedItem> {
        self.agent.reported.get(&format!("uid-{name}"))
    }

    /// What is reported of a vehicle.
    pub fn igv(&self, name: &str) -> Option<IgvReport> {
        self.item(name)?.igv().cloned()
    }

    /// What is reported of a link.
    pub fn link(&self, name: &str) -> Option<LinkReport> {
        self.item(name)?.link().cloned()
    }

    /// Counters of all vehicles.
    pub fn counters(&self) -> Vec<IgvCounters> {
        self.agent.counters.take(CounterScope::All).into_iter().flat_map(|t| t.igvs).collect()
    }

    /// Waits until what is reported of this vehicle holds.
    pub async fn until_igv(&self, name: &str, holds: impl Fn(&IgvReport) -> bool) -> ReportedItem {
        until(|| self.igv(name).is_some_and(|r| holds(&r)), || format!("{:?}", self.item(name))).await;
        self.item(name).unwrap()
    }

    /// Waits until what is reported of this link holds.
    pub async fn until_link(&self, name: &str, holds: impl Fn(&LinkReport) -> bool) {
        until(|| self.link(name).is_some_and(|r| holds(&r)), || format!("{:?}", self.item(name))).await;
    }

    /// The folder in which it keeps what it holds.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Waits for a condition, and says what is there instead when it does not come.
pub async fn until(holds: impl Fn() -> bool, instead: impl Fn() -> String) {
    let wait = async {
        while !holds() {
            sleep(LOOK).await;
        }
    };
    if timeout(DEADLINE, wait).await.is_err() {
        panic!("it never came; instead: {}", instead());
    }
}

/// A vehicle of acme that speaks on this broker, and may be changed at `dock` in its ten metres of yard.
pub fn igv_item(serial: &str, broker: &str) -> Item {
    let corner = |x: i64, y: i64| json!({ "xCentimetres": x, "yCentimetres": y });
    let spec = json!({
        "crossing": "bac-luan",
        "broker": { "endpoint": broker },
        "vda5050": { "manufacturer": "acme", "serialNumber": serial },
        "zoneSet": { "id": "z", "zones": [{ "name": "yard", "side": "Domestic", "map": "yard",
            "corners": [corner(-1000, -1000), corner(1000, -1000), corner(1000, 1000), corner(-1000, 1000)] }] },
        "changeAt": { "nodes": ["dock"], "minCharge": 40 },
        "batteryWattHours": 100_000,
    });
    item(ItemKind::Igv, serial, &spec)
}

/// An item whose uid is its name.
pub fn item(kind: ItemKind, name: &str, spec: &serde_json::Value) -> Item {
    Item::new(kind, "mc", name, &format!("uid-{name}"), 1, spec).unwrap()
}
