//! How an object that an agent realises gets to its agent and away from it again: the same for every such kind.

use kalong_crds::FINALIZER;
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::Item;
use kube::ResourceExt;

use super::Error;
use super::link::Holding;
use super::status::HasStatus;
use super::world::World;

/// Who has the object, and who shall have it.
pub struct Standing<'a> {
    /// The agent to which it belongs; none while its name is impossible.
    pub agent: Option<&'a AgentId>,
    /// What that agent shall be told; none while it is to keep what it has.
    pub order: Option<&'a Item>,
    /// Whether that agent has it.
    pub holding: Holding,
    /// Whether nobody shall have it any more.
    pub leaves: bool,
    /// Other agents, which shall let go of it.
    pub strays: Vec<AgentId>,
}

/// What to do.
#[derive(Debug)]
pub struct Telling {
    /// The finalizers as they shall be, if they have to change.
    pub finalizers: Option<Vec<String>>,
    /// What the agent shall be told.
    pub want: Option<(AgentId, Item)>,
    /// Agents that shall let go of the object.
    pub remove: Vec<AgentId>,
}

impl Telling {
    /// First the finalizer, then the order: what an agent holds can always be taken back. And the finalizer goes last.
    pub fn of(object: &impl ResourceExt, finalizers: Option<Vec<String>>, standing: Standing<'_>) -> Self {
        let Standing { agent, order, holding, leaves, strays: mut remove } = standing;
        let guarded = object.finalizers().iter().any(|f| f == FINALIZER);
        if leaves && holding != Holding::NotHeld && finalizers.is_none() {
            remove.extend(agent.cloned());
        }
        let want = agent.cloned().zip(order.cloned()).filter(|_| guarded && !leaves);
        Self { finalizers, want, remove }
    }

    /// Says it. Nothing is waited for: an agent that cannot be reached is told when it can.
    pub fn tell<K: HasStatus>(&self, world: &World, object: &K) {
        let uid = object.uid().unwrap_or_default();
        if let Some((agent, item)) = &self.want {
            world.link.want(agent, item.clone());
        }
        for agent in &self.remove {
            world.link.remove(agent, &uid, object.meta().generation.unwrap_or_default());
        }
    }

    /// Changes the finalizers, if they have to be. Whoever is let go of is forgotten.
    pub async fn guard<K: HasStatus>(&self, world: &World, object: &K) -> Result<(), Error> {
        let Some(finalizers) = &self.finalizers else { return Ok(()) };
        world.status.set_finalizers(&world.client, object, finalizers.clone()).await?;
        if object.meta().deletion_timestamp.is_some() {
            world.patience.over(&object.uid().unwrap_or_default());
        }
        Ok(())
    }
}
