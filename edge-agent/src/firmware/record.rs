//! Commits a record together with its events, and lets lanes and cache know what it means for them.

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::Reason;
use kalong_crds::device::Step;
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::EventSeverity;
use kalong_crds::wire::order::DeviceOrder;
use tokio::time::Instant;

use super::attempt::retry_delay;
use super::{FirmwareUpdater, install, puts_back};
use crate::clock::now_text;
use crate::lane::table::LaneDuringChange;
use crate::store::attempt::{Mark, Record};
use crate::store::durable::RunningImage;
use crate::store::outbox::NewEvent;
use crate::store::{StoreError, Transaction};

impl FirmwareUpdater {
    /// Commits a record together with its events and what it changes of the durable state, then takes it in.
    pub(super) async fn write(&mut self, order: Option<&DeviceOrder>, mut next: Record) -> Result<(), StoreError> {
        let entered = next.since.is_empty();
        let retried = self.record.as_ref().is_some_and(|r| r.tries != next.tries);
        if entered {
            next.since = now_text();
            next.allowed_ms = order
                .and_then(|o| install::allowed(next.step, o, next.target.size))
                .and_then(|d| u64::try_from(d.as_millis()).ok());
            schedule(&mut next);
        }
        let mut durable = self.durable.clone();
        if (next.step, next.mark) == (Step::Committing, Mark::Done) {
            durable.counter = durable.counter.max(next.target.counter);
            durable.previous = Some(next.previous_version.clone());
            durable.image =
                Some(RunningImage { version: next.target.version.clone(), digest: next.target.digest.clone() });
        }
        let events = self.events(&next, entered);
        let transaction =
            Transaction { uid: self.uid.clone(), record: Some(next.clone()), durable: Some(durable.clone()), events };
        self.shared.agent.commit(transaction).await?;
        tracing::info!(device = self.name, attempt = next.attempt, step = ?next.step, mark = ?next.mark, version = next.target.version,
            failure = next.failure.as_ref().map(|f| f.message.as_str()), "A firmware attempt moved.");
        if entered || retried {
            self.entered = Instant::now();
        }
        self.soak_since = (next.step == Step::Probation && next.mark == Mark::Done).then(Instant::now);
        (self.resumed, self.safe_since) = (false, None);
        if next.step != Step::Activating {
            self.was_away = false;
        }
        (self.record, self.durable) = (Some(next), durable);
        self.mark_lane(order);
        Ok(())
    }

    fn events(&self, next: &Record, entered: bool) -> Vec<NewEvent> {
        let version = &next.target.version;
        let failure = next.failure.as_ref().map_or("", |f| f.message.as_str());
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
                (Reason::RolledBack, EventSeverity::Warning, format!("{} runs again: {failure}", next.previous_version))
            }
            (Step::Failed, _) if entered => {
                let word = next.failure.as_ref().map_or("", |f| f.reason.as_str());
                let reason = Reason::ALL.iter().find(|r| r.as_str() == word).copied().unwrap_or(Reason::AttemptFailed);
                (
                    reason,
                    EventSeverity::Warning,
                    format!("attempt {} to bring {version} failed: {failure}", next.attempt),
                )
            }
            (Step::Quarantined, _) if last.is_none_or(|l| l.step != Step::Quarantined) => {
                (Reason::Quarantined, EventSeverity::Warning, failure.to_owned())
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

    /// Lets the lanes know whether this device is being changed, and the cache what it still needs.
    pub(super) fn mark_lane(&self, order: Option<&DeviceOrder>) {
        let step = self.record.as_ref().map_or(Step::Idle, |r| r.step);
        let under_change = step.touches_device()
            || matches!(step, Step::Draining | Step::Drained | Step::Undraining | Step::Quarantined);
        let serves_on = order.is_some_and(|o| o.update.lane_drain == LaneDrainNeed::NotNeeded);
        let change = match (under_change, serves_on) {
            (false, _) => None,
            (true, true) => Some(LaneDuringChange::Serves),
            (true, false) => Some(LaneDuringChange::Closed),
        };
        self.shared.lanes.with(|table| table.mark_change(&self.uid, change));
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
        self.shared.downloads.pin(&self.uid, pins);
    }
}

/// Sets the time at which an attempt that failed on the transport is retried.
fn schedule(next: &mut Record) {
    next.retry_at = None;
    if next.step == Step::Failed && next.failure.as_ref().is_some_and(|f| f.transport) {
        let delay = retry_delay(next.transport_failures).and_then(|d| SignedDuration::try_from(d).ok());
        next.retry_at = delay.and_then(|d| Timestamp::now().checked_add(d).ok()).map(|at| at.to_string());
        next.transport_failures += 1;
    }
}
