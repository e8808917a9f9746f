//! Whether a release may be installed, and whether what runs afterwards is good.

use jiff::Timestamp;
use kalong_crds::condition::Reason;
use kalong_crds::device_model::{Probe, Severity};
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::{DeviceOrder, FirmwareOrder};
use kalong_crds::wire::release::{ReleaseError, ReleaseKeys, signatures_needed};

use super::attempt::{Fault, Outcome, Running, Target};
use crate::driver::{Driver, Reading, SelfTest};
use crate::realise::act::bounded;

/// What a release is held against.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The pinned keys of the authors.
    pub keys: &'a ReleaseKeys,
    /// The order of the device.
    pub order: &'a DeviceOrder,
    /// Hardware revision that the device reports, empty where it does not.
    pub hardware: &'a str,
    /// What runs now.
    pub running: &'a Running,
    /// Highest counter that was proven on the device.
    pub counter: i64,
    /// Whether the clock can be believed.
    pub clock: Clock,
    /// The time now.
    pub now: Timestamp,
}

/// The target that an order names, before any judgement.
pub fn target(order: &FirmwareOrder) -> Result<Target, ReleaseError> {
    let document = order.release.read()?;
    Ok(Target {
        name: order.release.name.clone(),
        document: kalong_crds::units::Digest::of(order.release.document.as_bytes()),
        digest: document.artifact.digest,
        size: u64::try_from(document.artifact.size).unwrap_or(0),
        version: document.version,
        counter: document.security_counter,
    })
}

/// Judges a release for a device: signatures first, then what was signed.
pub fn judge(firmware: &FirmwareOrder, bench: &Bench<'_>) -> Outcome {
    if bench.clock == Clock::Unsynced {
        // Validity needs a believed time.
        return Outcome::Pending;
    }
    let document = match firmware.release.verify(bench.keys, signatures_needed(bench.order.class)) {
        Ok(document) => document,
        Err(error) => {
            let reason = match error {
                ReleaseError::NoKeys => Reason::NoReleaseKeys,
                _ => Reason::SignatureInvalid,
            };
            return refuse(reason, error.to_string());
        }
    };
    if !document.models.iter().any(|m| m.as_str() == bench.order.model) {
        return refuse(Reason::Incompatible, format!("the release is not made for model {}", bench.order.model));
    }
    let fits = document.hardware_revisions.is_empty()
        || document.hardware_revisions.iter().any(|r| {
            if bench.hardware.is_empty() { bench.order.hardware_revisions.contains(r) } else { r == bench.hardware }
        });
    if !fits {
        return refuse(
            Reason::Incompatible,
            format!("the release is not made for hardware revision `{}`", bench.hardware),
        );
    }
    if !document.requires.is_empty() && !document.requires.contains(&bench.running.version) {
        return refuse(
            Reason::Incompatible,
            format!(
                "the release needs one of {} to run first, not {}",
                document.requires.join(", "),
                bench.running.version
            ),
        );
    }
    if let Some(expires) = &document.expires
        && expires.parse::<Timestamp>().is_ok_and(|at| at <= bench.now)
    {
        return refuse(
            Reason::Expired,
            format!("the release must not be installed after {expires}: publish a new one"),
        );
    }
    let floor = bench.counter.max(firmware.counter_floor);
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
    Outcome::Failed(Fault::final_(reason, message))
}

/// Runs the probes in their order; the first that fails decides.
pub async fn probe(
    order: &DeviceOrder,
    target: Option<&Target>,
    running: &Running,
    reading: Option<&Reading>,
    driver: &mut dyn Driver,
) -> Outcome {
    let failed = |message: String| Outcome::Failed(Fault::final_(Reason::ProbeFailed, message));
    for probe in &order.update.probes {
        match probe {
            Probe::Identity => {
                if let Some(target) = target
                    && !running.is(target)
                {
                    let message =
                        format!("the device reports version `{}` and not {}", running.version, target.version);
                    return Outcome::Failed(Fault::final_(Reason::WrongVersion, message));
                }
            }
            Probe::SelfTest => match bounded(driver.self_test()).await {
                Ok(SelfTest::Passed) => {}
                Ok(SelfTest::Running) => return Outcome::Pending,
                Ok(SelfTest::Failed(why)) => return failed(format!("the device's own test failed: {why}")),
                Err(error) if error.is_absence() => return Outcome::Absent(error.to_string()),
                Err(error) => return failed(format!("the device's own test could not be run: {error}")),
            },
            Probe::Configuration => {
                let Some(reading) = reading else { return Outcome::Absent("the device was not read".to_owned()) };
                let differing = crate::realise::plan::differing(order, reading);
                if let Some((name, _)) = differing.first_key_value() {
                    return failed(format!("setting `{name}` is not what it was before the change"));
                }
            }
            Probe::Health => {
                let Some(reading) = reading else { return Outcome::Absent("the device was not read".to_owned()) };
                if let Some(code) = faulty(order, reading).first() {
                    return failed(format!("the device reports {code}"));
                }
            }
        }
    }
    Outcome::Done
}

/// Active codes of severity Faulty.
pub fn faulty<'o>(order: &'o DeviceOrder, reading: &Reading) -> Vec<&'o str> {
    order
        .health_codes
        .iter()
        .filter(|c| c.severity == Severity::Faulty && reading.health.contains(&c.name))
        .map(|c| c.name.as_str())
        .collect()
}
