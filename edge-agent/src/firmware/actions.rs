//! Performs the action that was decided, and returns its outcome.

use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::condition::Reason;
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::wire::order::DeviceOrder;
use tokio::time::Instant;

use super::attempt::{Action, Outcome};
use super::download::{DownloadState, Size};
use super::{FirmwareUpdater, Visit, install, probes, puts_back, release, running};
use crate::driver::call::bounded;
use crate::store::attempt::{Failure, Record};

/// Time between the two readings that confirm a safe state.
const SAFE_APART: Duration = Duration::from_secs(5);
/// Largest image whose length is not signed: the one that is fetched for a rollback.
const LARGEST_PREVIOUS: u64 = 16 * 1024 * 1024 * 1024;

impl FirmwareUpdater {
    pub(super) async fn perform(&mut self, visit: &mut Visit<'_>, record: &Record, action: Action) -> Outcome {
        let order = visit.order;
        match action {
            Action::Verify => return self.verify(visit, record),
            Action::Download => return self.fetch(order, record),
            Action::ConfirmSafe => return self.confirm_safe(order),
            _ => {}
        }
        let limit = Duration::from_millis(record.allowed_ms.unwrap_or(0));
        let Some(driver) = visit.driver.as_deref_mut() else {
            return Outcome::Absent("the device was not reached since the box started".to_owned());
        };
        let target = &record.target;
        let outcome = match action {
            Action::Transfer => {
                install::transfer(driver, &self.shared.downloads.path(&target.digest), target, limit).await
            }
            Action::Install => install::install(driver, target, limit).await,
            Action::Activate => install::activate(driver).await,
            Action::Commit => install::commit(driver).await,
            Action::RollBack => {
                let image = record.previous.as_ref().map(|d| self.shared.downloads.path(d)).filter(|p| p.exists());
                install::roll_back(driver, record, order, image.as_deref()).await
            }
            Action::Probe => {
                let seen = visit.identity.as_ref().map(running).unwrap_or_default();
                return probes::run(order, Some(target), &seen, visit.reading, driver).await;
            }
            Action::Verify | Action::Download | Action::ConfirmSafe => Outcome::Pending,
        };
        // The action may have changed what runs.
        visit.identity = bounded(driver.identify()).await.ok();
        outcome
    }

    fn verify(&self, visit: &Visit<'_>, record: &Record) -> Outcome {
        let order = visit.order;
        let (Some(firmware), Some(identity)) = (order.firmware.as_ref(), visit.identity.as_ref()) else {
            return Outcome::Pending;
        };
        let seen = running(identity);
        let inputs = release::VerifyInputs {
            keys: &self.shared.release_keys,
            order,
            hardware: &identity.hardware_revision,
            running: &seen,
            counter: self.durable.counter,
            clock: self.shared.agent.clock.judge(),
            now: Timestamp::now(),
        };
        match release::verify(firmware, &inputs) {
            Outcome::Done if puts_back(order) && record.previous.is_none() => Outcome::Failed(Failure::permanent(
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

    fn fetch(&self, order: &DeviceOrder, record: &Record) -> Outcome {
        match self.shared.downloads.fetch(&record.target.digest, Size::Exactly(record.target.size)) {
            DownloadState::Busy => return Outcome::Pending,
            DownloadState::Failed(failure) => return Outcome::Failed(failure),
            DownloadState::Ready(_) => {}
        }
        let Some(previous) = record.previous.as_ref().filter(|_| puts_back(order)) else { return Outcome::Done };
        match self.shared.downloads.fetch(previous, Size::AtMost(LARGEST_PREVIOUS)) {
            DownloadState::Busy => Outcome::Pending,
            DownloadState::Ready(_) => Outcome::Done,
            DownloadState::Failed(failure) => {
                let message =
                    format!("the image that runs ({previous}) cannot be had to be put back: {}", failure.message);
                Outcome::Failed(Failure { message, ..failure })
            }
        }
    }
}
