//! How often a status that moves with every device may be written.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Progress of many devices is told together: at bring-up each of hundreds would cost a write otherwise.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// When the status of an object was last told, by uid. In memory: after a start the first one goes out at once.
#[derive(Debug, Default)]
pub struct StatusThrottle {
    told: Mutex<HashMap<String, Instant>>,
}

impl StatusThrottle {
    /// How much longer progress has to wait; none when it may be told now.
    pub fn left(&self, uid: &str) -> Option<Duration> {
        let told = self.told.lock();
        PROGRESS_INTERVAL.checked_sub(told.get(uid)?.elapsed()).filter(|left| !left.is_zero())
    }

    /// It is told now.
    pub fn told(&self, uid: &str) {
        self.told.lock().insert(uid.to_owned(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_waits_after_it_was_told_and_not_before() {
        let throttle = StatusThrottle::default();
        assert_eq!(throttle.left("a"), None);
        throttle.told("a");
        assert!(throttle.left("a").is_some_and(|left| left <= PROGRESS_INTERVAL));
        assert_eq!(throttle.left("b"), None);
    }
}
