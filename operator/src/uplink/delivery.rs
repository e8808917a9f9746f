//! Getting `desired` across: one unconfirmed message an agent, computed anew when it is not confirmed in time; and asking for the whole.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use kalong_crds::units::AgentId;
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::topic::Down;
use tokio::time::Instant;

use super::outbound::{Form, Message};
use super::signer::Sealer;

/// After this long without confirmation the next message is computed anew.
pub const DESIRED_RETRY: Duration = Duration::from_secs(10);
/// Longest pause between messages that an agent does not come to agree with.
const DESIRED_RETRY_MOST: Duration = Duration::from_secs(300);
/// An agent that asks for the whole again and again gets it this often.
const WHOLE_PERIOD: Duration = Duration::from_secs(10);
/// An agent is asked for its whole at most this often, and a little less, so that a site does not answer in step.
pub const RESYNC_PERIOD: Duration = Duration::from_secs(30);
const RESYNC_JITTER_MILLIS: u64 = 3_000;

/// The way down to one agent.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Sent and never confirmed: the agent may hold these without having said so.
    pub exposed: BTreeSet<String>,
    /// How the next message has to be.
    pub form: Form,
    unconfirmed: Option<Unconfirmed>,
    tries: u32,
    whole_sent: Option<Instant>,
    seq: u64,
}

#[derive(Debug)]
struct Unconfirmed {
    base: Option<Rev>,
    rev: Rev,
    fence: Fence,
    sent: Instant,
    retry: Instant,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { exposed: BTreeSet::new(), form: Form::Shortest, unconfirmed: None, tries: 0, whole_sent: None, seq: 0 }
    }
}

impl Delivery {
    /// A new session began: what was on its way is lost.
    pub fn restart(&mut self) {
        self.unconfirmed = None;
        self.form = Form::Shortest;
        self.tries = 0;
        self.whole_sent = None;
    }

    /// The agent said what it holds before anything was sent to it in this session.
    pub fn greeted(&mut self) {
        if self.unconfirmed.is_none() {
            self.exposed.clear();
        }
    }

    /// Something else is wanted now: no need to wait out a long pause.
    pub fn hurry(&mut self) {
        self.tries = 0;
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.retry = unconfirmed.retry.min(unconfirmed.sent + DESIRED_RETRY);
        }
    }

    /// Something is wanted that must not wait for the confirmation of what is on its way.
    pub fn overtake(&mut self) {
        self.tries = 0;
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.retry = unconfirmed.sent;
        }
    }

    /// The agent says that it holds this set; `fence` is the highest message that it verified, if it said so.
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

    /// The agent asks for the whole. While one is on its way, that is the answer.
    pub fn want_whole(&mut self) {
        if self.unconfirmed.as_ref().is_none_or(|sent| sent.base.is_some()) {
            self.form = Form::Whole;
            self.unconfirmed = None;
        }
    }

    /// When the next message may go; nothing while there is no reason to wait.
    pub fn not_before(&self) -> Option<Instant> {
        match (&self.unconfirmed, self.form) {
            (Some(unconfirmed), _) => Some(unconfirmed.retry),
            (None, Form::Whole) => self.whole_sent.map(|sent| sent + WHOLE_PERIOD),
            (None, Form::Shortest) => None,
        }
    }

    /// The signed parts of a message, which is unconfirmed from now on.
    pub fn seal(&mut self, agent: &AgentId, sealer: &Sealer, now: Instant, message: Message) -> Vec<Bytes> {
        let Message { base, rev, uids, parts } = message;
        let mut sealed = Vec::with_capacity(parts.len());
        for part in parts {
            self.seq += 1;
            match sealer.seal(agent, Down::Desired, self.seq, part) {
                Ok(bytes) => sealed.push(bytes),
                Err(error) => tracing::error!(%agent, %error, "a desired message cannot be written as JSON"),
            }
        }
        if base.is_none() {
            self.whole_sent = Some(now);
        }
        self.exposed.extend(uids);
        self.form = Form::Shortest;
        let pause = DESIRED_RETRY.saturating_mul(1 << self.tries.min(5)).min(DESIRED_RETRY_MOST);
        self.tries = self.tries.saturating_add(1);
        let fence = Fence { term: sealer.term(), seq: self.seq };
        self.unconfirmed = Some(Unconfirmed { base, rev, fence, sent: now, retry: now + pause });
        sealed
    }

    /// The number of the next control message.
    pub fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

/// When to ask the agent for its whole: at once the first time, then at most every 30 s.
#[derive(Debug, Default)]
pub(super) struct Resync {
    asked: Option<Instant>,
    due: Option<Instant>,
}

impl Resync {
    /// The whole is needed.
    pub fn need(&mut self, now: Instant) {
        let earliest = self.asked.map_or(now, |asked| asked + RESYNC_PERIOD + jitter());
        self.due.get_or_insert(earliest.max(now));
    }

    /// The whole came.
    pub fn answered(&mut self) {
        self.due = None;
    }

    /// Whether to ask now.
    pub fn take(&mut self, now: Instant) -> bool {
        let ask = self.due.is_some_and(|due| due <= now);
        if ask {
            self.due = None;
            self.asked = Some(now);
        }
        ask
    }

    /// When to ask.
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
