//! Everything that a decision about a LaneDrain rests on, in one struct.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::lane_drain::{DrainTarget, LaneDrainStatus, TargetKind};
use kalong_crds::units::{AgentId, Digest};
use kalong_crds::wire::reported::LaneReport;
use kalong_crds::{Crossing, Lane, LaneDrain};
use kube::ResourceExt;

use super::hold::is_accepted;
use crate::capacity::{CapacitySnapshot, Claim, Floor, Group, LaneFacts};
use crate::kit::caches::{self, Caches};
use crate::kit::context::Context;
use crate::kit::drains::{Acceptance, HoldProgress, Ledger};
use crate::kit::life::LifecycleStage;
use crate::kit::link::{AgentFacts, CONFIRMATION, Liveness};

/// Everything that a decision about one LaneDrain rests on.
pub(super) struct Observed {
    pub(super) drain: Arc<LaneDrain>,
    pub(super) now: Timestamp,
    pub(super) deadline: Deadline,
    /// The lanes that the target stands for; none when it does not exist.
    pub(super) target: Option<Vec<LaneObservation>>,
    /// What the cache shows of an acceptance.
    pub(super) stored: Option<Acceptance>,
    /// The same, or what was decided and is not in the cache yet.
    pub(super) acceptance: Option<Acceptance>,
    /// What a decision rests on; none when there is nothing to decide.
    pub(super) asks: Option<Asks>,
}

/// A claim that wants to be accepted, and everything that is weighed.
pub(super) struct Asks {
    pub(super) claim: Claim,
    pub(super) picture: CapacitySnapshot,
    /// When a lane that may count will have been heard: until then nothing new is said.
    pub(super) unheard: Option<Duration>,
}

/// When the claim ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    Endless,
    At(Timestamp),
    /// It is no time of the calendar.
    Invalid,
}

/// One lane, as a claim sees it.
#[derive(Clone, Debug)]
pub(super) struct LaneObservation {
    pub(super) name: String,
    pub(super) group: Group,
    pub(super) passages_per_hour: i64,
    pub(super) life: LifecycleStage,
    pub(super) declared: Admission,
    /// How long the lane may take to become empty, if the claim does not say.
    pub(super) emptying: SignedDuration,
    pub(super) available: ConditionStatus,
    /// Name of the EdgeAgent of its controller.
    pub(super) agent: String,
    pub(super) liveness: Liveness,
    pub(super) grace: Option<Duration>,
    pub(super) report: Option<LaneReport>,
    /// Whether its agent holds the last order, and no claim is in that order or on its way.
    pub(super) settled: bool,
    /// Whether it was told to be closed, as its status says.
    pub(super) told_closed: bool,
    /// Whether its agent holds the last order.
    pub(super) confirmed: bool,
    /// How far its agent is with the claim that looks.
    pub(super) hold_progress: HoldProgress,
}

impl LaneObservation {
    /// What it really does, as far as its agent is heard.
    pub(super) fn admission(&self) -> LaneAdmission {
        match self.liveness {
            Liveness::Live => self.report.as_ref().map_or(LaneAdmission::Unknown, |report| report.admission),
            Liveness::Pending | Liveness::Lost => LaneAdmission::Unknown,
        }
    }

    fn facts(&self) -> LaneFacts {
        LaneFacts {
            group: self.group.clone(),
            passages_per_hour: self.passages_per_hour,
            life: self.life,
            declared: self.declared,
            reported: self.admission(),
            available: self.available,
            interlocked: self.report.as_ref().is_some_and(|report| report.closed_by_interlock),
            settled: self.settled,
            shut: self.shut(),
        }
    }

    /// The word of an agent that does not hold the order to close is not enough: an interlock may have closed the lane for a moment, or a
    /// hold that has ended since.
    fn shut(&self) -> bool {
        self.confirmed
            && self.declared == Admission::Closed
            && self.told_closed
            && matches!(self.admission(), LaneAdmission::Closed | LaneAdmission::Drained)
    }

    /// When to look again because nothing can be concluded about this lane yet.
    fn unheard(&self) -> Option<Duration> {
        match (self.life, self.liveness) {
            (LifecycleStage::InService, Liveness::Pending) => Some(self.grace.unwrap_or(CONFIRMATION)),
            (LifecycleStage::InService, Liveness::Live) if self.hold_progress == HoldProgress::Untold => {
                Some(CONFIRMATION)
            }
            _ => None,
        }
    }
}

/// Reads caches and memory alone, so that a decision is made at one moment.
pub(super) fn observe(ctx: &Context, drain: Arc<LaneDrain>, ledger: &Ledger) -> Observed {
    let namespace = drain.namespace().unwrap_or_default();
    let lane = |lane: &Lane| look(ctx, &namespace, lane, &drain.name_any());
    let site = Site {
        now: ctx.clock.now(),
        drains: caches::select(&ctx.caches.drains, &namespace, |_| true),
        target: |target: &DrainTarget| under(&ctx.caches, &namespace, target),
        lanes: || caches::select(&ctx.caches.lanes, &namespace, |_| true).iter().map(|l| lane(l)).collect(),
        lane: |name: &str| caches::get(&ctx.caches.lanes, &namespace, name).map(|l| lane(&l)),
        floors: || {
            let crossings = caches::select(&ctx.caches.crossings, &namespace, |_| true);
            crossings.iter().flat_map(|crossing| floors(ctx, &namespace, crossing)).collect()
        },
    };
    compose(drain.clone(), ledger, &site)
}

/// A namespace, as it is read by [`observe`] or made by a test.
pub(super) struct Site<T, L, O, F> {
    pub(super) now: Timestamp,
    pub(super) drains: Vec<Arc<LaneDrain>>,
    /// Names of the lanes that a target stands for; none when it does not exist.
    pub(super) target: T,
    pub(super) lanes: L,
    pub(super) lane: O,
    pub(super) floors: F,
}

pub(super) fn compose<T, L, O, F>(drain: Arc<LaneDrain>, ledger: &Ledger, site: &Site<T, L, O, F>) -> Observed
where
    T: Fn(&DrainTarget) -> Option<BTreeSet<String>>,
    L: Fn() -> Vec<LaneObservation>,
    O: Fn(&str) -> Option<LaneObservation>,
    F: Fn() -> Vec<Floor>,
{
    let names = (site.target)(&drain.spec.target);
    let stored = stored(&drain);
    let decided = ledger.get(&drain.uid().unwrap_or_default()).filter(|_| !ended(&drain)).cloned();
    // A lane that left the target is not held any more.
    let acceptance = decided.or_else(|| stored.clone()).zip(names.as_ref()).map(|(acceptance, names)| Acceptance {
        lanes: acceptance.lanes.intersection(names).cloned().collect(),
        ..acceptance
    });
    let mut observed = Observed {
        now: site.now,
        deadline: deadline(&drain),
        target: names.as_ref().map(|names| names.iter().filter_map(|name| (site.lane)(name)).collect()),
        stored,
        acceptance,
        asks: None,
        drain,
    };
    if let Some(names) = names.filter(|names| wants(&observed, names)) {
        observed.asks = Some(asks(&observed, names, ledger, site));
    }
    observed
}

fn asks<T, L, O, F>(observed: &Observed, names: BTreeSet<String>, ledger: &Ledger, site: &Site<T, L, O, F>) -> Asks
where
    T: Fn(&DrainTarget) -> Option<BTreeSet<String>>,
    L: Fn() -> Vec<LaneObservation>,
    F: Fn() -> Vec<Floor>,
{
    let lanes = (site.lanes)();
    let mut picture = CapacitySnapshot {
        floors: (site.floors)(),
        lanes: lanes.iter().map(|lane| (lane.name.clone(), lane.facts())).collect(),
        accepted: Vec::new(),
        waiting: Vec::new(),
    };
    for drain in site.drains.iter().filter(|drain| !ended(drain)) {
        let decided = ledger.get(&drain.uid().unwrap_or_default()).cloned().or_else(|| stored(drain));
        let all = (site.target)(&drain.spec.target).unwrap_or_default();
        if decided.as_ref().is_none_or(|acceptance| !acceptance.lanes.is_superset(&all)) && may_ask(drain, site.now) {
            picture.waiting.push(claim(drain, all));
        }
        // What is let go counts as held until that is stored too: a restart would bring it back.
        let lanes = decided.into_iter().chain(stored(drain)).flat_map(|acceptance| acceptance.lanes).collect();
        picture.accepted.push(claim(drain, lanes));
    }
    let groups: BTreeSet<_> = lanes.iter().filter(|lane| names.contains(&lane.name)).map(|lane| &lane.group).collect();
    let unheard = lanes.iter().filter(|lane| groups.contains(&lane.group)).filter_map(LaneObservation::unheard).min();
    Asks { claim: claim(&observed.drain, names), picture, unheard }
}

fn claim(drain: &LaneDrain, lanes: BTreeSet<String>) -> Claim {
    Claim {
        name: drain.name_any(),
        class: drain.spec.class,
        priority: drain.spec.priority,
        created: drain.creation_timestamp().map_or(0, |at| at.0.as_second()),
        lanes,
    }
}

/// Whether a lane of the target was not decided on yet, and may be now.
fn wants(observed: &Observed, names: &BTreeSet<String>) -> bool {
    let complete = observed.acceptance.as_ref().is_some_and(|acceptance| acceptance.lanes.is_superset(names));
    !complete && names.len() <= super::plan::MAX_LANES && may_ask(&observed.drain, observed.now)
}

/// Whether this claim may be accepted now at all.
fn may_ask(drain: &LaneDrain, now: Timestamp) -> bool {
    let open = match deadline(drain) {
        Deadline::Endless => true,
        Deadline::At(end) => now < end,
        Deadline::Invalid => false,
    };
    open && drain.metadata.deletion_timestamp.is_none() && retry_at(drain).is_none_or(|at| at <= now)
}

/// When a claim that was given up is due again. A changed spec is asked at once.
pub(super) fn retry_at(drain: &LaneDrain) -> Option<Timestamp> {
    let status = drain.status.as_ref()?;
    let generation = drain.metadata.generation.unwrap_or_default();
    let block = status.blocked_by.iter().find(|block| block.code == BlockCode::Retry)?;
    let until = block.until.as_deref()?.parse().ok()?;
    (status.observed_generation == generation).then_some(until)
}

fn deadline(drain: &LaneDrain) -> Deadline {
    match drain.spec.deadline.as_deref().map(str::parse) {
        None => Deadline::Endless,
        Some(Ok(end)) => Deadline::At(end),
        Some(Err(_)) => Deadline::Invalid,
    }
}

/// Whether the cache shows that the claim has ended.
fn ended(drain: &LaneDrain) -> bool {
    drain.metadata.deletion_timestamp.is_some() || drain.is(ConditionType::Released)
}

fn stored(drain: &LaneDrain) -> Option<Acceptance> {
    let status: &LaneDrainStatus = drain.status.as_ref().filter(|_| is_accepted(drain))?;
    let at = status.accepted_at.as_deref()?.parse().ok()?;
    let lanes = status.responders.iter().map(|responder| responder.name.0.clone()).collect();
    let told = drain.condition(ConditionType::Accepted);
    let breaking =
        told.filter(|told| told.reason == Reason::EmergencyAccepted.as_str()).map(|told| told.message.clone());
    Some(Acceptance { at, lanes, breaking })
}

fn under(caches: &Caches, namespace: &str, target: &DrainTarget) -> Option<BTreeSet<String>> {
    let name = target.name.as_str();
    let exists = match target.kind {
        TargetKind::Lane => caches::get(&caches.lanes, namespace, name).is_some(),
        TargetKind::InspectionStation => caches::get(&caches.stations, namespace, name).is_some(),
        TargetKind::Crossing => caches::get(&caches.crossings, namespace, name).is_some(),
    };
    exists.then(|| caches.lanes_under(namespace, target).iter().map(|lane| lane.name_any()).collect())
}

/// Floors guard a crossing in service. One whose phase is not known keeps them: doubt never takes capacity away.
fn floors(ctx: &Context, namespace: &str, crossing: &Crossing) -> Vec<Floor> {
    if matches!(
        ctx.life(namespace, crossing.spec.phase.as_ref()),
        LifecycleStage::Planned | LifecycleStage::Commissioning
    ) {
        return Vec::new();
    }
    let floor = |floor: &kalong_crds::crossing::CapacityFloor| Floor {
        group: Group { crossing: crossing.name_any(), service: floor.service, direction: floor.direction },
        min_lanes: floor.min_open_lanes,
        min_passages_per_hour: floor.min_passages_per_hour,
    };
    crossing.spec.capacity_floors.iter().map(floor).collect()
}

fn look(ctx: &Context, namespace: &str, lane: &Lane, drain: &str) -> LaneObservation {
    let uid = lane.uid().unwrap_or_default();
    let now = ctx.clock.now();
    let device = crate::lane::controller_device(&ctx.caches, namespace, lane);
    let agent = device.map(|device| device.spec.agent_ref.0.clone()).unwrap_or_default();
    let id = AgentId::new(namespace, &agent).ok().filter(|_| !agent.is_empty());
    let facts = id.as_ref().map(|id| ctx.link.facts(id));
    let item = id.as_ref().and_then(|id| ctx.link.report(id, &uid));
    let hash: Option<&Digest> = item.as_ref().map(|item| &item.hash);
    LaneObservation {
        name: lane.name_any(),
        group: group(lane),
        passages_per_hour: lane.spec.rated_passages_per_hour,
        life: ctx.life(namespace, lane.spec.phase.as_ref()),
        declared: lane.spec.admission,
        emptying: SignedDuration::from_secs(lane.spec.drain.timeout_seconds),
        available: available(lane),
        agent,
        liveness: facts.as_ref().map_or(Liveness::Lost, AgentFacts::liveness),
        grace: facts.as_ref().and_then(|facts| facts.grace_left(now)),
        report: item.as_ref().and_then(|item| item.lane().cloned()),
        settled: ctx.drains.is_free(&uid, hash, now),
        told_closed: lane.reason(ConditionType::Available) == Reason::Closed.as_str(),
        confirmed: ctx.drains.is_confirmed(&uid, hash),
        hold_progress: ctx.drains.hold_progress(&uid, drain, hash),
    }
}

fn group(lane: &Lane) -> Group {
    Group { crossing: lane.spec.crossing_ref.0.clone(), service: lane.spec.service, direction: lane.spec.direction }
}

fn available(lane: &Lane) -> ConditionStatus {
    match lane.condition(ConditionType::Available).map(|condition| condition.status.as_str()) {
        Some("True") => ConditionStatus::True,
        Some("False") => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}
