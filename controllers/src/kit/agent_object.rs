//! What every object that an agent realises has in common, whatever its kind: Device, Lane, IGV, BilateralLink.
//!
//! [`AgentView`] is the half of `Observed` that they share, and the objections and waits that follow from it.
//! [`Placement`](super::placement::Placement) is the half of `Decision`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::EdgeAgent;
use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::condition::{Conditioned, Reason};
use kalong_crds::units::{AgentId, AgentIdError};
use kalong_crds::wire::desired::Item;
use kalong_crds::wire::reported::{ItemState, ReportedItem};
use kube::{Resource, ResourceExt};

use super::caches;
use super::context::Context;
use super::debounce::Unconfirmed;
use super::link::{AgentFacts, Holding, Liveness};
use super::readiness::{Readiness, missing};
use super::reconciler::ReconcileResult;
use super::status::HasStatus;

/// The agent of an object, and the object as that agent has it.
#[derive(Debug)]
pub struct AgentView {
    /// Name of the EdgeAgent in the spec; empty while the object names none.
    pub name: String,
    /// The EdgeAgent; none while it does not exist.
    pub object: Option<Arc<EdgeAgent>>,
    /// Its identity, which may be impossible.
    pub id: Result<AgentId, AgentIdError>,
    /// None while the identity is impossible.
    pub facts: Option<AgentFacts>,
    /// What the agent last said of the object, for however long it has been silent since.
    pub report: Option<Arc<ReportedItem>>,
    /// Whether the agent has the object.
    pub holding: Holding,
    /// Other agents that have the object.
    pub wrong_holders: Vec<AgentId>,
    /// The last order, while the agent has not confirmed it.
    pub unconfirmed: Option<Unconfirmed>,
}

impl AgentView {
    /// Looks up what there is. The name is empty where the object names no agent.
    pub fn observe<K: Resource>(ctx: &Context, object: &K, name: &str) -> Self {
        let (namespace, uid) = (object.namespace().unwrap_or_default(), object.uid().unwrap_or_default());
        let id = AgentId::new(&namespace, name);
        let known = id.as_ref().ok();
        Self {
            name: name.to_owned(),
            object: caches::get(&ctx.caches.agents, &namespace, name),
            facts: known.map(|id| ctx.link.facts(id)),
            report: known.and_then(|id| ctx.link.report(id, &uid)),
            holding: known.map_or(Holding::NotHeld, |id| ctx.link.holding(id, &uid)),
            wrong_holders: ctx.link.holders(&uid).into_iter().filter(|holder| Some(holder) != known).collect(),
            unconfirmed: ctx.debounce.awaited(&uid),
            id,
        }
    }

    /// What can be concluded from the agent's words, or from its silence.
    pub fn liveness(&self) -> Liveness {
        self.facts.as_ref().map_or(Liveness::Pending, AgentFacts::liveness)
    }

    /// Whether an order can be addressed to it. It need not be connected: the order waits for it.
    pub fn is_addressable(&self) -> bool {
        self.object.is_some() && self.id.is_ok()
    }

    /// Whether the EdgeAgent exists and has no certificate yet.
    pub fn is_unenrolled(&self) -> bool {
        self.object.as_ref().is_some_and(|a| a.status.as_ref().is_none_or(|s| s.certificate.is_none()))
    }

    /// Whether the agent has exactly this order.
    pub fn has_confirmed(&self, order: Option<&Item>) -> bool {
        matches!((order, &self.report), (Some(order), Some(report)) if order.hash == report.hash)
    }

    /// What a live agent says of the object.
    pub fn live_report(&self) -> Option<&ReportedItem> {
        self.report.as_deref().filter(|_| self.liveness() == Liveness::Live)
    }
}

/// Objections to readiness that follow from the agent alone.
impl AgentView {
    /// The object is being deleted and its agent lets go of it first.
    pub fn terminating(&self) -> Readiness {
        let say = format!("Being removed: agent {} has to let go of it first.", self.name);
        Readiness::Converging(Reason::Terminating, say)
    }

    /// Namespace and name together are no identity.
    pub fn impossible(&self) -> Option<Readiness> {
        self.id.as_ref().err().map(|error| Readiness::Stuck(Reason::IdentityTooLong, error.to_string()))
    }

    /// The EdgeAgent does not exist.
    pub fn missing(&self) -> Option<Readiness> {
        self.object.is_none().then(|| missing("EdgeAgent", &self.name, "spec.agentRef"))
    }

    /// The EdgeAgent has no certificate yet.
    pub fn unenrolled(&self) -> Option<Readiness> {
        self.is_unenrolled().then(|| {
            let say = format!("Agent {0} has not enrolled: run `kubectl kalong enrol {0}`.", self.name);
            Readiness::Converging(Reason::NotEnrolled, say)
        })
    }

    /// The report to judge by, or why there is none: the agent is silent, was not heard yet, or is being told.
    pub fn report(&self) -> Result<&ReportedItem, Readiness> {
        let agent = &self.name;
        match (self.liveness(), self.report.as_deref()) {
            (Liveness::Lost, _) => Err(Readiness::Unknown(
                Reason::AgentUnreachable,
                format!(
                    "Agent {agent} has been silent for longer than the grace time: look at the box, its power and its uplink."
                ),
            )),
            (Liveness::Pending, _) => {
                Err(Readiness::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")))
            }
            (Liveness::Live, None) => {
                Err(Readiness::Converging(Reason::Applying, format!("Agent {agent} is being told.")))
            }
            (Liveness::Live, Some(report)) => Ok(report),
        }
    }

    /// The agent has not confirmed the order; `what` says what it shall confirm.
    pub fn awaiting(&self, order: Option<&Item>, what: &str) -> Option<Readiness> {
        (!self.has_confirmed(order)).then(|| {
            let say = format!("Waiting for agent {} to confirm {what}.", self.name);
            Readiness::Converging(Reason::Applying, say)
        })
    }
}

/// The agent refused the order.
pub fn rejected(report: &ReportedItem) -> Option<Readiness> {
    (report.state == ItemState::Rejected)
        .then(|| Readiness::Stuck(reason_of(report, Reason::RejectedByAgent), report.message.clone()))
}

/// The agent could not bring the order about and tries again.
pub fn failed(report: &ReportedItem) -> Option<Readiness> {
    (report.state == ItemState::Failed)
        .then(|| Readiness::Converging(reason_of(report, Reason::FailedOnDevice), report.message.clone()))
}

/// The reason that an agent gives, if it is a documented one.
pub fn reason_of(report: &ReportedItem, otherwise: Reason) -> Reason {
    Reason::parse(&report.reason).unwrap_or(otherwise)
}

/// Entries of `status.blockedBy` that name the agent.
impl AgentView {
    /// A wait for the agent.
    pub fn blocks(&self, code: BlockCode, message: &str, now: Timestamp) -> BlockedBy {
        BlockedBy::new(code, format!("EdgeAgent/{}", self.name), message, now)
    }

    /// The EdgeAgent does not exist or has not enrolled.
    pub fn blocks_by_absence(&self, now: Timestamp) -> Option<BlockedBy> {
        if self.object.is_none() {
            return Some(self.blocks(BlockCode::MissingReference, "Declare the agent, or name another one.", now));
        }
        self.is_unenrolled().then(|| {
            let say = format!("Run `kubectl kalong enrol {}` and the command that it prints on the box.", self.name);
            self.blocks(BlockCode::AgentNotEnrolled, &say, now)
        })
    }

    /// The agent still has an object that it shall let go of: what to say while it is silent, and while it is expected to answer.
    pub fn blocks_by_holding(&self, silent: &str, told: &str, now: Timestamp) -> Option<BlockedBy> {
        let (code, say) = match self.liveness() {
            Liveness::Lost => (BlockCode::AgentUnreachable, silent),
            Liveness::Pending | Liveness::Live => (BlockCode::AgentConfirmation, told),
        };
        (self.holding != Holding::NotHeld && self.object.is_some()).then(|| self.blocks(code, say, now))
    }
}

/// When the status is left as it was last written.
impl AgentView {
    /// Leaves the status as it was last written while the agent has not been heard since this operator started, and for the moment in
    /// which a prompt agent confirms an order. None when a new status is due, as at the first visit.
    pub fn keeps_status<K>(
        &self,
        object: &K,
        order: Option<&Item>,
        now: Timestamp,
    ) -> Option<ReconcileResult<K::Status>>
    where
        K: HasStatus + Conditioned,
    {
        if object.conditions().is_empty() {
            return None;
        }
        let again = match self.liveness() {
            Liveness::Pending if object.observed_generation() == object.meta().generation => {
                self.facts.as_ref().and_then(|facts| facts.grace_left(now))
            }
            Liveness::Live => Some(self.debounce_left(order)?),
            Liveness::Pending | Liveness::Lost => return None,
        };
        Some(ReconcileResult { again, ..ReconcileResult::unchanged() })
    }

    /// How much longer to wait for the confirmation of this order before a status says so.
    fn debounce_left(&self, order: Option<&Item>) -> Option<Duration> {
        let order = order.filter(|_| !self.has_confirmed(order))?;
        Unconfirmed::left(self.unconfirmed.as_ref(), &order.hash)
    }
}

#[cfg(test)]
impl AgentView {
    /// An enrolled agent that is connected and has the object.
    pub(crate) fn live(namespace: &str, name: &str) -> Self {
        let agent = serde_json::json!({
            "apiVersion": "kalong.dev/v1alpha1", "kind": "EdgeAgent", "spec": {},
            "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "generation": 1},
            "status": {"observedGeneration": 1, "certificate": {"serial": "1", "notAfter": "2026-11-22T07:00:00Z"}},
        });
        Self {
            name: name.to_owned(),
            object: Some(Arc::new(serde_json::from_value(agent).unwrap())),
            id: AgentId::new(namespace, name),
            facts: Some(AgentFacts::live()),
            report: None,
            holding: Holding::Held,
            wrong_holders: Vec::new(),
            unconfirmed: None,
        }
    }

    /// The debounce of this order is over.
    pub(crate) fn has_waited_for(&mut self, order: &Item) {
        self.unconfirmed = Some(Unconfirmed { order: order.hash.clone(), waited: Duration::MAX });
    }
}
