//! What the status of a claim says of its acceptance.

use kalong_crds::LaneDrain;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_rules::claim::{accepted_at, accepted_lanes};

use crate::kit::drains::Acceptance;

/// The acceptance that the cache shows.
pub(super) fn stored_acceptance(drain: &LaneDrain) -> Option<Acceptance> {
    let (at, lanes) = (accepted_at(drain)?, accepted_lanes(drain));
    let accepted = drain.condition(ConditionType::Accepted);
    let emergency = accepted.filter(|accepted| accepted.reason == Reason::EmergencyAccepted.as_str());
    Some(Acceptance { at, lanes, breaking: emergency.map(|accepted| accepted.message.clone()) })
}
