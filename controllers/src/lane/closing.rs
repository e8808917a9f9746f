//! Closing a lane that admits traffic: like every change of what serves, it waits for the floors and for the last vehicle.

use std::sync::Arc;

use kalong_crds::LaneDrain;
use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::units::Digest;
use kube::ResourceExt;

use super::claim::{Claim, Purpose, Standing};
use super::observe::Seen;
use crate::kit::life::Life;
use crate::kit::link::Hearing;

/// What is declared, seen through the phase: nothing is admitted before it is open.
pub(super) fn declared(seen: &Seen) -> Admission {
    if seen.life == Life::Commissioning { Admission::Closed } else { seen.lane.spec.admission }
}

/// What the lane was last known to do; none when nobody has said anything that still counts.
fn last_known(seen: &Seen) -> Option<LaneAdmission> {
    if let Some(report) = &seen.report {
        return Some(report.lane.as_ref().map_or(LaneAdmission::Unknown, |lane| lane.admission));
    }
    match seen.hearing() {
        // Its agent holds nothing of the lane: it was never told to open.
        Hearing::Heard => Some(LaneAdmission::Closed),
        Hearing::Wait | Hearing::Silent => {
            let old = seen.lane.status.as_ref().map(|status| status.admission).unwrap_or_default();
            (old != LaneAdmission::Unknown).then_some(old)
        }
    }
}

/// The admission that the agent is told; none while it is to close and nobody can tell whether it is open: it keeps its order.
/// `closed` is the hash of the order that closes the lane.
///
/// A lane that is told Open for the first time, or again, is just opened: that takes nothing from any floor.
pub(super) fn admission(seen: &Seen, closed: Option<&Digest>) -> Option<Admission> {
    if declared(seen) == Admission::Open {
        return Some(Admission::Open);
    }
    let last = last_known(seen)?;
    let told_closed = seen.report.as_ref().is_some_and(|report| Some(&report.hash) == closed);
    let begun = !seen.made.is_empty();
    Some(match last {
        // Whatever its controller shows: a closed lane that somebody opens at its panel is told to close again.
        _ if told_closed || last == LaneAdmission::Closed || (!begun && !served(seen)) => Admission::Closed,
        // Empty under our own accepted claim: from here on it is closed as declared.
        LaneAdmission::Drained if is_accepted(seen) => Admission::Closed,
        // Nobody counts on a lane that its controller does not show, so closing it costs nothing.
        LaneAdmission::Unknown if !begun => Admission::Closed,
        _ => Admission::Open,
    })
}

/// Whether the status speaks of a lane that was told to admit traffic. It says Closed from the moment in which it was not any
/// more, so that neither a restart nor a silent agent ever opens it again.
fn served(seen: &Seen) -> bool {
    const NOT_SERVING: [Reason; 4] = [Reason::Initializing, Reason::Planned, Reason::Commissioning, Reason::Closed];
    let reason = seen.lane.reason(ConditionType::Available);
    !reason.is_empty() && !NOT_SERVING.iter().any(|word| word.as_str() == reason)
}

fn is_accepted(seen: &Seen) -> bool {
    let claim = claim(seen);
    seen.claims.iter().any(|drain| claim.is(drain))
}

fn claim(seen: &Seen) -> Claim {
    Claim::new(seen.lane.as_ref(), Purpose::Closing, &seen.lane.name_any())
}

/// Whether the lane is to be closed and its agent is not told so yet.
pub(super) fn is_pending(seen: &Seen) -> bool {
    declared(seen) == Admission::Closed && seen.admission == Some(Admission::Open)
}

/// Whether the lane is to be closed and its agent is told so.
pub(super) fn is_done(seen: &Seen) -> bool {
    declared(seen) == Admission::Closed && seen.admission == Some(Admission::Closed)
}

/// On whom the closing waits; none when nothing is being closed, or the lane is empty already.
pub(super) fn waits(seen: &Seen) -> Option<BlockedBy> {
    if !is_pending(seen) {
        return None;
    }
    let claim = claim(seen);
    let drain = seen.made.iter().find(|drain| claim.is(drain));
    match Standing::of(&claim, drain.map(Arc::as_ref), seen.now) {
        Standing::Waits(block) => Some(block),
        Standing::Held => None,
    }
}

/// The claim to make, and the claims to end.
pub(super) fn errands(seen: &Seen) -> (Option<Claim>, Vec<Arc<LaneDrain>>) {
    let claim = claim(seen);
    let pending = is_pending(seen);
    let heard = seen.hearing() == Hearing::Heard;
    let stands = seen.made.iter().any(|drain| claim.is(drain));
    let reported = seen.report.as_ref().and_then(|report| report.lane.as_ref()).map(|lane| lane.admission);
    let shut = matches!(reported, Some(LaneAdmission::Closed | LaneAdmission::Drained));
    let closed = !pending && seen.confirmed() && shut && heard;
    let unwanted = seen.life == Life::Planned || declared(seen) == Admission::Open;
    let over = |drain: &LaneDrain| !claim.is(drain) || closed || (unwanted && seen.life != Life::UnknownPhase);
    let make = (pending && heard && !stands).then_some(claim.clone());
    (make, seen.made.iter().filter(|drain| over(drain)).cloned().collect())
}
