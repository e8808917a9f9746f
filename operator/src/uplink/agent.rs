//! Everything known of one agent: what it shall hold, what it reported, its session. Synchronous: time comes in, effects go out.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_controllers::kit::link::{Admittance, AgentFacts, Holding, Wake};
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::{Item, ItemKind, rev_of};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::event::Events;
use kalong_crds::wire::reported::{Orphan, ReportedItem};
use kalong_crds::wire::topic::Down;
use tokio::time::Instant;

use super::counters::AgentCounters;
use super::delivery::{Delivery, Resync};
use super::holders::Holders;
use super::metrics::UplinkMetrics;
use super::outbound;
use super::reported::ReportedMirror;
use super::sanitize::{self, AllowedTerms};
use super::sequence::MessageSequence;
use super::signer::MessageSigner;
use crate::transport::{EndReason, Session};

/// More takeovers than this within [`TAKEOVER_WINDOW`] are two boxes with one identity.
const MAX_TAKEOVERS: usize = 3;
const TAKEOVER_WINDOW: Duration = Duration::from_secs(60);
/// Orphans that are shown to controllers.
const MAX_ORPHANS: usize = 256;

/// Time and shared state for one step of an agent.
pub(super) struct StepContext<'a> {
    pub now: Instant,
    /// Whether every object was reconciled once: only then is the set of wanted items complete.
    pub opened: bool,
    pub signer: &'a MessageSigner,
    pub metrics: &'a UplinkMetrics,
    pub holders: &'a Holders,
    pub grace: Duration,
    /// Start of the operator, on both clocks.
    pub start: Instant,
    pub start_wall: Timestamp,
}

/// What follows from a step; applied once the agent's lock is free.
#[derive(Default)]
pub(super) struct Effects {
    pub wakes: HashSet<(ItemKind, Wake)>,
    pub higher_term: Option<u64>,
    pub events: Option<Events>,
    pub renewal: Option<Renewal>,
}

pub(super) struct AgentSession {
    pub session: Arc<dyn Session>,
    /// Whether the agent has reported its whole in this session; nothing is sent before.
    pub greeted: bool,
    pub since: Instant,
}

/// The presence for which the agent's objects were last woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastPresence {
    Unheard,
    Present,
    Silent,
}

/// Whether the agent holds exactly what is wanted, short differences aside.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SyncState {
    pub synced: bool,
    /// Since when it does not.
    pub differs: Option<Instant>,
}

pub(super) struct AgentState {
    pub id: AgentId,
    /// None until the EdgeAgent was reconciled once.
    pub admittance: Option<Admittance>,
    /// Two boxes use this identity; both are refused.
    pub duplicate: bool,
    pub live: Option<AgentSession>,
    /// The last frame or start of a session.
    pub heard: Option<Instant>,
    pub clock: Clock,
    pub reported: ReportedMirror,
    pub delivery: Delivery,
    pub resync: Resync,
    pub term_implausible: bool,
    pub renewing: bool,
    pub sequences: Sequences,
    pub counters: AgentCounters,
    pub last_presence: LastPresence,
    pub sync: SyncState,
    /// Whether it held all that is wanted once since the operator started, and so beats as often as it is told to.
    pub told: bool,
    pub wanted: BTreeMap<String, Item>,
    pub wanted_rev: Rev,
    /// Generation of each item that the agent shall drop and has not confirmed to be gone.
    pub tombstones: BTreeMap<String, i64>,
    takeovers: VecDeque<Instant>,
    objects: HashMap<String, (ItemKind, Wake)>,
    allowed: HashMap<String, AllowedTerms>,
    /// Reported items as controllers may see them.
    visible: HashMap<String, Arc<ReportedItem>>,
}

/// Last sequence number, by topic and over all topics.
#[derive(Default)]
pub(super) struct Sequences {
    pub reported: MessageSequence,
    pub beat: MessageSequence,
    pub event: MessageSequence,
    pub csr: MessageSequence,
    pub telemetry: MessageSequence,
    pub all: MessageSequence,
}

impl AgentState {
    pub fn new(id: AgentId) -> Self {
        Self {
            id,
            admittance: None,
            duplicate: false,
            live: None,
            heard: None,
            clock: Clock::default(),
            reported: ReportedMirror::default(),
            delivery: Delivery::default(),
            resync: Resync::default(),
            term_implausible: false,
            renewing: false,
            sequences: Sequences::default(),
            counters: AgentCounters::default(),
            last_presence: LastPresence::Unheard,
            sync: SyncState::default(),
            told: false,
            wanted: BTreeMap::new(),
            wanted_rev: Rev::empty(),
            tombstones: BTreeMap::new(),
            takeovers: VecDeque::new(),
            objects: HashMap::new(),
            allowed: HashMap::new(),
            visible: HashMap::new(),
        }
    }

    // Requests of controllers.

    pub fn want(&mut self, item: Item) {
        let uid = item.uid.clone();
        if self.wanted.get(&uid).is_some_and(|old| old.generation == item.generation && old.hash == item.hash) {
            return;
        }
        self.tombstones.remove(&uid);
        let wake = Wake { namespace: item.namespace.clone(), name: item.name.clone() };
        self.objects.insert(uid.clone(), (item.kind, wake));
        self.allowed.insert(uid.clone(), AllowedTerms::of(&item));
        self.counters.wanted(&item);
        if urgent(&item) {
            self.delivery.overtake();
        } else {
            self.delivery.hurry();
        }
        self.wanted.insert(uid.clone(), item);
        self.wanted_rev = rev_of(self.wanted.values());
        self.refresh(&uid);
    }

    pub fn remove(&mut self, uid: &str, generation: i64) {
        self.counters.gone(uid);
        if self.wanted.remove(uid).is_some() {
            self.wanted_rev = rev_of(self.wanted.values());
            self.delivery.hurry();
        }
        if self.holding(uid) == Holding::NotHeld {
            self.forget_object(uid);
        } else {
            self.tombstones.insert(uid.to_owned(), generation);
        }
    }

    pub fn holding(&self, uid: &str) -> Holding {
        if !self.reported.known() {
            Holding::Unknown
        } else if self.reported.holds(uid) || self.delivery.exposed.contains(uid) {
            Holding::Held
        } else {
            Holding::NotHeld
        }
    }

    pub fn report(&self, uid: &str) -> Option<Arc<ReportedItem>> {
        self.visible.get(uid).cloned()
    }

    pub fn facts(&self, context: &StepContext<'_>) -> AgentFacts {
        let about = self.reported.about();
        AgentFacts {
            presence: self.presence(context),
            reported: self.reported.known(),
            synced: self.sync.synced,
            clock: self.clock,
            version: about.map(|a| sanitize::text(&a.version, 63)),
            outbox_full: about.is_some_and(|a| a.outbox_full),
            orphans: self.reported.orphans().iter().take(MAX_ORPHANS).map(bounded).collect(),
            duplicate: self.duplicate,
            term_implausible: self.term_implausible,
        }
    }

    /// The object of this UID, if it was wanted of this agent and is not confirmed to be gone.
    pub fn object(&self, uid: &str) -> Option<&(ItemKind, Wake)> {
        self.objects.get(uid)
    }

    /// The objects that depend on this agent.
    pub fn objects(&self) -> impl Iterator<Item = &(ItemKind, Wake)> {
        self.objects.values()
    }

    /// Drops what is known of an object that the agent does not hold any more.
    pub fn forget_object(&mut self, uid: &str) {
        self.objects.remove(uid);
        self.allowed.remove(uid);
        self.visible.remove(uid);
    }

    /// Computes again what controllers may see of an item.
    pub fn refresh(&mut self, uid: &str) {
        let seen = self.objects.get(uid).and_then(|(kind, _)| {
            let none = AllowedTerms::default();
            sanitize::item(self.reported.item(uid)?, *kind, self.allowed.get(uid).unwrap_or(&none))
        });
        match seen {
            Some(item) => self.visible.insert(uid.to_owned(), Arc::new(item)),
            None => self.visible.remove(uid),
        };
    }

    pub fn own_wake(&self) -> (ItemKind, Wake) {
        let wake = Wake { namespace: self.id.namespace().to_owned(), name: self.id.name().to_owned() };
        (ItemKind::Agent, wake)
    }

    // Sessions.

    /// Whether a session may begin; none while that is not decided.
    pub fn session_admittance(&self) -> Option<Admittance> {
        if self.duplicate { Some(Admittance::Refused) } else { self.admittance }
    }

    pub fn session_started(&mut self, context: &StepContext<'_>, session: Arc<dyn Session>) {
        self.heard = Some(context.now);
        self.delivery.restart();
        self.reported.forget_parts();
        self.resync.answered();
        if self.session_admittance() != Some(Admittance::Admitted) {
            session.end(EndReason::Refused);
        }
        self.live = Some(AgentSession { session, greeted: false, since: context.now });
    }

    pub fn session_ended(&mut self, number: u64) {
        if self.live.as_ref().is_some_and(|live| live.session.number() == number) {
            self.live = None;
            self.reported.forget_parts();
        }
    }

    pub fn taken_over(&mut self, now: Instant) {
        self.takeovers.retain(|at| now.saturating_duration_since(*at) < TAKEOVER_WINDOW);
        self.takeovers.push_back(now);
        if self.takeovers.len() > MAX_TAKEOVERS && !self.duplicate {
            self.duplicate = true;
            tracing::warn!(agent = %self.id, "Two boxes use this identity; both are refused until it is enrolled again.");
        }
        if self.duplicate {
            self.end_session();
        }
    }

    /// The identity was enrolled again: nothing of the old box counts.
    pub fn enrolled(&mut self) {
        self.duplicate = false;
        self.takeovers.clear();
        self.sequences = Sequences::default();
    }

    pub fn end_session(&self) {
        if let Some(live) = &self.live {
            live.session.end(EndReason::Refused);
        }
    }

    // Messages to the agent.

    /// Sends a control message, if there is a session.
    pub fn control(&mut self, context: &StepContext<'_>, message: &Control) {
        let Some(live) = &self.live else { return };
        match context.signer.sign(&self.id, Down::Ctl, self.delivery.next_seq(), message) {
            Ok(bytes) => live.session.control(bytes),
            Err(error) => tracing::error!(agent = %self.id, %error, "A control message cannot be written as JSON."),
        }
    }

    /// A higher term holds now; what was sent under the old one may have been refused.
    pub fn term_raised(&mut self) {
        self.delivery.restart();
    }

    /// Sends the next `desired`, if there is one and it may go now.
    pub fn pump(&mut self, context: &StepContext<'_>) {
        let Some(live) = &self.live else { return };
        let waits = self.delivery.not_before().is_some_and(|at| context.now < at);
        if !context.opened || !live.greeted || waits {
            return;
        }
        let (exposed, mode) = (&self.delivery.exposed, self.delivery.mode);
        if let Some(message) = outbound::next(&self.wanted, &self.tombstones, &self.reported, exposed, mode) {
            context.metrics.desired(if message.base.is_some() { "difference" } else { "whole" });
            let parts = self.delivery.sign(&self.id, context.signer, context.now, message);
            live.session.desired(parts);
        }
    }
}

/// Whether the order must not wait behind one that is not confirmed yet: a link that is cut, and a lane behind an open interlock.
fn urgent(item: &Item) -> bool {
    let field = |name: &str| item.spec.get(name);
    match item.kind {
        ItemKind::Link => field("mode").and_then(|mode| mode.as_str()) == Some("Cut"),
        ItemKind::Lane => field("openInterlocks").and_then(|open| open.as_array()).is_some_and(|open| !open.is_empty()),
        ItemKind::Agent | ItemKind::Device | ItemKind::Igv => false,
    }
}

fn bounded(orphan: &Orphan) -> Orphan {
    Orphan { kind: orphan.kind, name: sanitize::text(&orphan.name, 253), uid: sanitize::text(&orphan.uid, 63) }
}
