//! What passed on an agent's line, counted from outside: TLS hides what is said, not that something is said.

use std::time::{Duration, Instant};

/// Length of a TLS record's header: type, version, length (RFC 8446, section 5.1).
const HEADER: usize = 5;
const APPLICATION_DATA: u8 = 23;
/// A record with a beat is longer: its topic alone is. A keep-alive of MQTT is two bytes, in TLS 24.
const LEAST_WITH_A_BEAT: usize = 60;

/// Counts of one agent's line to the gateway since the uplink was started.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    pub sessions: u64,
    /// Connections that are open now.
    pub open: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// TLS records with application data towards the operator that are long enough for a message; a beat is one of them.
    pub messages_up: u64,
    /// When the newest connection was opened.
    pub since: Option<Instant>,
    /// When something last went towards the operator.
    pub last_up: Option<Instant>,
}

/// A session that is used this long after it began is more than a handshake; the first beat comes within a heartbeat.
const ESTABLISHED: Duration = Duration::from_secs(1);

impl Meter {
    /// Whether there is a session that began after this moment and carries something.
    #[must_use]
    pub fn is_used_since(&self, when: Instant) -> bool {
        let used = self.since.zip(self.last_up);
        self.open > 0 && used.is_some_and(|(since, last)| since > when && last > since + ESTABLISHED)
    }
}

/// Finds the records in a stream of bytes that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: Vec<u8>,
    skip: usize,
}

impl Records {
    /// How many records that may be messages begin in these bytes.
    pub(super) fn messages_in(&mut self, mut bytes: &[u8]) -> u64 {
        let mut messages = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = bytes.get(step..).unwrap_or_default();
                continue;
            }
            let missing = HEADER - self.header.len();
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            self.header.extend_from_slice(head);
            bytes = rest;
            if let [kind, _, _, high, low] = *self.header {
                let length = usize::from(u16::from_be_bytes([high, low]));
                messages += u64::from(kind == APPLICATION_DATA && length >= LEAST_WITH_A_BEAT);
                self.skip = length;
                self.header.clear();
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u8) -> Vec<u8> {
        [vec![kind, 3, 3, 0, length], vec![0; usize::from(length)]].concat()
    }

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let stream = [record(22, 200), record(23, 24), record(23, 120), record(23, 61), record(21, 99)].concat();
        for size in [1, 2, 3, 7, 64, 4096] {
            let mut records = Records::default();
            let found: u64 = stream.chunks(size).map(|piece| records.messages_in(piece)).sum();
            assert_eq!(found, 2, "pieces of {size}");
        }
    }
}
