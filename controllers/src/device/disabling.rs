//! Switching a device off: what an open lane cannot do without goes only when that lane is empty and held.

use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::device::Admin;
use kalong_crds::lane::{Admission, LaneAdmission, Need};
use kube::ResourceExt;

use super::permit::{Upkeep, Wish};
use super::seen::Seen;
use crate::kit::life::Life;
use crate::kit::link::Holding;
use crate::lane::claim::{Claim, Purpose, Standing};

/// The claim under which the device is switched off; kept until its agent has it in force.
pub(super) fn wish(seen: &Seen) -> Option<Wish> {
    let claim = claim(seen)?;
    if is_loss(seen) {
        Some(Wish { claim, upkeep: Upkeep::Make })
    } else {
        (!seen.confirmed()).then_some(Wish { claim, upkeep: Upkeep::Keep })
    }
}

/// On whom the switching off waits; none when it may be done, or was.
pub(super) fn held_back(seen: &Seen) -> Option<BlockedBy> {
    let claim = claim(seen).filter(|_| is_loss(seen))?;
    let drain = seen.made.iter().map(|made| made.drain.as_ref()).find(|drain| claim.is(drain));
    match Standing::of(&claim, drain, seen.now) {
        Standing::Waits(block) => Some(block),
        Standing::Held => None,
    }
}

fn claim(seen: &Seen) -> Option<Claim> {
    let lane =
        seen.lanes.first().filter(|_| seen.device.spec.admin == Admin::Disabled && seen.life != Life::Planned)?;
    Some(Claim::new(seen.device.as_ref(), Purpose::Disabling, &lane.name_any()))
}

/// Whether a lane in service would lose something that it serves with now.
fn is_loss(seen: &Seen) -> bool {
    let Some(lane) = seen.lanes.first() else { return false };
    let name = seen.device.name_any();
    let required = lane.spec.slots.iter().any(|s| s.device_ref.as_str() == name && s.need == Need::Required);
    let admission = lane.status.as_ref().map(|s| s.admission).unwrap_or_default();
    let open =
        lane.spec.admission == Admission::Open || matches!(admission, LaneAdmission::Open | LaneAdmission::Draining);
    required && open && seen.lane_life == Some(Life::InService) && seen.holding != Holding::NotHeld && took_part(seen)
}

/// Whether the status says that the device took part until now. It says Disabled from the moment in which it was let go, so
/// that neither a restart nor a silent agent ever switches it on again.
fn took_part(seen: &Seen) -> bool {
    const NOT_YET: [Reason; 4] = [Reason::Initializing, Reason::Planned, Reason::Commissioning, Reason::Disabled];
    let reason = seen.device.reason(ConditionType::Available);
    !reason.is_empty() && !NOT_YET.iter().any(|word| word.as_str() == reason)
}
