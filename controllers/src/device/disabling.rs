//! Switching a device off: what an open lane cannot do without goes only when that lane is empty and held.

use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::device::Admin;
use kalong_crds::lane::{Admission, LaneAdmission, Need};
use kube::ResourceExt;

use super::observed::Observed;
use super::permit::{Upkeep, Wish};
use crate::kit::life::LifecycleStage;
use crate::kit::link::Holding;
use crate::lane::claim::{Claim, ClaimProgress, Purpose};

/// The claim under which the device is switched off; kept until its agent has it in force.
pub(super) fn wish(observed: &Observed) -> Option<Wish> {
    let claim = claim(observed)?;
    if is_loss(observed) {
        Some(Wish { claim, upkeep: Upkeep::Make })
    } else {
        (!observed.confirmed()).then_some(Wish { claim, upkeep: Upkeep::Keep })
    }
}

/// On whom the switching off waits; none when it may be done, or was.
pub(super) fn held_back(observed: &Observed) -> Option<BlockedBy> {
    let claim = claim(observed).filter(|_| is_loss(observed))?;
    let drain = observed.made.iter().map(|made| made.drain.as_ref()).find(|drain| claim.is(drain));
    match ClaimProgress::of(&claim, drain, observed.now) {
        ClaimProgress::Waits(block) => Some(block),
        ClaimProgress::Held => None,
    }
}

fn claim(observed: &Observed) -> Option<Claim> {
    let lane = observed
        .lanes
        .first()
        .filter(|_| observed.device.spec.admin == Admin::Disabled && observed.life != LifecycleStage::Planned)?;
    Some(Claim::new(observed.device.as_ref(), Purpose::Disabling, &lane.name_any()))
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
        && observed.holding != Holding::NotHeld
        && took_part(observed)
}

/// Whether the status says that the device took part until now. It says Disabled from the moment in which it was let go, so
/// that neither a restart nor a silent agent ever switches it on again.
fn took_part(observed: &Observed) -> bool {
    const NOT_YET: [Reason; 4] = [Reason::Initializing, Reason::Planned, Reason::Commissioning, Reason::Disabled];
    let reason = observed.device.reason(ConditionType::Available);
    !reason.is_empty() && !NOT_YET.iter().any(|word| word.as_str() == reason)
}
