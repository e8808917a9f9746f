//! Closing a lane that admits traffic: like every change of what serves, it waits for the floors and for the last vehicle.

use kalong_crds::LaneDrain;
use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::units::Digest;
use kalong_crds::wire::desired::Item;
use kalong_rules::lifecycle::LifecycleStage;

use super::observe::Observed;
use crate::claim::{ClaimChanges, OwnClaim};
use crate::kit::link::Liveness;

/// What is declared, seen through the phase: nothing is admitted before it is open.
pub(super) fn declared(observed: &Observed) -> Admission {
    if observed.life == LifecycleStage::Commissioning { Admission::Closed } else { observed.lane.spec.admission }
}

/// What the lane was last known to do; none when nothing that was said still counts.
fn last_known(observed: &Observed) -> Option<LaneAdmission> {
    if let Some(report) = &observed.agent.report {
        return Some(report.lane().map_or(LaneAdmission::Unknown, |lane| lane.admission));
    }
    match observed.agent.liveness() {
        // Its agent holds nothing of the lane: no order ever opened it.
        Liveness::Live => Some(LaneAdmission::Closed),
        Liveness::Pending | Liveness::Lost => {
            let old = observed.lane.status.as_ref().map(|status| status.admission).unwrap_or_default();
            (old != LaneAdmission::Unknown).then_some(old)
        }
    }
}

/// The admission for the next order; none while the lane is to close and it is unknown whether it is open: the agent keeps its order.
/// `closed` is the hash of the order that closes the lane.
///
/// A lane whose order becomes Open is just opened: that takes nothing from any floor.
pub(super) fn admission(observed: &Observed, closed: Option<&Digest>) -> Option<Admission> {
    if declared(observed) == Admission::Open {
        return Some(Admission::Open);
    }
    let last = last_known(observed)?;
    let told_closed = observed.agent.report.as_ref().is_some_and(|report| Some(&report.hash) == closed);
    let begun = !observed.own_claims.is_empty();
    Some(match last {
        // Whatever its controller shows: a closed lane that is opened at its panel gets the order to close again.
        _ if told_closed || last == LaneAdmission::Closed || (!begun && !was_serving(observed)) => Admission::Closed,
        // Empty under the accepted claim of its own: from here on it is closed as declared.
        LaneAdmission::Drained if is_accepted(observed) => Admission::Closed,
        // A lane that its controller does not show is not counted as capacity, so closing it costs nothing.
        LaneAdmission::Unknown if !begun => Admission::Closed,
        _ => Admission::Open,
    })
}

/// Whether the status speaks of a lane whose order was to admit traffic. It says Closed from the moment in which that ended, so
/// that neither a restart nor a silent agent ever opens the lane again.
fn was_serving(observed: &Observed) -> bool {
    const NOT_SERVING: [Reason; 4] = [Reason::Initializing, Reason::Planned, Reason::Commissioning, Reason::Closed];
    let reason = observed.lane.reason(ConditionType::Available);
    !reason.is_empty() && !NOT_SERVING.iter().any(|word| word.as_str() == reason)
}

fn is_accepted(observed: &Observed) -> bool {
    let claim = OwnClaim::closing(&observed.lane);
    observed.claims.iter().any(|drain| claim.is(drain))
}

/// Whether the lane is to be closed and the order, which admits this, does not say so yet.
pub(super) fn is_pending(observed: &Observed, ordered: Option<Admission>) -> bool {
    declared(observed) == Admission::Closed && ordered == Some(Admission::Open)
}

/// Whether the lane is to be closed and the order says so.
pub(super) fn is_done(observed: &Observed, ordered: Option<Admission>) -> bool {
    declared(observed) == Admission::Closed && ordered == Some(Admission::Closed)
}

/// Whether the agent has to let go of the lane. One that is deleted as soon as it was declared Closed is closed first.
pub(super) fn is_released(observed: &Observed, ordered: Option<Admission>) -> bool {
    observed.life == LifecycleStage::Planned || (observed.deleting() && !is_pending(observed, ordered))
}

/// What the closing waits for; none when nothing is being closed, or the lane is empty already.
pub(super) fn blocked_by(observed: &Observed, ordered: Option<Admission>) -> Option<BlockedBy> {
    if !is_pending(observed, ordered) {
        return None;
    }
    let claim = OwnClaim::closing(&observed.lane);
    let drain = observed.own_claims.iter().find(|drain| claim.is(drain));
    claim.blocked_by(drain.map(AsRef::as_ref), observed.now)
}

/// Creates the claim while the closing is pending; deletes what is over. Nothing begins while the agent is not heard.
pub(super) fn claims(observed: &Observed, ordered: Option<Admission>, order: Option<&Item>) -> ClaimChanges {
    let claim = OwnClaim::closing(&observed.lane);
    let pending = is_pending(observed, ordered);
    let live = observed.agent.liveness() == Liveness::Live;
    let stands = observed.own_claims.iter().any(|drain| claim.is(drain));
    let reported = observed.reported().map(|lane| lane.admission);
    let shows_closed = matches!(reported, Some(LaneAdmission::Closed | LaneAdmission::Drained));
    let closed = !pending && observed.agent.has_confirmed(order) && shows_closed && live;
    let unwanted = observed.life == LifecycleStage::Planned || declared(observed) == Admission::Open;
    let over =
        |drain: &LaneDrain| !claim.is(drain) || closed || (unwanted && observed.life != LifecycleStage::UnknownPhase);
    ClaimChanges {
        delete: observed.own_claims.iter().filter(|drain| over(drain)).cloned().collect(),
        create: if pending && live && !stands { vec![claim] } else { Vec::new() },
    }
}
