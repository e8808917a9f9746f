//! The uplink: what each agent shall hold, what it last reported, and the messages that carry the difference.
//!
//! Controllers see it as [`AgentLink`](kalong_controllers::kit::link::AgentLink) (`link`), the transport as
//! [`SessionHandler`](crate::transport::SessionHandler) (`sessions`). Between the two stands one [`AgentState`] for each agent behind a mutex
//! that is never held across an await. It is synchronous: time comes in, [`Effects`] go out.
//!
//! A frame passes `inbound` (decode, sender, order), `reported` (is it the whole, or a difference that fits) and `sanitize` (what of it is
//! believed); the objects that it concerns are woken. In the other direction `outbound` computes the next `desired`, `delivery`
//! sends one at a time until it is confirmed, and `signer` signs it. A pump task sends what is due and notices silence as it begins.

pub mod events;
pub mod metrics;

mod agent;
mod conclusions;
mod counters;
mod delivery;
mod holders;
mod inbound;
mod link;
mod outbound;
mod reported;
mod sanitize;
mod sequence;
mod sessions;
mod signer;
mod telemetry;
mod wakes;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::Event;
use kalong_crds::wire::signature::Signer;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use agent::{AgentState, Effects, StepContext};
use events::{EventQueues, EventSink};
use holders::Holders;
use signer::MessageSigner;
use wakes::WakeQueues;

pub use events::{KubeEvents, SinkError};
pub use metrics::UplinkMetrics;

/// Changes within this time go into one message.
const COALESCE: Duration = Duration::from_millis(5);
/// Bounds the answer to a request for a certificate.
const RENEWAL_DEADLINE: Duration = Duration::from_secs(15);
/// Longest sleep of the pump.
const IDLE: Duration = Duration::from_secs(60);

/// Why a certificate was not renewed, as a sentence for the agent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RenewalError(pub String);

/// Renews certificates for agents that have a session.
pub trait Renewals: Send + Sync + 'static {
    /// The identity is the session's; what the request says must equal it. The uplink bounds the wait.
    fn renew<'a>(&'a self, agent: &'a AgentId, request: Renewal) -> BoxFuture<'a, Result<Control, RenewalError>>;
}

/// What an uplink needs from its surroundings.
pub struct UplinkConfig {
    /// Term of the Lease: fences every message.
    pub term: u64,
    /// The key that agents pinned when they enrolled.
    pub signer: Signer,
    /// An agent that was not heard for longer counts as silent; three heartbeats.
    pub grace: Duration,
    /// Counters, registered once for each process.
    pub metrics: Arc<UplinkMetrics>,
}

/// State of all agents. Dropping it ends the pump and the event tasks.
pub struct Uplink {
    me: Weak<Self>,
    signer: MessageSigner,
    grace: Duration,
    start: Instant,
    start_wall: Timestamp,
    metrics: Arc<UplinkMetrics>,
    agents: RwLock<HashMap<AgentId, Arc<Mutex<AgentState>>>>,
    holders: Holders,
    wakes: WakeQueues,
    /// Whether every object was reconciled once.
    opened: watch::Sender<bool>,
    /// Counts the changes of any admittance.
    admittance_changes: watch::Sender<u64>,
    higher_term: watch::Sender<Option<u64>>,
    operator_state: watch::Sender<Bytes>,
    pump: Pump,
    queues: Mutex<EventQueues>,
    sink: Arc<dyn EventSink>,
    renewals: Arc<dyn Renewals>,
}

/// Agents whose state changed since the last round.
#[derive(Default)]
struct Pump {
    dirty: Mutex<HashSet<AgentId>>,
    more: Notify,
}

impl Uplink {
    /// Starts the uplink and its pump on the current runtime. The grace of all agents counts from now.
    pub fn new(config: UplinkConfig, events: Arc<dyn EventSink>, renewals: Arc<dyn Renewals>) -> Arc<Self> {
        let UplinkConfig { term, signer, grace, metrics } = config;
        let uplink = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            signer: MessageSigner::new(signer, term),
            grace,
            start: Instant::now(),
            start_wall: Timestamp::now(),
            metrics,
            agents: RwLock::default(),
            holders: Holders::default(),
            wakes: WakeQueues::default(),
            opened: watch::channel(false).0,
            admittance_changes: watch::channel(0).0,
            higher_term: watch::channel(None).0,
            operator_state: watch::channel(operator_state(term)).0,
            pump: Pump::default(),
            queues: Mutex::default(),
            sink: events,
            renewals,
        });
        uplink.metrics.attach(Arc::downgrade(&uplink));
        tokio::spawn(run(Arc::downgrade(&uplink)));
        uplink
    }

    /// The highest term above the current one that an agent has verified. The Lease must be raised above it, see
    /// [`raise_term`](Self::raise_term).
    pub fn higher_term(&self) -> watch::Receiver<Option<u64>> {
        self.higher_term.subscribe()
    }

    /// The Lease has this term now. Everything unconfirmed is sent again under it.
    pub fn raise_term(&self, term: u64) {
        self.signer.raise(term);
        self.operator_state.send_replace(operator_state(self.signer.term()));
        for cell in self.cells() {
            self.act(&cell, |state, _, _| state.term_raised());
        }
    }

    /// The identity was enrolled again: it is no duplicate any more, and the sequences of the new box start over.
    pub fn enrolled(&self, agent: &AgentId) {
        if let Some(cell) = self.known(agent) {
            self.act(&cell, |state, _, _| state.enrolled());
        }
        self.queues.lock().reset(agent);
        self.admittance_changed();
    }

    /// Number of agents that have a session.
    pub fn connected(&self) -> usize {
        self.cells().iter().filter(|cell| cell.lock().live.is_some()).count()
    }

    fn metrics(&self) -> &UplinkMetrics {
        &self.metrics
    }

    fn sink(&self) -> &dyn EventSink {
        self.sink.as_ref()
    }

    async fn until_open(&self) {
        // The sender lives as long as `self`.
        let _ = self.opened.subscribe().wait_for(|open| *open).await;
    }

    fn admittance_changed(&self) {
        self.admittance_changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Whether the event concerns the agent itself or an object that it realises.
    fn concerns(&self, agent: &AgentId, event: &Event) -> bool {
        event.kind == ItemKind::Agent
            || self.known(agent).is_some_and(|cell| {
                let state = cell.lock();
                state.object(&event.uid).is_some_and(|(kind, wake)| *kind == event.kind && wake.name == event.name)
            })
    }

    fn acknowledge(&self, agent: &AgentId, epoch: u64, upto: u64) {
        if let Some(cell) = self.known(agent) {
            self.act(&cell, |state, context, _| state.control(context, &Control::Ack { epoch, upto }));
        }
    }

    fn known(&self, agent: &AgentId) -> Option<Arc<Mutex<AgentState>>> {
        self.agents.read().get(agent).cloned()
    }

    fn cell(&self, agent: &AgentId) -> Arc<Mutex<AgentState>> {
        if let Some(cell) = self.known(agent) {
            return cell;
        }
        let new = || Arc::new(Mutex::new(AgentState::new(agent.clone())));
        Arc::clone(self.agents.write().entry(agent.clone()).or_insert_with(new))
    }

    fn cells(&self) -> Vec<Arc<Mutex<AgentState>>> {
        self.agents.read().values().cloned().collect()
    }

    fn context(&self) -> StepContext<'_> {
        StepContext {
            now: Instant::now(),
            opened: *self.opened.borrow(),
            signer: &self.signer,
            metrics: &self.metrics,
            holders: &self.holders,
            grace: self.grace,
            start: self.start,
            start_wall: self.start_wall,
        }
    }

    /// One step of one agent: the step and its conclusions under the lock, then the effects without it.
    fn act<R>(
        &self,
        cell: &Mutex<AgentState>,
        step: impl FnOnce(&mut AgentState, &StepContext<'_>, &mut Effects) -> R,
    ) -> R {
        let context = self.context();
        let mut effects = Effects::default();
        let (result, id) = {
            let mut state = cell.lock();
            let before = state.facts(&context);
            let result = step(&mut state, &context, &mut effects);
            state.conclude(&context, &mut effects);
            if state.facts(&context) != before {
                effects.wakes.insert(state.own_wake());
            }
            (result, state.id.clone())
        };
        self.apply(&id, effects);
        self.pump.dirty.lock().insert(id);
        self.pump.more.notify_one();
        result
    }

    fn apply(&self, agent: &AgentId, effects: Effects) {
        let Effects { wakes, higher_term, events, renewal } = effects;
        for (kind, wake) in wakes {
            if !self.wakes.add(kind, wake) {
                self.metrics.coalesced();
            }
        }
        if let Some(term) = higher_term {
            self.higher_term.send_if_modified(|seen| {
                let higher = seen.is_none_or(|seen| seen < term);
                if higher {
                    *seen = Some(term);
                }
                higher
            });
        }
        if let Some(events) = events
            && !self.queues.lock().take(&self.me, agent, events)
        {
            self.metrics.event("deferred");
        }
        if let Some(request) = renewal
            && let Some(me) = self.me.upgrade()
        {
            tokio::spawn(renew(me, agent.clone(), request));
        }
    }

    /// Sends what is due, and returns when the next round is.
    fn round(&self) -> Instant {
        let dirty = std::mem::take(&mut *self.pump.dirty.lock());
        let context = self.context();
        let mut next = context.now + IDLE;
        for cell in self.cells() {
            let (due, touched) = {
                let state = cell.lock();
                let due = state.due(&context);
                (due, dirty.contains(&state.id) || due.is_some_and(|at| at <= context.now))
            };
            if !touched {
                next = next.min(due.unwrap_or(next));
                continue;
            }
            let mut effects = Effects::default();
            let (id, due) = {
                let mut state = cell.lock();
                let before = state.facts(&context);
                state.conclude(&context, &mut effects);
                state.pump(&context);
                if state.facts(&context) != before {
                    effects.wakes.insert(state.own_wake());
                }
                (state.id.clone(), state.due(&context))
            };
            next = next.min(due.unwrap_or(next));
            self.apply(&id, effects);
        }
        next
    }
}

async fn run(uplink: Weak<Uplink>) {
    loop {
        let Some(held) = uplink.upgrade() else { return };
        let next = held.round();
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = held.pump.more.notified() => tokio::time::sleep(COALESCE).await,
        }
    }
}

async fn renew(uplink: Arc<Uplink>, agent: AgentId, request: Renewal) {
    let answer = match timeout(RENEWAL_DEADLINE, uplink.renewals.renew(&agent, request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Control::Refused { message: error.to_string() },
        Err(_) => Control::Refused { message: "the certificate could not be made in time: ask again later".to_owned() },
    };
    if let Some(cell) = uplink.known(&agent) {
        uplink.act(&cell, |state, context, _| {
            state.renewing = false;
            state.control(context, &answer);
        });
    }
}

fn operator_state(term: u64) -> Bytes {
    Bytes::from(serde_json::json!({ "term": term, "online": true }).to_string())
}
