//! From a signed release to a proven image on a device at a working lane; every step survives a power cut.
//!
//! [`attempt`] decides, purely. This module gathers its inputs, commits the record that it returns or performs the action, and feeds the outcome
//! back.

pub mod attempt;
pub mod download;

mod actions;
mod install;
mod probes;
mod record;
mod release;
mod start;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::Category;
use kalong_crds::condition::Reason;
use kalong_crds::device::{Admin, FirmwareStatus, Step};
use kalong_crds::device_model::{LaneDrainNeed, Rollback, UpdateSlots};
use kalong_crds::units::Digest;
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::{DeviceOrder, FirmwareOrder};
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::reported::ItemState;
use tokio::time::Instant;

use crate::context::AgentContext;
use crate::crash_point;
use crate::driver::{DeviceIdentity, Driver, Reading};
use crate::lane::Lanes;
use crate::lane::safety::Safety;
use crate::store::StoreError;
use crate::store::attempt::{Failure, Record, Target};
use crate::store::desired::StoredItem;
use crate::store::durable::DurableState;
use attempt::{AttemptInputs, RunningFirmware, STAGED_LIFE, Transition, decide, settle};
use download::Downloads;

/// Transitions within one visit, so that an attempt that goes in circles gives the task back.
const TRANSITIONS: u32 = 16;
/// A change begins only when the operator was reached within this time.
const OPERATOR_SEEN: Duration = Duration::from_secs(600);

/// What all firmware updates of the box share.
#[derive(Debug)]
pub struct UpdateContext {
    /// What every room of the agent may use.
    pub agent: Arc<AgentContext>,
    /// The lanes that this box runs.
    pub lanes: Arc<Lanes>,
    /// The cache of artifacts, shared by all devices.
    pub downloads: Arc<Downloads>,
    /// The keys by which releases are verified.
    pub release_keys: ReleaseKeys,
}

/// What one visit shows of a device.
pub struct Visit<'a> {
    /// The order of the device in force.
    pub order: &'a DeviceOrder,
    /// The driver; `None` before the first connection.
    pub driver: Option<&'a mut (dyn Driver + 'static)>,
    /// Identity; `None` while the device does not answer.
    pub identity: Option<DeviceIdentity>,
    /// Reading; `None` while the device does not answer.
    pub reading: Option<&'a Reading>,
}

impl std::fmt::Debug for Visit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visit").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Carries a device from one firmware to the next: its attempt, if there is one, and what is remembered of it.
#[derive(Debug)]
pub struct FirmwareUpdater {
    shared: Arc<UpdateContext>,
    uid: String,
    name: String,
    record: Option<Record>,
    durable: DurableState,
    known: Option<DeviceIdentity>,
    unreadable: Option<Failure>,
    entered: Instant,
    resumed: bool,
    was_away: bool,
    absent_since: Option<Instant>,
    safe_since: Option<Instant>,
    soak_since: Option<Instant>,
}

fn is_active(step: Step) -> bool {
    !matches!(step, Step::Idle | Step::Failed | Step::Quarantined | Step::AwaitingRecertification)
}

impl FirmwareUpdater {
    /// An updater that goes on from the last record.
    pub fn new(
        shared: Arc<UpdateContext>,
        stored: &StoredItem,
        order: Option<&DeviceOrder>,
        record: Option<Record>,
        durable: DurableState,
    ) -> Self {
        let resumed = record.is_some();
        let updater = Self {
            shared,
            uid: stored.item.uid.clone(),
            name: stored.item.name.clone(),
            record,
            durable,
            known: None,
            unreadable: None,
            entered: Instant::now(),
            resumed,
            was_away: false,
            absent_since: None,
            safe_since: None,
            // A soak that a restart of the box interrupted starts over: monotonic time does not survive a restart.
            soak_since: Some(Instant::now()),
        };
        updater.mark_lane(order);
        updater
    }

    /// Whether the device itself is being changed.
    pub fn is_writing(&self) -> bool {
        self.record.as_ref().is_some_and(|r| r.step.touches_device())
    }

    /// Whether an attempt runs that is neither at an end nor quarantined.
    pub fn is_active(&self) -> bool {
        self.record.as_ref().is_some_and(|r| is_active(r.step))
    }

    /// What of the device survives a restart.
    pub fn durable(&self) -> &DurableState {
        &self.durable
    }

    /// Takes in what was committed elsewhere.
    pub fn remember(&mut self, durable: DurableState) {
        self.durable = durable;
    }

    /// Takes over another uid: the object was recreated, the device is the same.
    pub fn rename(&mut self, uid: &str, order: Option<&DeviceOrder>) {
        self.shared.lanes.with(|table| table.mark_change(&self.uid, None));
        self.shared.downloads.pin(&self.uid, Vec::new());
        uid.clone_into(&mut self.uid);
        self.mark_lane(order);
    }

    /// Cancels an attempt that has not touched the device, because the device is not to be changed any more.
    pub async fn cancel(&mut self) {
        if self.is_writing() || !self.is_active() {
            return;
        }
        for _ in 0..TRANSITIONS {
            let Some(record) = self.record.clone().filter(|r| is_active(r.step)) else { return };
            let Transition::Write(next) = decide(&record, &nothing_wanted()) else { return };
            if let Err(error) = self.write(None, *next).await {
                tracing::warn!(device = self.name, category = error.category(), %error, "A firmware attempt could not be cancelled.");
                return;
            }
        }
    }

    /// Digest of the image that ran when the device last answered.
    pub fn running_digest(&self) -> Option<Digest> {
        self.known.as_ref().and_then(|k| k.digest.clone())
    }

    /// The firmware status to report; `None` before the device answered for the first time.
    pub fn status(&self) -> Option<FirmwareStatus> {
        let record = self.record.as_ref();
        if record.is_none() && self.known.is_none() {
            return None;
        }
        let step = match record {
            _ if self.durable.doubt => Step::Verifying,
            Some(record) => record.step,
            None => Step::Idle,
        };
        let staged = matches!(step, Step::Staged | Step::AwaitingDrain | Step::Draining | Step::Drained);
        let active = record.filter(|_| step != Step::Idle);
        let running = self.known.as_ref().map_or_else(String::new, |k| k.version.clone());
        // On probation the new image runs already; a rollback returns to the one before.
        let left = active.filter(|r| step.touches_device() && r.previous_version != running);
        Some(FirmwareStatus {
            running,
            previous: left.map(|r| r.previous_version.clone()).or_else(|| self.durable.previous.clone()),
            staged: record.filter(|_| staged).map(|r| r.target.version.clone()),
            step,
            attempt: record.map_or(0, |r| r.attempt),
            since: active.map(|r| r.since.clone()),
            last_error: active.and_then(|r| r.failure.as_ref()).map(|f| f.message.chars().take(512).collect()),
            security_counter: self.durable.counter,
        })
    }

    /// Why the last attempt failed, if that is to be reported.
    pub fn last_failure(&self) -> Option<(ItemState, &Failure)> {
        if let Some(failure) = &self.unreadable {
            return Some((ItemState::Rejected, failure));
        }
        let record = self.record.as_ref()?;
        let failure = record.failure.as_ref()?;
        match record.step {
            Step::Failed if failure.transport && record.retry_at.is_some() => Some((ItemState::Failed, failure)),
            Step::Failed | Step::Quarantined => Some((ItemState::Rejected, failure)),
            _ => None,
        }
    }

    /// Advances the attempt as far as this visit allows.
    pub async fn advance(&mut self, mut visit: Visit<'_>) -> Result<(), StoreError> {
        for _ in 0..TRANSITIONS {
            if let Some(identity) = &visit.identity {
                self.known = Some(identity.clone());
                self.absent_since = None;
            } else {
                self.absent_since.get_or_insert_with(Instant::now);
                self.was_away |= self.record.as_ref().is_some_and(|r| r.step == Step::Activating);
            }
            let wanted = self.wanted(visit.order);
            let moved = match self.record.clone().filter(|r| is_active(r.step)) {
                Some(record) => self.proceed(&mut visit, record, wanted.map(|(_, target)| target)).await?,
                None => self.start(&mut visit, wanted).await?,
            };
            if !moved {
                break;
            }
        }
        Ok(())
    }

    /// The release that the order names, where the device may be changed.
    fn wanted<'o>(&mut self, order: &'o DeviceOrder) -> Option<(&'o FirmwareOrder, Target)> {
        self.unreadable = None;
        let firmware = order.firmware.as_ref().filter(|_| order.admin == Admin::Enabled)?;
        match release::target(firmware) {
            Ok(target) => Some((firmware, target)),
            Err(error) => {
                self.unreadable = Some(Failure::permanent(Reason::SignatureInvalid, error.to_string()));
                None
            }
        }
    }

    async fn proceed(
        &mut self,
        visit: &mut Visit<'_>,
        record: Record,
        wanted: Option<Target>,
    ) -> Result<bool, StoreError> {
        let inputs = self.inputs(visit, &record, wanted.clone());
        let action = match decide(&record, &inputs) {
            Transition::Stay => return Ok(false),
            Transition::Write(next) => {
                self.write(Some(visit.order), *next).await?;
                return Ok(true);
            }
            Transition::Do(action) => action,
        };
        let outcome = self.perform(visit, &record, action).await;
        crash_point!(DeviceActed);
        let inputs = self.inputs(visit, &record, wanted);
        match settle(&record, action, outcome, &inputs) {
            Transition::Write(next) => {
                self.write(Some(visit.order), *next).await?;
                Ok(true)
            }
            Transition::Stay | Transition::Do(_) => Ok(false),
        }
    }

    fn inputs(&self, visit: &Visit<'_>, record: &Record, wanted: Option<Target>) -> AttemptInputs {
        let order = visit.order;
        let synced = self.shared.agent.clock.judge() == Clock::Synced;
        let now = Timestamp::now();
        let permit = order.firmware.as_ref().and_then(|f| f.permit.as_ref());
        let permitted = permit.is_some_and(|p| {
            p.attempt == record.attempt && synced && p.until.parse::<Timestamp>().is_ok_and(|until| until > now)
        });
        let silent = record.step == Step::Probation && visit.identity.is_none();
        let start = if silent { self.absent_since.unwrap_or(self.entered) } else { self.entered };
        let soak = Duration::from_secs(u64::try_from(order.update.soak_seconds).unwrap_or(0));
        let stale = synced
            && record.since.parse::<Timestamp>().is_ok_and(|since| {
                SignedDuration::try_from(STAGED_LIFE).is_ok_and(|life| now.duration_since(since) > life)
            });
        AttemptInputs {
            wanted,
            running: visit.identity.as_ref().map(running),
            slots: order.update.slots,
            rollback: order.update.rollback,
            recertification: order.regulatory.recertification,
            permitted: permitted || order.update.lane_drain == LaneDrainNeed::NotNeeded,
            may_begin: synced && self.shared.agent.presence.within(OPERATOR_SEEN),
            lane_free: self.shared.lanes.with(|table| table.may_begin_change(&self.uid, order.update.lane_drain)),
            safety: self.safety(visit),
            overdue: record.allowed_ms.is_some_and(|ms| start.elapsed() >= Duration::from_millis(ms)),
            resumed: self.resumed,
            was_away: self.was_away,
            soaked: self.soak_since.is_some_and(|s| s.elapsed() >= soak),
            faulty: visit.reading.is_some_and(|r| !probes::faulty(order, r).is_empty()),
            stale,
        }
    }

    /// Lane and interlocks as this box reads them: the agent may refuse what the operator permits.
    fn safety(&self, visit: &Visit<'_>) -> Safety {
        let Some(reading) = visit.reading else { return Safety::Unsafe("the device does not answer".to_owned()) };
        for interlock in &visit.order.regulatory.interlocks {
            let name = interlock.name.as_str();
            match reading.properties.get(name) {
                Some(value) if value.to_string() == interlock.safe => {}
                Some(value) => {
                    return Safety::Unsafe(format!("interlock {name} is {value} and not {}", interlock.safe));
                }
                None => return Safety::Unsafe(format!("interlock {name} cannot be read")),
            }
        }
        self.shared.lanes.with(|table| table.safety(&self.uid, visit.order.update.lane_drain))
    }
}

fn running(identity: &DeviceIdentity) -> RunningFirmware {
    RunningFirmware { version: identity.version.clone(), digest: identity.digest.clone(), boots: identity.boot_count }
}

/// Whether the previous image has to be in the cache before this one is touched.
fn puts_back(order: &DeviceOrder) -> bool {
    order.update.slots == UpdateSlots::Single && order.update.rollback == Rollback::Supported
}

fn nothing_wanted() -> AttemptInputs {
    AttemptInputs {
        wanted: None,
        running: None,
        slots: UpdateSlots::External,
        rollback: Rollback::None,
        recertification: Default::default(),
        permitted: false,
        may_begin: false,
        lane_free: false,
        safety: Safety::Unsafe(String::new()),
        overdue: false,
        resumed: false,
        was_away: false,
        soaked: false,
        faulty: false,
        stale: false,
    }
}
