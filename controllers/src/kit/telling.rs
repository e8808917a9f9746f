//! The placement of Device and Lane, until they adopt [`AgentView`](super::agent_object::AgentView).

use kalong_crds::FINALIZER;
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::Item;
use kube::ResourceExt;

use super::Error;
use super::context::Context;
use super::link::Holding;
use super::status::HasStatus;

/// Who has the object, and who shall have it.
pub struct Assignment<'a> {
    /// The agent to which it belongs; none while its name is impossible.
    pub agent: Option<&'a AgentId>,
    /// What that agent shall be told; none while it is to keep what it has.
    pub order: Option<&'a Item>,
    /// Whether that agent has it.
    pub holding: Holding,
    /// Whether nobody shall have it any more.
    pub leaves: bool,
    /// Other agents, which shall let go of it.
    pub wrong_holders: Vec<AgentId>,
}

/// What to do.
#[derive(Debug)]
pub struct Placement {
    /// The finalizers as they shall be, if they have to change.
    pub finalizers: Option<Vec<String>>,
    /// What the agent shall be told.
    pub want: Option<(AgentId, Item)>,
    /// Agents that shall let go of the object.
    pub remove: Vec<AgentId>,
}

impl Placement {
    /// First the finalizer, then the order: what an agent holds can always be taken back. And the finalizer goes last.
    pub fn of(object: &impl ResourceExt, finalizers: Option<Vec<String>>, assignment: Assignment<'_>) -> Self {
        let Assignment { agent, order, holding, leaves, wrong_holders: mut remove } = assignment;
        let guarded = object.finalizers().iter().any(|f| f == FINALIZER);
        if leaves && holding != Holding::NotHeld && finalizers.is_none() {
            remove.extend(agent.cloned());
        }
        let want = agent.cloned().zip(order.cloned()).filter(|_| guarded && !leaves);
        Self { finalizers, want, remove }
    }

    /// Says it. Nothing is waited for: an agent that cannot be reached is told when it can.
    pub fn tell<K: HasStatus>(&self, ctx: &Context, object: &K) {
        let uid = object.uid().unwrap_or_default();
        if let Some((agent, item)) = &self.want {
            ctx.link.want(agent, item.clone());
        }
        for agent in &self.remove {
            ctx.link.remove(agent, &uid, object.meta().generation.unwrap_or_default());
        }
    }

    /// Changes the finalizers, if they have to be. Whoever is let go of is forgotten.
    pub async fn guard<K: HasStatus>(&self, ctx: &Context, object: &K) -> Result<(), Error> {
        let Some(finalizers) = &self.finalizers else { return Ok(()) };
        ctx.status.set_finalizers(&ctx.client, object, finalizers.clone()).await?;
        if object.meta().deletion_timestamp.is_some() {
            ctx.debounce.over(&object.uid().unwrap_or_default());
        }
        Ok(())
    }
}
