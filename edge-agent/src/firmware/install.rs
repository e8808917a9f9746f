//! Brings an image onto a device and takes it back, through the driver, within the deadlines of the model.

use std::path::Path;
use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::device::Step;
use kalong_crds::device_model::UpdateSlots;
use kalong_crds::wire::order::DeviceOrder;
use tokio::time::timeout;

use super::attempt::Outcome;
use super::download::digest_of_file;
use crate::driver::call::bounded;
use crate::driver::{Driver, DriverError};
use crate::store::attempt::{Failure, Record, Target};

/// Slowest link to a device that a transfer allows for, in bytes a second.
const SLOWEST: u64 = 100_000;
/// Least and longest time of a transfer.
const TRANSFER: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// Least and longest time of an installation; the model's downtime is scaled into it.
const INSTALL: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3600));
/// Times the model's downtime that an installation may take.
const INSTALL_DOWNTIMES: u32 = 10;
/// Times the model's downtime that a device may take to come back.
const RETURN_DOWNTIMES: u32 = 3;
/// Least time that a device has to come back.
const RETURN: Duration = Duration::from_secs(300);
/// How long the vendor's tool has for its work.
const VENDOR: Duration = Duration::from_secs(24 * 3600);
/// How long a lane may take to become empty and safe.
const DRAIN: Duration = Duration::from_secs(900);
/// How long safety may take to be confirmed.
const CONFIRM: Duration = Duration::from_secs(60);
/// How long the probes may take.
const PROBES: Duration = Duration::from_secs(300);

/// How long an attempt may stay in a step; none is without end.
pub fn allowed(step: Step, order: &DeviceOrder, size: u64) -> Option<Duration> {
    let downtime = Duration::from_secs(u64::try_from(order.update.downtime_seconds).unwrap_or(60));
    let install = downtime.saturating_mul(INSTALL_DOWNTIMES).clamp(INSTALL.0, INSTALL.1);
    let external = order.update.slots == UpdateSlots::External;
    Some(match step {
        Step::Draining => DRAIN,
        Step::Drained => CONFIRM,
        Step::Transferring => Duration::from_secs(size / SLOWEST).clamp(TRANSFER.0, TRANSFER.1),
        Step::Installing => install,
        Step::Activating if external => VENDOR,
        Step::Activating => downtime.saturating_mul(RETURN_DOWNTIMES).max(RETURN),
        Step::Probation => PROBES.max(downtime),
        Step::RollingBack => install.saturating_mul(2),
        _ => return None,
    })
}

/// Sends the image, unless the device holds it already. The staged file is hashed once more right before.
pub async fn transfer(driver: &mut dyn Driver, image: &Path, target: &Target, limit: Duration) -> Outcome {
    match digest_of_file(image.to_owned()).await {
        Ok(found) if found == target.digest => {}
        Ok(_) => {
            let message = "the staged image is not the one of the release any more: check the disk of this box";
            return Outcome::Failed(Failure::permanent(Reason::DigestMismatch, message));
        }
        Err(error) => return Outcome::Failed(Failure::transport(format!("the staged image cannot be read: {error}"))),
    }
    if let Ok(slots) = bounded(driver.slots()).await
        && slots.written.as_ref() == Some(&target.digest)
    {
        return Outcome::Done;
    }
    let result = long(limit, driver.transfer(image, &target.digest, target.size)).await;
    outcome(result, Reason::FailedOnDevice, "the image could not be sent")
}

/// Makes the device write the image, and reads back what was written where the device reports it.
pub async fn install(driver: &mut dyn Driver, target: &Target, limit: Duration) -> Outcome {
    // A cut between writing and its record must not cost the device a second write of the same image.
    if let Ok(slots) = bounded(driver.slots()).await
        && slots.written.as_ref() == Some(&target.digest)
    {
        return Outcome::Done;
    }
    let result = long(limit, driver.install(&target.digest)).await;
    match outcome(result, Reason::FailedOnDevice, "the device could not write the image") {
        Outcome::Done => {}
        other => return other,
    }
    match bounded(driver.slots()).await {
        Ok(slots) => match slots.written {
            Some(written) if written != target.digest => Outcome::Failed(Failure::permanent(
                Reason::DigestMismatch,
                "the device holds other bytes than were sent: replace the device or its storage",
            )),
            _ => Outcome::Done,
        },
        // A device with one slot may already be starting; which image runs is judged when it is back.
        Err(_) => Outcome::Done,
    }
}

/// Makes the device switch to the written image.
pub async fn activate(driver: &mut dyn Driver) -> Outcome {
    outcome(bounded(driver.activate()).await, Reason::FailedOnDevice, "the device did not switch to the new image")
}

/// Makes the running image permanent. A protocol that has no such step counts as done.
pub async fn commit(driver: &mut dyn Driver) -> Outcome {
    match bounded(driver.commit()).await {
        Err(DriverError::Unsupported(_)) => Outcome::Done,
        result => outcome(result, Reason::FailedOnDevice, "the new image was not made permanent"),
    }
}

/// Puts the previous image back: the other slot, or the cached image over the only one.
pub async fn roll_back(driver: &mut dyn Driver, record: &Record, order: &DeviceOrder, image: Option<&Path>) -> Outcome {
    if order.update.slots == UpdateSlots::Dual {
        return outcome(bounded(driver.roll_back()).await, Reason::FailedOnDevice, "the device did not switch back");
    }
    let (Some(image), Some(digest)) = (image, record.previous.clone()) else {
        let message = "the previous image is not in the cache of this box";
        return Outcome::Failed(Failure::permanent(Reason::FailedOnDevice, message));
    };
    let size = std::fs::metadata(image).map_or(0, |m| m.len());
    let previous = Target { digest, size, version: record.previous_version.clone(), ..record.target.clone() };
    let limit = |step| allowed(step, order, size).unwrap_or(INSTALL.1);
    match transfer(driver, image, &previous, limit(Step::Transferring)).await {
        Outcome::Done => {}
        other => return other,
    }
    match install(driver, &previous, limit(Step::Installing)).await {
        Outcome::Done => activate(driver).await,
        other => other,
    }
}

async fn long<T>(limit: Duration, call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(DriverError::Timeout("the device".to_owned(), limit)))
}

fn outcome(result: Result<(), DriverError>, reason: Reason, what: &str) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) if error.is_absence() => Outcome::Absent(format!("{what}: {error}")),
        Err(error) => Outcome::Failed(Failure::permanent(reason, format!("{what}: {error}"))),
    }
}
