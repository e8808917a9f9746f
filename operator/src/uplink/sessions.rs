//! The uplink as the transport sees it.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::future::BoxFuture;
use kalong_controllers::kit::link::Admittance;
use kalong_crds::units::AgentId;
use kalong_crds::wire::topic::Up;
use tokio::sync::watch;

use super::Uplink;
use crate::transport::{EndReason, FrameResult, Session, SessionHandler};

impl SessionHandler for Uplink {
    fn admittance(&self, agent: &AgentId) -> BoxFuture<'static, Admittance> {
        let (me, agent) = (Weak::clone(&self.me), agent.clone());
        let mut changes = self.admittance_changes.subscribe();
        Box::pin(async move {
            loop {
                let Some(uplink) = me.upgrade() else { return Admittance::Refused };
                let decided = uplink.known(&agent).and_then(|cell| cell.lock().session_admittance());
                match decided {
                    Some(admittance) => return admittance,
                    None if *uplink.opened.borrow() => return Admittance::Refused,
                    // Its EdgeAgent was not reconciled yet: a refusal now would send the agent into its longest back-off.
                    None => {}
                }
                drop(uplink);
                if changes.changed().await.is_err() {
                    return Admittance::Refused;
                }
            }
        })
    }

    fn taken_over(&self, agent: &AgentId) {
        if let Some(cell) = self.known(agent) {
            self.act(&cell, |state, context, _| state.taken_over(context.now));
        }
    }

    fn session_started(&self, agent: &AgentId, session: Arc<dyn Session>) {
        match self.known(agent) {
            Some(cell) => self.act(&cell, |state, context, _| state.session_started(context, session)),
            None => session.end(EndReason::Refused),
        }
    }

    fn frame(&self, agent: &AgentId, topic: Up, payload: Bytes) -> FrameResult {
        match self.known(agent) {
            Some(cell) => self.act(&cell, |state, context, effects| state.frame(context, topic, &payload, effects)),
            None => FrameResult::Close,
        }
    }

    fn session_ended(&self, agent: &AgentId, session: u64, _: EndReason) {
        if let Some(cell) = self.known(agent) {
            self.act(&cell, |state, _, _| state.session_ended(session));
        }
    }

    fn operator_state(&self) -> watch::Receiver<Bytes> {
        self.operator_state.subscribe()
    }
}
