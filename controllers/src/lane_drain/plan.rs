//! What becomes of a LaneDrain. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Conditioned, Reason, whole_seconds};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::lane_drain::DrainClass;
use kalong_crds::wire::event::EventSeverity;
use kube::ResourceExt;

use super::hold::after;
use super::observe::{Asks, Deadline, LaneObservation, Observed, retry_at};
use crate::capacity::{Decision, Lost, Wait, decide, loss};
use crate::kit::drains::{Acceptance, HoldProgress, IN_FLIGHT};
use crate::kit::life::LifecycleStage;
use crate::kit::link::Liveness;
use crate::kit::reconciler::EventToEmit;

/// Lanes that one claim may concern; as many as its status has room for.
pub(super) const MAX_LANES: usize = 64;
/// When a claim that was given up is asked anew. Others may go first meanwhile.
pub(super) const RETRY: SignedDuration = SignedDuration::from_secs(600);
/// The same for an Emergency, which nobody wants to wait for.
pub(super) const RETRY_EMERGENCY: SignedDuration = SignedDuration::from_secs(60);
/// How long after the time to be empty an agent may take to say that it gave up, before the claim is given up without its word.
pub(super) const LATE: SignedDuration = SignedDuration::from_secs(30);
/// Characters of a condition's message.
const MESSAGE: usize = 1024;
/// Enough for a moment to lie in the past when it is looked at.
const MOMENT: Duration = Duration::from_millis(100);

/// What becomes of the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It is being deleted and holds nothing.
    Ending,
    /// It has passed its deadline and holds nothing.
    Lapsed,
    /// A person has to correct it. What it holds already it keeps.
    Stuck(Reason, String),
    /// It holds nothing and waits on this.
    Waits(Wait),
    /// An agent gave up, or refused; it is asked anew later.
    GivenUp(GivenUp),
    /// It holds its lanes, or empties them.
    Holds(Holds),
    /// Nobody can tell yet; what was said before stands.
    Patience,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) reason: Reason,
    pub(super) subject: String,
    pub(super) message: String,
    pub(super) until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holds {
    /// The lanes that it holds, each with what it does and how empty it is.
    pub(super) lanes: Vec<Held>,
    /// When all of them have to be empty; none once they were.
    pub(super) empty_by: Option<Timestamp>,
    /// Lanes that joined the target and wait to be taken too.
    pub(super) more: Option<Wait>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) name: String,
    pub(super) agent: String,
    pub(super) state: LaneAdmission,
    pub(super) emptiness: Emptiness,
}

/// Whether a lane is empty and held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emptiness {
    /// Its phase is planned: nobody is there.
    Nobody,
    Empty,
    Not,
    Unknown,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) course: Course,
    /// The acceptance as it shall be.
    pub(super) acceptance: Option<Acceptance>,
    pub(super) again: Option<Duration>,
}

impl Plan {
    /// What differs from the decision that is stored, and that people are told of.
    pub(super) fn events(&self, observed: &Observed) -> Option<EventToEmit> {
        let warning =
            |reason, note: &String| EventToEmit { reason, severity: EventSeverity::Warning, note: note.clone() };
        match (&observed.stored, &self.acceptance, &self.course) {
            (Some(_), None, Course::GivenUp(given_up)) => Some(warning(given_up.reason, &given_up.message)),
            (stored, Some(now), _) if stored.as_ref().is_none_or(|stored| stored.at != now.at) => {
                let accepted =
                    EventToEmit { reason: Reason::DrainAccepted, severity: EventSeverity::Normal, note: String::new() };
                Some(now.breaking.as_ref().map_or(accepted, |floors| warning(Reason::EmergencyAccepted, floors)))
            }
            _ => None,
        }
    }
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let rest = |course, acceptance| Plan { course, acceptance, again: None };
    if observed.drain.metadata.deletion_timestamp.is_some() {
        return rest(Course::Ending, None);
    }
    match observed.deadline {
        Deadline::Invalid => {
            let say = "`spec.deadline` is no time of the calendar: correct it. What the claim holds stays held.";
            return rest(Course::Stuck(Reason::InvalidSpec, say.to_owned()), observed.acceptance.clone());
        }
        Deadline::At(end) if end <= observed.now => return rest(Course::Lapsed, None),
        Deadline::At(_) | Deadline::Endless => {}
    }
    let target = &observed.drain.spec.target;
    let Some(lanes) = &observed.target else {
        let say = format!(
            "{} {} does not exist in this namespace: declare it, or delete this claim.",
            target.kind.as_str(),
            target.name
        );
        return rest(Course::Stuck(Reason::MissingReference, say), None);
    };
    if lanes.len() > MAX_LANES {
        let say = format!(
            "The target stands for {} lanes, at most {MAX_LANES} fit one claim: claim smaller parts.",
            lanes.len()
        );
        return rest(Course::Stuck(Reason::InvalidSpec, say), observed.acceptance.clone());
    }
    let mut plan = match (given_up(observed, lanes), &observed.asks) {
        (Some(given_up), _) => rest(Course::GivenUp(given_up), None),
        (None, Some(asks)) => ask(observed, lanes, asks),
        (None, None) => match &observed.acceptance {
            Some(acceptance) => rest(holds(observed, lanes, acceptance, None), Some(acceptance.clone())),
            None => rest(waits_on(observed), None),
        },
    };
    plan.again = again(observed, &plan);
    plan
}

/// Asks whether the claim, or what joined its target, may be taken now.
fn ask(observed: &Observed, lanes: &[LaneObservation], asks: &Asks) -> Plan {
    let accepted = |breaking: Option<String>| {
        let acceptance = Acceptance { at: whole_seconds(observed.now), lanes: asks.claim.lanes.clone(), breaking };
        Plan { course: holds(observed, lanes, &acceptance, None), acceptance: Some(acceptance), again: None }
    };
    match (decide(&asks.picture, &asks.claim), asks.claim.class) {
        (Decision::Accept, DrainClass::Change) => accepted(None),
        (Decision::Accept, DrainClass::Emergency) => accepted(Some("No floor breaks by it.".to_owned())),
        (Decision::AcceptBreaking(floors), _) => {
            let floors: Vec<_> = floors.iter().map(ToString::to_string).collect();
            // As much as the condition can carry, from which it is read again.
            accepted(Some(format!("Floors break: {}.", floors.join("; ")).chars().take(MESSAGE).collect()))
        }
        (Decision::Wait(wait), _) => {
            let visited = observed.drain.status.as_ref().is_some_and(|status| !status.conditions.is_empty());
            let course = match &observed.acceptance {
                Some(acceptance) => holds(observed, lanes, acceptance, Some(wait)),
                None if visited && asks.unheard.is_some() => Course::Patience,
                None => Course::Waits(wait),
            };
            Plan { course, acceptance: observed.acceptance.clone(), again: None }
        }
    }
}

/// A claim that nobody may ask for now goes on waiting for its next try.
fn waits_on(observed: &Observed) -> Course {
    let Some(until) = retry_at(&observed.drain) else { return Course::Patience };
    let status = observed.drain.status.as_ref();
    let block = status.and_then(|status| status.blocked_by.iter().find(|block| block.code == BlockCode::Retry));
    let reason = Reason::parse(observed.drain.reason(ConditionType::Accepted)).unwrap_or(Reason::DrainTimedOut);
    block.map_or(Course::Patience, |block| {
        let (subject, message) = (block.subject.clone(), block.message.clone());
        Course::GivenUp(GivenUp { reason, subject, message, until })
    })
}

/// Whether an accepted claim cannot be kept: its agent says so, or never came to say so.
fn given_up(observed: &Observed, lanes: &[LaneObservation]) -> Option<GivenUp> {
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
            return Some(GivenUp { reason, subject, message: say(&refusal.message), until });
        }
        // It was empty once and opened again without being told to: its agent has ended the hold by itself.
        if report.is_some_and(|r| r.admission == LaneAdmission::Open) && was_emptied(observed, acceptance) {
            let message = say("The agent has ended the hold by itself.");
            return Some(GivenUp { reason: Reason::DrainTimedOut, subject, message, until });
        }
    }
    let empty_by = observed.stored.as_ref().filter(|stored| *stored == acceptance).and(stored_empty_by(observed))?;
    let open = lanes.iter().find(|lane| {
        let empty = emptiness(observed, lane, acceptance);
        acceptance.lanes.contains(&lane.name) && matches!(empty, Emptiness::Not | Emptiness::Unknown)
    })?;
    (after(empty_by, LATE) <= observed.now).then(|| GivenUp {
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

fn holds(observed: &Observed, lanes: &[LaneObservation], acceptance: &Acceptance, more: Option<Wait>) -> Course {
    let mine: Vec<_> = lanes.iter().filter(|lane| acceptance.lanes.contains(&lane.name)).collect();
    let held: Vec<_> = mine
        .iter()
        .map(|lane| Held {
            name: lane.name.clone(),
            agent: lane.agent.clone(),
            state: state(observed, lane),
            emptiness: emptiness(observed, lane, acceptance),
        })
        .collect();
    let empty = held.iter().all(|lane| matches!(lane.emptiness, Emptiness::Empty | Emptiness::Nobody));
    let emptying =
        |lane: &&LaneObservation| observed.drain.spec.timeout_seconds.map_or(lane.emptying, SignedDuration::from_secs);
    let empty_by = mine.iter().map(emptying).max().map(|span| after(acceptance.at, span));
    let empty_by = empty_by.filter(|_| !empty && !was_emptied(observed, acceptance));
    Course::Holds(Holds { lanes: held, empty_by, more })
}

/// What a lane does, for the status: what was said before while nothing can be concluded.
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

fn emptiness(observed: &Observed, lane: &LaneObservation, acceptance: &Acceptance) -> Emptiness {
    let before = was_emptied(observed, acceptance);
    match (lane.life, lane.liveness) {
        (LifecycleStage::Planned, _) => return Emptiness::Nobody,
        (_, Liveness::Pending) if before => return Emptiness::Empty,
        (_, Liveness::Pending | Liveness::Lost) => return Emptiness::Unknown,
        (_, Liveness::Live) => {}
    }
    // A word about an older order may be older than the traffic that came since. Once everything was empty, each order since then
    // carried this claim.
    let stands = match lane.hold_progress {
        HoldProgress::Confirmed => true,
        HoldProgress::Unconfirmed | HoldProgress::Untold => before,
        HoldProgress::Without => false,
    };
    let shut = lane.declared == Admission::Closed || lane.life == LifecycleStage::Commissioning;
    match lane.admission() {
        LaneAdmission::Drained if stands => Emptiness::Empty,
        LaneAdmission::Closed if stands && shut => Emptiness::Empty,
        LaneAdmission::Unknown => Emptiness::Unknown,
        _ => Emptiness::Not,
    }
}

/// When time alone changes something.
fn again(observed: &Observed, plan: &Plan) -> Option<Duration> {
    let left = |at: Timestamp| Duration::try_from(at.duration_since(observed.now)).unwrap_or_default() + MOMENT;
    let end = match observed.deadline {
        Deadline::At(end) => Some(left(end)),
        Deadline::Endless | Deadline::Invalid => None,
    };
    let own = match &plan.course {
        Course::GivenUp(given_up) => Some(left(given_up.until)),
        Course::Holds(holds) => holds.empty_by.map(|at| left(after(at, LATE))),
        Course::Patience => observed.asks.as_ref().and_then(|asks| asks.unheard),
        Course::Waits(_) => observed.asks.as_ref().and_then(in_flight),
        Course::Ending | Course::Lapsed | Course::Stuck(..) => None,
    };
    [end, own].into_iter().flatten().min()
}

/// An order that may still be on its way to a lane is forgotten after a while, which nothing else wakes anybody for.
fn in_flight(asks: &Asks) -> Option<Duration> {
    let lanes = &asks.picture.lanes;
    let groups: BTreeSet<_> =
        asks.claim.lanes.iter().filter_map(|name| lanes.get(name)).map(|lane| &lane.group).collect();
    let unconfirmed = lanes
        .iter()
        .filter(|(_, lane)| groups.contains(&lane.group))
        .any(|(name, lane)| loss(&asks.picture, name, lane) == Some(Lost::Unconfirmed));
    unconfirmed.then(|| Duration::try_from(IN_FLIGHT).unwrap_or_default())
}
