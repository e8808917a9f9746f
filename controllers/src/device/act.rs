//! Does what was planned.

use kube::ResourceExt;

use super::permit::Errands;
use super::plan::Plan;
use super::seen::{Credential, Seen};
use crate::kit::Error;
use crate::kit::world::World;
use crate::lane::claim;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The object was changed or is to be looked at anew before its status is written.
    pub(super) stale: bool,
    pub(super) error: Option<Error>,
}

pub(super) async fn act(world: &World, seen: &Seen, plan: &Plan) -> Done {
    plan.telling.tell(world, seen.device.as_ref());
    let error = run(world, &plan.errands).await.err();
    let guarded = plan.telling.guard(world, seen.device.as_ref()).await;
    // The watch brings the object back with a new version; its status is written then.
    let stale = plan.telling.finalizers.is_some();
    if stale && guarded.is_ok() && seen.deleting() {
        world.permits.give_back(&seen.device.uid().unwrap_or_default());
    }
    Done { stale, error: guarded.err().or(error) }
}

/// Makes and ends claims. All are tried; the first failure is told, and the next pass tries again.
async fn run(world: &World, errands: &Errands) -> Result<(), Error> {
    let Errands { make, release } = errands;
    let mut result = Ok(());
    for drain in release {
        result = result.and(claim::release(world, drain).await);
    }
    for claim in make {
        result = result.and(claim.make(world).await);
    }
    result
}

/// What could not be observed is a failure of this pass too.
pub(super) fn failure(seen: Seen) -> Option<Error> {
    match (seen.credential, seen.order) {
        (Credential::Failed(error), _) => Some(error),
        (_, Some(Err(error))) => Some(Error::Order(error)),
        _ => None,
    }
}
