//! Whether what runs after a change is good, by the probes of the model.

use kalong_crds::condition::Reason;
use kalong_crds::device_model::{Probe, Severity};
use kalong_crds::wire::order::DeviceOrder;

use super::attempt::{Outcome, RunningFirmware};
use crate::driver::call::bounded;
use crate::driver::{Driver, Reading, SelfTest};
use crate::store::attempt::{Failure, Target};

/// Runs the probes in their order; the first that fails decides.
pub async fn run(
    order: &DeviceOrder,
    target: Option<&Target>,
    running: &RunningFirmware,
    reading: Option<&Reading>,
    driver: &mut dyn Driver,
) -> Outcome {
    let failed = |message: String| Outcome::Failed(Failure::permanent(Reason::ProbeFailed, message));
    for probe in &order.update.probes {
        match probe {
            Probe::Identity => {
                if let Some(target) = target
                    && !running.is(target)
                {
                    let message =
                        format!("the device reports version `{}` and not {}", running.version, target.version);
                    return Outcome::Failed(Failure::permanent(Reason::WrongVersion, message));
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
                let differing = reading.differing(&order.config);
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
