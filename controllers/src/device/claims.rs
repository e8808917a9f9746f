//! Which claims of the device are created and deleted.

use kalong_crds::ABANDON;
use kalong_crds::wire::desired::Item;
use kube::ResourceExt;

use super::observe::{ExistingClaim, Observed};
use super::{disabling, permit};
use crate::claim::{ClaimChanges, Ensure, OwnClaim, WantedClaim};
use crate::kit::link::Liveness;

/// The changes after which exactly the wanted claims stand. None is deleted while it is unknown how far the device is.
pub(super) fn changes(observed: &Observed, order: Option<&Item>) -> ClaimChanges {
    let wanted: Vec<WantedClaim> =
        [permit::wanted_claim(observed), disabling::wanted_claim(observed, order)].into_iter().flatten().collect();
    let known = match observed.agent.liveness() {
        Liveness::Live => true,
        Liveness::Lost => observed.agent.report.is_some(),
        Liveness::Pending => false,
    };
    let agent_gone = observed.previous_agents.is_empty()
        && observed.agent.object.as_ref().is_none_or(|agent| agent.annotations().contains_key(ABANDON));
    let is_over = |own: &&ExistingClaim| {
        let is_wanted = wanted.iter().any(|wanted| wanted.claim.is(&own.drain));
        agent_gone || permit::has_lapsed(observed, own) || (known && !is_wanted)
    };
    let delete = observed.own_claims.iter().filter(is_over).map(|own| own.drain.clone()).collect();
    let exists = |claim: &OwnClaim| observed.own_claims.iter().any(|own| own.drain.name_any() == claim.name);
    let live = observed.agent.liveness() == Liveness::Live;
    let create = wanted
        .into_iter()
        .filter(|wanted| live && wanted.ensure == Ensure::Create && !exists(&wanted.claim))
        .map(|wanted| wanted.claim)
        .collect();
    ClaimChanges { create, delete }
}

/// All of them are deleted: the device is gone from every agent.
pub(super) fn delete_all(observed: &Observed) -> ClaimChanges {
    let delete = observed.own_claims.iter().map(|own| own.drain.clone()).collect();
    ClaimChanges { create: Vec::new(), delete }
}
