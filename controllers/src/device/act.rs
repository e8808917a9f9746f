//! Does what was planned.

use kube::ResourceExt;

use super::observed::{Credential, Observed};
use super::permit::Errands;
use super::plan::Plan;
use crate::kit::Error;
use crate::kit::context::Context;
use crate::lane::claim;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The object was changed or is to be looked at anew before its status is written.
    pub(super) stale: bool,
    pub(super) error: Option<Error>,
}

pub(super) async fn act(ctx: &Context, observed: &Observed, plan: &Plan) -> Done {
    plan.placement.tell(ctx, observed.device.as_ref());
    let error = run(ctx, &plan.errands).await.err();
    let guarded = plan.placement.guard(ctx, observed.device.as_ref()).await;
    // The watch brings the object back with a new version; its status is written then.
    let stale = plan.placement.finalizers.is_some();
    if stale && guarded.is_ok() && observed.deleting() {
        ctx.permits.give_back(&observed.device.uid().unwrap_or_default());
    }
    Done { stale, error: guarded.err().or(error) }
}

/// Makes and ends claims. All are tried; the first failure is told, and the next pass tries again.
async fn run(ctx: &Context, errands: &Errands) -> Result<(), Error> {
    let Errands { make, release } = errands;
    let mut result = Ok(());
    for drain in release {
        result = result.and(claim::release(ctx, drain).await);
    }
    for claim in make {
        result = result.and(claim.make(ctx).await);
    }
    result
}

/// What could not be observed is a failure of this pass too.
pub(super) fn failure(observed: Observed) -> Option<Error> {
    match (observed.credential, observed.order) {
        (Credential::Failed(error), _) => Some(error),
        (_, Some(Err(error))) => Some(Error::Order(error)),
        _ => None,
    }
}
