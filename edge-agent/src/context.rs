//! What every room of the agent may use: the store, what is reported, clock, counters, and the agent's own settings.

use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::edge_agent::OfflinePolicy;
use kalong_crds::units::AgentId;
use kalong_crds::wire::order::{AgentOrder, DEFAULT_HEARTBEAT_SECONDS};
use kalong_crds::wire::reported::{ItemState, ReportBody, ReportedItem};
use tokio::sync::watch;

use crate::clock::ClockJudge;
use crate::counters::TrafficCounters;
use crate::presence::UplinkPresence;
use crate::reported::ReportedState;
use crate::store::desired::StoredItem;
use crate::store::{Store, StoreError, Transaction};

/// Heartbeat interval until an order names one.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(DEFAULT_HEARTBEAT_SECONDS);
/// The shortest heartbeat interval that an order may ask for.
const FASTEST_HEARTBEAT: Duration = Duration::from_millis(100);

/// What every room of the agent may use. It knows no room.
#[derive(Debug)]
pub struct AgentContext {
    /// Identity under which the agent enrolled, `namespace.name`.
    pub id: AgentId,
    /// Handle of the store; every commit is durable when it returns.
    pub store: Store,
    /// What is reported of every item.
    pub reported: ReportedState,
    /// Whether the wall clock can be believed.
    pub clock: ClockJudge,
    /// What passed the lanes and what the vehicles used.
    pub counters: TrafficCounters,
    /// Since when the operator is reached or not.
    pub presence: UplinkPresence,
    settings: watch::Sender<Option<AgentOrder>>,
}

impl AgentContext {
    /// The context of an agent that has no settings yet.
    pub fn new(id: AgentId, store: Store, reported: ReportedState, clock: ClockJudge) -> Self {
        Self {
            id,
            store,
            reported,
            clock,
            counters: TrafficCounters::default(),
            presence: UplinkPresence::default(),
            settings: watch::Sender::new(None),
        }
    }

    /// Commits one transaction, and lets the uplink know of its events or of a full outbox.
    pub async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        let has_events = !transaction.events.is_empty();
        let result = self.store.commit(transaction).await;
        match &result {
            Ok(()) if has_events => self.reported.event_added(),
            Err(StoreError::OutboxFull) => self.reported.outbox_is_full(true),
            _ => {}
        }
        result
    }

    /// Reports an item that is in force as soon as its order can be followed: its facts, or why the order is rejected. An orphan is not
    /// reported.
    pub fn report_order(&self, stored: &StoredItem, result: Result<Option<ReportBody>, String>) {
        let item = &stored.item;
        if !stored.adopted {
            self.reported.remove(&item.uid);
            return;
        }
        let (state, applied, reason, message, body) = match result {
            Ok(body) => (ItemState::Applied, item.generation, String::new(), String::new(), body),
            Err(why) => (ItemState::Rejected, 0, Reason::InvalidSpec.to_string(), why, None),
        };
        self.reported.set(ReportedItem {
            uid: item.uid.clone(),
            kind: item.kind,
            generation: item.generation,
            hash: item.hash.clone(),
            applied,
            state,
            reason,
            message,
            body,
        });
    }

    /// Puts the settings of the agent's own item in force.
    pub fn configure(&self, order: AgentOrder) {
        self.settings.send_replace(Some(order));
    }

    /// The offline policy, and after how long without the operator it takes effect; `None` before the first settings.
    pub fn offline_policy(&self) -> Option<(OfflinePolicy, Duration)> {
        let settings = self.settings.borrow();
        let order = settings.as_ref()?;
        Some((order.offline_policy, Duration::from_secs(u64::try_from(order.offline_after_seconds).ok()?)))
    }

    /// The heartbeat interval, at least 100 ms.
    pub fn heartbeat(&self) -> Duration {
        let millis = self.settings.borrow().as_ref().and_then(|s| u64::try_from(s.heartbeat_millis).ok());
        millis.map_or(DEFAULT_HEARTBEAT, Duration::from_millis).max(FASTEST_HEARTBEAT)
    }

    /// Signals changes of the settings.
    pub fn settings_changes(&self) -> watch::Receiver<Option<AgentOrder>> {
        self.settings.subscribe()
    }
}
