//! What the status says of a DeviceModel. Pure.

use kalong_crds::condition::{Reason, settle};
use kalong_crds::device_model::DeviceModelStatus;

use super::decide::Decision;
use super::observe::Observed;
use crate::kit::readiness::{Readiness, ready};
use crate::kit::reconciler::ReconcileResult;

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<DeviceModelStatus> {
    let generation = observed.model.metadata.generation.unwrap_or_default();
    let old = observed.model.status.clone().unwrap_or_default();
    let objection = decision.contradiction.clone().map(|say| Readiness::Stuck(Reason::InvalidSpec, say));
    ReconcileResult::of(DeviceModelStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &ready(objection.as_ref()), generation, observed.now),
        devices: i64::try_from(observed.devices).unwrap_or(i64::MAX),
    })
}
