//! What spec and status of a claim say by themselves: its deadline, its next try, its acceptance.

use jiff::Timestamp;
use kalong_crds::LaneDrain;
use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};

use crate::claim::is_accepted;
use crate::kit::drains::Acceptance;

/// When the claim ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    Endless,
    At(Timestamp),
    /// The text fits the schema and is no time of the calendar.
    Invalid,
}

pub(super) fn deadline(drain: &LaneDrain) -> Deadline {
    match drain.spec.deadline.as_deref().map(str::parse) {
        None => Deadline::Endless,
        Some(Ok(end)) => Deadline::At(end),
        Some(Err(_)) => Deadline::Invalid,
    }
}

/// When an abandoned claim is tried again; none for a claim whose spec changed since: that is tried at once.
pub(super) fn retry_at(drain: &LaneDrain) -> Option<Timestamp> {
    let status = drain.status.as_ref()?;
    let generation = drain.metadata.generation.unwrap_or_default();
    let block = status.blocked_by.iter().find(|block| block.code == BlockCode::Retry)?;
    let until = block.until.as_deref()?.parse().ok()?;
    (status.observed_generation == generation).then_some(until)
}

/// Whether this claim may be accepted now at all.
pub(super) fn may_be_accepted(drain: &LaneDrain, now: Timestamp) -> bool {
    let open = match deadline(drain) {
        Deadline::Endless => true,
        Deadline::At(end) => now < end,
        Deadline::Invalid => false,
    };
    open && drain.metadata.deletion_timestamp.is_none() && retry_at(drain).is_none_or(|at| at <= now)
}

/// Whether the cache shows that the claim has ended.
pub(super) fn has_ended(drain: &LaneDrain) -> bool {
    drain.metadata.deletion_timestamp.is_some() || drain.is(ConditionType::Released)
}

/// The acceptance that the cache shows.
pub(super) fn stored_acceptance(drain: &LaneDrain) -> Option<Acceptance> {
    let status = drain.status.as_ref().filter(|_| is_accepted(drain))?;
    let at = status.accepted_at.as_deref()?.parse().ok()?;
    let lanes = status.responders.iter().map(|responder| responder.name.0.clone()).collect();
    let accepted = drain.condition(ConditionType::Accepted);
    let emergency = accepted.filter(|accepted| accepted.reason == Reason::EmergencyAccepted.as_str());
    Some(Acceptance { at, lanes, breaking: emergency.map(|accepted| accepted.message.clone()) })
}
