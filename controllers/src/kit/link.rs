//! `AgentLink`: all that a controller knows of edge agents. Behind it is the embedded gateway, or an external MQTT broker.
//!
//! Nothing here is a message. A controller says what it wants, asks what an agent last said, and is woken when that changed.

use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::reported::{Orphan, ReportedItem};
use std::sync::Arc;
use std::time::Duration;

/// The object that a wake-up concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wake {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl Wake {
    /// The object of this metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() }
    }
}

/// Whether an agent can be believed to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Not heard since this operator started, and its grace is not over yet: nothing may be concluded.
    Unheard {
        /// When the grace time ends and silence counts.
        until: Timestamp,
    },
    /// Heard within the grace time.
    Present,
    /// Not heard for longer than the grace time.
    Silent,
}

/// What is known of an agent beside its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFacts {
    /// Whether it is there.
    pub presence: Presence,
    /// Whether its whole report was received in this operator's life; before that its items are not known.
    pub reported: bool,
    /// Whether it holds exactly what is wanted.
    pub synced: bool,
    /// What it says of its clock.
    pub clock: Clock,
    /// Version of its program.
    pub version: Option<String>,
    /// Whether its outbox is full.
    pub outbox_full: bool,
    /// Items that it holds without an owner.
    pub orphans: Vec<Orphan>,
    /// Two boxes fight over this identity; both are refused until an operator's restart or a renewed enrolment.
    pub duplicate: bool,
    /// It claims a term more than a year ahead.
    pub term_implausible: bool,
}

/// What can be concluded from an agent's words, or from its silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Nothing yet, after a start: what was said before stands.
    Pending,
    /// It has been silent for longer than the grace time: what depends on it is unknown.
    Lost,
    /// It speaks, and what it says holds.
    Live,
}

impl AgentFacts {
    /// What can be concluded now.
    pub fn liveness(&self) -> Liveness {
        match self.presence {
            Presence::Silent => Liveness::Lost,
            Presence::Present if self.reported => Liveness::Live,
            Presence::Present | Presence::Unheard { .. } => Liveness::Pending,
        }
    }

    /// When to look again because a grace time ends then: nothing else wakes anybody at that moment.
    pub fn grace_left(&self, now: Timestamp) -> Option<Duration> {
        match self.presence {
            Presence::Unheard { until } => {
                Some(Duration::try_from(until.duration_since(now)).unwrap_or_default() + MOMENT)
            }
            Presence::Present | Presence::Silent => None,
        }
    }
}

/// How often to look whether an agent confirmed that it let go of something.
pub const CONFIRMATION: Duration = Duration::from_secs(2);

/// Enough for the end of a grace time to lie in the past when it is looked at.
const MOMENT: Duration = Duration::from_millis(100);

/// Whether an agent may talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admittance {
    /// It may open a session and speak.
    Admitted,
    /// It may not: a live session ends within one second, and no new one begins.
    Refused,
}

/// Whether an agent holds an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It reported the item and has not dropped it since.
    Held,
    /// It does not, and said so after the tombstone or in its whole report.
    NotHeld,
    /// It has not reported since this operator started.
    Unknown,
}

/// The seam between controllers and transport.
pub trait AgentLink: Send + Sync + 'static {
    /// The agent shall realise this item. Saying it again changes nothing; a new hash replaces the old item.
    fn want(&self, agent: &AgentId, item: Item);

    /// The agent shall let go of this item: a signed tombstone goes out until it is confirmed. Ends an earlier `want`.
    fn remove(&self, agent: &AgentId, uid: &str, generation: i64);

    /// Whether the agent holds the item.
    fn holding(&self, agent: &AgentId, uid: &str) -> Holding;

    /// Agents that report this item; more than one while it moves from one to another.
    fn holders(&self, uid: &str) -> Vec<AgentId>;

    /// What the agent last said of the item, for however long it has been silent since.
    fn report(&self, agent: &AgentId, uid: &str) -> Option<Arc<ReportedItem>>;

    /// What is known of the agent.
    fn facts(&self, agent: &AgentId) -> AgentFacts;

    /// Lets the agent in or shuts it out. Unknown agents are shut out: whoever has a certificate but no EdgeAgent is nobody.
    fn admit(&self, agent: &AgentId, admittance: Admittance);

    /// The agent has no EdgeAgent any more: forget all that is known of it and shut it out.
    fn forget(&self, agent: &AgentId);

    /// Every object that existed at the start was visited once: from now on differences are sent. Before that an
    /// incomplete set would make agents report orphans.
    fn open(&self);

    /// Objects of this kind whose report, or whose agent's presence, changed. A set, not a queue: it cannot grow. One subscriber a kind.
    fn wakes(&self, kind: ItemKind) -> BoxStream<'static, Wake>;
}

#[cfg(test)]
impl AgentFacts {
    /// Of an agent that is connected and has reported everything.
    pub(crate) fn live() -> Self {
        Self {
            presence: Presence::Present,
            reported: true,
            synced: true,
            clock: Clock::Synced,
            version: None,
            outbox_full: false,
            orphans: Vec::new(),
            duplicate: false,
            term_implausible: false,
        }
    }
}
