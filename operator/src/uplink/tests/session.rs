//! A session without a wire.

use std::sync::Arc;

use bytes::Bytes;
use kalong_crds::wire::topic::Down;
use parking_lot::Mutex;

use crate::transport::{EndReason, Session};

/// Keeps what is sent until it is taken. A newer `desired` replaces one that was not taken, as the contract says.
pub struct RecordedSession {
    number: u64,
    sent: Mutex<Vec<(Down, Bytes)>>,
    ended: Mutex<Option<EndReason>>,
}

impl RecordedSession {
    pub fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number, sent: Mutex::default(), ended: Mutex::default() })
    }

    /// Everything that was sent since the last call.
    pub fn take(&self) -> Vec<(Down, Bytes)> {
        std::mem::take(&mut self.sent.lock())
    }

    /// The first reason that was given for its end.
    pub fn ended(&self) -> Option<EndReason> {
        *self.ended.lock()
    }
}

impl Session for RecordedSession {
    fn number(&self) -> u64 {
        self.number
    }

    fn desired(&self, parts: Vec<Bytes>) {
        let mut sent = self.sent.lock();
        sent.retain(|(down, _)| *down != Down::Desired);
        sent.extend(parts.into_iter().map(|part| (Down::Desired, part)));
    }

    fn control(&self, message: Bytes) {
        self.sent.lock().push((Down::Ctl, message));
    }

    fn end(&self, reason: EndReason) {
        self.ended.lock().get_or_insert(reason);
    }
}
