//! A FirmwareRelease: whether its authors signed it, and whether its bytes are in the operator's cache.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::FirmwareRelease;
use kalong_crds::condition::{ConditionType, ConditionUpdate, Conditioned, Reason, settle};
use kalong_crds::firmware_release::FirmwareReleaseStatus;
use kalong_crds::wire::release::{ReleaseError, signatures_needed};
use kube::ResourceExt;

use crate::kit::Error;
use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::mirror::MirrorState;
use crate::kit::readiness::{Readiness, ready};
use crate::kit::reconciler::{Reconcile, ReconcileResult};

impl Reconcile for FirmwareRelease {
    async fn reconcile(ctx: &Context, release: Arc<Self>) -> ReconcileResult<FirmwareReleaseStatus> {
        let namespace = release.namespace().unwrap_or_default();
        let classes =
            release.spec.models.iter().filter_map(|m| caches::get(&ctx.caches.models, &namespace, m.as_str()));
        let needed = classes.map(|m| signatures_needed(m.spec.class)).max().unwrap_or(1);
        let now = ctx.clock.now();
        let believed = match release.spec.signed(&release.name_any()) {
            Ok(signed) => signed.verify(&ctx.settings.release_keys, needed).map(drop),
            Err(error) => return ReconcileResult::failed(Error::Order(error)),
        };
        // An artifact that nobody vouches for is not even fetched.
        let mirrored = believed.is_ok().then(|| ctx.mirror.ensure(&release.name_any(), &release.spec.artifact));
        let expired = release.spec.expires.as_ref().and_then(|e| e.parse::<Timestamp>().ok()).is_some_and(|e| e < now);
        let before = Before::of(&release);
        let verdict = verdict(&believed, mirrored.as_ref(), expired, before);
        let generation = release.metadata.generation.unwrap_or_default();
        let old = release.status.clone().unwrap_or_default();
        let [is_ready, reconciling, stalled] = ready(verdict.as_ref());
        let judged = [
            is_ready,
            verified(&believed),
            cached(mirrored.as_ref()),
            ConditionUpdate::no(ConditionType::Revoked, Reason::NotRevoked, ""),
            reconciling,
            stalled,
        ];
        let status = FirmwareReleaseStatus {
            observed_generation: generation,
            conditions: settle(&old.conditions, &judged, generation, now),
        };
        ReconcileResult::of(status)
    }
}

/// What was said of this release before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// That it can be used: it was fetched and verified once.
    Usable,
    /// Something else, or nothing.
    New,
}

impl Before {
    fn of(release: &FirmwareRelease) -> Self {
        let current = release.status.as_ref().map(|s| s.observed_generation) == release.metadata.generation;
        if current && release.is(ConditionType::Ready) { Self::Usable } else { Self::New }
    }
}

/// A cache that has to be filled again, after a start or because it was lost, takes nothing back: devices that run the release are
/// as declared, and agents that want it try until it is there.
fn verdict(
    believed: &Result<(), ReleaseError>,
    mirrored: Option<&MirrorState>,
    expired: bool,
    before: Before,
) -> Option<Readiness> {
    if let Err(error) = believed {
        return Some(Readiness::Stuck(refusal(error), error.to_string()));
    }
    if expired {
        return Some(Readiness::Stuck(Reason::Expired, "The release has expired: publish a new one.".to_owned()));
    }
    match mirrored {
        Some(MirrorState::Fetching | MirrorState::Failed { reason: Reason::FetchFailed, .. })
            if before == Before::Usable =>
        {
            None
        }
        Some(MirrorState::Failed { reason: Reason::FetchFailed, message }) => {
            Some(Readiness::Converging(Reason::FetchFailed, message.clone()))
        }
        Some(MirrorState::Failed { reason, message }) => Some(Readiness::Stuck(*reason, message.clone())),
        Some(MirrorState::Fetching) => {
            Some(Readiness::Converging(Reason::Fetching, "The artifact is being fetched.".to_owned()))
        }
        Some(MirrorState::Cached) | None => None,
    }
}

fn refusal(error: &ReleaseError) -> Reason {
    match error {
        ReleaseError::NoKeys => Reason::NoReleaseKeys,
        ReleaseError::Wrong(_) | ReleaseError::TooFew { .. } => Reason::SignatureInvalid,
        ReleaseError::Canonical(_) | ReleaseError::Document(_) => Reason::InvalidSpec,
    }
}

fn verified(believed: &Result<(), ReleaseError>) -> ConditionUpdate {
    match believed {
        Ok(()) => ConditionUpdate::yes(ConditionType::Verified, Reason::SignatureValid),
        Err(error) => ConditionUpdate::no(ConditionType::Verified, refusal(error), error.to_string()),
    }
}

fn cached(mirrored: Option<&MirrorState>) -> ConditionUpdate {
    let kind = ConditionType::Mirrored;
    match mirrored {
        None => {
            ConditionUpdate::no(kind, Reason::SignatureInvalid, "An artifact that nobody vouches for is not fetched.")
        }
        Some(MirrorState::Cached) => ConditionUpdate::yes(kind, Reason::Cached),
        Some(MirrorState::Fetching) => ConditionUpdate::no(kind, Reason::Fetching, "The artifact is being fetched."),
        Some(MirrorState::Failed { reason, message }) => ConditionUpdate::no(kind, *reason, message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reason: Reason) -> MirrorState {
        MirrorState::Failed { reason, message: "look".into() }
    }

    #[test]
    fn cache_that_is_filled_again_takes_nothing_back() {
        let again = |state: &MirrorState, before| verdict(&Ok(()), Some(state), false, before);
        for state in [MirrorState::Fetching, failed(Reason::FetchFailed)] {
            assert!(again(&state, Before::Usable).is_none(), "{state:?}");
            assert!(matches!(again(&state, Before::New), Some(Readiness::Converging(..))), "{state:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_the_signed_ones_stop_even_a_release_that_was_used() {
        let verdict = verdict(&Ok(()), Some(&failed(Reason::DigestMismatch)), false, Before::Usable);
        assert!(matches!(verdict, Some(Readiness::Stuck(Reason::DigestMismatch, _))));
    }
}
