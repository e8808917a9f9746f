//! Decides about a LaneDrain. Pure: no client, no clock, no log.

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Conditioned, Reason, whole_seconds};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::lane_drain::DrainClass;
use kalong_rules::capacity::{self, Wait};
use kalong_rules::claim::{Deadline, retry_at};
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::lane::LaneObservation;
use super::observe::{MAX_LANES, Observed};
use super::request::DrainRequest;
use crate::claim::after;
use crate::kit::drains::{Acceptance, HoldProgress};
use crate::kit::link::Liveness;

/// When an abandoned claim is tried again. Others may go first meanwhile.
pub(super) const RETRY: SignedDuration = SignedDuration::from_secs(600);
/// The same for an Emergency, which has to hold as soon as it can.
pub(super) const RETRY_EMERGENCY: SignedDuration = SignedDuration::from_secs(60);
/// How long after the time to be empty an agent may take to report that it gave up, before the claim is abandoned without its report.
pub(super) const LATE: SignedDuration = SignedDuration::from_secs(30);
/// Characters of a condition's message.
const MESSAGE: usize = 1024;

/// What is to be done about one LaneDrain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) outcome: DrainDecision,
    /// The acceptance as it should be.
    pub(super) acceptance: Option<Acceptance>,
}

impl Decision {
    /// Whether a person has to correct the claim and it goes on to hold what it holds.
    pub(super) fn keeps_what_it_holds(&self) -> bool {
        matches!(self.outcome, DrainDecision::Stuck(..)) && self.acceptance.is_some()
    }
}

/// What becomes of the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DrainDecision {
    /// It is being deleted and holds nothing.
    Ending,
    /// It has passed its deadline and holds nothing.
    Lapsed,
    /// A person has to correct it. What it holds already it keeps.
    Stuck(Reason, String),
    /// It holds nothing and waits for this.
    Waits(Wait),
    /// An agent gave up, or refused; it is tried again later.
    Abandoned(Abandoned),
    /// It holds its lanes, or empties them.
    Holds(ActiveHold),
    /// What that depends on was not heard yet; the status stays as it is.
    Undecided,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Abandoned {
    pub(super) reason: Reason,
    pub(super) subject: String,
    pub(super) message: String,
    /// When it is tried again.
    pub(super) until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ActiveHold {
    pub(super) lanes: Vec<HeldLane>,
    /// When all of them have to be empty; none once they were.
    pub(super) empty_by: Option<Timestamp>,
    /// What lanes that joined the target later wait for.
    pub(super) joining: Option<Wait>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldLane {
    pub(super) name: String,
    pub(super) agent: String,
    pub(super) state: LaneAdmission,
    pub(super) empty: LaneEmpty,
}

/// Whether a lane is empty and held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneEmpty {
    /// Its phase is planned: nothing is there that could be emptied.
    NotInUse,
    Yes,
    No,
    Unknown,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    let decision = |outcome, acceptance| Decision { outcome, acceptance };
    if observed.drain.metadata.deletion_timestamp.is_some() {
        return decision(DrainDecision::Ending, None);
    }
    match observed.deadline {
        Deadline::Invalid => {
            let say = "`spec.deadline` is no time of the calendar: correct it. What the claim holds stays held.";
            return decision(DrainDecision::Stuck(Reason::InvalidSpec, say.to_owned()), observed.acceptance.clone());
        }
        Deadline::At(end) if end <= observed.now => return decision(DrainDecision::Lapsed, None),
        Deadline::At(_) | Deadline::Endless => {}
    }
    let target = &observed.drain.spec.target;
    let Some(lanes) = &observed.target else {
        let say = format!(
            "{} {} does not exist in this namespace: declare it, or delete this claim.",
            target.kind.as_str(),
            target.name
        );
        return decision(DrainDecision::Stuck(Reason::MissingReference, say), None);
    };
    if lanes.len() > MAX_LANES {
        let say = format!(
            "The target stands for {} lanes, at most {MAX_LANES} fit one claim: claim smaller parts.",
            lanes.len()
        );
        return decision(DrainDecision::Stuck(Reason::InvalidSpec, say), observed.acceptance.clone());
    }
    if let Some(abandoned) = abandoned(observed, lanes) {
        return decision(DrainDecision::Abandoned(abandoned), None);
    }
    match (&observed.request, &observed.acceptance) {
        (Some(request), _) => weigh(observed, lanes, request),
        (None, Some(acceptance)) => decision(holds(observed, lanes, acceptance, None), Some(acceptance.clone())),
        (None, None) => decision(waits_on(observed), None),
    }
}

/// Whether the claim, or what joined its target, may be accepted now.
fn weigh(observed: &Observed, lanes: &[LaneObservation], request: &DrainRequest) -> Decision {
    let accepted = |breaking: Option<String>| {
        let acceptance = Acceptance { at: whole_seconds(observed.now), lanes: request.claim.lanes.clone(), breaking };
        Decision { outcome: holds(observed, lanes, &acceptance, None), acceptance: Some(acceptance) }
    };
    match (capacity::decide(&request.snapshot, &request.claim), request.claim.class) {
        (capacity::Decision::Accept, DrainClass::Change) => accepted(None),
        (capacity::Decision::Accept, DrainClass::Emergency) => accepted(Some("No floor breaks by it.".to_owned())),
        (capacity::Decision::AcceptBreaking(floors), _) => {
            let floors: Vec<_> = floors.iter().map(ToString::to_string).collect();
            // As much as the condition can carry, from which it is read again.
            accepted(Some(format!("Floors break: {}.", floors.join("; ")).chars().take(MESSAGE).collect()))
        }
        (capacity::Decision::Wait(wait), _) => {
            let visited = observed.drain.status.as_ref().is_some_and(|status| !status.conditions.is_empty());
            let outcome = match &observed.acceptance {
                Some(acceptance) => holds(observed, lanes, acceptance, Some(wait)),
                None if visited && request.unheard.is_some() => DrainDecision::Undecided,
                None => DrainDecision::Waits(wait),
            };
            Decision { outcome, acceptance: observed.acceptance.clone() }
        }
    }
}

/// A claim that may not be accepted now goes on waiting for its next try.
fn waits_on(observed: &Observed) -> DrainDecision {
    let Some(until) = retry_at(&observed.drain) else { return DrainDecision::Undecided };
    let status = observed.drain.status.as_ref();
    let block = status.and_then(|status| status.blocked_by.iter().find(|block| block.code == BlockCode::Retry));
    let reason = Reason::parse(observed.drain.reason(ConditionType::Accepted)).unwrap_or(Reason::DrainTimedOut);
    block.map_or(DrainDecision::Undecided, |block| {
        let (subject, message) = (block.subject.clone(), block.message.clone());
        DrainDecision::Abandoned(Abandoned { reason, subject, message, until })
    })
}

/// Why an accepted claim cannot be kept: its agent reports so, or never came to report it.
fn abandoned(observed: &Observed, lanes: &[LaneObservation]) -> Option<Abandoned> {
    let acceptance = observed.acceptance.as_ref()?;
    let retry = if observed.drain.spec.class == DrainClass::Emergency { RETRY_EMERGENCY } else { RETRY };
    let until = after(observed.now, retry);
    let name = observed.drain.name_any();
    for lane in lanes.iter().filter(|lane| acceptance.lanes.contains(&lane.name)) {
        let subject = format!("Lane/{}", lane.name);
        let say = |what: &str| format!("{what} Lane {} is asked anew at {until}; others may go first.", lane.name);
        let report = lane
            .report
            .as_ref()
            .filter(|_| lane.liveness == Liveness::Live && lane.hold_progress == HoldProgress::Confirmed);
        if let Some(refusal) = report.and_then(|r| r.refusal.as_ref()).filter(|r| r.drains.contains(&name)) {
            let refused = refusal.reason == Reason::DrainRefused.as_str();
            let reason = if refused { Reason::DrainRefused } else { Reason::DrainTimedOut };
            return Some(Abandoned { reason, subject, message: say(&refusal.message), until });
        }
        // It was empty once and opened again without an order: its agent has ended the hold by itself.
        if report.is_some_and(|r| r.admission == LaneAdmission::Open) && was_emptied(observed, acceptance) {
            let message = say("The agent has ended the hold by itself.");
            return Some(Abandoned { reason: Reason::DrainTimedOut, subject, message, until });
        }
    }
    let empty_by = observed.stored.as_ref().filter(|stored| *stored == acceptance).and(stored_empty_by(observed))?;
    let open = lanes.iter().find(|lane| {
        let empty = is_empty(observed, lane, acceptance);
        acceptance.lanes.contains(&lane.name) && matches!(empty, LaneEmpty::No | LaneEmpty::Unknown)
    })?;
    (after(empty_by, LATE) <= observed.now).then(|| Abandoned {
        reason: Reason::DrainTimedOut,
        subject: format!("Lane/{}", open.name),
        message: format!(
            "Lane {} was not empty at {empty_by} and its agent {} has not said why: look at the box. It is asked anew at {until}.",
            open.name, open.agent
        ),
        until,
    })
}

fn stored_empty_by(observed: &Observed) -> Option<Timestamp> {
    observed.drain.status.as_ref()?.empty_by.as_deref()?.parse().ok()
}

/// Whether this acceptance once had all its lanes empty: the time to be empty is taken out of the status then.
fn was_emptied(observed: &Observed, acceptance: &Acceptance) -> bool {
    let stored = observed.stored.as_ref().is_some_and(|stored| stored.at == acceptance.at);
    stored && stored_empty_by(observed).is_none()
}

fn holds(
    observed: &Observed,
    lanes: &[LaneObservation],
    acceptance: &Acceptance,
    joining: Option<Wait>,
) -> DrainDecision {
    let mine: Vec<_> = lanes.iter().filter(|lane| acceptance.lanes.contains(&lane.name)).collect();
    let held: Vec<_> = mine
        .iter()
        .map(|lane| HeldLane {
            name: lane.name.clone(),
            agent: lane.agent.clone(),
            state: state(observed, lane),
            empty: is_empty(observed, lane, acceptance),
        })
        .collect();
    let all_empty = held.iter().all(|lane| matches!(lane.empty, LaneEmpty::Yes | LaneEmpty::NotInUse));
    let emptying =
        |lane: &&LaneObservation| observed.drain.spec.timeout_seconds.map_or(lane.emptying, SignedDuration::from_secs);
    let empty_by = mine.iter().map(emptying).max().map(|span| after(acceptance.at, span));
    let empty_by = empty_by.filter(|_| !all_empty && !was_emptied(observed, acceptance));
    DrainDecision::Holds(ActiveHold { lanes: held, empty_by, joining })
}

/// What a lane does, for the status: what it said before, while nothing can be concluded.
fn state(observed: &Observed, lane: &LaneObservation) -> LaneAdmission {
    match (lane.life, lane.liveness) {
        (LifecycleStage::Planned, _) => LaneAdmission::Closed,
        (_, Liveness::Pending) => {
            let old = observed.drain.status.iter().flat_map(|status| &status.responders);
            old.into_iter().find(|old| old.name.as_str() == lane.name).map_or(LaneAdmission::Unknown, |old| old.state)
        }
        _ => lane.admission(),
    }
}

fn is_empty(observed: &Observed, lane: &LaneObservation, acceptance: &Acceptance) -> LaneEmpty {
    let before = was_emptied(observed, acceptance);
    match (lane.life, lane.liveness) {
        (LifecycleStage::Planned, _) => return LaneEmpty::NotInUse,
        (_, Liveness::Pending) if before => return LaneEmpty::Yes,
        (_, Liveness::Pending | Liveness::Lost) => return LaneEmpty::Unknown,
        (_, Liveness::Live) => {}
    }
    // A report about an older order may be older than the traffic that came since. Once everything was empty, each order since then
    // carried this claim.
    let counts = match lane.hold_progress {
        HoldProgress::Confirmed => true,
        HoldProgress::Unconfirmed | HoldProgress::Unknown => before,
        HoldProgress::Without => false,
    };
    let stays_closed = lane.declared == Admission::Closed || lane.life == LifecycleStage::Commissioning;
    match lane.admission() {
        LaneAdmission::Drained if counts => LaneEmpty::Yes,
        LaneAdmission::Closed if counts && stays_closed => LaneEmpty::Yes,
        LaneAdmission::Unknown => LaneEmpty::Unknown,
        _ => LaneEmpty::No,
    }
}
