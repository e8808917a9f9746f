//! Decides about a Device. Pure: no client, no clock, no log.

use super::observe::Observed;
use super::permit::{PermitState, permit};
use super::{claims, order};
use crate::claim::ClaimChanges;
use crate::kit::placement::Placement;

/// What is to be done about one Device.
pub(super) struct Decision {
    pub(super) permit: PermitState,
    pub(super) placement: Placement,
    /// Claims on its lane to create and delete.
    pub(super) claims: ClaimChanges,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    let permit = permit(observed);
    let placement = placement(observed, &permit);
    let claims = if observed.deleting() && placement.finalizers.is_some() {
        claims::delete_all(observed)
    } else {
        claims::changes(observed, placement.order())
    };
    Decision { permit, placement, claims }
}

/// As for any object on an agent, and the agents that had the device before let go of it first.
fn placement(observed: &Observed, permit: &PermitState) -> Placement {
    let placement = Placement::of(observed.device.as_ref(), &observed.agent, order::compose(observed, permit));
    let held_elsewhere = observed.deleting() && !observed.previous_agents.is_empty();
    let previous = observed.previous_agents.iter().map(|(id, _)| id);
    let unlisted = previous.filter(|id| !observed.agent.wrong_holders.contains(id)).cloned();
    Placement {
        // Never two agents at one device.
        want: placement.want.filter(|_| !observed.moving()),
        finalizers: placement.finalizers.filter(|_| !held_elsewhere),
        remove: placement.remove.into_iter().chain(unlisted).collect(),
        ..placement
    }
}
