//! From a signed release to a proven image on a device at a working lane; every step survives a power cut.
//!
//! [`attempt`] decides, purely. This module looks, asks it, commits what it says, does what it says, and tells it the outcome.

pub mod attempt;
pub mod download;
pub mod install;
pub mod prove;

mod deeds;
mod idle;
mod record;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::Reason;
use kalong_crds::device::{Admin, FirmwareStatus, Step};
use kalong_crds::device_model::{LaneDrainNeed, Rollback, UpdateSlots};
use kalong_crds::units::Digest;
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::{DeviceOrder, FirmwareOrder};
use kalong_crds::wire::reported::ItemState;
use tokio::time::Instant;

use crate::crash_point;
use crate::driver::{Driver, Identity, Reading};
use crate::realise::Site;
use crate::store::StoreError;
use crate::store::desired::Held;
use crate::store::journal::Memory;
use attempt::{Fault, Move, Quiet, Record, Running, STAGED_LIFE, Target, View, decide, settle};

/// Moves within one visit; a machine that goes in circles gives the task back.
const MOVES: u32 = 16;
/// A change begins only when the operator was reached within this time.
const OPERATOR_SEEN: Duration = Duration::from_secs(600);

/// What one visit shows of a device.
pub struct Sight<'a> {
    /// Its order.
    pub order: &'a DeviceOrder,
    /// How it is spoken to; none before the first connection.
    pub driver: Option<&'a mut (dyn Driver + 'static)>,
    /// Who it says that it is; none while it does not answer.
    pub identity: Option<Identity>,
    /// What it shows; none while it does not answer.
    pub reading: Option<&'a Reading>,
}

impl std::fmt::Debug for Sight<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The attempt of one device, and what is remembered of it.
#[derive(Debug)]
pub struct Machine {
    uid: String,
    name: String,
    record: Option<Record>,
    memory: Memory,
    known: Option<Identity>,
    unreadable: Option<Fault>,
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

impl Machine {
    /// Goes on from the last record.
    pub fn new(site: &Site, held: &Held, order: Option<&DeviceOrder>, record: Option<Record>, memory: Memory) -> Self {
        let resumed = record.is_some();
        let machine = Self {
            uid: held.item.uid.clone(),
            name: held.item.name.clone(),
            record,
            memory,
            known: None,
            unreadable: None,
            entered: Instant::now(),
            resumed,
            was_away: false,
            absent_since: None,
            safe_since: None,
            // A soak that a restart of the box interrupted begins anew: monotonic time does not go through a restart.
            soak_since: Some(Instant::now()),
        };
        machine.mark_lane(site, order);
        machine
    }

    /// Whether the device itself is being changed.
    pub fn is_writing(&self) -> bool {
        self.record.as_ref().is_some_and(|r| r.step.touches_device())
    }

    /// Whether an attempt runs.
    pub fn is_active(&self) -> bool {
        self.record.as_ref().is_some_and(|r| is_active(r.step))
    }

    /// What is remembered of the device.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes in a memory that was committed.
    pub fn remember(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// The object was made anew; the device is the same.
    pub fn rename(&mut self, site: &Site, uid: &str, order: Option<&DeviceOrder>) {
        site.lanes.claim(&self.uid, None);
        site.downloads.pin(&self.uid, Vec::new());
        uid.clone_into(&mut self.uid);
        self.mark_lane(site, order);
    }

    /// The device is not to be changed any more: calls off an attempt that has not touched it.
    pub async fn call_off(&mut self, site: &Site) {
        if self.is_writing() || !self.is_active() {
            return;
        }
        for _ in 0..MOVES {
            let Some(record) = self.record.clone().filter(|r| is_active(r.step)) else { return };
            let Move::Write(next) = decide(&record, &nothing_wanted()) else { return };
            if let Err(error) = self.write(site, None, *next).await {
                tracing::warn!(device = self.name, category = error.category(), "{error}");
                return;
            }
        }
    }

    /// Digest of the image that ran when the device last answered.
    pub fn running_digest(&self) -> Option<Digest> {
        self.known.as_ref().and_then(|k| k.digest.clone())
    }

    /// What there is to say about the firmware.
    pub fn status(&self) -> Option<FirmwareStatus> {
        let record = self.record.as_ref();
        if record.is_none() && self.known.is_none() {
            return None;
        }
        let step = match record {
            _ if self.memory.doubt => Step::Verifying,
            Some(record) => record.step,
            None => Step::Idle,
        };
        let staged = matches!(step, Step::Staged | Step::AwaitingDrain | Step::Draining | Step::Drained);
        let active = record.filter(|_| step != Step::Idle);
        let running = self.known.as_ref().map_or_else(String::new, |k| k.version.clone());
        // On trial the new image runs already: what ran before it is what a rollback returns to.
        let left = active.filter(|r| step.touches_device() && r.previous_version != running);
        Some(FirmwareStatus {
            running,
            previous: left.map(|r| r.previous_version.clone()).or_else(|| self.memory.previous.clone()),
            staged: record.filter(|_| staged).map(|r| r.target.version.clone()),
            step,
            attempt: record.map_or(0, |r| r.attempt),
            since: active.map(|r| r.since.clone()),
            last_error: active.and_then(|r| r.fault.as_ref()).map(|f| f.message.chars().take(512).collect()),
            security_counter: self.memory.counter,
        })
    }

    /// What is wrong with the firmware, if a person or time is needed.
    pub fn complaint(&self) -> Option<(ItemState, &Fault)> {
        if let Some(fault) = &self.unreadable {
            return Some((ItemState::Rejected, fault));
        }
        let record = self.record.as_ref()?;
        let fault = record.fault.as_ref()?;
        match record.step {
            Step::Failed if fault.transport && record.retry_at.is_some() => Some((ItemState::Failed, fault)),
            Step::Failed | Step::Quarantined => Some((ItemState::Rejected, fault)),
            _ => None,
        }
    }

    /// Goes as far as it can with what this visit shows.
    pub async fn advance(&mut self, site: &Site, mut sight: Sight<'_>) -> Result<(), StoreError> {
        for _ in 0..MOVES {
            if let Some(identity) = &sight.identity {
                self.known = Some(identity.clone());
                self.absent_since = None;
            } else {
                self.absent_since.get_or_insert_with(Instant::now);
                self.was_away |= self.record.as_ref().is_some_and(|r| r.step == Step::Activating);
            }
            let wanted = self.wanted(sight.order);
            let moved = match self.record.clone().filter(|r| is_active(r.step)) {
                Some(record) => self.go_on(site, &mut sight, record, wanted.map(|(_, target)| target)).await?,
                None => self.consider(site, &mut sight, wanted).await?,
            };
            if !moved {
                break;
            }
        }
        Ok(())
    }

    /// What the order names, where the device may be changed.
    fn wanted<'o>(&mut self, order: &'o DeviceOrder) -> Option<(&'o FirmwareOrder, Target)> {
        self.unreadable = None;
        let firmware = order.firmware.as_ref().filter(|_| order.admin == Admin::Enabled)?;
        match prove::target(firmware) {
            Ok(target) => Some((firmware, target)),
            Err(error) => {
                self.unreadable = Some(Fault::final_(Reason::SignatureInvalid, error.to_string()));
                None
            }
        }
    }

    async fn go_on(
        &mut self,
        site: &Site,
        sight: &mut Sight<'_>,
        record: Record,
        wanted: Option<Target>,
    ) -> Result<bool, StoreError> {
        let view = self.view(site, sight, &record, wanted.clone());
        let deed = match decide(&record, &view) {
            Move::Stay => return Ok(false),
            Move::Write(next) => {
                self.write(site, Some(sight.order), *next).await?;
                return Ok(true);
            }
            Move::Do(deed) => deed,
        };
        let outcome = self.perform(site, sight, &record, deed).await;
        crash_point!(DeviceActed);
        let view = self.view(site, sight, &record, wanted);
        match settle(&record, deed, outcome, &view) {
            Move::Write(next) => {
                self.write(site, Some(sight.order), *next).await?;
                Ok(true)
            }
            Move::Stay | Move::Do(_) => Ok(false),
        }
    }

    fn view(&self, site: &Site, sight: &Sight<'_>, record: &Record, wanted: Option<Target>) -> View {
        let order = sight.order;
        let synced = site.clock.judge() == Clock::Synced;
        let now = Timestamp::now();
        let permit = order.firmware.as_ref().and_then(|f| f.permit.as_ref());
        let permitted = permit.is_some_and(|p| {
            p.attempt == record.attempt && synced && p.until.parse::<Timestamp>().is_ok_and(|until| until > now)
        });
        let silent = record.step == Step::Probation && sight.identity.is_none();
        let start = if silent { self.absent_since.unwrap_or(self.entered) } else { self.entered };
        let soak = Duration::from_secs(u64::try_from(order.update.soak_seconds).unwrap_or(0));
        let stale = synced
            && record.since.parse::<Timestamp>().is_ok_and(|since| {
                SignedDuration::try_from(STAGED_LIFE).is_ok_and(|life| now.duration_since(since) > life)
            });
        View {
            wanted,
            running: sight.identity.as_ref().map(running),
            slots: order.update.slots,
            rollback: order.update.rollback,
            recertification: order.regulatory.recertification,
            leave: permitted || order.update.lane_drain == LaneDrainNeed::NotNeeded,
            may_begin: synced && site.contact.within(OPERATOR_SEEN),
            turn: site.lanes.is_turn_of(&self.uid, order.update.lane_drain),
            quiet: self.quiet(site, sight),
            overdue: record.allowed_ms.is_some_and(|ms| start.elapsed() >= Duration::from_millis(ms)),
            resumed: self.resumed,
            was_away: self.was_away,
            soaked: self.soak_since.is_some_and(|s| s.elapsed() >= soak),
            faulty: sight.reading.is_some_and(|r| !prove::faulty(order, r).is_empty()),
            stale,
        }
    }

    /// Lane and interlocks, as this box reads them itself: the agent may refuse what the operator permits.
    fn quiet(&self, site: &Site, sight: &Sight<'_>) -> Quiet {
        let Some(reading) = sight.reading else { return Quiet::No("the device does not answer".to_owned()) };
        for interlock in &sight.order.regulatory.interlocks {
            let name = interlock.name.as_str();
            match reading.properties.get(name) {
                Some(value) if value.to_string() == interlock.safe => {}
                Some(value) => return Quiet::No(format!("interlock {name} is {value} and not {}", interlock.safe)),
                None => return Quiet::No(format!("interlock {name} cannot be read")),
            }
        }
        site.lanes.quiet(&self.uid, sight.order.update.lane_drain)
    }
}

fn running(identity: &Identity) -> Running {
    Running { version: identity.version.clone(), digest: identity.digest.clone(), boots: identity.boot_count }
}

/// Whether the previous image has to be in the cache before this one is touched.
fn puts_back(order: &DeviceOrder) -> bool {
    order.update.slots == UpdateSlots::Single && order.update.rollback == Rollback::Supported
}

fn nothing_wanted() -> View {
    View {
        wanted: None,
        running: None,
        slots: UpdateSlots::External,
        rollback: Rollback::None,
        recertification: Default::default(),
        leave: false,
        may_begin: false,
        turn: false,
        quiet: Quiet::No(String::new()),
        overdue: false,
        resumed: false,
        was_away: false,
        soaked: false,
        faulty: false,
        stale: false,
    }
}
