//! One lane, as a claim sees it.

use std::time::Duration;

use jiff::SignedDuration;
use kalong_crds::Lane;
use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::units::{AgentId, Digest};
use kalong_crds::wire::reported::LaneReport;
use kalong_rules::capacity::{LaneReading, available};
use kalong_rules::{LifecycleStage, SiteSnapshot};
use kube::ResourceExt;

use crate::kit::context::Context;
use crate::kit::drains::HoldProgress;
use crate::kit::link::{AgentFacts, CONFIRMATION, Liveness};

#[derive(Clone, Debug)]
pub(super) struct LaneObservation {
    pub(super) name: String,
    pub(super) life: LifecycleStage,
    pub(super) declared: Admission,
    /// How long the lane may take to become empty, if the claim does not say.
    pub(super) emptying: SignedDuration,
    pub(super) available: ConditionStatus,
    /// Name of the EdgeAgent of its controller.
    pub(super) agent: String,
    pub(super) liveness: Liveness,
    /// What is left of the agent's grace time after a start.
    pub(super) grace: Option<Duration>,
    pub(super) report: Option<LaneReport>,
    /// Whether its agent holds the last order, and no claim is in that order or on its way.
    pub(super) orders_confirmed: bool,
    /// Whether its status says that it is closed as declared.
    pub(super) told_closed: bool,
    /// Whether its agent holds the last order.
    pub(super) confirmed: bool,
    /// How far its agent is with the claim that is decided on.
    pub(super) hold_progress: HoldProgress,
}

impl LaneObservation {
    /// What it does, while its agent is heard.
    pub(super) fn admission(&self) -> LaneAdmission {
        match self.liveness {
            Liveness::Live => self.report.as_ref().map_or(LaneAdmission::Unknown, |report| report.admission),
            Liveness::Pending | Liveness::Lost => LaneAdmission::Unknown,
        }
    }

    pub(super) fn reading(&self) -> LaneReading {
        LaneReading {
            reported: self.admission(),
            available: self.available,
            interlocked: self.report.as_ref().is_some_and(|report| report.closed_by_interlock),
            orders_confirmed: self.orders_confirmed,
            closed_for_good: self.closed_for_good(),
        }
    }

    /// The report of an agent that does not hold the order to close is not enough: an interlock may have closed the lane for a moment, or
    /// a hold that has ended since.
    fn closed_for_good(&self) -> bool {
        self.confirmed
            && self.declared == Admission::Closed
            && self.told_closed
            && matches!(self.admission(), LaneAdmission::Closed | LaneAdmission::Drained)
    }

    /// When to look again because nothing can be concluded about this lane yet.
    pub(super) fn unheard(&self) -> Option<Duration> {
        match (self.life, self.liveness) {
            (LifecycleStage::InService, Liveness::Pending) => Some(self.grace.unwrap_or(CONFIRMATION)),
            (LifecycleStage::InService, Liveness::Live) if self.hold_progress == HoldProgress::Unknown => {
                Some(CONFIRMATION)
            }
            _ => None,
        }
    }
}

/// The lane as the claim of this name sees it.
pub(super) fn observe_lane(ctx: &Context, site: &SiteSnapshot, lane: &Lane, drain: &str) -> LaneObservation {
    let (namespace, uid) = (lane.namespace().unwrap_or_default(), lane.uid().unwrap_or_default());
    let now = ctx.clock.now();
    let agent = site.controller(lane).map(|device| device.spec.agent_ref.0.clone()).unwrap_or_default();
    let id = AgentId::new(&namespace, &agent).ok().filter(|_| !agent.is_empty());
    let facts = id.as_ref().map(|id| ctx.link.facts(id));
    let item = id.as_ref().and_then(|id| ctx.link.report(id, &uid));
    let hash: Option<&Digest> = item.as_ref().map(|item| &item.hash);
    LaneObservation {
        name: lane.name_any(),
        life: site.life(lane.spec.phase.as_ref()),
        declared: lane.spec.admission,
        emptying: SignedDuration::from_secs(lane.spec.drain.timeout_seconds),
        available: available(lane),
        agent,
        liveness: facts.as_ref().map_or(Liveness::Lost, AgentFacts::liveness),
        grace: facts.as_ref().and_then(|facts| facts.grace_left(now)),
        report: item.as_ref().and_then(|item| item.lane().cloned()),
        orders_confirmed: ctx.drains.is_free(&uid, hash, now),
        told_closed: lane.reason(ConditionType::Available) == Reason::Closed.as_str(),
        confirmed: ctx.drains.is_confirmed(&uid, hash),
        hold_progress: ctx.drains.hold_progress(&uid, drain, hash),
    }
}
