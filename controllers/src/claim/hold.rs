//! Which claims hold a lane, and their part in its order.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::wire::order::LaneHold;
use kalong_crds::{Lane, LaneDrain, Purpose};
use kalong_rules::capacity::holds;
use kube::ResourceExt;

use crate::kit::caches::{self, Caches};
use crate::kit::context::Context;

/// A hold for a change lasts this much longer than the model says that the change takes.
const MARGIN: SignedDuration = SignedDuration::from_secs(3600);
/// When a claim that is meant to stay lets go of a lane whose operator is gone for good.
const ENDLESS: SignedDuration = SignedDuration::from_secs(365 * 24 * 3600);

/// The claims that hold this lane or empty it, sorted by name: accepted for it, not ended, not being deleted. As the cache shows them,
/// because nothing may act on an acceptance before it is stored.
pub(crate) fn on_lane(ctx: &Context, namespace: &str, lane: &str) -> Vec<Arc<LaneDrain>> {
    let site = ctx.site(namespace);
    let claims = site.lanes.get(lane).map(|lane| site.claims_on(lane)).unwrap_or_default();
    claims.into_iter().filter(|claim| holds(claim, lane)).cloned().collect()
}

/// The part of the claims in the order of this lane; none without a claim.
pub(crate) fn hold(ctx: &Context, lane: &Lane, drains: &[Arc<LaneDrain>]) -> Option<LaneHold> {
    let namespace = lane.namespace().unwrap_or_default();
    hold_until(lane, drains, |drain, empty_by| until(&ctx.caches, &namespace, drain, empty_by))
}

/// [`hold`], with the end of each claim given by the time at which its lane has to be empty.
pub(crate) fn hold_until(
    lane: &Lane,
    drains: &[Arc<LaneDrain>],
    until: impl Fn(&LaneDrain, Timestamp) -> Timestamp,
) -> Option<LaneHold> {
    let (mut pending, mut emptied, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for drain in drains {
        let status = drain.status.as_ref()?;
        let empty_by = after(status.accepted_at.as_deref()?.parse().ok()?, emptying(drain, lane));
        if status.empty_by.is_some() {
            pending.push(empty_by)
        } else {
            emptied.push(empty_by)
        }
        ends.push(until(drain, empty_by));
    }
    // While everything is empty already the time stays what it was, so that the order does not change for nothing.
    let empty_by = pending.into_iter().min().or_else(|| emptied.into_iter().max())?;
    Some(LaneHold {
        drains: drains.iter().map(|drain| drain.name_any()).collect(),
        divert_to: lane.spec.drain.divert_to.as_ref().map(|name| name.0.clone()),
        empty_by: empty_by.to_string(),
        until: ends.into_iter().max()?.to_string(),
    })
}

/// How long this lane may take to become empty for this claim.
fn emptying(drain: &LaneDrain, lane: &Lane) -> SignedDuration {
    SignedDuration::from_secs(drain.spec.timeout_seconds.unwrap_or(lane.spec.drain.timeout_seconds))
}

/// When the agent lets go of the lane by itself if it reaches no operator. A claim of the operator for a change ends with that change;
/// one that is meant to stay, as for a disabled device, is kept.
fn until(caches: &Caches, namespace: &str, drain: &LaneDrain, empty_by: Timestamp) -> Timestamp {
    if let Some(deadline) = drain.spec.deadline.as_deref().and_then(|text| text.parse().ok()) {
        return deadline;
    }
    match drain.purpose().filter(|_| drain.is_made_by_operator()) {
        Some(Purpose::Closing) => after(empty_by, MARGIN),
        Some(Purpose::Firmware) => {
            let name = drain.spec.requester.strip_prefix("Device/").unwrap_or_default();
            let device = caches::get(&caches.devices, namespace, name);
            let model = device.and_then(|d| caches::get(&caches.models, namespace, d.spec.model_ref.as_str()));
            let takes = model.map_or(0, |m| m.spec.update.downtime_seconds * 4 + m.spec.update.soak_seconds);
            after(after(empty_by, SignedDuration::from_secs(takes)), MARGIN)
        }
        Some(Purpose::Disabling | Purpose::Hand) | None => after(empty_by, ENDLESS),
    }
}

/// The sum in whole seconds; the last moment of the calendar if it lies beyond.
pub(crate) fn after(start: Timestamp, span: SignedDuration) -> Timestamp {
    let end = start.checked_add(span).unwrap_or(Timestamp::MAX);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}
