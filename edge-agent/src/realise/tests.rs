//! Tasks of devices against a device in memory: what is set, what is reported, what a restart does.

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::device::{Admin, HealthState};
use kalong_crds::device_model::UpdateSlots;
use kalong_crds::lane::{Admission, LaneAdmission, Service};
use kalong_crds::units::{Digest, Value};
use kalong_crds::wire::desired::{Item, rev_of};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::order::DeviceOrder;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::reported::{About, ItemState, ReportedItem};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::ClockJudge;
use crate::device::DeviceAccess;
use crate::firmware::download::Downloads;
use crate::reported::ReportedState;
use crate::store::tests::reopen;
use crate::testing::{Scripted, Vice, lane_item, order};

const DEADLINE: Duration = Duration::from_secs(20);

struct Gate {
    folder: tempfile::TempDir,
    device: Scripted,
}

struct Running {
    agent: Arc<AgentContext>,
    sink: DesiredSink,
    task: JoinHandle<()>,
    seq: u64,
}

impl Gate {
    fn new() -> Self {
        let image = (Digest::of(b"1"), "1.0.0".to_owned());
        let device = Scripted::new(UpdateSlots::Dual, image.clone(), &[image], Vice::None);
        device.with(|d| d.settings.insert("mode".into(), "Auto".into()));
        Self { folder: tempfile::tempdir().unwrap(), device }
    }

    async fn start(&self) -> Running {
        let opened = reopen(self.folder.path()).await;
        let device = self.device.clone();
        let downloads = Downloads::new(self.folder.path().join("a"), opened.store.clone()).unwrap();
        let agent = Arc::new(AgentContext::new(
            "mc.box".parse().unwrap(),
            opened.store,
            ReportedState::new(About::default(), Rev::empty(), opened.fence),
            ClockJudge::new("2026-01-01T00:00:00Z".parse().unwrap()),
        ));
        let access =
            DeviceAccess { sealing_secret: vec![], drivers: Arc::new(move |_, _| Ok(Box::new(device.clone()))) };
        let rooms = Rooms::new(&agent, Arc::new(downloads), ReleaseKeys::default(), access);
        let (dispatcher, sink) = Dispatcher::new(agent.clone(), rooms, opened.desired, opened.records, opened.durable);
        Running { agent, sink, task: dispatcher.start().await, seq: opened.fence.seq }
    }
}

impl Running {
    async fn tell(&mut self, items: &[Item]) {
        self.seq += 1;
        let update = DesiredUpdate { base: None, rev: Some(rev_of(items)), removed: vec![], items: items.to_vec() };
        self.sink.apply(update, Fence { term: 1, seq: self.seq }).await.unwrap();
    }

    async fn until(&self, uid: &str, holds: impl Fn(&ReportedItem) -> bool) -> ReportedItem {
        timeout(DEADLINE, async {
            loop {
                if let Some(item) = self.agent.reported.get(uid).filter(&holds) {
                    return item;
                }
                self.agent.reported.changed().await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{:?}", self.agent.reported.get(uid)))
    }
}

fn device(generation: i64, change: impl FnOnce(&mut DeviceOrder)) -> Item {
    let mut order = order();
    order.protocol.poll_interval_millis = 100;
    change(&mut order);
    Item::new(ItemKind::Device, "mc", "gate", "gate", generation, &order).unwrap()
}

fn opening(millis: i64) -> impl FnOnce(&mut DeviceOrder) {
    move |o| o.config = [("openMillis".to_owned(), millis.into()), ("mode".to_owned(), "Auto".into())].into()
}

#[tokio::test]
async fn differing_setting_is_set_once_read_back_and_reported_and_a_restart_sets_nothing() {
    let gate = Gate::new();
    let mut running = gate.start().await;
    running.tell(&[device(1, opening(700))]).await;
    let report = running.until("gate", |r| r.applied == 1).await;
    assert_eq!((report.state, report.reason.as_str()), (ItemState::Applied, ""));
    let facts = report.device().cloned().unwrap();
    assert_eq!((facts.connected, facts.health.unwrap().state), (true, HealthState::OK));
    assert_eq!(facts.firmware.unwrap().running, "1.0.0");
    gate.device.with(|d| assert_eq!((d.sets, &d.settings["openMillis"]), (1, &Value::Integer(700))));
    running.task.abort();
    drop(running);

    let again = gate.start().await;
    assert_eq!(again.agent.reported.get("gate").unwrap().applied, 1, "applied before there is any network");
    gate.device.with(|d| assert_eq!(d.sets, 1));
}

#[tokio::test]
async fn setting_that_somebody_turns_is_turned_back() {
    let gate = Gate::new();
    let mut running = gate.start().await;
    running.tell(&[device(1, opening(700))]).await;
    running.until("gate", |r| r.applied == 1).await;
    gate.device.with(|d| d.settings.insert("openMillis".into(), 9.into()));
    timeout(DEADLINE, async {
        while gate.device.with(|d| d.settings["openMillis"] != Value::Integer(700)) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn settings_out_of_bounds_are_rejected_and_nothing_is_set() {
    let gate = Gate::new();
    let mut running = gate.start().await;
    running.tell(&[device(1, opening(99_999))]).await;
    let report = running.until("gate", |r| r.state == ItemState::Rejected).await;
    assert_eq!((report.reason.as_str(), report.applied), ("InvalidConfig", 0));
    gate.device.with(|d| assert_eq!(d.sets, 0));
    running.tell(&[device(2, opening(800))]).await;
    running.until("gate", |r| r.state == ItemState::Applied && r.applied == 2).await;
}

#[tokio::test]
async fn disabled_device_is_not_contacted_and_a_quarantined_one_only_watched() {
    let gate = Gate::new();
    let mut running = gate.start().await;
    running
        .tell(&[device(1, |o| {
            o.admin = Admin::Disabled;
            opening(700)(o);
        })])
        .await;
    let report = running.until("gate", |r| r.reason == "Disabled").await;
    assert!(report.state == ItemState::Applied && !report.device().unwrap().connected);
    running
        .tell(&[device(2, |o| {
            o.admin = Admin::Quarantined;
            opening(700)(o);
        })])
        .await;
    running.until("gate", |r| r.state == ItemState::Applying && r.device().unwrap().connected).await;
    gate.device.with(|d| assert_eq!(d.sets, 0));
}

#[tokio::test]
async fn lost_device_keeps_what_is_in_force_and_says_that_it_is_away() {
    let gate = Gate::new();
    let mut running = gate.start().await;
    running.tell(&[device(1, opening(700))]).await;
    running.until("gate", |r| r.applied == 1).await;
    gate.device.with(|d| d.away = true);
    let report = running.until("gate", |r| !r.device().unwrap().connected).await;
    assert_eq!((report.applied, report.state), (1, ItemState::Applied));
    assert!(report.device().unwrap().health.is_none());
    gate.device.with(|d| d.away = false);
    running.until("gate", |r| r.device().unwrap().connected).await;
}

#[tokio::test]
async fn changed_health_is_an_event_once_and_a_restart_is_no_news() {
    let gate = Gate::new();
    let mut running = gate.start().await;
    running.tell(&[device(1, |_| {})]).await;
    running.until("gate", |r| r.applied == 1).await;
    gate.device.with(|d| d.health.insert("MotorFault".into()));
    running
        .until("gate", |r| r.device().unwrap().health.as_ref().is_some_and(|h| h.state == HealthState::Faulty))
        .await;
    running.task.abort();
    drop(running);
    let again = gate.start().await;
    gate.device.with(|d| d.health.clear());
    again.until("gate", |r| r.device().unwrap().health.as_ref().is_some_and(|h| h.state == HealthState::OK)).await;
    let events = again.agent.store.oldest_events(60_000).await.unwrap();
    let words: Vec<_> = events.iter().map(|e| e.reason.as_str()).collect();
    assert_eq!(words, ["DeviceFaulty", "DeviceRecovered"]);
}

#[tokio::test]
async fn lane_is_opened_and_closed_through_its_controller_and_waits_for_it() {
    let gate = Gate::new();
    gate.device.with(|d| d.settings.insert("admissionState".into(), "Closed".into()));
    let mut running = gate.start().await;
    let lane = lane_item("lane", "gate", &["gate"], Admission::Open, Service::Smart);
    running.tell(std::slice::from_ref(&lane)).await;
    let waiting = running.until("lane", |_| true).await;
    assert_eq!(waiting.lane().unwrap().admission, LaneAdmission::Unknown);
    running.tell(&[lane, device(1, |_| {})]).await;
    running.until("lane", |r| r.applied == 1 && r.lane().unwrap().admission == LaneAdmission::Open).await;
    let closed = lane_item("lane", "gate", &["gate"], Admission::Closed, Service::Smart);
    let closed = Item { generation: 2, ..closed };
    running.tell(&[closed, device(1, |_| {})]).await;
    running.until("lane", |r| r.applied == 2 && r.lane().unwrap().admission == LaneAdmission::Closed).await;
}

#[tokio::test]
async fn tombstone_lets_go_and_leaves_the_device_as_it_is() {
    let gate = Gate::new();
    let mut running = gate.start().await;
    let items = [device(1, opening(700))];
    running.tell(&items).await;
    running.until("gate", |r| r.applied == 1).await;
    let removed = vec![kalong_crds::wire::desired::Tombstone { uid: "gate".into(), generation: 2 }];
    let update = DesiredUpdate { base: Some(rev_of(&items)), rev: Some(Rev::empty()), removed, items: vec![] };
    running.sink.apply(update, Fence { term: 1, seq: 9 }).await.unwrap();
    timeout(DEADLINE, async {
        while running.agent.reported.get("gate").is_some() {
            running.agent.reported.changed().await;
        }
    })
    .await
    .unwrap();
    gate.device.with(|d| assert_eq!((d.sets, &d.settings["openMillis"]), (1, &Value::Integer(700))));
    running.task.abort();
    drop(running);
    assert!(reopen(gate.folder.path()).await.desired.iter().next().is_none());
}

#[tokio::test]
async fn orphan_is_kept_and_listed_and_adopted_under_a_new_uid_without_touching_the_device() {
    let gate = Gate::new();
    let mut running = gate.start().await;
    running.tell(&[device(1, opening(700))]).await;
    running.until("gate", |r| r.applied == 1).await;
    running.tell(&[]).await;
    let about = running.agent.reported.take().unwrap().pop().unwrap().about.unwrap();
    assert_eq!(about.orphans.len(), 1);
    let reborn = Item { uid: "gate-2".into(), ..device(1, opening(700)) };
    running.tell(&[reborn]).await;
    running.until("gate-2", |r| r.applied == 1).await;
    assert!(running.agent.reported.get("gate").is_none());
    gate.device.with(|d| assert_eq!(d.sets, 1));
}
