//! Says what came of it, on every path.

use kalong_crds::device::DeviceStatus;

use super::act::{Done, failure};
use super::judge;
use super::plan::Plan;
use super::seen::Seen;
use crate::kit::driver::{Finder, Report};

pub(super) fn report(seen: Seen, plan: Plan, done: Done) -> Report<DeviceStatus> {
    let Plan { telling: _, errands: _, status, again } = plan;
    let Done { stale, error } = done;
    let finder = if judge::declared(&seen).is_some() { Finder::Operator } else { Finder::Agent };
    Report {
        status: status.filter(|_| !stale),
        again,
        error: error.or_else(|| failure(seen)),
        finder,
        ..Report::unchanged()
    }
}
