//! Does to a device what was planned, within a deadline, and reads back.

use std::collections::BTreeMap;
use std::time::Duration;

use kalong_crds::lane::Admission;
use kalong_crds::units::Value;
use kalong_crds::well_known;
use tokio::time::timeout;

use super::{CALL_DEADLINE, Driver, DriverError, Reading};

/// What is granted beyond the driver's own deadline before the call is given up: a driver that hangs holds up its device alone.
const GRACE: Duration = Duration::from_secs(2);

/// A driver call that ends, whatever the driver does.
pub async fn bounded<T>(call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    let limit = CALL_DEADLINE + GRACE;
    timeout(limit, call).await.unwrap_or_else(|_| Err(DriverError::Timeout("the device".to_owned(), limit)))
}

/// Sets these settings and reads everything back.
pub async fn configure(driver: &mut dyn Driver, values: &BTreeMap<String, Value>) -> Result<Reading, DriverError> {
    bounded(driver.set(values)).await?;
    bounded(driver.read()).await
}

/// Tells the controller of a lane whether to admit.
pub async fn admit(driver: &mut dyn Driver, admission: Admission) -> Result<(), DriverError> {
    let word = match admission {
        Admission::Open => "Open",
        Admission::Closed => "Closed",
    };
    bounded(driver.set(&BTreeMap::from([(well_known::ADMISSION.to_owned(), Value::from(word))]))).await
}
