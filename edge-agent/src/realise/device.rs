//! The task of one device: observe, plan, act, report; and its firmware attempt.

mod report;

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::device::{Admin, HealthState};
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::EventSeverity;
use kalong_crds::wire::order::DeviceOrder;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::act::{admit, bounded, configure};
use super::hold::Now;
use super::lane::Seen;
use super::{Site, Teller, plan};
use crate::backoff::Backoff;
use crate::driver::{Driver, DriverError, Identity, Reading};
use crate::firmware::attempt::Record;
use crate::firmware::{Machine, Sight};
use crate::interlock;
use crate::seal;
use crate::store::Note;
use crate::store::desired::Held;
use crate::store::journal::Memory;
use crate::store::outbox::NewEvent;

/// Age at which a device is asked anew who it is.
const IDENTITY_AGE: Duration = Duration::from_secs(30);
/// First and longest wait after a device did not answer.
const AWAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Visits without an answer after which a device counts as away: one lost packet is no news.
const MISSES: u32 = 2;
/// Pause after a missed answer that is not yet news.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// Longest pause between visits of a device with interlocks: lanes close on what it shows.
const GUARDED: Duration = Duration::from_secs(1);
/// Longest pause between visits while an attempt runs.
const IN_WORK: Duration = Duration::from_millis(500);
/// First and longest wait after the device refused a setting.
const REFUSED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How far the settings are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Config {
    Unknown,
    InForce,
    Differs,
    Failed(String),
    Invalid(Reason, String),
}

/// The task of one device.
pub struct Worker {
    site: Arc<Site>,
    orders: watch::Receiver<Arc<Held>>,
    wake: Arc<Notify>,
    held: Arc<Held>,
    order: Result<Arc<DeviceOrder>, String>,
    driver: Option<Box<dyn Driver>>,
    identity: Option<(Identity, Instant)>,
    reading: Option<Reading>,
    misses: u32,
    away: Backoff,
    refused: Backoff,
    refused_until: Option<Instant>,
    config: Config,
    applied: i64,
    machine: Machine,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("device", &self.held.item.name).finish_non_exhaustive()
    }
}

impl Worker {
    /// A task for what is held, going on from the last record.
    pub fn new(
        site: Arc<Site>,
        orders: watch::Receiver<Arc<Held>>,
        wake: Arc<Notify>,
        record: Option<Record>,
        memory: Memory,
    ) -> Self {
        let held = orders.borrow().clone();
        let order = read(&held);
        let machine = Machine::new(&site, &held, order.as_deref().ok(), record, memory);
        Self {
            site,
            orders,
            wake,
            order,
            held,
            driver: None,
            identity: None,
            reading: None,
            misses: 0,
            away: Backoff::new(AWAY.0, AWAY.1),
            refused: Backoff::new(REFUSED.0, REFUSED.1),
            refused_until: None,
            config: Config::Unknown,
            applied: 0,
            machine,
        }
    }

    /// Visits the device until it is let go.
    pub async fn run(mut self, first: oneshot::Sender<()>, teller: Teller) {
        let mut first = Some(first);
        // Before the first answer the names of its interlocks are known, and their state is not.
        self.see_guards().await;
        loop {
            if self.held.leaving && !self.machine.is_writing() {
                teller.gone(self.held.item.uid.clone()).await;
                return;
            }
            let pause = self.visit().await;
            self.see_guards().await;
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
        let held = self.orders.borrow_and_update().clone();
        let order = read(&held);
        if !same_connection(&self.order, &order) {
            (self.driver, self.identity, self.reading) = (None, None, None);
            self.away.reset();
        }
        if held.item.uid != self.held.item.uid {
            self.machine.rename(&self.site, &held.item.uid, order.as_deref().ok());
        }
        if held.item.hash == self.held.item.hash && self.applied == self.held.item.generation {
            // Only the generation rose or the object was made anew: what is in force is what is declared.
            self.applied = held.item.generation;
        } else if matches!(self.config, Config::Invalid(..) | Config::Failed(_)) {
            self.config = Config::Unknown;
        }
        self.refused_until = None;
        (self.held, self.order) = (held, order);
    }

    async fn visit(&mut self) -> Duration {
        let order = match &self.order {
            Ok(order) => order.clone(),
            Err(message) => {
                self.config = Config::Invalid(Reason::InvalidSpec, message.clone());
                self.report(None);
                return AWAY.1;
            }
        };
        if order.admin == Admin::Disabled && !self.machine.is_writing() {
            (self.driver, self.identity, self.reading) = (None, None, None);
            self.machine.call_off(&self.site).await;
            self.observe_lane(None).await;
            self.report(Some(&order));
            return AWAY.1;
        }
        if let Err(message) = plan::check(&order) {
            self.config = Config::Invalid(Reason::InvalidConfig, message);
        }
        if self.driver.is_none()
            && let Err((reason, message)) = self.connect(&order)
        {
            self.config = Config::Invalid(reason, message);
            self.report(Some(&order));
            return AWAY.1;
        }
        let observed = self.observe().await;
        if observed.is_ok() {
            // Lanes close before anything else is done with the device.
            self.see_guards().await;
            self.configure(&order).await;
            self.note_health(&order).await;
        }
        let pause = self.judge_observation(observed, &order).await;
        self.work(&order).await;
        self.report(Some(&order));
        if self.machine.is_active() { pause.min(IN_WORK) } else { pause }
    }

    fn connect(&mut self, order: &DeviceOrder) -> Result<(), (Reason, String)> {
        let credential = match &order.credential {
            Some(sealed) => Some(
                seal::open(&self.site.sealing, &self.site.agent, &self.held.item.uid, sealed)
                    .map_err(|e| (Reason::InvalidSpec, e.to_string()))?,
            ),
            None => None,
        };
        let driver = (self.site.drivers)(order, credential).map_err(|e| (Reason::InvalidSpec, e.to_string()))?;
        self.driver = Some(driver);
        if matches!(self.config, Config::Invalid(Reason::InvalidSpec, _)) {
            self.config = Config::Unknown;
        }
        Ok(())
    }

    /// Asks the device who it is, where that is due, and what it shows.
    async fn observe(&mut self) -> Result<(), DriverError> {
        let Some(driver) = self.driver.as_mut() else { return Ok(()) };
        let due = match &self.identity {
            Some((_, at)) => at.elapsed() >= IDENTITY_AGE || self.machine.is_writing() || self.misses > 0,
            None => true,
        };
        if due {
            let identity = match bounded(driver.identify()).await {
                Ok(identity) => identity,
                // A weighing terminal without identity is still a device.
                Err(DriverError::Unsupported(_)) => Identity::default(),
                Err(error) => return Err(error),
            };
            self.identity = Some((identity, Instant::now()));
        }
        let reading = bounded(driver.read()).await?;
        if let Some((identity, _)) = &self.identity
            && shows_another(identity, &reading)
        {
            // It restarted or was changed by somebody else between two looks.
            self.identity = bounded(driver.identify()).await.ok().map(|identity| (identity, Instant::now()));
        }
        self.reading = Some(reading);
        Ok(())
    }

    async fn judge_observation(&mut self, observed: Result<(), DriverError>, order: &DeviceOrder) -> Duration {
        let told = Duration::from_millis(u64::try_from(order.protocol.poll_interval_millis).unwrap_or(1000));
        let pause = if order.regulatory.interlocks.is_empty() { told } else { told.min(GUARDED) };
        match observed {
            Ok(()) => {
                self.misses = 0;
                self.away.reset();
                let seen = self.reading.as_ref().and_then(Seen::of);
                self.observe_lane(seen).await;
                pause
            }
            Err(error) if error.is_absence() => {
                self.misses += 1;
                if self.misses < MISSES && self.reading.is_some() {
                    return SECOND_LOOK;
                }
                if self.misses == MISSES || self.reading.is_some() {
                    tracing::info!(device = self.held.item.name, category = error.category(), "{error}");
                }
                (self.reading, self.identity) = (None, None);
                self.observe_lane(None).await;
                self.away.wait()
            }
            Err(error) => {
                if self.reading.take().is_some() || self.misses == 0 {
                    tracing::warn!(device = self.held.item.name, category = error.category(), "{error}");
                }
                self.misses = self.misses.saturating_add(1);
                if !matches!(self.config, Config::Invalid(..)) {
                    self.config = Config::Failed(error.to_string());
                }
                self.observe_lane(None).await;
                self.away.wait()
            }
        }
    }

    /// Sets what differs and nothing else, and reads back.
    async fn configure(&mut self, order: &DeviceOrder) {
        if matches!(self.config, Config::Invalid(Reason::InvalidConfig, _)) && plan::check(order).is_err() {
            return;
        }
        let (Some(driver), Some(reading)) = (self.driver.as_mut(), self.reading.as_ref()) else { return };
        let settings = match plan::next(order, reading, self.machine.is_writing()) {
            plan::Next::InForce => {
                self.config = Config::InForce;
                self.applied = self.held.item.generation;
                self.refused.reset();
                return;
            }
            plan::Next::Watch => {
                self.config = Config::Differs;
                return;
            }
            plan::Next::Configure(settings) => settings,
        };
        if self.refused_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let names: Vec<_> = settings.keys().map(String::as_str).collect();
        tracing::info!(device = self.held.item.name, settings = names.join(","), "settings differ and are set");
        match configure(driver.as_mut(), &settings).await {
            Ok(reading) => {
                let left = plan::differing(order, &reading);
                self.reading = Some(reading);
                if left.is_empty() {
                    self.config = Config::InForce;
                    self.applied = self.held.item.generation;
                    self.refused.reset();
                    return;
                }
                let names: Vec<_> = left.keys().map(String::as_str).collect();
                let message = format!("the device took {} and shows another value: check the device", names.join(", "));
                self.config = Config::Failed(message);
            }
            Err(error) => self.config = Config::Failed(error.to_string()),
        }
        self.refused_until = Some(Instant::now() + self.refused.wait());
    }

    /// Passes on what the lane's controller shows, and tells it what it is to do.
    async fn observe_lane(&mut self, seen: Option<Seen>) {
        let uid = &self.held.item.uid;
        let Some(lane) = self.site.lanes.run_by(uid) else { return };
        if let (Some(_), Some(reading)) = (seen, &self.reading) {
            self.site.counters.lane_seen(&lane, reading);
        }
        let wish = self.site.lanes.observe(uid, seen, &Now::of(&self.site.clock));
        let may = self.order.as_ref().is_ok_and(|o| o.admin == Admin::Enabled) && !self.machine.is_writing();
        if let (Some(admission), Some(driver), true) = (wish, self.driver.as_mut(), may) {
            tracing::info!(device = self.held.item.name, ?admission, "the lane's controller is told");
            let told = match admit(driver.as_mut(), admission).await {
                Ok(()) => bounded(driver.read()).await,
                Err(error) => Err(error),
            };
            match told {
                Ok(reading) => {
                    self.site.lanes.observe(uid, Seen::of(&reading), &Now::of(&self.site.clock));
                    self.reading = Some(reading);
                }
                Err(error) => tracing::warn!(device = self.held.item.name, category = error.category(), "{error}"),
            }
        }
        self.site.report_lane(&lane);
        self.site.save_lane(&lane).await;
    }

    /// Passes on what the device shows of its interlocks.
    async fn see_guards(&mut self) {
        let Some(order) = self.order.as_ref().ok().filter(|o| !o.regulatory.interlocks.is_empty()) else { return };
        let guards = interlock::guards(order, self.reading.as_ref());
        let item = &self.held.item;
        self.site.guards_seen(&item.uid, &item.name, &guards).await;
    }

    /// Tells of health that changed, once, in one transaction with the memory of it.
    async fn note_health(&mut self, order: &DeviceOrder) {
        let Some(reading) = &self.reading else { return };
        let health = plan::health(order, reading);
        let before = self.machine.memory().health;
        if before == Some(health.state) {
            return;
        }
        let event = match (before, health.state) {
            (None, HealthState::OK) => None,
            (_, HealthState::OK) => {
                Some((Reason::DeviceRecovered, EventSeverity::Normal, "the device serves again".to_owned()))
            }
            (_, HealthState::Degraded) => Some((
                Reason::DeviceDegraded,
                EventSeverity::Warning,
                format!("the device reports {}", health.codes.join(", ")),
            )),
            (_, HealthState::Faulty) => Some((
                Reason::DeviceFaulty,
                EventSeverity::Warning,
                format!("the device reports {}", health.codes.join(", ")),
            )),
        };
        let memory = Memory { health: Some(health.state), ..self.machine.memory().clone() };
        let item = &self.held.item;
        let event = event.map(|(reason, severity, note)| NewEvent {
            kind: ItemKind::Device,
            name: item.name.clone(),
            uid: item.uid.clone(),
            reason,
            severity,
            note,
        });
        let note = Note {
            uid: item.uid.clone(),
            memory: Some(memory.clone()),
            events: event.into_iter().collect(),
            ..Note::default()
        };
        match self.site.note(note).await {
            Ok(()) => self.machine.remember(memory),
            // It is tried again at the next visit: the change is not lost, only told later.
            Err(error) => tracing::warn!(device = item.name, category = error.category(), "{error}"),
        }
    }

    async fn work(&mut self, order: &DeviceOrder) {
        let sight = Sight {
            order,
            driver: self.driver.as_deref_mut(),
            // What was read before a missed answer proves nothing about an image.
            identity: self.identity.as_ref().filter(|_| self.misses == 0).map(|(identity, _)| identity.clone()),
            reading: self.reading.as_ref().filter(|_| self.misses == 0),
        };
        if let Err(error) = self.machine.advance(&self.site, sight).await {
            tracing::error!(
                device = self.held.item.name,
                category = error.category(),
                "the attempt stops in place: {error}"
            );
        }
    }
}

/// The order, shared by what a visit does: it is long, and visits are many.
fn read(held: &Held) -> Result<Arc<DeviceOrder>, String> {
    held.item
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

/// Whether a reading shows another start or version than the identity.
fn shows_another(identity: &Identity, reading: &Reading) -> bool {
    let version = match reading.properties.get(well_known::FIRMWARE_VERSION) {
        Some(Value::Text(version)) => *version != identity.version,
        _ => false,
    };
    let boots = match (reading.properties.get(well_known::BOOT_COUNT), identity.boot_count) {
        (Some(Value::Integer(now)), Some(then)) => *now != then,
        _ => false,
    };
    version || boots
}
