//! How far a LaneDrain is, as the object itself says.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kalong_crds::LaneDrain;
use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Conditioned};

/// When a claim ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// It stays until it is deleted.
    Endless,
    /// It holds nothing from this moment on.
    At(Timestamp),
    /// `spec.deadline` is no moment of the calendar.
    Invalid,
}

/// Whether the claim has ended: it is being deleted, or was released.
pub fn has_ended(drain: &LaneDrain) -> bool {
    drain.metadata.deletion_timestamp.is_some() || drain.is(ConditionType::Released)
}

/// Whether the claim is accepted and has not ended.
pub fn is_accepted(drain: &LaneDrain) -> bool {
    !has_ended(drain) && drain.status.as_ref().is_some_and(|status| status.accepted_at.is_some())
}

/// When the claim was accepted; none while it is not.
pub fn accepted_at(drain: &LaneDrain) -> Option<Timestamp> {
    drain.status.as_ref().filter(|_| is_accepted(drain))?.accepted_at.as_deref()?.parse().ok()
}

/// The names of the lanes that the claim was accepted for; none while it is not.
pub fn accepted_lanes(drain: &LaneDrain) -> BTreeSet<String> {
    let status = accepted_at(drain).and(drain.status.as_ref());
    status.iter().flat_map(|status| &status.responders).map(|responder| responder.name.0.clone()).collect()
}

/// When the claim ends by itself.
pub fn deadline(drain: &LaneDrain) -> Deadline {
    match drain.spec.deadline.as_deref().map(str::parse) {
        None => Deadline::Endless,
        Some(Ok(end)) => Deadline::At(end),
        Some(Err(_)) => Deadline::Invalid,
    }
}

/// When a claim that was given up is tried again. A changed spec is tried at once.
pub fn retry_at(drain: &LaneDrain) -> Option<Timestamp> {
    let status = drain.status.as_ref()?;
    let generation = drain.metadata.generation.unwrap_or_default();
    let block = status.blocked_by.iter().find(|block| block.code == BlockCode::Retry)?;
    let until = block.until.as_deref()?.parse().ok()?;
    (status.observed_generation == generation).then_some(until)
}

/// Whether the claim could be accepted now: it has not ended and does not wait for its next try.
pub fn may_be_accepted(drain: &LaneDrain, now: Timestamp) -> bool {
    let open = match deadline(drain) {
        Deadline::Endless => true,
        Deadline::At(end) => now < end,
        Deadline::Invalid => false,
    };
    open && drain.metadata.deletion_timestamp.is_none() && retry_at(drain).is_none_or(|at| at <= now)
}
