//! The uplink: `AgentLink` over a [`transport`](crate::transport). It knows what every agent is to hold and what it last said, and sends the difference.
//!
//! One mutex an agent, never held across an await; frames are applied by the connection that brought them, controllers are woken
//! through sets. A pump task sends what is due and notices silence at the moment that it begins.

pub mod events;
pub mod image;
pub mod metrics;
pub mod outbound;

mod admission;
mod agent;
mod counters;
mod delivery;
mod holders;
mod inbound;
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
use futures::stream::BoxStream;
use jiff::Timestamp;
use kalong_controllers::kit::link::{Admittance, AgentFacts, AgentLink, Holding, Wake};
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::event::Event;
use kalong_crds::wire::reported::ReportedItem;
use kalong_crds::wire::signature::Signer;
use kalong_crds::wire::topic::Up;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::transport::{Admission, EndReason, FrameResult, Session, SessionHandler};
use agent::{AgentState, Context, Effects};
use events::{EventSink, Queues};
use holders::Holders;
use signer::Sealer;
use wakes::Wakes;

pub use events::{KubeEvents, SinkError};
pub use metrics::UplinkMetrics;

/// Changes that come within this time go into one message.
const COALESCE: Duration = Duration::from_millis(5);
/// The answer to a request for a certificate.
pub const RENEWAL_DEADLINE: Duration = Duration::from_secs(15);
/// Longest sleep of the pump.
const IDLE: Duration = Duration::from_secs(60);

/// Why a certificate was not renewed; the sentence goes to the agent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RenewalError(pub String);

/// Answers requests for certificates that come over a session.
pub trait Renewals: Send + Sync + 'static {
    /// The new certificate for this agent. The identity is the session's; what the request says must equal it.
    fn renew<'a>(&'a self, agent: &'a AgentId, request: Renewal) -> BoxFuture<'a, Result<Control, RenewalError>>;
}

/// What an uplink is made of.
pub struct UplinkConfig {
    /// Term of the lease.
    pub term: u64,
    /// The key that signs what agents are told.
    pub signer: Signer,
    /// An agent that was not heard for longer is silent: three heartbeats.
    pub grace: Duration,
    /// What it counts.
    pub metrics: Arc<UplinkMetrics>,
}

/// `AgentLink` for the controllers, and the [`SessionHandler`] of the transport.
pub struct Uplink {
    me: Weak<Self>,
    sealer: Sealer,
    grace: Duration,
    start: Instant,
    start_wall: Timestamp,
    metrics: Arc<UplinkMetrics>,
    agents: RwLock<HashMap<AgentId, Arc<Mutex<AgentState>>>>,
    holders: Holders,
    wakes: Wakes,
    opened: watch::Sender<bool>,
    judged: watch::Sender<u64>,
    higher: watch::Sender<Option<u64>>,
    hint: watch::Sender<Bytes>,
    pump: Pump,
    queues: Mutex<Queues>,
    sink: Arc<dyn EventSink>,
    renewals: Arc<dyn Renewals>,
}

/// Who may have something to send.
#[derive(Default)]
struct Pump {
    dirty: Mutex<HashSet<AgentId>>,
    more: Notify,
}

impl Uplink {
    /// Starts the uplink and its pump on the current runtime. Grace counts from now.
    pub fn new(config: UplinkConfig, events: Arc<dyn EventSink>, renewals: Arc<dyn Renewals>) -> Arc<Self> {
        let UplinkConfig { term, signer, grace, metrics } = config;
        let uplink = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            sealer: Sealer::new(signer, term),
            grace,
            start: Instant::now(),
            start_wall: Timestamp::now(),
            metrics,
            agents: RwLock::default(),
            holders: Holders::default(),
            wakes: Wakes::default(),
            opened: watch::channel(false).0,
            judged: watch::channel(0).0,
            higher: watch::channel(None).0,
            hint: watch::channel(hint(term)).0,
            pump: Pump::default(),
            queues: Mutex::default(),
            sink: events,
            renewals,
        });
        uplink.metrics.attach(Arc::downgrade(&uplink));
        tokio::spawn(run(Arc::downgrade(&uplink)));
        uplink
    }

    /// The highest term that an agent has verified and that is above ours; the lease must be raised above it.
    pub fn higher_term(&self) -> watch::Receiver<Option<u64>> {
        self.higher.subscribe()
    }

    /// The lease has this term now. Everything unconfirmed is sent again under it.
    pub fn raise_term(&self, term: u64) {
        self.sealer.raise(term);
        self.hint.send_replace(hint(self.sealer.term()));
        for cell in self.cells() {
            self.act(&cell, |state, _, _| state.term_raised());
        }
    }

    /// The identity was enrolled anew: a duplicate is cleared, and the numbers of the new box begin anew.
    pub fn enrolled(&self, agent: &AgentId) {
        if let Some(cell) = self.known(agent) {
            self.act(&cell, |state, _, _| state.enrolled());
        }
        self.queues.lock().reset(agent);
        self.judged.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Agents with a session now.
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
        // The sender lives as long as we do.
        let _ = self.opened.subscribe().wait_for(|open| *open).await;
    }

    /// Whether the event's object is one that this agent realises.
    fn speaks_of(&self, agent: &AgentId, event: &Event) -> bool {
        event.kind == ItemKind::Agent
            || self.known(agent).is_some_and(|cell| {
                let state = cell.lock();
                state.named(&event.uid).is_some_and(|(kind, wake)| *kind == event.kind && wake.name == event.name)
            })
    }

    fn acknowledge(&self, agent: &AgentId, epoch: u64, upto: u64) {
        self.tell(agent, &Control::Ack { epoch, upto });
    }

    fn tell(&self, agent: &AgentId, message: &Control) {
        if let Some(cell) = self.known(agent) {
            self.act(&cell, |state, context, _| state.control(context, message));
        }
    }

    fn known(&self, agent: &AgentId) -> Option<Arc<Mutex<AgentState>>> {
        self.agents.read().get(agent).cloned()
    }

    fn cell(&self, agent: &AgentId) -> Arc<Mutex<AgentState>> {
        if let Some(cell) = self.known(agent) {
            return cell;
        }
        let mut agents = self.agents.write();
        let made = || Arc::new(Mutex::new(AgentState::new(agent.clone())));
        Arc::clone(agents.entry(agent.clone()).or_insert_with(made))
    }

    fn cells(&self) -> Vec<Arc<Mutex<AgentState>>> {
        self.agents.read().values().cloned().collect()
    }

    fn context(&self) -> Context<'_> {
        Context {
            now: Instant::now(),
            opened: *self.opened.borrow(),
            sealer: &self.sealer,
            metrics: &self.metrics,
            holders: &self.holders,
            grace: self.grace,
            start: self.start,
            start_wall: self.start_wall,
        }
    }

    /// One step of one agent: the step, its conclusions, and then the effects without the lock.
    fn act<R>(
        &self,
        cell: &Mutex<AgentState>,
        step: impl FnOnce(&mut AgentState, &Context<'_>, &mut Effects) -> R,
    ) -> R {
        let context = self.context();
        let mut effects = Effects::default();
        let (result, id) = {
            let mut state = cell.lock();
            let before = state.facts(&context);
            let result = step(&mut state, &context, &mut effects);
            state.settle(&context, &mut effects);
            if state.facts(&context) != before {
                effects.wakes.insert(state.own_wake());
            }
            (result, state.id.clone())
        };
        self.follow(&id, effects);
        self.pump.dirty.lock().insert(id);
        self.pump.more.notify_one();
        result
    }

    fn follow(&self, agent: &AgentId, effects: Effects) {
        let Effects { wakes, higher_term, events, renewal } = effects;
        for (kind, wake) in wakes {
            if !self.wakes.add(kind, wake) {
                self.metrics.coalesced();
            }
        }
        if let Some(term) = higher_term {
            self.higher.send_if_modified(|seen| {
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

    /// Sends what is due; says when to look again.
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
                state.settle(&context, &mut effects);
                state.pump(&context);
                if state.facts(&context) != before {
                    effects.wakes.insert(state.own_wake());
                }
                (state.id.clone(), state.due(&context))
            };
            next = next.min(due.unwrap_or(next));
            self.follow(&id, effects);
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

fn hint(term: u64) -> Bytes {
    Bytes::from(serde_json::json!({ "term": term, "online": true }).to_string())
}

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
                state.shut_out();
            }
            changed
        });
        if changed {
            self.judged.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    fn forget(&self, agent: &AgentId) {
        let gone = self.agents.write().remove(agent);
        if let Some(cell) = gone {
            cell.lock().shut_out();
        }
        self.holders.forget(agent);
        self.queues.lock().forget(agent);
    }

    fn open(&self) {
        self.opened.send_replace(true);
        self.judged.send_modify(|n| *n = n.wrapping_add(1));
        for cell in self.cells() {
            self.act(&cell, |_, _, _| ());
        }
    }

    fn wakes(&self, kind: ItemKind) -> BoxStream<'static, Wake> {
        self.wakes.stream(kind)
    }
}

impl SessionHandler for Uplink {
    fn admission(&self, agent: &AgentId) -> BoxFuture<'static, Admission> {
        let (me, agent) = (Weak::clone(&self.me), agent.clone());
        let mut judged = self.judged.subscribe();
        Box::pin(async move {
            loop {
                let Some(uplink) = me.upgrade() else { return Admission::Refused };
                let said = uplink.known(&agent).and_then(|cell| {
                    let state = cell.lock();
                    if state.duplicate { Some(Admittance::Refused) } else { state.admittance }
                });
                match said {
                    Some(Admittance::Admitted) => return Admission::Admitted,
                    Some(Admittance::Refused) => return Admission::Refused,
                    None if *uplink.opened.borrow() => return Admission::Refused,
                    // Its EdgeAgent was not visited yet: to be turned away now would send it into its longest pause.
                    None => {}
                }
                drop(uplink);
                if judged.changed().await.is_err() {
                    return Admission::Refused;
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
        self.hint.subscribe()
    }
}
