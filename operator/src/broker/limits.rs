//! Every bound of the gateway, and the token bucket that limits what agents send.

use std::time::Duration;

use tokio::time::Instant;

/// Pending connections in the kernel; dropped SYNs retry with growing pauses, so a storm must fit.
pub const LISTEN_BACKLOG: u32 = 4096;
/// TLS handshake, ClientHello included.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// From the end of the handshake to CONNECT, and for the decision on admittance.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Write of one packet to the agent.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// From a message to its acknowledgement.
pub const ACKNOWLEDGE_DEADLINE: Duration = Duration::from_secs(30);
/// Close of a TLS connection that was turned away.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Interval of the watchdog's round trips through the router.
pub const WATCHDOG_PERIOD: Duration = Duration::from_secs(10);
/// Round trips without an answer after which the router counts as dead.
pub const WATCHDOG_MISSES: u32 = 3;
/// Pause after a failed accept, so that an exhausted file table does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Unacknowledged messages to one agent.
pub const IN_FLIGHT: usize = 20;
/// Longest topic, in bytes of ASCII.
pub const MAX_TOPIC: usize = 200;
/// Largest heartbeat, in bytes.
pub const MAX_BEAT: usize = 80;

/// A rate limit with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Messages a second after the burst.
    pub per_second: u32,
    /// Messages that are not delayed after a pause.
    pub burst: u32,
}

/// Bounds of a gateway; tests shorten them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Simultaneous sessions.
    pub sessions: usize,
    /// Simultaneous TLS handshakes. Counted from ClientHello on, so that silent sockets block none.
    pub handshakes: usize,
    /// Simultaneous connections that are no session yet.
    pub pending: usize,
    /// Deadline of the TLS handshake.
    pub handshake: Duration,
    /// Deadline of CONNECT and of the admittance.
    pub connect: Duration,
    /// Deadline of one write.
    pub write: Duration,
    /// Deadline of an acknowledgement.
    pub acknowledge: Duration,
    /// Period of the router's watchdog.
    pub watchdog: Duration,
    /// Messages from one agent.
    pub agent: Rate,
    /// Messages from all agents of one site.
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

/// A token bucket that delays instead of refusing, so nothing is lost.
#[derive(Debug)]
pub struct TokenBucket {
    interval: Duration,
    tolerance: Duration,
    due: Instant,
}

impl TokenBucket {
    /// Starts full.
    pub fn new(rate: Rate, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.max(1);
        Self { interval, tolerance: interval * rate.burst, due: now }
    }

    /// Takes one token, and returns how long the caller must wait before it proceeds.
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
        let mut bucket = TokenBucket::new(Rate { per_second: 100, burst: 200 }, now);
        assert!((0..200).all(|_| bucket.take(now).is_zero()));
        assert_eq!(bucket.take(now), Duration::from_millis(10));
        assert_eq!(bucket.take(now), Duration::from_millis(20));
        assert!(bucket.take(now + Duration::from_secs(1)).is_zero());
    }
}
