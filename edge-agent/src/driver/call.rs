//! Driver calls with a deadline of their own: a driver that hangs holds up its device alone.

use std::collections::BTreeMap;
use std::time::Duration;

use kalong_crds::lane::Admission;
use kalong_crds::units::Value;
use kalong_crds::well_known;
use tokio::time::timeout;

use super::{CALL_DEADLINE, Driver, DriverError, Reading};

/// Added to the driver's own deadline before its call is cancelled.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a driver call, and cancels it two seconds after [`CALL_DEADLINE`].
pub async fn bounded<T>(call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    let limit = CALL_DEADLINE + GRACE;
    timeout(limit, call).await.unwrap_or_else(|_| Err(DriverError::Timeout("the device".to_owned(), limit)))
}

/// Sets these settings and reads everything back.
pub async fn configure(driver: &mut dyn Driver, values: &BTreeMap<String, Value>) -> Result<Reading, DriverError> {
    bounded(driver.set(values)).await?;
    bounded(driver.read()).await
}

/// Sets the admission of the lane that the device controls.
pub async fn admit(driver: &mut dyn Driver, admission: Admission) -> Result<(), DriverError> {
    let word = match admission {
        Admission::Open => "Open",
        Admission::Closed => "Closed",
    };
    bounded(driver.set(&BTreeMap::from([(well_known::ADMISSION.to_owned(), Value::from(word))]))).await
}
