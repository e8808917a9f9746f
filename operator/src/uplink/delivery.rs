//! Delivery of `desired`: one unconfirmed message at a time, computed again if it is not confirmed; and requests for the agent's whole.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use kalong_crds::units::AgentId;
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::topic::Down;
use tokio::time::Instant;

use super::outbound::{DesiredMessage, SendMode};
use super::signer::MessageSigner;

/// The next message is computed after this long without confirmation.
pub(super) const DESIRED_RETRY: Duration = Duration::from_secs(10);
/// Longest pause between messages that an agent does not confirm.
const DESIRED_RETRY_MOST: Duration = Duration::from_secs(300);
/// Shortest time between two wholes that an agent asks for.
const WHOLE_PERIOD: Duration = Duration::from_secs(10);
/// Shortest time between two requests for an agent's whole, before jitter: the agents of a site must not answer in step.
const RESYNC_PERIOD: Duration = Duration::from_secs(30);
const RESYNC_JITTER_MILLIS: u64 = 3_000;

/// What was sent to one agent and is not confirmed.
#[derive(Debug)]
pub(super) struct Delivery {
    /// UIDs that were sent and never confirmed: the agent may hold them without having reported them.
    pub exposed: BTreeSet<String>,
    pub mode: SendMode,
    unconfirmed: Option<UnconfirmedMessage>,
    tries: u32,
    whole_sent: Option<Instant>,
    seq: u64,
}

#[derive(Debug)]
struct UnconfirmedMessage {
    base: Option<Rev>,
    rev: Rev,
    fence: Fence,
    sent: Instant,
    retry: Instant,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            exposed: BTreeSet::new(),
            mode: SendMode::Shortest,
            unconfirmed: None,
            tries: 0,
            whole_sent: None,
            seq: 0,
        }
    }
}

impl Delivery {
    /// A new session began, or a new term: what was on its way is lost.
    pub fn restart(&mut self) {
        self.unconfirmed = None;
        self.mode = SendMode::Shortest;
        self.tries = 0;
        self.whole_sent = None;
    }

    /// The agent reported its whole before anything was sent to it in this session.
    pub fn greeted(&mut self) {
        if self.unconfirmed.is_none() {
            self.exposed.clear();
        }
    }

    /// The wanted items changed: the longest pauses do not apply any more.
    pub fn hurry(&mut self) {
        self.tries = 0;
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.retry = unconfirmed.retry.min(unconfirmed.sent + DESIRED_RETRY);
        }
    }

    /// An urgent item is wanted: the next message does not wait for the confirmation of the last one.
    pub fn overtake(&mut self) {
        self.tries = 0;
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.retry = unconfirmed.sent;
        }
    }

    /// The agent says that it holds this set; `fence` is that of the newest message that it verified, if known.
    pub fn confirm(&mut self, said: &Rev, fence: Option<Fence>) {
        let confirmed = self.unconfirmed.as_ref().is_some_and(|sent| {
            sent.rev == *said
                && match fence {
                    Some(fence) => fence >= sent.fence,
                    // A heartbeat proves nothing when the digest was the same before.
                    None => sent.base.as_ref() != Some(&sent.rev),
                }
        });
        if confirmed {
            self.unconfirmed = None;
            self.tries = 0;
            self.exposed.clear();
        }
    }

    /// The agent asks for the whole; one that is on its way already is the answer.
    pub fn want_whole(&mut self) {
        if self.unconfirmed.as_ref().is_none_or(|sent| sent.base.is_some()) {
            self.mode = SendMode::Whole;
            self.unconfirmed = None;
        }
    }

    /// The earliest time for the next message; none if it may go at once.
    pub fn not_before(&self) -> Option<Instant> {
        match (&self.unconfirmed, self.mode) {
            (Some(unconfirmed), _) => Some(unconfirmed.retry),
            (None, SendMode::Whole) => self.whole_sent.map(|sent| sent + WHOLE_PERIOD),
            (None, SendMode::Shortest) => None,
        }
    }

    /// The signed parts of a message, which counts as unconfirmed from now on.
    pub fn sign(
        &mut self,
        agent: &AgentId,
        signer: &MessageSigner,
        now: Instant,
        message: DesiredMessage,
    ) -> Vec<Bytes> {
        let DesiredMessage { base, rev, uids, parts } = message;
        let mut signed = Vec::with_capacity(parts.len());
        for part in parts {
            self.seq += 1;
            match signer.sign(agent, Down::Desired, self.seq, part) {
                Ok(bytes) => signed.push(bytes),
                Err(error) => tracing::error!(%agent, %error, "A desired message cannot be written as JSON."),
            }
        }
        if base.is_none() {
            self.whole_sent = Some(now);
        }
        self.exposed.extend(uids);
        self.mode = SendMode::Shortest;
        let pause = DESIRED_RETRY.saturating_mul(1 << self.tries.min(5)).min(DESIRED_RETRY_MOST);
        self.tries = self.tries.saturating_add(1);
        let fence = Fence { term: signer.term(), seq: self.seq };
        self.unconfirmed = Some(UnconfirmedMessage { base, rev, fence, sent: now, retry: now + pause });
        signed
    }

    /// Sequence number of the next control message: `desired` and `ctl` share one sequence.
    pub fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

/// When to ask the agent for its whole: at once the first time, then at most once in [`RESYNC_PERIOD`].
#[derive(Debug, Default)]
pub(super) struct Resync {
    asked: Option<Instant>,
    due: Option<Instant>,
}

impl Resync {
    pub fn need(&mut self, now: Instant) {
        let earliest = self.asked.map_or(now, |asked| asked + RESYNC_PERIOD + jitter());
        self.due.get_or_insert(earliest.max(now));
    }

    pub fn answered(&mut self) {
        self.due = None;
    }

    /// Whether to ask now; the caller then does.
    pub fn take(&mut self, now: Instant) -> bool {
        let ask = self.due.is_some_and(|due| due <= now);
        if ask {
            self.due = None;
            self.asked = Some(now);
        }
        ask
    }

    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

fn jitter() -> Duration {
    // The standard library seeds each of these at random.
    Duration::from_millis(RandomState::new().hash_one(0_u8) % RESYNC_JITTER_MILLIS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_is_asked_for_at_once_and_then_at_most_every_30_seconds() {
        let start = Instant::now();
        let mut resync = Resync::default();
        resync.need(start);
        assert!(resync.take(start) && !resync.take(start));
        resync.need(start + Duration::from_secs(1));
        assert!(!resync.take(start + Duration::from_secs(29)));
        assert!(resync.take(start + Duration::from_secs(34)));
        resync.need(start + Duration::from_secs(35));
        resync.answered();
        assert_eq!(resync.due(), None);
    }
}
