//! What the lanes of a Crossing amount to, and which floors that breaks. Pure.

use kalong_crds::crossing::LaneCount;

use super::count;
use super::observe::Observed;
use crate::capacity::Breach;

pub(super) struct Decision {
    /// Lanes by service and direction.
    pub(super) lanes: Vec<LaneCount>,
    /// Floors that do not hold now.
    pub(super) breaches: Vec<Breach>,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    Decision { lanes: count::lanes(observed), breaches: count::broken(observed) }
}
