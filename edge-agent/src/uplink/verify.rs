//! Verification of what the operator sends: signature first, then recipient, then order, then completeness.

use kalong_crds::units::AgentId;
use kalong_crds::wire::control::Control;
use kalong_crds::wire::desired::{Desired, Item, Tombstone};
use kalong_crds::wire::envelope::{Envelope, EnvelopeError, Fence};
use kalong_crds::wire::parts::Assembler;
use kalong_crds::wire::signature::{self, PublicKey, SignatureError};
use kalong_crds::wire::topic::{Down, OPERATOR_STATE};

use crate::store::desired::DesiredUpdate;

/// Why a message is dropped.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum VerifyError {
    /// It came on a topic that this box does not listen to.
    #[error("`{0}` is no topic of this box")]
    Topic(String),
    /// Its signature is missing or wrong.
    #[error(transparent)]
    #[strum(transparent)]
    Signature(#[from] SignatureError),
    /// Its envelope cannot be read or is for another box.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A later one was verified before.
    #[error("message {sent:?} comes after {verified:?}: it is a repetition, or from an operator that was deposed")]
    Stale {
        /// Position of the message in the operator's order.
        sent: Fence,
        /// Highest position that was verified.
        verified: Fence,
    },
}

/// A message that passed verification.
#[derive(Debug, PartialEq)]
pub enum Inbound {
    /// An update of the desired set, once all its parts are here.
    Desired(DesiredUpdate, Fence, String),
    /// A part; the others are still to come.
    Part,
    /// A control message, with its fence and time.
    Control(Control, Fence, String),
    /// The operator's retained word. It is unsigned, so nothing follows from it.
    Hint,
}

/// Verifies messages of the operator.
#[derive(Debug)]
pub struct Verifier {
    agent: AgentId,
    keys: Vec<PublicKey>,
    verified: Fence,
    parts: Assembler<(Vec<Tombstone>, Vec<Item>)>,
    topics: [String; 2],
}

impl Verifier {
    /// A verifier that goes on from the stored fence.
    pub fn new(agent: AgentId, keys: Vec<PublicKey>, verified: Fence) -> Self {
        let topics = [Down::Desired.of(&agent), Down::Ctl.of(&agent)];
        Self { agent, keys, verified, parts: Assembler::default(), topics }
    }

    /// The highest place in the operator's order that was verified.
    pub fn verified(&self) -> Fence {
        self.verified
    }

    /// Verifies one message, and remembers its fence.
    pub fn open(&mut self, topic: &str, payload: &[u8]) -> Result<Inbound, VerifyError> {
        if topic == OPERATOR_STATE {
            return Ok(Inbound::Hint);
        }
        let [desired, ctl] = &self.topics;
        if topic == desired {
            let Envelope { body, ts, epoch: term, seq, .. } = self.envelope::<Desired>(topic, payload)?;
            let fence = Fence { term, seq };
            let (base, rev) = (body.base.clone(), body.rev.clone());
            let collected = self.parts.take(base, rev, body.part, body.parts, (body.removed, body.items));
            let Some(parts) = collected else { return Ok(Inbound::Part) };
            let mut update = DesiredUpdate { base: body.base, rev: Some(body.rev), ..DesiredUpdate::default() };
            for (removed, items) in parts {
                update.removed.extend(removed);
                update.items.extend(items);
            }
            return Ok(Inbound::Desired(update, fence, ts));
        }
        if topic == ctl {
            let envelope = self.envelope::<Control>(topic, payload)?;
            let fence = envelope.fence();
            return Ok(Inbound::Control(envelope.body, fence, envelope.ts));
        }
        Err(VerifyError::Topic(topic.chars().take(200).collect()))
    }

    fn envelope<B: for<'de> serde::Deserialize<'de>>(
        &mut self,
        topic: &str,
        payload: &[u8],
    ) -> Result<Envelope<B>, VerifyError> {
        let bytes = signature::open(&self.keys, topic, payload)?;
        let envelope = Envelope::<B>::parse(bytes, &self.agent)?;
        let sent = envelope.fence();
        if sent <= self.verified {
            return Err(VerifyError::Stale { sent, verified: self.verified });
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
        let mut verifier = Verifier::new(agent(), vec![operator.public()], Fence { term: 5, seq: 7 });
        let ctl = "kalong/v1/mc.box/ctl";
        for stale in [(5, 7), (5, 6), (4, 900)] {
            assert!(
                matches!(verifier.open(ctl, &resync(&operator, stale)), Err(VerifyError::Stale { .. })),
                "{stale:?}"
            );
        }
        assert!(verifier.open(ctl, &resync(&operator, (5, 8))).is_ok());
        assert!(verifier.open(ctl, &resync(&operator, (6, 1))).is_ok());
        assert!(verifier.open(ctl, &resync(&operator, (5, 9))).is_err());
        assert_eq!(verifier.verified(), Fence { term: 6, seq: 1 });
    }

    #[test]
    fn missing_foreign_and_misplaced_signatures_are_refused_and_move_no_fence() {
        let (operator, stranger) = (signer("op"), signer("op"));
        let mut verifier = Verifier::new(agent(), vec![operator.public()], Fence::default());
        let ctl = "kalong/v1/mc.box/ctl";
        let good = resync(&operator, (9, 9));
        assert!(matches!(verifier.open("kalong/v1/mc.box/desired", &good), Err(VerifyError::Signature(_))));
        assert!(matches!(verifier.open(ctl, &resync(&stranger, (9, 9))), Err(VerifyError::Signature(_))));
        assert!(matches!(verifier.open(ctl, b"{}"), Err(VerifyError::Signature(SignatureError::Unsigned))));
        assert!(matches!(verifier.open("kalong/v1/mc.other/ctl", &good), Err(VerifyError::Topic(_))));
        let misled = message(&operator, ctl, "mc.other", (9, 9), &Control::Resync {});
        assert!(matches!(verifier.open(ctl, &misled), Err(VerifyError::Envelope(EnvelopeError::WrongAgent(..)))));
        assert_eq!(verifier.verified(), Fence::default());
        assert!(verifier.open(ctl, &good).is_ok());
    }

    #[test]
    fn rotated_key_is_believed_while_both_are_pinned() {
        let (old, new) = (signer("op-1"), signer("op-2"));
        let mut verifier = Verifier::new(agent(), vec![old.public(), new.public()], Fence::default());
        assert!(verifier.open("kalong/v1/mc.box/ctl", &resync(&old, (1, 1))).is_ok());
        assert!(verifier.open("kalong/v1/mc.box/ctl", &resync(&new, (1, 2))).is_ok());
    }

    #[test]
    fn parts_are_heard_as_one() {
        let operator = signer("op");
        let mut verifier = Verifier::new(agent(), vec![operator.public()], Fence::default());
        let topic = "kalong/v1/mc.box/desired";
        let none: Vec<Item> = vec![];
        let part =
            |n: u32| Desired { base: None, rev: rev_of(&none), part: n, parts: 2, removed: vec![], items: vec![] };
        let first = message(&operator, topic, "mc.box", (1, 1), &part(1));
        let second = message(&operator, topic, "mc.box", (1, 2), &part(2));
        assert_eq!(verifier.open(topic, &first).unwrap(), Inbound::Part);
        assert!(
            matches!(verifier.open(topic, &second).unwrap(), Inbound::Desired(update, Fence { term: 1, seq: 2 }, _) if update.base.is_none())
        );
    }

    #[test]
    fn unsigned_hint_is_no_ground_for_anything() {
        let mut verifier = Verifier::new(agent(), vec![], Fence::default());
        assert_eq!(verifier.open(OPERATOR_STATE, br#"{"term":99999999}"#).unwrap(), Inbound::Hint);
        assert_eq!(verifier.verified(), Fence::default());
    }
}
