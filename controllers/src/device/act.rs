//! Does what was planned.

use kube::ResourceExt;

use super::permit::Errands;
use super::plan::Plan;
use super::seen::{Credential, Seen};
use crate::kit::Error;
use crate::kit::status::Written;
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
    let uid = seen.device.uid().unwrap_or_default();
    let generation = seen.device.metadata.generation.unwrap_or_default();
    for agent in &plan.remove {
        world.link.remove(agent, &uid, generation);
    }
    if let Some((agent, item)) = &plan.want {
        world.link.want(agent, item.clone());
    }
    let error = run(world, &plan.errands).await.err();
    if let Some(finalizers) = &plan.finalizers {
        return match world.status.set_finalizers(&world.client, seen.device.as_ref(), finalizers.clone()).await {
            // The watch brings the object back with a new version; its status is written then.
            Ok(Written::Changed | Written::Conflict | Written::CacheBehind | Written::Unchanged) => {
                if seen.device.metadata.deletion_timestamp.is_some() {
                    world.permits.give_back(&uid);
                    world.patience.over(&uid);
                }
                Done { stale: true, error }
            }
            Err(error) => Done { stale: true, error: Some(error) },
        };
    }
    Done { stale: false, error }
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
