//! Since when an order awaits its confirmation: a prompt answer costs one status write, not two.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kalong_crds::units::Digest;
use parking_lot::Mutex;

/// How long a confirmation may take before a status says that it is awaited.
pub const CONFIRMATION_DEBOUNCE: Duration = Duration::from_secs(2);

/// Orders that are not confirmed yet, by uid of their object. In memory: after a start each waits once more.
#[derive(Debug, Default)]
pub struct ConfirmationDebounce {
    since: Mutex<HashMap<String, (Digest, Instant)>>,
}

/// An order that an agent has not confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The hash of that order.
    pub order: Digest,
    /// Time since it was first sent.
    pub waited: Duration,
}

impl Unconfirmed {
    /// How much longer to wait in silence for the confirmation of this order; none once that is over. An order that was not sent yet
    /// has the whole time before it.
    pub fn left(awaited: Option<&Self>, order: &Digest) -> Option<Duration> {
        let waited = awaited.filter(|awaited| &awaited.order == order).map_or(Duration::ZERO, |awaited| awaited.waited);
        CONFIRMATION_DEBOUNCE.checked_sub(waited).filter(|left| !left.is_zero())
    }
}

impl ConfirmationDebounce {
    /// The order of this object that is not confirmed yet.
    pub fn awaited(&self, uid: &str) -> Option<Unconfirmed> {
        let since = self.since.lock();
        since.get(uid).map(|(order, since)| Unconfirmed { order: order.clone(), waited: since.elapsed() })
    }

    /// This order goes out. Saying it again does not prolong the wait; another order begins a new one.
    pub fn sent(&self, uid: &str, order: &Digest) {
        let mut since = self.since.lock();
        if since.get(uid).is_none_or(|(known, _)| known != order) {
            since.insert(uid.to_owned(), (order.clone(), Instant::now()));
        }
    }

    /// Nothing is awaited: the order was confirmed or withdrawn, or the object is gone.
    pub fn over(&self, uid: &str) {
        self.since.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debounce_counts_from_the_first_time_that_an_order_was_sent() {
        let debounce = ConfirmationDebounce::default();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let left = |order: &Digest| Unconfirmed::left(debounce.awaited("u").as_ref(), order);
        assert_eq!(left(&a), Some(CONFIRMATION_DEBOUNCE), "it is about to be sent");
        debounce.sent("u", &a);
        let first = left(&a).unwrap();
        debounce.sent("u", &a);
        assert!(first <= CONFIRMATION_DEBOUNCE && left(&a).unwrap() <= first);
        assert_eq!(left(&b), Some(CONFIRMATION_DEBOUNCE), "another order has its own wait");
        debounce.over("u");
        assert_eq!(debounce.awaited("u"), None);
    }

    #[test]
    fn wait_ends_after_the_debounce() {
        let order = Digest::of(b"a");
        let awaited = Unconfirmed { order: order.clone(), waited: CONFIRMATION_DEBOUNCE };
        assert_eq!(Unconfirmed::left(Some(&awaited), &order), None);
    }
}
