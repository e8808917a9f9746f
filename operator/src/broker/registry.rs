//! Who is here: at most one session an identity. A newer connection ends the older one and waits until its link is gone,
//! because the router must never see one id twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kalong_crds::units::AgentId;
use tokio::sync::watch;

use super::EndReason;
use super::outbox::Kill;

/// All sessions of a gateway.
#[derive(Default)]
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    of: HashMap<AgentId, Place>,
    last: u64,
    stopping: bool,
}

struct Place {
    kill: Kill,
    gone: watch::Receiver<()>,
}

/// The only place of an identity; dropping it lets the next one in.
pub(super) struct Claim {
    registry: Arc<Registry>,
    agent: AgentId,
    /// Number of the session.
    pub number: u64,
    /// Ends this session.
    pub kill: Kill,
    /// Resolves when somebody ended it.
    pub killed: watch::Receiver<Option<EndReason>>,
    _here: watch::Sender<()>,
}

/// What came of a try to take the place.
pub(super) enum Try {
    /// It is taken now.
    Taken(Claim),
    /// An older session holds it, was told to end, and will signal when it is gone.
    Held(watch::Receiver<()>),
    /// All places are taken, or the gateway stops.
    Full,
}

impl Registry {
    /// Takes the place of an identity, or ends its holder.
    pub fn claim(self: &Arc<Self>, agent: &AgentId, most: usize) -> Try {
        let mut sessions = self.sessions();
        if sessions.stopping {
            return Try::Full;
        }
        if let Some(place) = sessions.of.get(agent) {
            place.kill.end(EndReason::TakenOver);
            return Try::Held(place.gone.clone());
        }
        if sessions.of.len() >= most {
            return Try::Full;
        }
        sessions.last += 1;
        let number = sessions.last;
        let (kill, killed) = Kill::new();
        let (here, gone) = watch::channel(());
        sessions.of.insert(agent.clone(), Place { kill: kill.clone(), gone });
        Try::Taken(Claim { registry: Arc::clone(self), agent: agent.clone(), number, kill, killed, _here: here })
    }

    /// Ends every session and lets no new one in.
    pub fn stop(&self) {
        let mut sessions = self.sessions();
        sessions.stopping = true;
        for place in sessions.of.values() {
            place.kill.end(EndReason::Shutdown);
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.registry.sessions().of.remove(&self.agent);
    }
}
