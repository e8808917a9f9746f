//! From a signed release to a proven image on a device at a working lane; every step survives a power cut.
//!
//! [`attempt`] decides, purely. This module looks, asks it, commits what it says, does what it says, and tells it the outcome.

pub mod attempt;
pub mod download;
pub mod install;
pub mod prove;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::Reason;
use kalong_crds::device::{Admin, FirmwareStatus, Step};
use kalong_crds::device_model::{LaneDrainNeed, Rollback, UpdateSlots};
use kalong_crds::units::Digest;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::event::EventSeverity;
use kalong_crds::wire::order::{DeviceOrder, FirmwareOrder};
use kalong_crds::wire::reported::ItemState;
use tokio::time::Instant;

use crate::clock::now_text;
use crate::crash_point;
use crate::driver::{Driver, Identity, Reading};
use crate::realise::Site;
use crate::realise::act::bounded;
use crate::realise::lane::Claim;
use crate::store::desired::Held;
use crate::store::journal::{Memory, RunningImage};
use crate::store::outbox::NewEvent;
use crate::store::{Note, StoreError};
use attempt::{
    Deed, Fault, Mark, Move, Outcome, Quiet, Record, Running, STAGED_LIFE, Target, View, begins, closed, decide,
    released, retry_delay, settle,
};
use download::{Progress, Size};

/// Moves within one visit; a machine that goes in circles gives the task back.
const MOVES: u32 = 16;
/// Time between the two looks that confirm a safe state.
const SAFE_APART: Duration = Duration::from_secs(5);
/// A change begins only when the operator was reached within this time.
const OPERATOR_SEEN: Duration = Duration::from_secs(600);
/// Largest image whose length nobody signed: the one that is fetched to be put back.
const LARGEST_PREVIOUS: u64 = 16 * 1024 * 1024 * 1024;

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

    async fn perform(&mut self, site: &Site, sight: &mut Sight<'_>, record: &Record, deed: Deed) -> Outcome {
        let order = sight.order;
        match deed {
            Deed::Verify => return self.verify(site, sight, record),
            Deed::Download => return fetch(site, order, record),
            Deed::ConfirmSafe => return self.confirm_safe(order),
            _ => {}
        }
        let limit = Duration::from_millis(record.allowed_ms.unwrap_or(0));
        let Some(driver) = sight.driver.as_deref_mut() else {
            return Outcome::Absent("the device was not reached since the box started".to_owned());
        };
        let target = &record.target;
        let outcome = match deed {
            Deed::Transfer => install::transfer(driver, &site.downloads.path(&target.digest), target, limit).await,
            Deed::Install => install::install(driver, target, limit).await,
            Deed::Activate => install::activate(driver).await,
            Deed::Commit => install::commit(driver).await,
            Deed::RollBack => {
                let image = record.previous.as_ref().map(|d| site.downloads.path(d)).filter(|p| p.exists());
                install::roll_back(driver, record, order, image.as_deref()).await
            }
            Deed::Probe => {
                let seen = sight.identity.as_ref().map(running).unwrap_or_default();
                return prove::probe(order, Some(target), &seen, sight.reading, driver).await;
            }
            Deed::Verify | Deed::Download | Deed::ConfirmSafe => Outcome::Pending,
        };
        // What was known of the device is not true any more.
        sight.identity = bounded(driver.identify()).await.ok();
        outcome
    }

    fn verify(&self, site: &Site, sight: &Sight<'_>, record: &Record) -> Outcome {
        let order = sight.order;
        let (Some(firmware), Some(identity)) = (order.firmware.as_ref(), sight.identity.as_ref()) else {
            return Outcome::Pending;
        };
        let seen = running(identity);
        let bench = prove::Bench {
            keys: &site.release_keys,
            order,
            hardware: &identity.hardware_revision,
            running: &seen,
            counter: self.memory.counter,
            clock: site.clock.judge(),
            now: Timestamp::now(),
        };
        match prove::judge(firmware, &bench) {
            Outcome::Done if puts_back(order) && record.previous.is_none() => Outcome::Failed(Fault::final_(
                Reason::Incompatible,
                "the device does not tell which image runs, so that it could not be put back: declare `update.rollback: None` in its model to go without",
            )),
            outcome => outcome,
        }
    }

    fn confirm_safe(&mut self, order: &DeviceOrder) -> Outcome {
        if order.update.lane_drain == LaneDrainNeed::NotNeeded && order.regulatory.interlocks.is_empty() {
            return Outcome::Done;
        }
        let since = *self.safe_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SAFE_APART { Outcome::Done } else { Outcome::Pending }
    }

    /// With no attempt running: whether one ends for good, begins, or is released from quarantine.
    async fn consider(
        &mut self,
        site: &Site,
        sight: &mut Sight<'_>,
        wanted: Option<(&FirmwareOrder, Target)>,
    ) -> Result<bool, StoreError> {
        let seen = sight.identity.as_ref().map(running);
        let order = sight.order;
        if let Some(record) = &self.record
            && order.admin == Admin::Enabled
            && self.unreadable.is_none()
            && let Move::Write(next) = closed(record, wanted.as_ref().map(|(_, t)| t), seen.as_ref())
        {
            self.write(site, Some(order), *next).await?;
            return Ok(true);
        }
        let Some(seen) = seen else { return Ok(false) };
        if self.memory.doubt {
            return self.dispel(site, sight, wanted.map(|(_, t)| t), &seen).await;
        }
        let Some((firmware, target)) = wanted else { return Ok(false) };
        if let Some(record) = self.record.clone().filter(|r| r.step == Step::Quarantined) {
            return self.release(site, sight, firmware, record, &seen).await;
        }
        let synced = site.clock.judge() == Clock::Synced;
        let due = synced
            && self
                .record
                .as_ref()
                .and_then(|r| r.retry_at.as_ref())
                .is_some_and(|at| at.parse::<Timestamp>().is_ok_and(|at| at <= Timestamp::now()));
        if !begins(self.record.as_ref(), &target, &seen, firmware.retry, due) {
            return self.recognise(site, &target, &seen).await;
        }
        let mut before = seen;
        if let (None, Some(driver)) = (&before.digest, sight.driver.as_deref_mut()) {
            before.digest = bounded(driver.slots()).await.ok().and_then(|s| s.running);
        }
        if before.digest.is_none() {
            before.digest =
                self.memory.image.as_ref().filter(|i| i.version == before.version).map(|i| i.digest.clone());
        }
        site.downloads.clear_failure(&target.digest);
        if let Some(previous) = &before.digest {
            site.downloads.clear_failure(previous);
        }
        let record = Record::begin(self.record.as_ref(), target, &before, String::new());
        self.write(site, Some(order), record).await?;
        Ok(true)
    }

    /// Remembers which image runs on a device that tells its version only: the declared one, since it runs that version.
    async fn recognise(&mut self, site: &Site, target: &Target, seen: &Running) -> Result<bool, StoreError> {
        let image = RunningImage { version: target.version.clone(), digest: target.digest.clone() };
        if seen.digest.is_some() || seen.version != target.version || self.memory.image.as_ref() == Some(&image) {
            return Ok(false);
        }
        let memory = Memory { image: Some(image), ..self.memory.clone() };
        site.note(Note { uid: self.uid.clone(), memory: Some(memory.clone()), ..Note::default() }).await?;
        self.memory = memory;
        Ok(false)
    }

    async fn release(
        &mut self,
        site: &Site,
        sight: &mut Sight<'_>,
        firmware: &FirmwareOrder,
        record: Record,
        seen: &Running,
    ) -> Result<bool, StoreError> {
        if firmware.release_quarantine != Some(record.attempt) {
            return Ok(false);
        }
        let Some(driver) = sight.driver.as_deref_mut() else { return Ok(false) };
        let target = seen.is(&record.target).then_some(&record.target);
        // Without a target the probe of identity asks for nothing: the old image is judged by the others.
        let probes = prove::probe(sight.order, target, seen, sight.reading, driver).await;
        match released(&record, seen, &probes) {
            Move::Write(next) => {
                self.write(site, Some(sight.order), *next).await?;
                Ok(true)
            }
            Move::Stay | Move::Do(_) => Ok(false),
        }
    }

    /// The store was lost: what is declared counts as running only after its probes; what does not answer well stays out.
    async fn dispel(
        &mut self,
        site: &Site,
        sight: &mut Sight<'_>,
        wanted: Option<Target>,
        seen: &Running,
    ) -> Result<bool, StoreError> {
        let faulty = sight.reading.is_none_or(|r| !prove::faulty(sight.order, r).is_empty());
        let outcome = match (&wanted, sight.driver.as_deref_mut()) {
            (Some(target), Some(driver)) if seen.is(target) => {
                prove::probe(sight.order, Some(target), seen, sight.reading, driver).await
            }
            (Some(_), _) if faulty => Outcome::Failed(Fault::final_(Reason::Quarantined, "the device reports a fault")),
            _ => Outcome::Done,
        };
        match (outcome, wanted) {
            (Outcome::Done, _) => {
                let memory = Memory { doubt: false, ..self.memory.clone() };
                site.note(Note { uid: self.uid.clone(), memory: Some(memory.clone()), ..Note::default() }).await?;
                self.memory = memory;
                Ok(true)
            }
            (Outcome::Failed(fault), Some(target)) => {
                let memory = Memory { doubt: false, ..self.memory.clone() };
                let message = format!("the store of the box was lost and {}: visit the device", fault.message);
                let record = Record {
                    step: Step::Quarantined,
                    mark: Mark::Done,
                    fault: Some(Fault::final_(Reason::Quarantined, message)),
                    ..Record::begin(None, target, seen, String::new())
                };
                self.memory = memory;
                self.write(site, Some(sight.order), record).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Commits a record with the memory and the events that belong to it, then takes it in.
    async fn write(&mut self, site: &Site, order: Option<&DeviceOrder>, mut next: Record) -> Result<(), StoreError> {
        let entered = next.since.is_empty();
        let retried = self.record.as_ref().is_some_and(|r| r.tries != next.tries);
        if entered {
            next.since = now_text();
            next.allowed_ms = order
                .and_then(|o| install::allowed(next.step, o, next.target.size))
                .and_then(|d| u64::try_from(d.as_millis()).ok());
            schedule(&mut next);
        }
        let mut memory = self.memory.clone();
        if (next.step, next.mark) == (Step::Committing, Mark::Done) {
            memory.counter = memory.counter.max(next.target.counter);
            memory.previous = Some(next.previous_version.clone());
            memory.image =
                Some(RunningImage { version: next.target.version.clone(), digest: next.target.digest.clone() });
        }
        let events = self.events(&next, entered);
        let note = Note { uid: self.uid.clone(), record: Some(next.clone()), memory: Some(memory.clone()), events };
        site.note(note).await?;
        tracing::info!(device = self.name, attempt = next.attempt, step = ?next.step, mark = ?next.mark, version = next.target.version,
            fault = next.fault.as_ref().map(|f| f.message.as_str()), "the attempt moved");
        if entered || retried {
            self.entered = Instant::now();
        }
        self.soak_since = (next.step == Step::Probation && next.mark == Mark::Done).then(Instant::now);
        (self.resumed, self.safe_since) = (false, None);
        if next.step != Step::Activating {
            self.was_away = false;
        }
        (self.record, self.memory) = (Some(next), memory);
        self.mark_lane(site, order);
        Ok(())
    }

    fn events(&self, next: &Record, entered: bool) -> Vec<NewEvent> {
        let version = &next.target.version;
        let fault = next.fault.as_ref().map_or("", |f| f.message.as_str());
        let last = self.record.as_ref();
        let (reason, severity, note) = match (next.step, next.mark) {
            (Step::Verifying, _) if next.seq == 1 => (
                Reason::AttemptStarted,
                EventSeverity::Normal,
                format!("attempt {} to bring {version} began", next.attempt),
            ),
            (Step::Committing, Mark::Done) => {
                (Reason::FirmwareProven, EventSeverity::Normal, format!("{version} runs and was proven"))
            }
            (Step::RolledBack, _) if entered => {
                (Reason::RolledBack, EventSeverity::Warning, format!("{} runs again: {fault}", next.previous_version))
            }
            (Step::Failed, _) if entered => {
                let word = next.fault.as_ref().map_or("", |f| f.reason.as_str());
                let reason = Reason::ALL.iter().find(|r| r.as_str() == word).copied().unwrap_or(Reason::AttemptFailed);
                (reason, EventSeverity::Warning, format!("attempt {} to bring {version} failed: {fault}", next.attempt))
            }
            (Step::Quarantined, _) if last.is_none_or(|l| l.step != Step::Quarantined) => {
                (Reason::Quarantined, EventSeverity::Warning, fault.to_owned())
            }
            (Step::Cancelled, _) => (
                Reason::Cancelled,
                EventSeverity::Normal,
                format!("attempt {} to bring {version} was called off", next.attempt),
            ),
            (Step::AwaitingRecertification, _) => (
                Reason::AwaitingRecertification,
                EventSeverity::Normal,
                format!("{version} runs; the new seal is awaited"),
            ),
            _ => return Vec::new(),
        };
        vec![NewEvent {
            kind: ItemKind::Device,
            name: self.name.clone(),
            uid: self.uid.clone(),
            reason,
            severity,
            note: note.chars().take(900).collect(),
        }]
    }

    /// Tells the lanes whether this device is in work, and the cache what it still needs.
    fn mark_lane(&self, site: &Site, order: Option<&DeviceOrder>) {
        let step = self.record.as_ref().map_or(Step::Idle, |r| r.step);
        let in_work = step.touches_device()
            || matches!(step, Step::Draining | Step::Drained | Step::Undraining | Step::Quarantined);
        let serves_on = order.is_some_and(|o| o.update.lane_drain == LaneDrainNeed::NotNeeded);
        let claim = match (in_work, serves_on) {
            (false, _) => None,
            (true, true) => Some(Claim::Turn),
            (true, false) => Some(Claim::Closed),
        };
        site.lanes.claim(&self.uid, claim);
        let mut pins = Vec::new();
        if let Some(record) = &self.record {
            let done = matches!(record.step, Step::Idle | Step::Cancelled);
            // The image that runs is what the next attempt would put back over a device with one slot.
            let keep = order.is_none_or(puts_back);
            if !done || keep {
                pins.push(record.target.digest.clone());
                pins.extend(record.previous.clone());
            }
        }
        site.downloads.pin(&self.uid, pins);
    }
}

fn running(identity: &Identity) -> Running {
    Running { version: identity.version.clone(), digest: identity.digest.clone(), boots: identity.boot_count }
}

/// Whether the previous image has to be in the cache before this one is touched.
fn puts_back(order: &DeviceOrder) -> bool {
    order.update.slots == UpdateSlots::Single && order.update.rollback == Rollback::Supported
}

fn fetch(site: &Site, order: &DeviceOrder, record: &Record) -> Outcome {
    match site.downloads.fetch(&record.target.digest, Size::Exactly(record.target.size)) {
        Progress::Busy => return Outcome::Pending,
        Progress::Failed(fault) => return Outcome::Failed(fault),
        Progress::Ready(_) => {}
    }
    let Some(previous) = record.previous.as_ref().filter(|_| puts_back(order)) else { return Outcome::Done };
    match site.downloads.fetch(previous, Size::AtMost(LARGEST_PREVIOUS)) {
        Progress::Busy => Outcome::Pending,
        Progress::Ready(_) => Outcome::Done,
        Progress::Failed(fault) => {
            let message = format!("the image that runs ({previous}) cannot be had to be put back: {}", fault.message);
            Outcome::Failed(Fault { message, ..fault })
        }
    }
}

/// Sets the time at which a failed way is tried again.
fn schedule(next: &mut Record) {
    next.retry_at = None;
    if next.step == Step::Failed && next.fault.as_ref().is_some_and(|f| f.transport) {
        let delay = retry_delay(next.transport_failures).and_then(|d| SignedDuration::try_from(d).ok());
        next.retry_at = delay.and_then(|d| Timestamp::now().checked_add(d).ok()).map(|at| at.to_string());
        next.transport_failures += 1;
    }
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
