//! How often a status that moves with every device may be written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Progress of many devices is told together: at bring-up each of hundreds would cost a write otherwise.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// When the status of an object was last told, by uid. In memory: after a start the first one goes out at once.
#[derive(Debug, Default)]
pub struct Pace {
    told: Mutex<HashMap<String, Instant>>,
}

impl Pace {
    /// How much longer progress has to wait; none when it may be told now.
    pub fn left(&self, uid: &str) -> Option<Duration> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        PROGRESS_INTERVAL.checked_sub(told.get(uid)?.elapsed()).filter(|left| !left.is_zero())
    }

    /// It is told now.
    pub fn told(&self, uid: &str) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_waits_after_it_was_told_and_not_before() {
        let pace = Pace::default();
        assert_eq!(pace.left("a"), None);
        pace.told("a");
        assert!(pace.left("a").is_some_and(|left| left <= PROGRESS_INTERVAL));
        assert_eq!(pace.left("b"), None);
    }
}
