//! Signs everything that goes to an agent, under the term of the Lease.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use kalong_crds::units::AgentId;
use kalong_crds::wire::envelope::{ENVELOPE_VERSION, Envelope};
use kalong_crds::wire::signature::Signer;
use kalong_crds::wire::topic::Down;
use serde::Serialize;

#[derive(Debug)]
pub(super) struct MessageSigner {
    signer: Signer,
    term: AtomicU64,
}

impl MessageSigner {
    pub fn new(signer: Signer, term: u64) -> Self {
        Self { signer, term: AtomicU64::new(term) }
    }

    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// Raises the term; it never falls.
    pub fn raise(&self, term: u64) {
        self.term.fetch_max(term, Ordering::AcqRel);
    }

    /// The signed envelope around this body.
    pub fn sign<B: Serialize>(
        &self,
        agent: &AgentId,
        down: Down,
        seq: u64,
        body: B,
    ) -> Result<Bytes, serde_json::Error> {
        let envelope = Envelope {
            v: ENVELOPE_VERSION,
            agent: agent.clone(),
            epoch: self.term(),
            seq,
            ts: Timestamp::now().to_string(),
            body,
        };
        Ok(self.signer.seal(&down.of(agent), &serde_json::to_vec(&envelope)?).into())
    }
}
