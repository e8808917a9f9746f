//! A whole uplink with recorded sessions, in the paused clock of the test.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use kalong_controllers::kit::link::{Admittance, AgentLink};
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::event::Event;
use kalong_crds::wire::signature::Signer;
use kalong_crds::wire::topic::{Down, Up};
use parking_lot::Mutex;
use prometheus::Registry;
use serde_json::json;

use super::super::events::EventSink;
use super::super::{RenewalError, Renewals, SinkError, Uplink, UplinkConfig, UplinkMetrics};
use super::model::{Model, device};
use super::session::RecordedSession;
use crate::transport::SessionHandler;

pub const GRACE: Duration = Duration::from_secs(90);
/// Longest wait of a test, in its paused clock.
const BOUND: Duration = Duration::from_secs(120);

/// Fails a given number of times, and records the numbers of the events that it took.
#[derive(Default)]
pub struct RecordingSink {
    failures: AtomicU32,
    taken: Mutex<Vec<u64>>,
}

impl RecordingSink {
    pub fn taken(&self) -> Vec<u64> {
        self.taken.lock().clone()
    }
}

impl EventSink for RecordingSink {
    fn deliver<'a>(&'a self, _: &'a AgentId, event: &'a Event) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                return Err(SinkError::Later("away".into()));
            }
            self.taken.lock().push(event.origin_seq);
            Ok(())
        })
    }
}

struct NoRenewals;

impl Renewals for NoRenewals {
    fn renew<'a>(&'a self, _: &'a AgentId, _: Renewal) -> BoxFuture<'a, Result<Control, RenewalError>> {
        Box::pin(async { Err(RenewalError("no".into())) })
    }
}

pub struct UplinkHarness {
    pub registry: Registry,
    pub metrics: Arc<UplinkMetrics>,
    pub uplink: Arc<Uplink>,
    pub sink: Arc<RecordingSink>,
    signer: Vec<u8>,
}

/// A box with a session.
pub struct TestAgent {
    pub model: Model,
    pub session: Arc<RecordedSession>,
}

impl UplinkHarness {
    pub fn new() -> Self {
        Self::with_failing_sink(0)
    }

    /// The first so many deliveries of events fail.
    pub fn with_failing_sink(failures: u32) -> Self {
        let signer = Signer::generate().unwrap();
        let registry = Registry::new();
        let metrics = Arc::new(UplinkMetrics::register(&registry).unwrap());
        let config = UplinkConfig {
            term: 1,
            signer: Signer::from_pkcs8("k", &signer).unwrap(),
            grace: GRACE,
            metrics: Arc::clone(&metrics),
        };
        let sink = Arc::new(RecordingSink { failures: failures.into(), taken: Mutex::default() });
        let uplink = Uplink::new(config, sink.clone(), Arc::new(NoRenewals));
        Self { registry, metrics, uplink, sink, signer }
    }

    /// A box with a session that has reported its whole.
    pub fn enter(&self, name: &str) -> TestAgent {
        let keys = vec![Signer::from_pkcs8("k", &self.signer).unwrap().public()];
        let mut model = Model::new(format!("mong-cai.{name}").parse().unwrap(), keys);
        let session = RecordedSession::new(1);
        self.uplink.admit(&model.id, Admittance::Admitted);
        self.uplink.session_started(&model.id, session.clone());
        model.connected();
        let mut entered = TestAgent { model, session };
        self.report(&mut entered);
        entered
    }

    pub fn report(&self, from: &mut TestAgent) {
        for message in from.model.report() {
            self.uplink.frame(&from.model.id, Up::Reported, message.into());
        }
    }

    /// Sends events of these numbers about the device `u1`.
    pub fn send_events(&self, from: &mut TestAgent, numbers: RangeInclusive<u64>) {
        let message = from.model.events(&device("cam", "u1", 1, "x"), numbers);
        self.uplink.frame(&from.model.id, Up::Event, message.into());
    }
}

impl TestAgent {
    /// Waits until the box took something in and has a report due; returns what came.
    pub async fn told(&mut self) -> Vec<Down> {
        self.eventually(|_, heard| !heard.is_empty()).await
    }

    /// Waits until the box got the acknowledgement of its events up to this number.
    pub async fn acknowledged(&mut self, epoch: u64, upto: u64) {
        self.eventually(|model, _| model.control.contains(&Control::Ack { epoch, upto })).await;
    }

    async fn eventually(&mut self, holds: impl Fn(&Model, &[Down]) -> bool) -> Vec<Down> {
        let wait = async {
            loop {
                let mut heard = Vec::new();
                for (down, message) in self.session.take() {
                    if self.model.receive(down, &message) {
                        heard.push(down);
                    }
                }
                if holds(&self.model, &heard) {
                    return heard;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(BOUND, wait).await.unwrap()
    }
}

pub fn lane(uid: &str) -> Item {
    let order = json!({"crossing": "bac-luan-2", "direction": "Outbound", "service": "Smart", "admission": "Open",
        "controller": "c", "members": []});
    Item::new(ItemKind::Lane, "mong-cai", &format!("lane-{uid}"), uid, 1, &order).unwrap()
}

pub fn vehicle(uid: &str) -> Item {
    let order = json!({"crossing": "bac-luan-2", "broker": {"endpoint": "127.0.0.1:1883", "interfaceName": "uagv"},
        "vda5050": {"version": "2.1", "manufacturer": "KIT", "serialNumber": "0001"}, "changeAt": {"minCharge": 40}});
    Item::new(ItemKind::Igv, "mong-cai", &format!("igv-{uid}"), uid, 1, &order).unwrap()
}

pub fn link(mode: &str) -> Item {
    Item::new(ItemKind::Link, "mong-cai", "dongxing", "l", 1, &json!({"profile": "Simulated", "mode": mode})).unwrap()
}
