//! Exponential backoff with full jitter, so that a thousand boxes do not reconnect at the same moment.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// Full jitter: each wait is drawn evenly between zero and a bound that doubles from the floor to the ceiling.
#[derive(Debug)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff whose first bound is the floor.
    pub fn new(floor: Duration, ceiling: Duration) -> Self {
        Self { floor, ceiling, failures: 0 }
    }

    /// Notes a success: the next failure starts at the floor again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The bound of the next wait; a tenth of it is the least, so that nothing spins.
    fn bound(&self) -> Duration {
        self.floor.saturating_mul(1 << self.failures.min(20)).min(self.ceiling)
    }

    /// Notes a failure and returns how long to wait.
    pub fn wait(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        let least = bound / 10;
        least + scaled(bound.saturating_sub(least))
    }
}

/// A duration drawn evenly between zero and this one.
pub fn scaled(bound: Duration) -> Duration {
    let mut bytes = [0_u8; 2];
    let drawn = match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u32::from(u16::from_le_bytes(bytes)),
        Err(_) => u32::from(u16::MAX) / 2,
    };
    bound.saturating_mul(drawn) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_never_reach_zero() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let waits: Vec<_> = (0..40).map(|_| backoff.wait()).collect();
        assert!(waits[0] <= Duration::from_secs(1) && waits.iter().all(|w| *w >= Duration::from_millis(100)));
        assert!(waits.iter().all(|w| *w <= Duration::from_secs(60)));
        assert!(waits[10..].iter().sum::<Duration>() > Duration::from_secs(300));
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_secs(1));
    }
}
