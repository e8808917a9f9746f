//! Which agents hold an item, indexed by its UID: a reconcile does not ask every agent.
//!
//! Written under the lock of the agent whose reported state changed; an agent's lock is never taken under this one.

use std::collections::{BTreeSet, HashMap};

use kalong_crds::units::AgentId;
use parking_lot::Mutex;

/// The agents that hold an item, adopted or as an orphan.
#[derive(Debug, Default)]
pub(super) struct Holders {
    of: Mutex<HashMap<String, BTreeSet<AgentId>>>,
}

impl Holders {
    /// Records whether the agent holds this item.
    pub fn note(&self, agent: &AgentId, uid: &str, holds: bool) {
        let mut of = self.of.lock();
        if holds {
            of.entry(uid.to_owned()).or_default().insert(agent.clone());
        } else if let Some(agents) = of.get_mut(uid) {
            agents.remove(agent);
            if agents.is_empty() {
                of.remove(uid);
            }
        }
    }

    /// The agents that hold this item, sorted.
    pub fn of(&self, uid: &str) -> Vec<AgentId> {
        let of = self.of.lock();
        of.get(uid).map(|agents| agents.iter().cloned().collect()).unwrap_or_default()
    }

    /// UIDs of all items that any agent holds.
    #[cfg(test)]
    pub fn all(&self) -> BTreeSet<String> {
        self.of.lock().keys().cloned().collect()
    }

    /// Drops the agent from every item.
    pub fn forget(&self, agent: &AgentId) {
        let mut of = self.of.lock();
        of.retain(|_, agents| {
            agents.remove(agent);
            !agents.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_that_moves_is_held_by_both_until_the_old_one_let_go() {
        let (a, b): (AgentId, AgentId) = ("mc.a".parse().unwrap(), "mc.b".parse().unwrap());
        let holders = Holders::default();
        holders.note(&b, "u", true);
        holders.note(&a, "u", true);
        assert_eq!(holders.of("u"), [a.clone(), b.clone()]);
        holders.note(&a, "u", false);
        holders.note(&a, "u", false);
        assert_eq!(holders.of("u"), std::slice::from_ref(&b));
        holders.forget(&b);
        assert!(holders.of("u").is_empty() && holders.of.lock().is_empty());
    }
}
