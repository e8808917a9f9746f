//! What other controllers ask of drains: which claims hold a lane, what its agent is told of them, and how far a claim is.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::lane_drain::LaneDrainStatus;
use kalong_crds::wire::order::LaneHold;
use kalong_crds::{Lane, LaneDrain};
use kube::ResourceExt;

use crate::kit::caches::{self, Caches};
use crate::kit::context::Context;

/// Label of objects that the operator made and may delete again.
pub(crate) const MADE_BY: &str = "kalong.dev/made-by";
/// The value of [`MADE_BY`].
pub(crate) const OPERATOR: &str = "operator";

/// A hold of a change lasts this much longer than what the model says that the change takes.
const MARGIN: SignedDuration = SignedDuration::from_secs(3600);
/// When a claim without an end lets go of a lane whose operator is gone: whoever made it meant that it stays.
const ENDLESS: SignedDuration = SignedDuration::from_secs(365 * 24 * 3600);

/// The claims that hold this lane, or empty it: accepted for it, not ended, not being deleted; sorted by name. As the cache shows them:
/// nothing acts on a claim before its acceptance is stored.
pub(crate) fn holds(ctx: &Context, namespace: &str, lane: &str) -> Vec<Arc<LaneDrain>> {
    let mut drains = caches::select(&ctx.caches.drains, namespace, |drain| {
        is_accepted(drain) && is_responder(drain, lane) && covers(&ctx.caches, namespace, drain, lane)
    });
    drains.sort_by_key(|drain| drain.name_any());
    drains
}

fn covers(caches: &Caches, namespace: &str, drain: &LaneDrain, lane: &str) -> bool {
    caches.lanes_under(namespace, &drain.spec.target).iter().any(|under| under.name_any() == lane)
}

/// Whether the claim is accepted and has not ended.
pub(crate) fn is_accepted(drain: &LaneDrain) -> bool {
    drain.metadata.deletion_timestamp.is_none()
        && !drain.is(ConditionType::Released)
        && drain.status.as_ref().is_some_and(|status| status.accepted_at.is_some())
}

fn is_responder(drain: &LaneDrain, lane: &str) -> bool {
    drain
        .status
        .as_ref()
        .is_some_and(|status| status.responders.iter().any(|responder| responder.name.as_str() == lane))
}

/// What the agent of this lane is told of the claims on it; none when nobody claims it.
pub(crate) fn hold(ctx: &Context, lane: &Lane, drains: &[Arc<LaneDrain>]) -> Option<LaneHold> {
    let namespace = lane.namespace().unwrap_or_default();
    let ends = |drain: &LaneDrain, accepted: Timestamp| {
        let empty_by = after(accepted, emptying(drain, lane));
        (empty_by, until(&ctx.caches, &namespace, drain, empty_by))
    };
    compose(lane, drains, ends)
}

/// [`hold`], with the ends of each claim given.
pub(super) fn compose(
    lane: &Lane,
    drains: &[Arc<LaneDrain>],
    ends: impl Fn(&LaneDrain, Timestamp) -> (Timestamp, Timestamp),
) -> Option<LaneHold> {
    let (mut pending, mut emptied, mut until) = (Vec::new(), Vec::new(), Vec::new());
    for drain in drains {
        let accepted = drain.status.as_ref().and_then(|status| status.accepted_at.as_deref()?.parse().ok())?;
        let (empty_by, end) = ends(drain, accepted);
        let waits = drain.status.as_ref().is_some_and(|status| status.empty_by.is_some());
        if waits {
            pending.push(empty_by)
        } else {
            emptied.push(empty_by)
        }
        until.push(end);
    }
    // While everything is empty already the time stays what it was, so that the order does not change for nothing.
    let empty_by = pending.into_iter().min().or_else(|| emptied.into_iter().max())?;
    Some(LaneHold {
        drains: drains.iter().map(|drain| drain.name_any()).collect(),
        divert_to: lane.spec.drain.divert_to.as_ref().map(|name| name.0.clone()),
        empty_by: empty_by.to_string(),
        until: until.into_iter().max()?.to_string(),
    })
}

/// How long this lane may take to become empty for this claim.
pub(super) fn emptying(drain: &LaneDrain, lane: &Lane) -> SignedDuration {
    SignedDuration::from_secs(drain.spec.timeout_seconds.unwrap_or(lane.spec.drain.timeout_seconds))
}

/// When the claim lets go of the lane at the latest, with nobody reached. What the operator made for a change ends with that change;
/// what has no end by nature, as a disabled device, is kept for as long as it is wanted.
fn until(caches: &Caches, namespace: &str, drain: &LaneDrain, empty_by: Timestamp) -> Timestamp {
    if let Some(deadline) = drain.spec.deadline.as_deref().and_then(|text| text.parse().ok()) {
        return deadline;
    }
    let made_here = drain.labels().get(MADE_BY).is_some_and(|by| by == OPERATOR);
    let (kind, name) = drain.spec.requester.split_once('/').unwrap_or_default();
    match kind {
        "Lane" if made_here => after(empty_by, MARGIN),
        "Device" if made_here && drain.name_any().starts_with("device-") => {
            let device = caches::get(&caches.devices, namespace, name);
            let model = device.and_then(|d| caches::get(&caches.models, namespace, d.spec.model_ref.as_str()));
            let takes = model.map_or(0, |m| m.spec.update.downtime_seconds * 4 + m.spec.update.soak_seconds);
            after(after(empty_by, SignedDuration::from_secs(takes)), MARGIN)
        }
        _ => after(empty_by, ENDLESS),
    }
}

pub(super) fn after(start: Timestamp, span: SignedDuration) -> Timestamp {
    let end = start.checked_add(span).unwrap_or(Timestamp::MAX);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}

/// How far a claim is, for whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is not accepted yet, and waits on this.
    Waits(BlockedBy),
    /// It is accepted and its lanes are not all empty yet; it waits on this.
    Empties(BlockedBy),
    /// Everything that it concerns is empty and held.
    Drained,
    /// It has ended: it holds nothing any more.
    Ended,
}

/// How far this claim is, as the cache shows it.
pub(crate) fn state(drain: &LaneDrain) -> State {
    let nothing = LaneDrainStatus::default();
    let status = drain.status.as_ref().unwrap_or(&nothing);
    if drain.metadata.deletion_timestamp.is_some() || drain.is(ConditionType::Released) {
        return State::Ended;
    }
    let first = |code, message: &str| {
        status.blocked_by.first().cloned().unwrap_or_else(|| BlockedBy {
            code,
            subject: format!("LaneDrain/{}", drain.name_any()),
            since: drain.creation_timestamp().map(|at| at.0.to_string()).unwrap_or_default(),
            until: None,
            message: message.to_owned(),
        })
    };
    if !is_accepted(drain) {
        return State::Waits(first(BlockCode::LaneDrain, "The claim has not been looked at yet."));
    }
    if drain.is(ConditionType::Drained) {
        return State::Drained;
    }
    State::Empties(first(BlockCode::LaneNotEmpty, "The lane is being emptied."))
}
