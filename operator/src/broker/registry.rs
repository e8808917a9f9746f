//! At most one session for each identity. A newer connection ends the older session and waits until its link is gone, because the router
//! must never see one id twice.

use std::collections::HashMap;
use std::sync::Arc;

use kalong_crds::units::AgentId;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::outbox::SessionKill;
use crate::transport::EndReason;

/// All sessions of a gateway.
#[derive(Default)]
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    of: HashMap<AgentId, Holder>,
    last: u64,
    stopping: bool,
}

/// The session that occupies an identity.
struct Holder {
    kill: SessionKill,
    gone: watch::Receiver<()>,
}

/// The exclusive right to serve an identity; dropping it admits the next connection.
pub(super) struct Reservation {
    registry: Arc<Registry>,
    agent: AgentId,
    pub number: u64,
    pub kill: SessionKill,
    /// Changes when `kill` was used, here or by a newer connection.
    pub killed: watch::Receiver<Option<EndReason>>,
    _here: watch::Sender<()>,
}

pub(super) enum Reserve {
    Granted(Reservation),
    /// An older session was asked to end; the channel closes when it is gone.
    Occupied(watch::Receiver<()>),
    /// The limit of sessions is reached, or the gateway stops.
    Full,
}

impl Registry {
    /// Reserves an identity, or ends the session that occupies it.
    pub fn reserve(self: &Arc<Self>, agent: &AgentId, most: usize) -> Reserve {
        let mut sessions = self.sessions.lock();
        if sessions.stopping {
            return Reserve::Full;
        }
        if let Some(holder) = sessions.of.get(agent) {
            holder.kill.end(EndReason::TakenOver);
            return Reserve::Occupied(holder.gone.clone());
        }
        if sessions.of.len() >= most {
            return Reserve::Full;
        }
        sessions.last += 1;
        let number = sessions.last;
        let (kill, killed) = SessionKill::new();
        let (here, gone) = watch::channel(());
        sessions.of.insert(agent.clone(), Holder { kill: kill.clone(), gone });
        let agent = agent.clone();
        Reserve::Granted(Reservation { registry: Arc::clone(self), agent, number, kill, killed, _here: here })
    }

    /// Ends every session and admits no new one.
    pub fn stop(&self) {
        let mut sessions = self.sessions.lock();
        sessions.stopping = true;
        for holder in sessions.of.values() {
            holder.kill.end(EndReason::Shutdown);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.registry.sessions.lock().of.remove(&self.agent);
    }
}
