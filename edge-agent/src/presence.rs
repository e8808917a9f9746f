//! Since when the operator is reached or not, in monotonic time.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a session must hold before it is believed: what changed meanwhile comes first.
pub(crate) const SETTLED: Duration = Duration::from_secs(3);

/// Since when the operator is reached or not.
#[derive(Debug)]
pub struct UplinkPresence {
    state: Mutex<(UplinkState, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UplinkState {
    Up,
    Down,
}

impl Default for UplinkPresence {
    fn default() -> Self {
        Self { state: Mutex::new((UplinkState::Down, Instant::now())) }
    }
}

impl UplinkPresence {
    /// Notes that a session began.
    pub fn up(&self) {
        *self.state.lock() = (UplinkState::Up, Instant::now());
    }

    /// Notes that the session ended. Connection attempts that fail do not restart the count.
    pub fn down(&self) {
        let mut state = self.state.lock();
        if state.0 == UplinkState::Up {
            *state = (UplinkState::Down, Instant::now());
        }
    }

    /// How long the operator has not been reached; zero while it is.
    pub fn silence(&self) -> Duration {
        let state = self.state.lock();
        if state.0 == UplinkState::Up { Duration::ZERO } else { state.1.elapsed() }
    }

    /// Whether a session has held for three seconds.
    pub fn is_settled(&self) -> bool {
        let state = self.state.lock();
        state.0 == UplinkState::Up && state.1.elapsed() >= SETTLED
    }

    /// Whether the operator was reached within this time.
    pub fn within(&self, limit: Duration) -> bool {
        self.silence() < limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failed_connects_do_not_restart_the_count() {
        let presence = UplinkPresence::default();
        tokio::time::advance(Duration::from_secs(59)).await;
        presence.down();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(presence.silence(), Duration::from_secs(60));
    }
}
