//! Decides about a Lane. Pure: no client, no clock, no log.

use kalong_crds::lane::Admission;
use kalong_crds::wire::desired::Item;

use super::observe::Observed;
use super::order::Composed;
use super::{closing, order};
use crate::claim::ClaimChanges;
use crate::kit::placement::{Assignment, Placement};

/// What is to be done about one Lane.
pub(super) struct Decision {
    /// The admission in the order; none while the agent keeps the order that it has.
    pub(super) admission: Option<Admission>,
    /// The order as it should be, also for a lane that its agent lets go of.
    pub(super) order: Option<Item>,
    pub(super) placement: Placement,
    /// Claims to create and delete, so that the lane is closed as declared.
    pub(super) claims: ClaimChanges,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    let Composed { admission, assignment } = order::compose(observed);
    let order = assignment.order().cloned();
    let released = closing::is_released(observed, admission);
    let assignment = if released { Assignment::Release } else { assignment };
    let placement = Placement::of(observed.lane.as_ref(), &observed.agent, assignment);
    let claims = if observed.deleting() && placement.finalizers.is_some() {
        ClaimChanges { create: Vec::new(), delete: observed.own_claims.clone() }
    } else {
        closing::claims(observed, admission, order.as_ref())
    };
    Decision { admission, order, placement, claims }
}
