//! Everything known of one agent, and what the controllers ask of it. Synchronous: the clock comes in, effects go out.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_controllers::kit::link::{Admittance, AgentFacts, Holding, Presence, Wake};
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::{Item, ItemKind, rev_of};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::event::Events;
use kalong_crds::wire::reported::{Orphan, ReportedItem};
use kalong_crds::wire::topic::Down;
use tokio::time::Instant;

use super::admission::{self, Words};
use super::counters::Counters;
use super::delivery::{DESIRED_RETRY, Delivery, Resync};
use super::holders::Holders;
use super::image::{Image, Sequence};
use super::metrics::UplinkMetrics;
use super::outbound;
use super::signer::Sealer;
use crate::transport::{EndReason, Session};

/// More takeovers than this within a minute are two boxes with one identity.
const MAX_TAKEOVERS: usize = 3;
const TAKEOVER_WINDOW: Duration = Duration::from_secs(60);
/// A difference younger than this is not called out of sync: every change passes through it.
pub const SYNC_SETTLE: Duration = Duration::from_secs(10);
/// An agent that has not reported its whole for so long after it connected is asked for it.
const GREETING_DEADLINE: Duration = Duration::from_secs(10);
/// Orphans that are passed on.
const MAX_ORPHANS: usize = 256;

/// What an agent's state is judged with.
pub(super) struct Context<'a> {
    pub now: Instant,
    pub opened: bool,
    pub sealer: &'a Sealer,
    pub metrics: &'a UplinkMetrics,
    pub holders: &'a Holders,
    pub grace: Duration,
    pub start: Instant,
    pub start_wall: Timestamp,
}

/// What follows from a step, to be done when the agent's lock is free.
#[derive(Default)]
pub(super) struct Effects {
    pub wakes: HashSet<(ItemKind, Wake)>,
    pub higher_term: Option<u64>,
    pub events: Option<Events>,
    pub renewal: Option<Renewal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Unheard,
    Present,
    Silent,
}

pub(super) struct Live {
    pub session: Arc<dyn Session>,
    pub greeted: bool,
    since: Instant,
}

pub(super) struct AgentState {
    pub id: AgentId,
    pub admittance: Option<Admittance>,
    pub duplicate: bool,
    pub live: Option<Live>,
    pub heard: Option<Instant>,
    pub clock: Clock,
    pub image: Image,
    pub delivery: Delivery,
    pub resync: Resync,
    pub term_implausible: bool,
    pub renewing: bool,
    pub sequences: Sequences,
    pub counters: Counters,
    takeovers: VecDeque<Instant>,
    wanted: BTreeMap<String, Item>,
    wanted_rev: Rev,
    ended: BTreeMap<String, i64>,
    names: HashMap<String, (ItemKind, Wake)>,
    words: HashMap<String, Words>,
    views: HashMap<String, Arc<ReportedItem>>,
    shown: Shown,
    settled: bool,
    unsynced: Option<Instant>,
}

/// The order of messages, by topic and over all.
#[derive(Default)]
pub(super) struct Sequences {
    pub reported: Sequence,
    pub beat: Sequence,
    pub event: Sequence,
    pub csr: Sequence,
    pub telemetry: Sequence,
    pub all: Sequence,
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
            image: Image::default(),
            delivery: Delivery::default(),
            resync: Resync::default(),
            term_implausible: false,
            renewing: false,
            sequences: Sequences::default(),
            counters: Counters::default(),
            takeovers: VecDeque::new(),
            wanted: BTreeMap::new(),
            wanted_rev: Rev::empty(),
            ended: BTreeMap::new(),
            names: HashMap::new(),
            words: HashMap::new(),
            views: HashMap::new(),
            shown: Shown::Unheard,
            settled: false,
            unsynced: None,
        }
    }

    // What controllers ask.

    pub fn want(&mut self, item: Item) {
        let uid = item.uid.clone();
        if self.wanted.get(&uid).is_some_and(|old| old.generation == item.generation && old.hash == item.hash) {
            return;
        }
        self.ended.remove(&uid);
        let wake = Wake { namespace: item.namespace.clone(), name: item.name.clone() };
        self.names.insert(uid.clone(), (item.kind, wake));
        self.words.insert(uid.clone(), admission::words(&item));
        self.counters.wanted(&item);
        if urgent(&item) {
            self.delivery.overtake();
        } else {
            self.delivery.hurry();
        }
        self.wanted.insert(uid.clone(), item);
        self.wanted_rev = rev_of(self.wanted.values());
        self.look(&uid);
    }

    pub fn remove(&mut self, uid: &str, generation: i64) {
        self.counters.gone(uid);
        if self.wanted.remove(uid).is_some() {
            self.wanted_rev = rev_of(self.wanted.values());
            self.delivery.hurry();
        }
        if self.holding(uid) == Holding::NotHeld {
            self.drop_name(uid);
        } else {
            self.ended.insert(uid.to_owned(), generation);
        }
    }

    pub fn holding(&self, uid: &str) -> Holding {
        if !self.image.known() {
            Holding::Unknown
        } else if self.image.holds(uid) || self.delivery.exposed.contains(uid) {
            Holding::Held
        } else {
            Holding::NotHeld
        }
    }

    pub fn report(&self, uid: &str) -> Option<Arc<ReportedItem>> {
        self.views.get(uid).cloned()
    }

    pub fn facts(&self, context: &Context<'_>) -> AgentFacts {
        let about = self.image.about();
        AgentFacts {
            presence: self.presence(context),
            reported: self.image.known(),
            synced: self.settled,
            clock: self.clock,
            version: about.map(|a| admission::text(&a.version, 63)),
            outbox_full: about.is_some_and(|a| a.outbox_full),
            orphans: self.image.orphans().iter().take(MAX_ORPHANS).map(bounded).collect(),
            duplicate: self.duplicate,
            term_implausible: self.term_implausible,
        }
    }

    /// Whose object this is, in the eyes of this agent's controllers.
    pub fn named(&self, uid: &str) -> Option<&(ItemKind, Wake)> {
        self.names.get(uid)
    }

    // Sessions.

    pub fn session_started(&mut self, context: &Context<'_>, session: Arc<dyn Session>) {
        self.heard = Some(context.now);
        self.delivery.restart();
        self.image.forget_parts();
        self.resync.answered();
        if self.admittance != Some(Admittance::Admitted) || self.duplicate {
            session.end(EndReason::Refused);
        }
        self.live = Some(Live { session, greeted: false, since: context.now });
    }

    pub fn session_ended(&mut self, number: u64) {
        if self.live.as_ref().is_some_and(|live| live.session.number() == number) {
            self.live = None;
            self.image.forget_parts();
        }
    }

    pub fn taken_over(&mut self, now: Instant) {
        self.takeovers.retain(|at| now.saturating_duration_since(*at) < TAKEOVER_WINDOW);
        self.takeovers.push_back(now);
        if self.takeovers.len() > MAX_TAKEOVERS && !self.duplicate {
            self.duplicate = true;
            tracing::warn!(agent = %self.id, "two boxes use this identity; both are refused until it is enrolled anew");
        }
        if self.duplicate {
            self.shut_out();
        }
    }

    /// The identity was enrolled anew: nothing of the old box counts.
    pub fn enrolled(&mut self) {
        self.duplicate = false;
        self.takeovers.clear();
        self.sequences = Sequences::default();
    }

    pub fn shut_out(&self) {
        if let Some(live) = &self.live {
            live.session.end(EndReason::Refused);
        }
    }

    /// Sends a control message to whoever is there.
    pub fn control(&mut self, context: &Context<'_>, message: &Control) {
        let Some(live) = &self.live else { return };
        match context.sealer.seal(&self.id, Down::Ctl, self.delivery.next_seq(), message) {
            Ok(bytes) => live.session.control(bytes),
            Err(error) => tracing::error!(agent = %self.id, %error, "a control message cannot be written as JSON"),
        }
    }

    /// A higher term holds now; what was sent under the old one may have been refused.
    pub fn term_raised(&mut self) {
        self.delivery.restart();
    }

    // After every step.

    /// Draws the conclusions that hold after any step and at any deadline.
    pub fn settle(&mut self, context: &Context<'_>, effects: &mut Effects) {
        self.settle_presence(context, effects);
        self.settle_ended(effects);
        self.settle_sync(context);
        let ungreeted = self.live.as_ref().is_some_and(|l| !l.greeted && l.since + GREETING_DEADLINE <= context.now);
        if ungreeted {
            self.resync.need(context.now);
        }
        if self.live.is_some() && self.resync.take(context.now) {
            context.metrics.resync();
            self.control(context, &Control::Resync {});
        }
    }

    fn settle_presence(&mut self, context: &Context<'_>, effects: &mut Effects) {
        let shown = match self.presence(context) {
            Presence::Unheard { .. } => Shown::Unheard,
            Presence::Present => Shown::Present,
            Presence::Silent => Shown::Silent,
        };
        if shown != self.shown {
            self.shown = shown;
            tracing::info!(agent = %self.id, presence = ?shown, "presence of an agent changed");
            effects.wakes.extend(self.names.values().cloned());
            effects.wakes.insert(self.own_wake());
        }
    }

    fn settle_ended(&mut self, effects: &mut Effects) {
        let done: Vec<String> =
            self.ended.keys().filter(|uid| self.holding(uid) == Holding::NotHeld).cloned().collect();
        for uid in done {
            self.ended.remove(&uid);
            effects.wakes.extend(self.names.get(&uid).cloned());
            self.drop_name(&uid);
        }
    }

    fn settle_sync(&mut self, context: &Context<'_>) {
        if self.synced(context.opened) {
            (self.settled, self.unsynced) = (true, None);
        } else {
            let since = *self.unsynced.get_or_insert(context.now);
            self.settled = self.settled && context.now < since + SYNC_SETTLE;
        }
    }

    fn synced(&self, opened: bool) -> bool {
        if !self.image.known() {
            return false;
        }
        if opened {
            return self.ended.is_empty() && self.image.desired() == Some(&self.wanted_rev);
        }
        // Not everything was said yet: what was, is held.
        self.wanted.values().all(|item| {
            self.image.item(&item.uid).is_some_and(|held| held.generation == item.generation && held.hash == item.hash)
        })
    }

    /// Sends the next `desired`, if there is one and it may go now.
    pub fn pump(&mut self, context: &Context<'_>) {
        let Some(live) = &self.live else { return };
        let waits = self.delivery.not_before().is_some_and(|at| context.now < at);
        if !context.opened || !live.greeted || waits {
            return;
        }
        let (exposed, form) = (&self.delivery.exposed, self.delivery.form);
        if let Some(message) = outbound::next(&self.wanted, &self.ended, &self.image, exposed, form) {
            context.metrics.desired(if message.base.is_some() { "difference" } else { "whole" });
            let parts = self.delivery.seal(&self.id, context.sealer, context.now, message);
            live.session.desired(parts);
        }
    }

    /// The next moment at which something follows without any step.
    pub fn due(&self, context: &Context<'_>) -> Option<Instant> {
        let presence = match self.shown {
            Shown::Unheard => Some(context.start + context.grace),
            Shown::Present => self.heard.map(|heard| heard + context.grace),
            Shown::Silent => None,
        };
        // Grace is over just after it, not at it.
        let presence = presence.map(|at| at + Duration::from_millis(1));
        let sync = self.unsynced.filter(|_| self.settled).map(|since| since + SYNC_SETTLE);
        let session = self.live.as_ref().map(|live| {
            let greeting = (!live.greeted).then_some(live.since + GREETING_DEADLINE);
            let greeting = greeting.filter(|_| self.resync.due().is_none());
            let asked = self.resync.due();
            // A deadline in the past is not one: the message went, or there is none.
            let desired = self.delivery.not_before().filter(|at| *at > context.now);
            [greeting.filter(|at| *at > context.now), asked, desired].into_iter().flatten().min()
        });
        [presence, sync, session.flatten()].into_iter().flatten().min()
    }

    /// Computes anew what controllers may see of an item.
    pub fn look(&mut self, uid: &str) {
        let seen = self.names.get(uid).and_then(|(kind, _)| {
            let none = Words::default();
            admission::admit(self.image.item(uid)?, *kind, self.words.get(uid).unwrap_or(&none))
        });
        match seen {
            Some(item) => self.views.insert(uid.to_owned(), Arc::new(item)),
            None => self.views.remove(uid),
        };
    }

    fn drop_name(&mut self, uid: &str) {
        self.names.remove(uid);
        self.words.remove(uid);
        self.views.remove(uid);
    }

    /// Whether nothing was heard for longer than the grace time.
    pub fn is_silent(&self, context: &Context<'_>) -> bool {
        self.presence(context) == Presence::Silent
    }

    fn presence(&self, context: &Context<'_>) -> Presence {
        let over = |since: Instant| context.now.saturating_duration_since(since) > context.grace;
        match self.heard {
            Some(heard) if !over(heard) => Presence::Present,
            None if !over(context.start) => {
                let grace = jiff::SignedDuration::try_from(context.grace).unwrap_or_default();
                Presence::Unheard { until: context.start_wall.saturating_add(grace).unwrap_or(context.start_wall) }
            }
            _ => Presence::Silent,
        }
    }

    pub fn own_wake(&self) -> (ItemKind, Wake) {
        let wake = Wake { namespace: self.id.namespace().to_owned(), name: self.id.name().to_owned() };
        (ItemKind::Agent, wake)
    }
}

/// Whether the order must not wait behind one that is not confirmed yet: a link that is cut, and a lane behind an open interlock.
fn urgent(item: &Item) -> bool {
    let said = |field: &str| item.spec.get(field);
    match item.kind {
        ItemKind::Link => said("mode").and_then(|mode| mode.as_str()) == Some("Cut"),
        ItemKind::Lane => said("openInterlocks").and_then(|open| open.as_array()).is_some_and(|open| !open.is_empty()),
        ItemKind::Agent | ItemKind::Device | ItemKind::Igv => false,
    }
}

const _: () = assert!(DESIRED_RETRY.as_secs() <= SYNC_SETTLE.as_secs());

fn bounded(orphan: &Orphan) -> Orphan {
    Orphan { kind: orphan.kind, name: admission::text(&orphan.name, 253), uid: admission::text(&orphan.uid, 63) }
}
