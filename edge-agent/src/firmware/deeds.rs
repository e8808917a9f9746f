//! Does what was decided: one deed, and its outcome.

use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::condition::Reason;
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::wire::order::DeviceOrder;
use tokio::time::Instant;

use super::attempt::{Deed, Fault, Outcome, Record};
use super::download::{Progress, Size};
use super::{Machine, Sight, install, prove, puts_back, running};
use crate::realise::Site;
use crate::realise::act::bounded;

/// Time between the two looks that confirm a safe state.
const SAFE_APART: Duration = Duration::from_secs(5);
/// Largest image whose length nobody signed: the one that is fetched to be put back.
const LARGEST_PREVIOUS: u64 = 16 * 1024 * 1024 * 1024;

impl Machine {
    pub(super) async fn perform(&mut self, site: &Site, sight: &mut Sight<'_>, record: &Record, deed: Deed) -> Outcome {
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

    pub(super) fn verify(&self, site: &Site, sight: &Sight<'_>, record: &Record) -> Outcome {
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

    pub(super) fn confirm_safe(&mut self, order: &DeviceOrder) -> Outcome {
        if order.update.lane_drain == LaneDrainNeed::NotNeeded && order.regulatory.interlocks.is_empty() {
            return Outcome::Done;
        }
        let since = *self.safe_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SAFE_APART { Outcome::Done } else { Outcome::Pending }
    }
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
