//! How an object that an agent realises gets to its agent and away from it again: the same for every such kind.

use kalong_crds::FINALIZER;
use kalong_crds::units::{AgentId, Digest};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::digest::CanonicalError;
use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::agent_object::AgentView;
use super::context::Context;
use super::link::{CONFIRMATION, Holding};
use super::reconciler::ReconcileResult;
use super::status::HasStatus;
use super::{Error, finalizer};

/// What the agent of an object shall do with it.
#[derive(Debug)]
pub enum Assignment {
    /// It brings this order about, and keeps it so.
    Realise(Item),
    /// It goes on by its last order: something that the order needs is missing or contradicts.
    Keep,
    /// It lets go of the object, and so does every other agent.
    Release,
    /// It goes on by its last order, and the pass fails: the order cannot be composed.
    Failed(CanonicalError),
}

impl Assignment {
    /// This order for this object.
    pub fn realise<K: Resource>(object: &K, kind: ItemKind, order: &impl Serialize) -> Self {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let (uid, generation) = (object.uid().unwrap_or_default(), object.meta().generation.unwrap_or_default());
        match Item::new(kind, &namespace, &name, &uid, generation, order) {
            Ok(item) => Self::Realise(item),
            Err(error) => Self::Failed(error),
        }
    }

    /// The order, if there is one.
    pub fn order(&self) -> Option<&Item> {
        match self {
            Self::Realise(item) => Some(item),
            Self::Keep | Self::Release | Self::Failed(_) => None,
        }
    }

    /// Why there is no order although there should be one.
    pub fn failure(&self) -> Option<&CanonicalError> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Realise(_) | Self::Keep | Self::Release => None,
        }
    }
}

/// Which agents get an object, and which let go of it.
#[derive(Debug)]
pub struct Placement {
    /// What its agent shall do with it.
    pub assignment: Assignment,
    /// The finalizers as they shall be, if they have to change.
    pub finalizers: Option<Vec<String>>,
    /// The order that goes out, and to whom.
    pub want: Option<(AgentId, Item)>,
    /// Agents that shall let go of the object.
    pub remove: Vec<AgentId>,
    /// The hash of the order, while the agent has not confirmed it.
    pub unconfirmed: Option<Digest>,
}

impl Placement {
    /// First the finalizer, then the order: what an agent holds can always be taken back. And the finalizer goes last.
    pub fn of<K: Resource>(object: &K, agent: &AgentView, assignment: Assignment) -> Self {
        let present = object.finalizers();
        let finalizers = if object.meta().deletion_timestamp.is_some() {
            finalizer::without(present, agent.holding, agent.object.as_deref())
        } else {
            finalizer::with(present, assignment.order().is_some())
        };
        let guarded = present.iter().any(|f| f == FINALIZER);
        let id = agent.id.as_ref().ok();
        let mut remove = agent.wrong_holders.clone();
        if matches!(assignment, Assignment::Release) && agent.holding != Holding::NotHeld && finalizers.is_none() {
            remove.extend(id.cloned());
        }
        let order = assignment.order();
        Self {
            finalizers,
            want: id.cloned().zip(order.cloned()).filter(|_| guarded),
            remove,
            unconfirmed: order.filter(|_| !agent.has_confirmed(order)).map(|order| order.hash.clone()),
            assignment,
        }
    }

    /// The order as it is now, whether or not it may go out yet.
    pub fn order(&self) -> Option<&Item> {
        self.assignment.order()
    }

    /// Sends the order and the removals, and notes since when a confirmation is awaited. Waits for nothing: the link keeps what an
    /// agent that cannot be reached has to get.
    pub fn apply<K: HasStatus>(&self, ctx: &Context, object: &K) {
        let uid = object.uid().unwrap_or_default();
        match &self.unconfirmed {
            Some(order) => ctx.debounce.sent(&uid, order),
            None => ctx.debounce.over(&uid),
        }
        if let Some((agent, item)) = &self.want {
            ctx.link.want(agent, item.clone());
        }
        for agent in &self.remove {
            ctx.link.remove(agent, &uid, object.meta().generation.unwrap_or_default());
        }
    }

    /// Changes the finalizers, if they have to be. Drops the debounce of an object that goes with its last finalizer.
    pub async fn set_finalizers<K: HasStatus>(&self, ctx: &Context, object: &K) -> Result<(), Error> {
        let Some(finalizers) = &self.finalizers else { return Ok(()) };
        ctx.status.set_finalizers(&ctx.client, object, finalizers.clone()).await?;
        if object.meta().deletion_timestamp.is_some() {
            ctx.debounce.over(&object.uid().unwrap_or_default());
        }
        Ok(())
    }

    /// Completes the result of a pass. The status waits while a finalizer changes, since that brings the object back with a new
    /// version; and a removal is looked at again, since its confirmation wakes nothing that was never wanted in this process.
    pub fn finish<S>(&self, result: ReconcileResult<S>) -> ReconcileResult<S> {
        let error = self.assignment.failure().cloned().map(Error::Order);
        ReconcileResult {
            status: result.status.filter(|_| self.finalizers.is_none()),
            error: result.error.or(error),
            ..result
        }
        .sooner((!self.remove.is_empty()).then_some(CONFIRMATION))
    }
}
