//! One lane made by hand: its controller, its agent, and what the operator knows of it.

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;
use kalong_crds::condition::ConditionStatus;
use kalong_crds::lane::{Admission, Direction, Drain, Lane, LaneAdmission, LaneSpec, Service};
use kalong_crds::units::Digest;
use kalong_crds::wire::order::LaneHold;
use kalong_crds::wire::reported::{DrainRefusal, LaneReport};
use kalong_rules::capacity::Group;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use crate::kit::link::Liveness;

/// How long a lane may take to become empty, in seconds.
pub(super) const EMPTYING: i64 = 300;

/// What is wrong with a lane by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Sound,
    /// A required device cannot serve; its controller goes on.
    Broken,
    /// Its controller does not answer.
    Dark,
}

/// What an agent is told of a lane.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) admission: Admission,
    pub(super) hold: Option<LaneHold>,
    pub(super) hash: Digest,
}

impl Order {
    pub(super) fn new(admission: Admission, hold: Option<LaneHold>) -> Self {
        let hash = Digest::of(format!("{admission:?} {hold:?}").as_bytes());
        Self { admission, hold, hash }
    }
}

/// A lane with its controller, its agent, and what the operator knows of it.
pub(super) struct TestLane {
    pub(super) object: Lane,
    pub(super) group: Group,
    pub(super) life: LifecycleStage,
    pub(super) health: Health,
    pub(super) interlock: bool,
    pub(super) barrier: LaneAdmission,
    pub(super) inside: u8,
    /// Devices that are being written now.
    pub(super) under_change: BTreeSet<String>,
    pub(super) online: bool,
    pub(super) order: Order,
    pub(super) visits: u8,
    pub(super) gave_up: Option<LaneHold>,
    pub(super) wire: VecDeque<Order>,
    pub(super) wanted: Option<Order>,
    pub(super) liveness: Liveness,
    pub(super) heard: Option<(Digest, LaneReport, Health)>,
    pub(super) available: ConditionStatus,
    pub(super) told_closed: bool,
}

impl TestLane {
    pub(super) fn name(&self) -> String {
        self.object.name_any()
    }

    /// The object as the API server holds it: its phase gives it its stage.
    pub(super) fn stored(&self) -> Lane {
        let mut lane = self.object.clone();
        lane.spec.phase = match self.life {
            LifecycleStage::InService => None,
            stage => Some(format!("{stage:?}").to_lowercase().into()),
        };
        lane
    }

    pub(super) fn uid(&self) -> String {
        format!("uid-{}", self.name())
    }

    /// The hold that the agent keeps: one that it gave up, or whose end has passed, binds it no more.
    fn hold(&self, now: Timestamp) -> Option<&LaneHold> {
        let hold = self.order.hold.as_ref().filter(|hold| Some(*hold) != self.gave_up.as_ref())?;
        let over = hold.until.parse::<Timestamp>().unwrap() <= now && self.under_change.is_empty();
        (!over).then_some(hold)
    }

    /// One visit of the agent to the lane's controller.
    pub(super) fn visit(&mut self, now: Timestamp) {
        if self.health == Health::Dark {
            self.visits = 0;
            return;
        }
        let empty = self.barrier == LaneAdmission::Closed && self.inside == 0;
        let late = self.hold(now).filter(|hold| !empty && hold.empty_by.parse::<Timestamp>().unwrap() <= now).cloned();
        if late.is_some() && self.under_change.is_empty() {
            self.gave_up = late;
        }
        let held = self.hold(now).is_some() || !self.under_change.is_empty();
        if held || self.interlock || self.order.admission == Admission::Closed {
            self.barrier = if self.inside > 0 { LaneAdmission::Draining } else { LaneAdmission::Closed };
        } else {
            self.barrier = LaneAdmission::Open;
        }
        let shut = self.barrier == LaneAdmission::Closed && self.hold(now).is_some();
        self.visits = if shut { self.visits.saturating_add(1) } else { 0 };
    }

    pub(super) fn report(&self, now: Timestamp) -> LaneReport {
        let admission = match self.health {
            Health::Dark => LaneAdmission::Unknown,
            _ if self.hold(now).is_some() && self.visits >= 2 => LaneAdmission::Drained,
            _ if self.hold(now).is_some() => LaneAdmission::Draining,
            _ => self.barrier,
        };
        let refusal =
            self.order.hold.as_ref().filter(|hold| Some(*hold) == self.gave_up.as_ref()).map(|hold| DrainRefusal {
                drains: hold.drains.clone(),
                reason: "DrainTimedOut".into(),
                message: "A vehicle is inside.".into(),
            });
        LaneReport { admission, held_by_offline_policy: false, closed_by_interlock: self.interlock, refusal }
    }
}

pub(super) fn group(service: Service) -> Group {
    Group { crossing: "x".into(), service, direction: Direction::Inbound }
}

pub(super) fn lane(name: &str, service: Service, declared: Admission, life: LifecycleStage) -> TestLane {
    let spec = LaneSpec {
        crossing_ref: "x".into(),
        direction: Direction::Inbound,
        service,
        admission: declared,
        slots: vec![],
        rated_passages_per_hour: 60,
        allowed_cargo_classes: vec![],
        drain: Drain { timeout_seconds: EMPTYING, ..Drain::default() },
        fallback: vec![],
        phase: None,
    };
    let barrier = if declared == Admission::Open && life == LifecycleStage::InService {
        LaneAdmission::Open
    } else {
        LaneAdmission::Closed
    };
    let admission = if life == LifecycleStage::InService { declared } else { Admission::Closed };
    TestLane {
        object: Lane::new(name, spec),
        group: group(service),
        life,
        health: Health::Sound,
        interlock: false,
        barrier,
        inside: 0,
        under_change: BTreeSet::new(),
        online: true,
        order: Order::new(admission, None),
        visits: 0,
        gave_up: None,
        wire: VecDeque::new(),
        wanted: None,
        liveness: Liveness::Pending,
        heard: None,
        available: ConditionStatus::Unknown,
        told_closed: false,
    }
}
