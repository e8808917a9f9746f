//! How often one address may ask for a certificate: each request costs the API server several calls.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Requests at once: a whole site may stand behind one address.
const BURST: u32 = 200;
const REFILL: Duration = Duration::from_millis(100);
/// Addresses that are remembered; those that have not asked for long go first.
const ADDRESSES: usize = 4096;

#[derive(Debug, Default)]
pub struct RateLimit {
    /// When the whole burst is there again.
    full: Mutex<HashMap<IpAddr, Instant>>,
}

impl RateLimit {
    /// Whether this address may ask now.
    pub fn admit(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut full = self.full.lock();
        if full.len() >= ADDRESSES && !full.contains_key(&address) {
            full.retain(|_, moment| *moment > now);
            if full.len() >= ADDRESSES {
                return false;
            }
        }
        let moment = full.entry(address).or_insert(now);
        let next = (*moment).max(now) + REFILL;
        let admitted = next <= now + REFILL * BURST;
        if admitted {
            *moment = next;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_has_a_burst_and_then_waits_and_others_do_not() {
        let (limit, address) = (RateLimit::default(), IpAddr::from([10, 0, 0, 1]));
        assert!((0..BURST).all(|_| limit.admit(address)));
        assert!(!limit.admit(address));
        assert!(limit.admit(IpAddr::from([10, 0, 0, 2])));
        tokio::time::advance(REFILL).await;
        assert!(limit.admit(address));
        assert!(!limit.admit(address));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let limit = RateLimit::default();
        for n in 0..10_000_u32 {
            limit.admit(IpAddr::from(n.to_be_bytes()));
        }
        assert_eq!(limit.full.lock().len(), ADDRESSES);
        tokio::time::advance(REFILL * 2).await;
        assert!(limit.admit(IpAddr::from([10, 9, 9, 9])));
    }
}
