//! What the status says of a FirmwareRelease. Pure.

use jiff::Timestamp;
use kalong_crds::condition::{ConditionType, ConditionUpdate, Conditioned, Reason, settle};
use kalong_crds::firmware_release::FirmwareReleaseStatus;
use kalong_crds::wire::release::ReleaseError;

use super::decide::Decision;
use super::observe::Observed;
use crate::kit::mirror::MirrorState;
use crate::kit::readiness::{Readiness, first, ready};
use crate::kit::reconciler::ReconcileResult;

pub(super) fn status(observed: &Observed, _: &Decision) -> ReconcileResult<FirmwareReleaseStatus> {
    let generation = observed.release.metadata.generation.unwrap_or_default();
    let old = observed.release.status.clone().unwrap_or_default();
    let [is_ready, reconciling, stalled] = ready(objection(observed).as_ref());
    let judged = [
        is_ready,
        verified(observed),
        mirrored(observed),
        ConditionUpdate::no(ConditionType::Revoked, Reason::NotRevoked, ""),
        reconciling,
        stalled,
    ];
    ReconcileResult::of(FirmwareReleaseStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &judged, generation, observed.now),
    })
}

pub(super) fn objection(observed: &Observed) -> Option<Readiness> {
    first([unsigned(observed), expired(observed), not_copied(observed)])
}

fn unsigned(observed: &Observed) -> Option<Readiness> {
    observed.signed.as_ref().err().map(|error| Readiness::Stuck(refusal(error), error.to_string()))
}

fn expired(observed: &Observed) -> Option<Readiness> {
    let end: Timestamp = observed.release.spec.expires.as_ref()?.parse().ok()?;
    (end < observed.now)
        .then(|| Readiness::Stuck(Reason::Expired, "The release has expired: publish a new one.".to_owned()))
}

/// A cache that has to be filled again, after a start or because it was lost, takes nothing back: devices that run the release are
/// as declared, and agents that want it try until it is there.
fn not_copied(observed: &Observed) -> Option<Readiness> {
    match &observed.copy {
        MirrorState::Cached => None,
        MirrorState::Fetching | MirrorState::Failed { reason: Reason::FetchFailed, .. } if was_usable(observed) => None,
        MirrorState::Fetching => {
            Some(Readiness::Converging(Reason::Fetching, "The artifact is being fetched.".to_owned()))
        }
        MirrorState::Failed { reason: Reason::FetchFailed, message } => {
            Some(Readiness::Converging(Reason::FetchFailed, message.clone()))
        }
        MirrorState::Failed { reason, message } => Some(Readiness::Stuck(*reason, message.clone())),
    }
}

/// Whether the release as it is declared now was fetched and verified once.
fn was_usable(observed: &Observed) -> bool {
    let release = &observed.release;
    let current = release.status.as_ref().map(|s| s.observed_generation) == release.metadata.generation;
    current && release.is(ConditionType::Ready)
}

fn refusal(error: &ReleaseError) -> Reason {
    match error {
        ReleaseError::NoKeys => Reason::NoReleaseKeys,
        ReleaseError::Wrong(_) | ReleaseError::TooFew { .. } => Reason::SignatureInvalid,
        ReleaseError::Canonical(_) | ReleaseError::Document(_) => Reason::InvalidSpec,
    }
}

fn verified(observed: &Observed) -> ConditionUpdate {
    match &observed.signed {
        Ok(()) => ConditionUpdate::yes(ConditionType::Verified, Reason::SignatureValid),
        Err(error) => ConditionUpdate::no(ConditionType::Verified, refusal(error), error.to_string()),
    }
}

fn mirrored(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Mirrored;
    if observed.signed.is_err() {
        let say = "An artifact that nobody vouches for is not fetched.";
        return ConditionUpdate::no(kind, Reason::SignatureInvalid, say);
    }
    match &observed.copy {
        MirrorState::Cached => ConditionUpdate::yes(kind, Reason::Cached),
        MirrorState::Fetching => ConditionUpdate::no(kind, Reason::Fetching, "The artifact is being fetched."),
        MirrorState::Failed { reason, message } => ConditionUpdate::no(kind, *reason, message.clone()),
    }
}
