//! The envelope around every message but the beat.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::AgentId;

/// The one version of the envelope.
pub const ENVELOPE_VERSION: u8 = 1;

/// Who says what, in which order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope<B> {
    /// Version of the envelope.
    pub v: u8,
    /// The agent that speaks or is spoken to; equal to the topic's and the certificate's.
    pub agent: AgentId,
    /// From an agent: its boot counter. From the operator: the term of its lease.
    pub epoch: u64,
    /// Rises with every message of one sender within one epoch.
    pub seq: u64,
    /// Wall clock of the sender in RFC 3339; for people, never for order.
    pub ts: String,
    /// What is said.
    pub body: B,
}

/// From the operator's order: term first, then sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// The term of the lease under which it was sent.
    pub term: u64,
    /// The sequence number within the term.
    pub seq: u64,
}

impl<B> Envelope<B> {
    /// The pair that orders messages of one sender.
    pub fn fence(&self) -> Fence {
        Fence { term: self.epoch, seq: self.seq }
    }
}

/// What cannot be read as an envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON of the expected shape.
    #[error("the message is not a readable envelope: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version of the envelope.
    #[error("envelope version {0} is unknown here: bring operator and agent to releases that share one")]
    Version(u8),
    /// The agent inside is not the one that the topic or certificate names.
    #[error("the message speaks for `{0}` where only `{1}` may speak")]
    WrongAgent(AgentId, AgentId),
}

impl<B: for<'de> Deserialize<'de>> Envelope<B> {
    /// Reads the envelope and holds it against the identity that it must carry.
    pub fn parse(bytes: &[u8], agent: &AgentId) -> Result<Self, EnvelopeError> {
        let envelope: Self = serde_json::from_slice(bytes)?;
        if envelope.v != ENVELOPE_VERSION {
            return Err(EnvelopeError::Version(envelope.v));
        }
        if &envelope.agent != agent {
            return Err(EnvelopeError::WrongAgent(envelope.agent, agent.clone()));
        }
        Ok(envelope)
    }
}

/// The heartbeat: at most 80 bytes, so that a thousand idle agents cost nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Boot counter of the agent.
    pub epoch: u64,
    /// Last sequence number that the agent used.
    pub seq: u64,
    /// Digest over what it reports.
    pub reported: super::digest::Rev,
    /// Digest over what it holds of what it was told.
    pub desired: super::digest::Rev,
    /// Whether its clock is synchronised.
    pub clock: Clock,
}

/// Whether a clock can be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Clock {
    /// It is synchronised.
    Synced,
    /// It is not, or nobody knows.
    #[default]
    Unsynced,
}

impl Beat {
    /// The bytes of the beat: five words.
    pub fn encode(&self) -> String {
        let clock = match self.clock {
            Clock::Synced => 's',
            Clock::Unsynced => 'u',
        };
        format!("{} {} {} {} {clock}", self.epoch, self.seq, self.reported, self.desired)
    }

    /// Reads a beat; nothing but the exact five words is one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        use super::digest::Rev;
        let text = std::str::from_utf8(bytes).ok().filter(|t| t.len() <= 80)?;
        let mut words = text.split(' ');
        let beat = Self {
            epoch: words.next()?.parse().ok()?,
            seq: words.next()?.parse().ok()?,
            reported: Rev::parse(words.next()?)?,
            desired: Rev::parse(words.next()?)?,
            clock: match words.next()? {
                "s" => Clock::Synced,
                "u" => Clock::Unsynced,
                _ => return None,
            },
        };
        words.next().is_none().then_some(beat)
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Rev;
    use super::*;

    #[test]
    fn beat_fits_in_80_bytes_and_comes_back() {
        let beat = Beat {
            epoch: 4_000_000,
            seq: 10_000_000_000_000,
            reported: Rev::empty(),
            desired: Rev::empty(),
            clock: Clock::Synced,
        };
        let text = beat.encode();
        assert!(text.len() <= 80, "{}", text.len());
        assert_eq!(Beat::parse(text.as_bytes()), Some(beat));
        for bad in ["", "1 2 3", "1 2 0123456789abcdef 0123456789abcdef x", "1 2 0123456789abcdef 0123456789abcdef s s"]
        {
            assert_eq!(Beat::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn envelope_of_another_agent_is_refused() {
        let (me, other): (AgentId, AgentId) = ("a.b".parse().unwrap(), "a.c".parse().unwrap());
        let sent = Envelope { v: 1, agent: other, epoch: 1, seq: 1, ts: String::new(), body: 7 };
        let bytes = serde_json::to_vec(&sent).unwrap();
        assert!(matches!(Envelope::<i32>::parse(&bytes, &me), Err(EnvelopeError::WrongAgent(..))));
    }
}
