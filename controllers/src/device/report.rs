//! Says what came of it, on every path.

use kalong_crds::device::DeviceStatus;

use super::act::{Done, failure};
use super::judge;
use super::observed::Observed;
use super::plan::Plan;
use crate::kit::reconciler::{EventSource, ReconcileResult};

pub(super) fn report(observed: Observed, plan: Plan, done: Done) -> ReconcileResult<DeviceStatus> {
    let Plan { placement: _, errands: _, status, again } = plan;
    let Done { stale, error } = done;
    let event_source = if judge::declared(&observed).is_some() { EventSource::Operator } else { EventSource::Agent };
    ReconcileResult {
        status: status.filter(|_| !stale),
        again,
        error: error.or_else(|| failure(observed)),
        event_source,
        ..ReconcileResult::unchanged()
    }
}
