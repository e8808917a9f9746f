//! Whether a signed release may be installed on a device.

use jiff::Timestamp;
use kalong_crds::condition::Reason;
use kalong_crds::units::Digest;
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::{DeviceOrder, FirmwareOrder};
use kalong_crds::wire::release::{ReleaseError, ReleaseKeys, signatures_needed};

use super::attempt::{Outcome, RunningFirmware};
use crate::store::attempt::{Failure, Target};

/// What a release is verified against.
#[derive(Debug)]
pub struct VerifyInputs<'a> {
    /// The pinned keys of the authors.
    pub keys: &'a ReleaseKeys,
    /// The order of the device.
    pub order: &'a DeviceOrder,
    /// Hardware revision that the device reports, empty where it does not.
    pub hardware: &'a str,
    /// What the device runs now.
    pub running: &'a RunningFirmware,
    /// Highest counter that was proven on the device.
    pub counter: i64,
    /// Whether the clock can be believed.
    pub clock: Clock,
    /// Time at which the release must not have expired.
    pub now: Timestamp,
}

/// The target that an order names, before it is verified.
pub fn target(order: &FirmwareOrder) -> Result<Target, ReleaseError> {
    let document = order.release.read()?;
    Ok(Target {
        name: order.release.name.clone(),
        document: Digest::of(order.release.document.as_bytes()),
        digest: document.artifact.digest,
        size: u64::try_from(document.artifact.size).unwrap_or(0),
        version: document.version,
        counter: document.security_counter,
    })
}

/// Verifies a release for a device: signatures first, then what was signed.
pub fn verify(firmware: &FirmwareOrder, inputs: &VerifyInputs<'_>) -> Outcome {
    if inputs.clock == Clock::Unsynced {
        // Validity needs a believed time.
        return Outcome::Pending;
    }
    let document = match firmware.release.verify(inputs.keys, signatures_needed(inputs.order.class)) {
        Ok(document) => document,
        Err(error) => {
            let reason = match error {
                ReleaseError::NoKeys => Reason::NoReleaseKeys,
                _ => Reason::SignatureInvalid,
            };
            return refuse(reason, error.to_string());
        }
    };
    if !document.models.iter().any(|m| m.as_str() == inputs.order.model) {
        return refuse(Reason::Incompatible, format!("the release is not made for model {}", inputs.order.model));
    }
    let fits = document.hardware_revisions.is_empty()
        || document.hardware_revisions.iter().any(|r| {
            if inputs.hardware.is_empty() { inputs.order.hardware_revisions.contains(r) } else { r == inputs.hardware }
        });
    if !fits {
        return refuse(
            Reason::Incompatible,
            format!("the release is not made for hardware revision `{}`", inputs.hardware),
        );
    }
    if !document.requires.is_empty() && !document.requires.contains(&inputs.running.version) {
        return refuse(
            Reason::Incompatible,
            format!(
                "the release needs one of {} to run first, not {}",
                document.requires.join(", "),
                inputs.running.version
            ),
        );
    }
    if let Some(expires) = &document.expires
        && expires.parse::<Timestamp>().is_ok_and(|at| at <= inputs.now)
    {
        return refuse(
            Reason::Expired,
            format!("the release must not be installed after {expires}: publish a new one"),
        );
    }
    let floor = inputs.counter.max(firmware.counter_floor);
    if document.security_counter < floor {
        return refuse(
            Reason::CounterTooLow,
            format!(
                "security counter {} is below {floor}: publish the software again with a higher one",
                document.security_counter
            ),
        );
    }
    Outcome::Done
}

fn refuse(reason: Reason, message: String) -> Outcome {
    Outcome::Failed(Failure::permanent(reason, message))
}
