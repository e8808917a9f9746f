//! Closing a lane that admits traffic: like every change of what serves, it waits for the floors and for the last vehicle.

use std::sync::Arc;

use kalong_crds::LaneDrain;
use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::units::Digest;
use kube::ResourceExt;

use super::claim::{Claim, ClaimProgress, Purpose};
use super::observe::Observed;
use crate::kit::life::LifecycleStage;
use crate::kit::link::Liveness;

/// What is declared, seen through the phase: nothing is admitted before it is open.
pub(super) fn declared(observed: &Observed) -> Admission {
    if observed.life == LifecycleStage::Commissioning { Admission::Closed } else { observed.lane.spec.admission }
}

/// What the lane was last known to do; none when nobody has said anything that still counts.
fn last_known(observed: &Observed) -> Option<LaneAdmission> {
    if let Some(report) = &observed.report {
        return Some(report.lane().map_or(LaneAdmission::Unknown, |lane| lane.admission));
    }
    match observed.liveness() {
        // Its agent holds nothing of the lane: it was never told to open.
        Liveness::Live => Some(LaneAdmission::Closed),
        Liveness::Pending | Liveness::Lost => {
            let old = observed.lane.status.as_ref().map(|status| status.admission).unwrap_or_default();
            (old != LaneAdmission::Unknown).then_some(old)
        }
    }
}

/// The admission that the agent is told; none while it is to close and nobody can tell whether it is open: it keeps its order.
/// `closed` is the hash of the order that closes the lane.
///
/// A lane that is told Open for the first time, or again, is just opened: that takes nothing from any floor.
pub(super) fn admission(observed: &Observed, closed: Option<&Digest>) -> Option<Admission> {
    if declared(observed) == Admission::Open {
        return Some(Admission::Open);
    }
    let last = last_known(observed)?;
    let told_closed = observed.report.as_ref().is_some_and(|report| Some(&report.hash) == closed);
    let begun = !observed.made.is_empty();
    Some(match last {
        // Whatever its controller shows: a closed lane that somebody opens at its panel is told to close again.
        _ if told_closed || last == LaneAdmission::Closed || (!begun && !served(observed)) => Admission::Closed,
        // Empty under our own accepted claim: from here on it is closed as declared.
        LaneAdmission::Drained if is_accepted(observed) => Admission::Closed,
        // Nobody counts on a lane that its controller does not show, so closing it costs nothing.
        LaneAdmission::Unknown if !begun => Admission::Closed,
        _ => Admission::Open,
    })
}

/// Whether the status speaks of a lane that was told to admit traffic. It says Closed from the moment in which it was not any
/// more, so that neither a restart nor a silent agent ever opens it again.
fn served(observed: &Observed) -> bool {
    const NOT_SERVING: [Reason; 4] = [Reason::Initializing, Reason::Planned, Reason::Commissioning, Reason::Closed];
    let reason = observed.lane.reason(ConditionType::Available);
    !reason.is_empty() && !NOT_SERVING.iter().any(|word| word.as_str() == reason)
}

fn is_accepted(observed: &Observed) -> bool {
    let claim = claim(observed);
    observed.claims.iter().any(|drain| claim.is(drain))
}

fn claim(observed: &Observed) -> Claim {
    Claim::new(observed.lane.as_ref(), Purpose::Closing, &observed.lane.name_any())
}

/// Whether the lane is to be closed and its agent is not told so yet.
pub(super) fn is_pending(observed: &Observed) -> bool {
    declared(observed) == Admission::Closed && observed.admission == Some(Admission::Open)
}

/// Whether the lane is to be closed and its agent is told so.
pub(super) fn is_done(observed: &Observed) -> bool {
    declared(observed) == Admission::Closed && observed.admission == Some(Admission::Closed)
}

/// On whom the closing waits; none when nothing is being closed, or the lane is empty already.
pub(super) fn waits(observed: &Observed) -> Option<BlockedBy> {
    if !is_pending(observed) {
        return None;
    }
    let claim = claim(observed);
    let drain = observed.made.iter().find(|drain| claim.is(drain));
    match ClaimProgress::of(&claim, drain.map(Arc::as_ref), observed.now) {
        ClaimProgress::Waits(block) => Some(block),
        ClaimProgress::Held => None,
    }
}

/// The claim to make, and the claims to end.
pub(super) fn errands(observed: &Observed) -> (Option<Claim>, Vec<Arc<LaneDrain>>) {
    let claim = claim(observed);
    let pending = is_pending(observed);
    let heard = observed.liveness() == Liveness::Live;
    let stands = observed.made.iter().any(|drain| claim.is(drain));
    let reported = observed.report.as_ref().and_then(|report| report.lane()).map(|lane| lane.admission);
    let shut = matches!(reported, Some(LaneAdmission::Closed | LaneAdmission::Drained));
    let closed = !pending && observed.confirmed() && shut && heard;
    let unwanted = observed.life == LifecycleStage::Planned || declared(observed) == Admission::Open;
    let over =
        |drain: &LaneDrain| !claim.is(drain) || closed || (unwanted && observed.life != LifecycleStage::UnknownPhase);
    let make = (pending && heard && !stands).then_some(claim.clone());
    (make, observed.made.iter().filter(|drain| over(drain)).cloned().collect())
}
