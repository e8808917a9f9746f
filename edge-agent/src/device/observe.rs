//! What a visit reads: the device itself, the lane that it controls, and its interlocks.

use std::time::Duration;

use kalong_crds::Category;
use kalong_crds::condition::Reason;
use kalong_crds::device::Admin;
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::order::DeviceOrder;
use tokio::time::Instant;

use super::{DeviceTask, SettingsState};
use crate::clock::Now;
use crate::driver::call::{admit, bounded};
use crate::driver::{DeviceIdentity, DriverError, Reading};
use crate::lane::interlock;
use crate::lane::reading::LaneReading;
use crate::seal;

/// Age at which a device is asked again who it is.
const IDENTITY_AGE: Duration = Duration::from_secs(30);
/// Visits without an answer after which a device counts as away: one lost packet is no news.
const MISSES: u32 = 2;
/// Pause after a missed answer that is not yet news.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// Longest pause between visits of a device with interlocks: lanes close on what it shows.
const GUARDED: Duration = Duration::from_secs(1);

impl DeviceTask {
    pub(super) fn connect(&mut self, order: &DeviceOrder) -> Result<(), (Reason, String)> {
        let credential = match &order.credential {
            Some(sealed) => Some(
                seal::open(&self.shared.access.sealing_secret, &self.shared.agent.id, &self.stored.item.uid, sealed)
                    .map_err(|e| (Reason::InvalidSpec, e.to_string()))?,
            ),
            None => None,
        };
        let driver =
            (self.shared.access.drivers)(order, credential).map_err(|e| (Reason::InvalidSpec, e.to_string()))?;
        self.driver = Some(driver);
        if matches!(self.config, SettingsState::Invalid(Reason::InvalidSpec, _)) {
            self.config = SettingsState::Unknown;
        }
        Ok(())
    }

    /// Reads the device, and its identity where that is due.
    pub(super) async fn observe(&mut self) -> Result<(), DriverError> {
        let Some(driver) = self.driver.as_mut() else { return Ok(()) };
        let due = match &self.identity {
            Some((_, at)) => at.elapsed() >= IDENTITY_AGE || self.updater.is_writing() || self.misses > 0,
            None => true,
        };
        if due {
            let identity = match bounded(driver.identify()).await {
                Ok(identity) => identity,
                // A weighing terminal without identity is still a device.
                Err(DriverError::Unsupported(_)) => DeviceIdentity::default(),
                Err(error) => return Err(error),
            };
            self.identity = Some((identity, Instant::now()));
        }
        let reading = bounded(driver.read()).await?;
        if let Some((identity, _)) = &self.identity
            && shows_another(identity, &reading)
        {
            // It restarted or was changed by other hands since the last visit.
            self.identity = bounded(driver.identify()).await.ok().map(|identity| (identity, Instant::now()));
        }
        self.reading = Some(reading);
        Ok(())
    }

    pub(super) async fn judge_observation(
        &mut self,
        observed: Result<(), DriverError>,
        order: &DeviceOrder,
    ) -> Duration {
        let interval = Duration::from_millis(u64::try_from(order.protocol.poll_interval_millis).unwrap_or(1000));
        let pause = if order.regulatory.interlocks.is_empty() { interval } else { interval.min(GUARDED) };
        match observed {
            Ok(()) => {
                self.misses = 0;
                self.away.reset();
                let reading = self.reading.as_ref().and_then(LaneReading::of);
                self.observe_lane(reading).await;
                pause
            }
            Err(error) if error.is_absence() => {
                self.misses += 1;
                if self.misses < MISSES && self.reading.is_some() {
                    return SECOND_LOOK;
                }
                if self.misses == MISSES || self.reading.is_some() {
                    tracing::info!(device = self.stored.item.name, category = error.category(), %error, "A device is away.");
                }
                (self.reading, self.identity) = (None, None);
                self.observe_lane(None).await;
                self.away.wait()
            }
            Err(error) => {
                if self.reading.take().is_some() || self.misses == 0 {
                    tracing::warn!(device = self.stored.item.name, category = error.category(), %error, "A device cannot be read.");
                }
                self.misses = self.misses.saturating_add(1);
                if !matches!(self.config, SettingsState::Invalid(..)) {
                    self.config = SettingsState::Failed(error.to_string());
                }
                self.observe_lane(None).await;
                self.away.wait()
            }
        }
    }

    /// Passes on what the lane's controller shows, and sends it the order that follows.
    pub(super) async fn observe_lane(&mut self, lane_reading: Option<LaneReading>) {
        let uid = &self.stored.item.uid;
        let Some(lane) = self.shared.lanes.with(|table| table.lane_of(uid)) else { return };
        if let (Some(_), Some(reading)) = (lane_reading, &self.reading) {
            self.shared.agent.counters.lane_seen(&lane, reading);
        }
        let wanted =
            self.shared.lanes.with(|table| table.observe(uid, lane_reading, &Now::of(&self.shared.agent.clock)));
        let may = self.order.as_ref().is_ok_and(|o| o.admin == Admin::Enabled) && !self.updater.is_writing();
        if let (Some(admission), Some(driver), true) = (wanted, self.driver.as_mut(), may) {
            tracing::info!(device = self.stored.item.name, ?admission, "The lane's controller is ordered.");
            let reply = match admit(driver.as_mut(), admission).await {
                Ok(()) => bounded(driver.read()).await,
                Err(error) => Err(error),
            };
            match reply {
                Ok(reading) => {
                    self.shared.lanes.with(|table| {
                        table.observe(uid, LaneReading::of(&reading), &Now::of(&self.shared.agent.clock))
                    });
                    self.reading = Some(reading);
                }
                Err(error) => {
                    tracing::warn!(device = self.stored.item.name, category = error.category(), %error, "The lane's controller did not take the order.")
                }
            }
        }
        self.shared.lanes.report(&lane);
        self.shared.lanes.save(&lane).await;
    }

    /// Passes on the interlocks that the device shows.
    pub(super) async fn observe_interlocks(&mut self) {
        let Some(order) = self.order.as_ref().ok().filter(|o| !o.regulatory.interlocks.is_empty()) else { return };
        let guards = interlock::guards(order, self.reading.as_ref());
        let item = &self.stored.item;
        self.shared.lanes.update_interlocks(&item.uid, &item.name, &guards).await;
    }
}

/// Whether a reading shows another start or version than the identity.
fn shows_another(identity: &DeviceIdentity, reading: &Reading) -> bool {
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
