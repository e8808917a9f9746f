//! The boxes of the model: what an agent does with a lane, said in the fewest words, behind the seam that the real gateway implements.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use kalong_controllers::kit::link::{Admittance, AgentFacts, AgentLink, Holding, Presence, Wake};
use kalong_crds::Reason;
use kalong_crds::device::{Guard, GuardKind, GuardState};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::LaneOrder;
use kalong_crds::wire::reported::{DeviceReport, DrainRefusal, ItemState, LaneReport, ReportBody, ReportedItem};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;

/// What really happens at one lane.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub admission: LaneAdmission,
    pub inside: u32,
    /// Visits in a row that saw it closed and empty.
    quiet: u32,
    /// The hold that was given up.
    gave_up: Option<Vec<String>>,
}

/// Why a lane stopped admitting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Declared,
    Held,
    Interlock,
}

#[derive(Default)]
struct Inner {
    items: BTreeMap<String, Item>,
    lanes: BTreeMap<String, Truth>,
    broken: BTreeSet<String>,
    open_interlocks: BTreeSet<String>,
    silent: bool,
    /// Lanes that stopped admitting since they were last asked for: name, cause, drains.
    closed: Vec<(String, Cause, Vec<String>)>,
    listeners: Vec<(ItemKind, mpsc::UnboundedSender<Wake>)>,
}

/// All boxes as one.
#[derive(Default)]
pub struct Boxes {
    inner: Mutex<Inner>,
}

impl Boxes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// A moment passes at the gate: vehicles leave, controllers do as they were told, and what changed is reported.
    pub fn tick(&self) {
        let mut inner = self.lock();
        if inner.silent {
            return;
        }
        let lanes: Vec<Item> = inner.items.values().filter(|item| item.kind == ItemKind::Lane).cloned().collect();
        for item in lanes {
            let Ok(order) = item.order::<LaneOrder>() else { continue };
            let mut truth = inner.lanes.get(&item.uid).cloned().unwrap_or_default();
            let before = truth.admission;
            let cause = step(&mut truth, &order);
            if before == LaneAdmission::Open && truth.admission != LaneAdmission::Open {
                let drains = order.hold.as_ref().map(|hold| hold.drains.clone()).unwrap_or_default();
                inner.closed.push((item.name.clone(), cause, drains));
            }
            if shown(&truth) != inner.lanes.get(&item.uid).map_or((LaneAdmission::Unknown, None), shown) {
                inner.wake(ItemKind::Lane, &item);
            }
            inner.lanes.insert(item.uid.clone(), truth);
        }
    }

    /// Vehicles come into a lane that admits them.
    pub fn arrive(&self, lane: &str, count: u32) {
        let mut inner = self.lock();
        let uid =
            inner.items.values().find(|item| item.kind == ItemKind::Lane && item.name == lane).map(|i| i.uid.clone());
        if let Some(truth) = uid.and_then(|uid| inner.lanes.get_mut(&uid))
            && truth.admission == LaneAdmission::Open
        {
            truth.inside = count;
        }
    }

    /// A device falls silent, or answers again.
    pub fn breaks(&self, device: &str, broken: bool) {
        let mut inner = self.lock();
        if broken {
            inner.broken.insert(device.to_owned())
        } else {
            inner.broken.remove(device)
        };
        inner.wake_named(ItemKind::Device, device);
    }

    /// An interlock opens, or is safe again.
    pub fn interlock(&self, device: &str, open: bool) {
        let mut inner = self.lock();
        if open {
            inner.open_interlocks.insert(device.to_owned())
        } else {
            inner.open_interlocks.remove(device)
        };
        inner.wake_named(ItemKind::Device, device);
    }

    /// The boxes are cut off, or back.
    pub fn silence(&self, silent: bool) {
        let mut inner = self.lock();
        inner.silent = silent;
        let items: Vec<Item> = inner.items.values().cloned().collect();
        for item in items {
            inner.wake(item.kind, &item);
        }
    }

    /// What every lane really does, by name.
    pub fn truth(&self) -> BTreeMap<String, Truth> {
        let inner = self.lock();
        let lanes = inner.items.values().filter(|item| item.kind == ItemKind::Lane);
        lanes.map(|item| (item.name.clone(), inner.lanes.get(&item.uid).cloned().unwrap_or_default())).collect()
    }

    /// Lanes that stopped admitting since the last question.
    pub fn closed(&self) -> Vec<(String, Cause, Vec<String>)> {
        std::mem::take(&mut self.lock().closed)
    }

    /// The operator died: nobody listens any more, and the boxes go on.
    pub fn forget_listeners(&self) {
        self.lock().listeners.clear();
    }
}

fn shown(truth: &Truth) -> (LaneAdmission, Option<Vec<String>>) {
    let admission = if truth.admission == LaneAdmission::Closed && truth.quiet >= 2 {
        LaneAdmission::Drained
    } else {
        truth.admission
    };
    (admission, truth.gave_up.clone())
}

/// What the lane does next, and why it would be closed.
fn step(truth: &mut Truth, order: &LaneOrder) -> Cause {
    truth.inside = truth.inside.saturating_sub(1);
    let hold = order.hold.as_ref().filter(|hold| truth.gave_up.as_ref() != Some(&hold.drains));
    if order.hold.is_none() {
        truth.gave_up = None;
    }
    let cause = if !order.open_interlocks.is_empty() {
        Some(Cause::Interlock)
    } else if hold.is_some() {
        Some(Cause::Held)
    } else if order.admission == Admission::Closed {
        Some(Cause::Declared)
    } else {
        None
    };
    truth.admission = match cause {
        None => LaneAdmission::Open,
        Some(_) if truth.inside > 0 && truth.admission != LaneAdmission::Closed => LaneAdmission::Draining,
        Some(_) => LaneAdmission::Closed,
    };
    truth.quiet = if truth.admission == LaneAdmission::Closed { (truth.quiet + 1).min(2) } else { 0 };
    if let Some(hold) = hold
        && truth.admission == LaneAdmission::Draining
        && hold.empty_by.parse::<Timestamp>().is_ok_and(|by| Timestamp::now() > by)
    {
        truth.gave_up = Some(hold.drains.clone());
        truth.admission = LaneAdmission::Open;
    }
    cause.unwrap_or(Cause::Declared)
}

impl Inner {
    fn wake(&mut self, kind: ItemKind, item: &Item) {
        let wake = Wake { namespace: item.namespace.clone(), name: item.name.clone() };
        self.listeners.retain(|(wanted, listener)| *wanted != kind || listener.send(wake.clone()).is_ok());
    }

    fn wake_named(&mut self, kind: ItemKind, name: &str) {
        let item = self.items.values().find(|item| item.kind == kind && item.name == name).cloned();
        if let Some(item) = item {
            self.wake(kind, &item);
        }
    }

    fn report(&self, item: &Item) -> ReportedItem {
        let mut report = ReportedItem {
            uid: item.uid.clone(),
            kind: item.kind,
            generation: item.generation,
            hash: item.hash.clone(),
            applied: item.generation,
            state: ItemState::Applied,
            reason: String::new(),
            message: String::new(),
            body: None,
        };
        match item.kind {
            ItemKind::Device => {
                let connected = !self.broken.contains(&item.name);
                let regulatory = item.spec.pointer("/regulatory/interlocks").and_then(|list| list.as_array());
                let state =
                    if self.open_interlocks.contains(&item.name) { GuardState::Unsafe } else { GuardState::Safe };
                let guards = regulatory.into_iter().flatten().filter_map(|interlock| {
                    let name = interlock.get("name")?.as_str()?.to_owned();
                    Some(Guard { name, kind: GuardKind::Interlock, state })
                });
                report.body = Some(ReportBody::Device(DeviceReport {
                    connected,
                    health: connected.then(Default::default),
                    guards: guards.collect(),
                    ..DeviceReport::default()
                }));
                if !connected {
                    report.state = ItemState::Failed;
                    report.reason = Reason::DeviceUnreachable.as_str().to_owned();
                    report.message = "The device does not answer.".to_owned();
                }
            }
            ItemKind::Lane => {
                let truth = self.lanes.get(&item.uid).cloned().unwrap_or_default();
                let order = item.order::<LaneOrder>().ok();
                let held = order.as_ref().is_some_and(|o| o.hold.is_some());
                let (admission, gave_up) = shown(&truth);
                let admission =
                    if admission == LaneAdmission::Drained && !held { LaneAdmission::Closed } else { admission };
                report.body = Some(ReportBody::Lane(LaneReport {
                    admission,
                    held_by_offline_policy: false,
                    closed_by_interlock: order.as_ref().is_some_and(|o| !o.open_interlocks.is_empty()),
                    refusal: gave_up.map(|drains| DrainRefusal {
                        drains,
                        reason: Reason::DrainTimedOut.as_str().to_owned(),
                        message: "A vehicle is still inside.".to_owned(),
                    }),
                }));
                let wanted = order.map_or(Admission::Closed, |o| o.admission);
                let there = matches!(
                    (wanted, truth.admission),
                    (Admission::Open, LaneAdmission::Open) | (Admission::Closed, LaneAdmission::Closed)
                );
                if !there {
                    report.state = ItemState::Applying;
                    report.reason = Reason::AdmissionPending.as_str().to_owned();
                    report.message = "The lane is on its way.".to_owned();
                }
            }
            ItemKind::Agent | ItemKind::Igv | ItemKind::Link => {}
        }
        report
    }
}

impl AgentLink for Boxes {
    fn want(&self, _: &AgentId, item: Item) {
        let mut inner = self.lock();
        let same =
            inner.items.get(&item.uid).is_some_and(|old| old.hash == item.hash && old.generation == item.generation);
        inner.items.insert(item.uid.clone(), item.clone());
        if !same {
            inner.wake(item.kind, &item);
        }
    }

    fn remove(&self, _: &AgentId, uid: &str, _: i64) {
        self.lock().items.remove(uid);
    }

    fn holding(&self, _: &AgentId, uid: &str) -> Holding {
        if self.lock().items.contains_key(uid) { Holding::Held } else { Holding::NotHeld }
    }

    fn holders(&self, uid: &str) -> Vec<AgentId> {
        let inner = self.lock();
        let item = inner.items.get(uid);
        item.and_then(|item| AgentId::new(&item.namespace, "box").ok()).into_iter().collect()
    }

    fn report(&self, _: &AgentId, uid: &str) -> Option<Arc<ReportedItem>> {
        let inner = self.lock();
        inner.items.get(uid).map(|item| Arc::new(inner.report(item)))
    }

    fn facts(&self, _: &AgentId) -> AgentFacts {
        let silent = self.lock().silent;
        AgentFacts {
            presence: if silent { Presence::Silent } else { Presence::Present },
            reported: true,
            synced: true,
            clock: Clock::Synced,
            version: None,
            outbox_full: false,
            orphans: Vec::new(),
            duplicate: false,
            term_implausible: false,
        }
    }

    fn admit(&self, _: &AgentId, _: Admittance) {}

    fn forget(&self, _: &AgentId) {}

    fn open(&self) {}

    fn wakes(&self, kind: ItemKind) -> BoxStream<'static, Wake> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.push((kind, sender));
        futures::stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|wake| (wake, receiver)) },
        )
        .boxed()
    }
}
