//! Switching a device off: what an open lane cannot do without goes only when that lane is empty and held.

use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::device::Admin;
use kalong_crds::lane::{Admission, LaneAdmission, Need};
use kalong_crds::wire::desired::Item;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::observe::Observed;
use crate::claim::{Ensure, OwnClaim, WantedClaim};
use crate::kit::link::Holding;

/// The claim under which the device is switched off; kept until its agent confirmed the order that does it.
pub(super) fn wanted_claim(observed: &Observed, order: Option<&Item>) -> Option<WantedClaim> {
    let claim = claim(observed)?;
    if is_loss(observed) {
        Some(WantedClaim { claim, ensure: Ensure::Create })
    } else {
        (!observed.agent.has_confirmed(order)).then_some(WantedClaim { claim, ensure: Ensure::KeepIfPresent })
    }
}

/// What the switching off waits for; none when it may be done, or was.
pub(super) fn blocked_by(observed: &Observed) -> Option<BlockedBy> {
    let claim = claim(observed).filter(|_| is_loss(observed))?;
    let drain = observed.own_claims.iter().map(|own| own.drain.as_ref()).find(|drain| claim.is(drain));
    claim.blocked_by(drain, observed.now)
}

/// Whether the device is switched off on purpose, and may be by now.
pub(super) fn is_disabled(observed: &Observed) -> bool {
    observed.device.spec.admin == Admin::Disabled && blocked_by(observed).is_none()
}

/// Whether its agents have to let go of the device. One that is deleted as soon as it was disabled is still switched off first.
pub(super) fn is_released(observed: &Observed) -> bool {
    observed.life == LifecycleStage::Planned || (observed.deleting() && blocked_by(observed).is_none())
}

fn claim(observed: &Observed) -> Option<OwnClaim> {
    let lane = observed
        .lanes
        .first()
        .filter(|_| observed.device.spec.admin == Admin::Disabled && observed.life != LifecycleStage::Planned)?;
    Some(OwnClaim::disabling(&observed.device, &lane.name_any()))
}

/// Whether a lane in service would lose something that it serves with now.
fn is_loss(observed: &Observed) -> bool {
    let Some(lane) = observed.lanes.first() else { return false };
    let name = observed.device.name_any();
    let required = lane.spec.slots.iter().any(|s| s.device_ref.as_str() == name && s.need == Need::Required);
    let admission = lane.status.as_ref().map(|s| s.admission).unwrap_or_default();
    let open =
        lane.spec.admission == Admission::Open || matches!(admission, LaneAdmission::Open | LaneAdmission::Draining);
    required
        && open
        && observed.lane_life == Some(LifecycleStage::InService)
        && observed.agent.holding != Holding::NotHeld
        && was_serving(observed)
}

/// Whether the status says that the device served until now. It says Disabled from the moment in which the switching off was allowed, so
/// that neither a restart nor a silent agent ever switches the device on again.
fn was_serving(observed: &Observed) -> bool {
    const NOT_SERVING: [Reason; 4] = [Reason::Initializing, Reason::Planned, Reason::Commissioning, Reason::Disabled];
    let reason = observed.device.reason(ConditionType::Available);
    !reason.is_empty() && !NOT_SERVING.iter().any(|word| word.as_str() == reason)
}
