//! One task for each device: it observes, compares the settings purely, sets what differs, advances the firmware, and reports what it read
//! back.

mod configure;
mod observe;
mod plan;
mod report;

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::Category;
use kalong_crds::condition::Reason;
use kalong_crds::device::Admin;
use kalong_crds::wire::order::DeviceOrder;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::context::AgentContext;
use crate::driver::{DeviceCredential, DeviceIdentity, Driver, DriverError, Reading};
use crate::firmware::{FirmwareUpdater, UpdateContext, Visit};
use crate::lane::Lanes;
use crate::store::attempt::Record;
use crate::store::desired::StoredItem;
use crate::store::durable::DurableState;

/// First and longest wait after a device did not answer.
const AWAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest pause between visits while an attempt runs.
const UNDER_CHANGE: Duration = Duration::from_millis(500);
/// First and longest wait after the device refused a setting.
const REFUSED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Makes the driver of a device.
pub type DriverFactory =
    Arc<dyn Fn(&DeviceOrder, Option<DeviceCredential>) -> Result<Box<dyn Driver>, DriverError> + Send + Sync>;

/// What it takes to reach a device: the sealing key for its credential, and a driver.
pub struct DeviceAccess {
    /// The private key to which credentials of devices are sealed.
    pub sealing_secret: Vec<u8>,
    /// Makes the driver of a device.
    pub drivers: DriverFactory,
}

impl std::fmt::Debug for DeviceAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceAccess(..)")
    }
}

/// What the tasks of all devices share.
#[derive(Debug)]
pub struct DeviceContext {
    /// What every room of the agent may use.
    pub agent: Arc<AgentContext>,
    /// The lanes that this box runs.
    pub lanes: Arc<Lanes>,
    /// What all firmware updates share.
    pub updates: Arc<UpdateContext>,
    /// What it takes to reach a device.
    pub access: DeviceAccess,
}

/// How far the declared settings are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SettingsState {
    Unknown,
    InForce,
    Differs,
    Failed(String),
    Invalid(Reason, String),
}

/// The task of one device, which owns its driver.
pub struct DeviceTask {
    shared: Arc<DeviceContext>,
    orders: watch::Receiver<Arc<StoredItem>>,
    wake: Arc<Notify>,
    stored: Arc<StoredItem>,
    order: Result<Arc<DeviceOrder>, String>,
    driver: Option<Box<dyn Driver>>,
    identity: Option<(DeviceIdentity, Instant)>,
    reading: Option<Reading>,
    misses: u32,
    away: Backoff,
    refused: Backoff,
    refused_until: Option<Instant>,
    config: SettingsState,
    applied: i64,
    updater: FirmwareUpdater,
}

impl std::fmt::Debug for DeviceTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceTask").field("device", &self.stored.item.name).finish_non_exhaustive()
    }
}

impl DeviceTask {
    /// A task that goes on from the last record of the device.
    pub fn new(
        shared: Arc<DeviceContext>,
        orders: watch::Receiver<Arc<StoredItem>>,
        wake: Arc<Notify>,
        record: Option<Record>,
        durable: DurableState,
    ) -> Self {
        let stored = orders.borrow().clone();
        let order = read(&stored);
        let updater = FirmwareUpdater::new(shared.updates.clone(), &stored, order.as_deref().ok(), record, durable);
        Self {
            shared,
            orders,
            wake,
            order,
            stored,
            driver: None,
            identity: None,
            reading: None,
            misses: 0,
            away: Backoff::new(AWAY.0, AWAY.1),
            refused: Backoff::new(REFUSED.0, REFUSED.1),
            refused_until: None,
            config: SettingsState::Unknown,
            applied: 0,
            updater,
        }
    }

    /// Visits the device until its item is removed, and then sends its uid to `released`.
    pub async fn run(mut self, first: oneshot::Sender<()>, released: mpsc::Sender<String>) {
        let mut first = Some(first);
        // Until the device answers, the state of its interlocks is Unknown.
        self.observe_interlocks().await;
        loop {
            if self.stored.leaving && !self.updater.is_writing() {
                let _ = released.send(self.stored.item.uid.clone()).await;
                return;
            }
            let pause = self.visit().await;
            self.observe_interlocks().await;
            if let Some(first) = first.take() {
                let _ = first.send(());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.take_order();
                }
            }
        }
    }

    fn take_order(&mut self) {
        let stored = self.orders.borrow_and_update().clone();
        let order = read(&stored);
        if !same_connection(&self.order, &order) {
            (self.driver, self.identity, self.reading) = (None, None, None);
            self.away.reset();
        }
        if stored.item.uid != self.stored.item.uid {
            self.updater.rename(&stored.item.uid, order.as_deref().ok());
        }
        if stored.item.hash == self.stored.item.hash && self.applied == self.stored.item.generation {
            // Only the generation rose, or the object was recreated: what is in force is what is declared.
            self.applied = stored.item.generation;
        } else if matches!(self.config, SettingsState::Invalid(..) | SettingsState::Failed(_)) {
            self.config = SettingsState::Unknown;
        }
        self.refused_until = None;
        (self.stored, self.order) = (stored, order);
    }

    async fn visit(&mut self) -> Duration {
        let order = match &self.order {
            Ok(order) => order.clone(),
            Err(message) => {
                self.config = SettingsState::Invalid(Reason::InvalidSpec, message.clone());
                self.report(None);
                return AWAY.1;
            }
        };
        if order.admin == Admin::Disabled && !self.updater.is_writing() {
            (self.driver, self.identity, self.reading) = (None, None, None);
            self.updater.cancel().await;
            self.observe_lane(None).await;
            self.report(Some(&order));
            return AWAY.1;
        }
        if let Err(message) = plan::check(&order) {
            self.config = SettingsState::Invalid(Reason::InvalidConfig, message);
        }
        if self.driver.is_none()
            && let Err((reason, message)) = self.connect(&order)
        {
            self.config = SettingsState::Invalid(reason, message);
            self.report(Some(&order));
            return AWAY.1;
        }
        let observed = self.observe().await;
        if observed.is_ok() {
            // Lanes close before anything else happens to the device.
            self.observe_interlocks().await;
            self.configure(&order).await;
            self.note_health(&order).await;
        }
        let pause = self.judge_observation(observed, &order).await;
        self.update_firmware(&order).await;
        self.report(Some(&order));
        if self.updater.is_active() { pause.min(UNDER_CHANGE) } else { pause }
    }

    async fn update_firmware(&mut self, order: &DeviceOrder) {
        let visit = Visit {
            order,
            driver: self.driver.as_deref_mut(),
            // What was read before a missed answer proves nothing about an image.
            identity: self.identity.as_ref().filter(|_| self.misses == 0).map(|(identity, _)| identity.clone()),
            reading: self.reading.as_ref().filter(|_| self.misses == 0),
        };
        if let Err(error) = self.updater.advance(visit).await {
            tracing::error!(device = self.stored.item.name, category = error.category(), %error, "A firmware attempt stops where it is.");
        }
    }
}

/// The order, parsed once and shared by all visits: it is long.
fn read(stored: &StoredItem) -> Result<Arc<DeviceOrder>, String> {
    stored
        .item
        .order()
        .map(Arc::new)
        .map_err(|e| format!("the order cannot be read ({e}): bring operator and agent to releases that fit"))
}

/// Whether two orders reach the device in the same way.
fn same_connection(a: &Result<Arc<DeviceOrder>, String>, b: &Result<Arc<DeviceOrder>, String>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => {
            let connection = |o: &DeviceOrder| DeviceOrder {
                config: Default::default(),
                firmware: None,
                admin: Admin::Enabled,
                ..o.clone()
            };
            connection(a) == connection(b)
        }
        _ => false,
    }
}
