//! What the lanes of a Crossing amount to, and which floors that breaks. Pure.

use std::collections::BTreeSet;

use kalong_crds::crossing::LaneCount;
use kalong_rules::capacity::{Breach, floors_broken, lane_counts};

use super::observe::Observed;

pub(super) struct Decision {
    /// Lanes by service and direction.
    pub(super) lanes: Vec<LaneCount>,
    /// Floors that do not hold now.
    pub(super) breaches: Vec<Breach>,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    let capacity = &observed.capacity;
    Decision { lanes: lane_counts(capacity), breaches: floors_broken(capacity, &BTreeSet::new()) }
}
