//! The uplink as controllers see it.

use std::sync::Arc;

use futures::stream::BoxStream;
use kalong_controllers::kit::link::{Admittance, AgentFacts, AgentLink, Holding, Wake};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::reported::ReportedItem;

use super::Uplink;
use super::agent::AgentState;

impl AgentLink for Uplink {
    fn want(&self, agent: &AgentId, item: Item) {
        self.act(&self.cell(agent), |state, _, _| state.want(item));
    }

    fn remove(&self, agent: &AgentId, uid: &str, generation: i64) {
        self.act(&self.cell(agent), |state, _, _| state.remove(uid, generation));
    }

    fn holding(&self, agent: &AgentId, uid: &str) -> Holding {
        self.known(agent).map_or(Holding::Unknown, |cell| cell.lock().holding(uid))
    }

    fn holders(&self, uid: &str) -> Vec<AgentId> {
        self.holders.of(uid)
    }

    fn report(&self, agent: &AgentId, uid: &str) -> Option<Arc<ReportedItem>> {
        self.known(agent)?.lock().report(uid)
    }

    fn facts(&self, agent: &AgentId) -> AgentFacts {
        let context = self.context();
        match self.known(agent) {
            Some(cell) => cell.lock().facts(&context),
            None => AgentState::new(agent.clone()).facts(&context),
        }
    }

    fn admit(&self, agent: &AgentId, admittance: Admittance) {
        let changed = self.act(&self.cell(agent), |state, _, _| {
            let changed = state.admittance.replace(admittance) != Some(admittance);
            if admittance == Admittance::Refused {
                state.end_session();
            }
            changed
        });
        if changed {
            self.admittance_changed();
        }
    }

    fn forget(&self, agent: &AgentId) {
        let gone = self.agents.write().remove(agent);
        if let Some(cell) = gone {
            cell.lock().end_session();
        }
        self.holders.forget(agent);
        self.queues.lock().forget(agent);
    }

    fn open(&self) {
        self.opened.send_replace(true);
        self.admittance_changed();
        for cell in self.cells() {
            self.act(&cell, |_, _, _| ());
        }
    }

    fn wakes(&self, kind: ItemKind) -> BoxStream<'static, Wake> {
        self.wakes.stream(kind)
    }
}
