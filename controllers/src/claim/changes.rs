//! Claims that a controller wants to stand, and the changes that bring that about.

use std::sync::Arc;

use kalong_crds::LaneDrain;

use super::own::{OwnClaim, end};
use crate::kit::Error;
use crate::kit::context::Context;

/// A claim that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WantedClaim {
    pub(crate) claim: OwnClaim,
    pub(crate) ensure: Ensure,
}

/// What is done for a wanted claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensure {
    Create,
    KeepIfPresent,
}

/// Claims to create and claims to delete.
#[derive(Debug, Default)]
pub(crate) struct ClaimChanges {
    pub(crate) create: Vec<OwnClaim>,
    pub(crate) delete: Vec<Arc<LaneDrain>>,
}

impl ClaimChanges {
    /// Tries every change and returns the first failure; the next reconcile tries again what is still missing.
    pub(crate) async fn apply(&self, ctx: &Context) -> Result<(), Error> {
        let Self { create, delete } = self;
        let mut result = Ok(());
        for drain in delete {
            result = result.and(end(ctx, drain).await);
        }
        for claim in create {
            result = result.and(claim.create(ctx).await);
        }
        result
    }
}
