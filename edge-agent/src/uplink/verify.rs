//! What is believed of what comes down: signature first, then identity, then order, then digests.

use kalong_crds::units::AgentId;
use kalong_crds::wire::control::Control;
use kalong_crds::wire::desired::{Desired, Item, Tombstone};
use kalong_crds::wire::envelope::{Envelope, EnvelopeError, Fence};
use kalong_crds::wire::parts::Assembler;
use kalong_crds::wire::signature::{self, PublicKey, SignatureError};
use kalong_crds::wire::topic::{Down, OPERATOR_STATE};

use crate::store::desired::Told;

/// Why a message is dropped.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It came on a topic that this box does not listen to.
    #[error("`{0}` is no topic of this box")]
    Topic(String),
    /// Its signature is missing or wrong.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its envelope cannot be read or is for another box.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A later one was verified before.
    #[error("message {sent:?} comes after {verified:?}: it is a repetition, or from an operator that was deposed")]
    Stale {
        /// Its own place.
        sent: Fence,
        /// The highest place that was verified.
        verified: Fence,
    },
}

impl Refused {
    /// The word for logs and metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Topic(_) => "topic",
            Self::Signature(error) => error.category(),
            Self::Envelope(_) => "envelope",
            Self::Stale { .. } => "stale",
        }
    }
}

/// A message that was believed.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// All parts of something to realise.
    Told(Told, Fence, String),
    /// A part; the others are still to come.
    Part,
    /// A question or an answer.
    Control(Control, Fence, String),
    /// The operator's retained word. It is unsigned, so nothing follows from it.
    Hint,
}

/// Believes or refuses messages of the operator.
#[derive(Debug)]
pub struct Checker {
    agent: AgentId,
    keys: Vec<PublicKey>,
    verified: Fence,
    parts: Assembler<(Vec<Tombstone>, Vec<Item>)>,
    topics: [String; 2],
}

impl Checker {
    /// A checker that goes on from the stored fence.
    pub fn new(agent: AgentId, keys: Vec<PublicKey>, verified: Fence) -> Self {
        let topics = [Down::Desired.of(&agent), Down::Ctl.of(&agent)];
        Self { agent, keys, verified, parts: Assembler::default(), topics }
    }

    /// The highest place in the operator's order that was verified.
    pub fn verified(&self) -> Fence {
        self.verified
    }

    /// Believes or refuses one message.
    pub fn hear(&mut self, topic: &str, payload: &[u8]) -> Result<Heard, Refused> {
        if topic == OPERATOR_STATE {
            return Ok(Heard::Hint);
        }
        let [desired, ctl] = &self.topics;
        if topic == desired {
            let Envelope { body, ts, epoch: term, seq, .. } = self.open::<Desired>(topic, payload)?;
            let fence = Fence { term, seq };
            let (base, rev) = (body.base.clone(), body.rev.clone());
            let collected = self.parts.take(base, rev, body.part, body.parts, (body.removed, body.items));
            let Some(parts) = collected else { return Ok(Heard::Part) };
            let mut told = Told { base: body.base, rev: Some(body.rev), ..Told::default() };
            for (removed, items) in parts {
                told.removed.extend(removed);
                told.items.extend(items);
            }
            return Ok(Heard::Told(told, fence, ts));
        }
        if topic == ctl {
            let envelope = self.open::<Control>(topic, payload)?;
            let fence = envelope.fence();
            return Ok(Heard::Control(envelope.body, fence, envelope.ts));
        }
        Err(Refused::Topic(topic.chars().take(200).collect()))
    }

    fn open<B: for<'de> serde::Deserialize<'de>>(
        &mut self,
        topic: &str,
        payload: &[u8],
    ) -> Result<Envelope<B>, Refused> {
        let bytes = signature::open(&self.keys, topic, payload)?;
        let envelope = Envelope::<B>::parse(bytes, &self.agent)?;
        let sent = envelope.fence();
        if sent <= self.verified {
            return Err(Refused::Stale { sent, verified: self.verified });
        }
        self.verified = sent;
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalong_crds::wire::desired::rev_of;
    use kalong_crds::wire::signature::Signer;
    use serde::Serialize;

    fn agent() -> AgentId {
        "mc.box".parse().unwrap()
    }

    fn signer(name: &str) -> Signer {
        Signer::from_pkcs8(name, &Signer::generate().unwrap()).unwrap()
    }

    fn message<B: Serialize>(signer: &Signer, topic: &str, to: &str, fence: (u64, u64), body: &B) -> Vec<u8> {
        let envelope = Envelope {
            v: 1,
            agent: to.parse().unwrap(),
            epoch: fence.0,
            seq: fence.1,
            ts: "2026-01-01T00:00:00Z".to_owned(),
            body,
        };
        signer.seal(topic, &serde_json::to_vec(&envelope).unwrap())
    }

    fn resync(signer: &Signer, fence: (u64, u64)) -> Vec<u8> {
        message(signer, "kalong/v1/mc.box/ctl", "mc.box", fence, &Control::Resync {})
    }

    #[test]
    fn lower_or_equal_places_are_refused_and_a_deposed_operator_too() {
        let operator = signer("op");
        let mut checker = Checker::new(agent(), vec![operator.public()], Fence { term: 5, seq: 7 });
        let ctl = "kalong/v1/mc.box/ctl";
        for stale in [(5, 7), (5, 6), (4, 900)] {
            assert!(matches!(checker.hear(ctl, &resync(&operator, stale)), Err(Refused::Stale { .. })), "{stale:?}");
        }
        assert!(checker.hear(ctl, &resync(&operator, (5, 8))).is_ok());
        assert!(checker.hear(ctl, &resync(&operator, (6, 1))).is_ok());
        assert!(checker.hear(ctl, &resync(&operator, (5, 9))).is_err());
        assert_eq!(checker.verified(), Fence { term: 6, seq: 1 });
    }

    #[test]
    fn missing_foreign_and_misplaced_signatures_are_refused_and_move_no_fence() {
        let (operator, stranger) = (signer("op"), signer("op"));
        let mut checker = Checker::new(agent(), vec![operator.public()], Fence::default());
        let ctl = "kalong/v1/mc.box/ctl";
        let good = resync(&operator, (9, 9));
        assert!(matches!(checker.hear("kalong/v1/mc.box/desired", &good), Err(Refused::Signature(_))));
        assert!(matches!(checker.hear(ctl, &resync(&stranger, (9, 9))), Err(Refused::Signature(_))));
        assert!(matches!(checker.hear(ctl, b"{}"), Err(Refused::Signature(SignatureError::Unsigned))));
        assert!(matches!(checker.hear("kalong/v1/mc.other/ctl", &good), Err(Refused::Topic(_))));
        let misled = message(&operator, ctl, "mc.other", (9, 9), &Control::Resync {});
        assert!(matches!(checker.hear(ctl, &misled), Err(Refused::Envelope(EnvelopeError::WrongAgent(..)))));
        assert_eq!(checker.verified(), Fence::default());
        assert!(checker.hear(ctl, &good).is_ok());
    }

    #[test]
    fn rotated_key_is_believed_while_both_are_pinned() {
        let (old, new) = (signer("op-1"), signer("op-2"));
        let mut checker = Checker::new(agent(), vec![old.public(), new.public()], Fence::default());
        assert!(checker.hear("kalong/v1/mc.box/ctl", &resync(&old, (1, 1))).is_ok());
        assert!(checker.hear("kalong/v1/mc.box/ctl", &resync(&new, (1, 2))).is_ok());
    }

    #[test]
    fn parts_are_heard_as_one() {
        let operator = signer("op");
        let mut checker = Checker::new(agent(), vec![operator.public()], Fence::default());
        let topic = "kalong/v1/mc.box/desired";
        let none: Vec<Item> = vec![];
        let part =
            |n: u32| Desired { base: None, rev: rev_of(&none), part: n, parts: 2, removed: vec![], items: vec![] };
        let first = message(&operator, topic, "mc.box", (1, 1), &part(1));
        let second = message(&operator, topic, "mc.box", (1, 2), &part(2));
        assert_eq!(checker.hear(topic, &first).unwrap(), Heard::Part);
        assert!(
            matches!(checker.hear(topic, &second).unwrap(), Heard::Told(told, Fence { term: 1, seq: 2 }, _) if told.base.is_none())
        );
    }

    #[test]
    fn unsigned_hint_is_no_ground_for_anything() {
        let mut checker = Checker::new(agent(), vec![], Fence::default());
        assert_eq!(checker.hear(OPERATOR_STATE, br#"{"term":99999999}"#).unwrap(), Heard::Hint);
        assert_eq!(checker.verified(), Fence::default());
    }
}
