//! What follows from an agent's state after any step, or with time alone: presence, confirmed removals, being in sync, the need for a resync.

use std::time::Duration;

use kalong_controllers::kit::link::{Holding, Presence};
use kalong_crds::wire::control::Control;
use kalong_crds::wire::order::DEFAULT_HEARTBEAT_SECONDS;
use tokio::time::Instant;

use super::agent::{AgentState, Effects, LastPresence, StepContext, SyncState};
use super::delivery::DESIRED_RETRY;

/// A difference younger than this is not called out of sync: every change passes through it.
const SYNC_SETTLE: Duration = Duration::from_secs(10);
/// An agent that has not reported its whole for so long after it connected is asked for it.
const GREETING_DEADLINE: Duration = Duration::from_secs(10);
/// Three beats of an agent that no order has reached.
const UNTOLD_GRACE: Duration = Duration::from_secs(3 * DEFAULT_HEARTBEAT_SECONDS);

const _: () = assert!(DESIRED_RETRY.as_secs() <= SYNC_SETTLE.as_secs());

impl AgentState {
    /// Draws the conclusions. They are the same however often this is called.
    pub fn conclude(&mut self, context: &StepContext<'_>, effects: &mut Effects) {
        self.conclude_presence(context, effects);
        self.conclude_tombstones(effects);
        self.conclude_sync(context);
        let ungreeted = self.live.as_ref().is_some_and(|l| !l.greeted && l.since + GREETING_DEADLINE <= context.now);
        if ungreeted {
            self.resync.need(context.now);
        }
        if self.live.is_some() && self.resync.take(context.now) {
            context.metrics.resync();
            self.control(context, &Control::Resync {});
        }
    }

    fn conclude_presence(&mut self, context: &StepContext<'_>, effects: &mut Effects) {
        let presence = match self.presence(context) {
            Presence::Unheard { .. } => LastPresence::Unheard,
            Presence::Present => LastPresence::Present,
            Presence::Silent => LastPresence::Silent,
        };
        if presence != self.last_presence {
            self.last_presence = presence;
            tracing::info!(agent = %self.id, ?presence, "The presence of an agent changed.");
            effects.wakes.extend(self.objects().cloned());
            effects.wakes.insert(self.own_wake());
        }
    }

    fn conclude_tombstones(&mut self, effects: &mut Effects) {
        let gone: Vec<String> =
            self.tombstones.keys().filter(|uid| self.holding(uid) == Holding::NotHeld).cloned().collect();
        for uid in gone {
            self.tombstones.remove(&uid);
            effects.wakes.extend(self.object(&uid).cloned());
            self.forget_object(&uid);
        }
    }

    fn conclude_sync(&mut self, context: &StepContext<'_>) {
        if self.holds_what_is_wanted(context.opened) {
            self.told |= context.opened;
            self.sync = SyncState { synced: true, differs: None };
        } else {
            let since = *self.sync.differs.get_or_insert(context.now);
            self.sync.synced = self.sync.synced && context.now < since + SYNC_SETTLE;
        }
    }

    fn holds_what_is_wanted(&self, opened: bool) -> bool {
        if !self.reported.known() {
            return false;
        }
        if opened {
            return self.tombstones.is_empty() && self.reported.desired() == Some(&self.wanted_rev);
        }
        // The set of wanted items is not complete yet: compare those that are known.
        self.wanted.values().all(|item| {
            let held = self.reported.item(&item.uid);
            held.is_some_and(|held| held.generation == item.generation && held.hash == item.hash)
        })
    }

    /// The next moment at which something follows without any step.
    pub fn due(&self, context: &StepContext<'_>) -> Option<Instant> {
        let presence = match self.last_presence {
            LastPresence::Unheard => Some(context.start + context.grace),
            LastPresence::Present => self.heard.map(|heard| heard + self.grace(context)),
            LastPresence::Silent => None,
        };
        // Grace is over just after it, not at it.
        let presence = presence.map(|at| at + Duration::from_millis(1));
        let sync = self.sync.differs.filter(|_| self.sync.synced).map(|since| since + SYNC_SETTLE);
        let session = self.live.as_ref().map(|live| {
            let resync = self.resync.due();
            // A deadline in the past is not one: the message went, or there is none.
            let greeting = (!live.greeted && resync.is_none()).then_some(live.since + GREETING_DEADLINE);
            let greeting = greeting.filter(|at| *at > context.now);
            let desired = self.delivery.not_before().filter(|at| *at > context.now);
            [greeting, resync, desired].into_iter().flatten().min()
        });
        [presence, sync, session.flatten()].into_iter().flatten().min()
    }

    pub fn is_silent(&self, context: &StepContext<'_>) -> bool {
        self.presence(context) == Presence::Silent
    }

    /// An agent that knows nothing of a faster heartbeat is not silent between two of its own.
    fn grace(&self, context: &StepContext<'_>) -> Duration {
        if self.told { context.grace } else { context.grace.max(UNTOLD_GRACE) }
    }

    pub fn presence(&self, context: &StepContext<'_>) -> Presence {
        let over = |since: Instant, grace: Duration| context.now.saturating_duration_since(since) > grace;
        match self.heard {
            Some(heard) if !over(heard, self.grace(context)) => Presence::Present,
            None if !over(context.start, context.grace) => {
                let grace = jiff::SignedDuration::try_from(context.grace).unwrap_or_default();
                Presence::Unheard { until: context.start_wall.saturating_add(grace).unwrap_or(context.start_wall) }
            }
            _ => Presence::Silent,
        }
    }
}
