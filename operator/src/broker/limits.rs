//! Every bound of the gateway, and the token bucket that smooths what comes in.

use std::time::Duration;

use tokio::time::Instant;

/// Pending connections in the kernel; dropped SYNs retry with growing pauses, so a storm must fit.
pub const LISTEN_BACKLOG: u32 = 4096;
/// TLS handshake, ClientHello included.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// From the end of the handshake to CONNECT, and for the answer whether the identity may enter.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// One packet to the agent.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// From a message to its acknowledgement.
pub const ACKNOWLEDGE_DEADLINE: Duration = Duration::from_secs(30);
/// The goodbye of TLS.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Round trip through the router.
pub const WATCHDOG_PERIOD: Duration = Duration::from_secs(10);
/// Rounds without an answer after which the router counts as dead.
pub const WATCHDOG_MISSES: u32 = 3;
/// Pause after a failed accept, so that an exhausted file table does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Unacknowledged messages to one agent.
pub const IN_FLIGHT: usize = 20;
/// Longest topic, in bytes of ASCII.
pub const MAX_TOPIC: usize = 200;
/// Largest heartbeat, in bytes.
pub const MAX_BEAT: usize = 80;

/// How many messages a second, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Messages a second.
    pub per_second: u32,
    /// Messages that may come at once.
    pub burst: u32,
}

/// What a gateway grants; the defaults are the design's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions at once.
    pub sessions: usize,
    /// Handshakes computed at once; the permit is taken after ClientHello, so that silent sockets hold none.
    pub handshakes: usize,
    /// Connections at once that are no session yet.
    pub pending: usize,
    /// Deadline of the TLS handshake.
    pub handshake: Duration,
    /// Deadline of CONNECT.
    pub connect: Duration,
    /// Deadline of one write.
    pub write: Duration,
    /// Deadline of an acknowledgement.
    pub acknowledge: Duration,
    /// Period of the router's watchdog.
    pub watchdog: Duration,
    /// What one agent may send.
    pub agent: Rate,
    /// What all agents of one site may send together.
    pub site: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 4096,
            handshakes: 64,
            pending: 4096,
            handshake: HANDSHAKE_DEADLINE,
            connect: CONNECT_DEADLINE,
            write: WRITE_DEADLINE,
            acknowledge: ACKNOWLEDGE_DEADLINE,
            watchdog: WATCHDOG_PERIOD,
            agent: Rate { per_second: 100, burst: 200 },
            site: Rate { per_second: 2_000, burst: 4_000 },
        }
    }
}

/// A token bucket that says how long to wait instead of refusing: what is slowed down is not lost.
#[derive(Debug)]
pub struct Bucket {
    interval: Duration,
    tolerance: Duration,
    due: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.max(1);
        Self { interval, tolerance: interval * rate.burst, due: now }
    }

    /// Takes one token, and says for how long the taker must pause first.
    pub fn take(&mut self, now: Instant) -> Duration {
        self.due = self.due.max(now) + self.interval;
        self.due.saturating_duration_since(now).saturating_sub(self.tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_free_and_then_the_rate_holds() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Rate { per_second: 100, burst: 200 }, now);
        assert!((0..200).all(|_| bucket.take(now).is_zero()));
        assert_eq!(bucket.take(now), Duration::from_millis(10));
        assert_eq!(bucket.take(now), Duration::from_millis(20));
        assert!(bucket.take(now + Duration::from_secs(1)).is_zero());
    }
}
