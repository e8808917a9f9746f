//! Whether to take, keep or wait for the Lease: pure, and by our own clock alone.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

/// How long a Lease counts after its holder last renewed it.
pub const DURATION: Duration = Duration::from_secs(30);
/// Terms count from here in seconds, so that a deleted Lease never begins below an old term; fits until 2094.
const FIRST_SECOND: i64 = 1_767_225_600;
/// A claimed term further ahead than a year cannot be true.
const PLAUSIBLE_JUMP: u64 = 366 * 24 * 3600;

/// Who a process is to the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    owner: String,
    process: String,
}

impl Identity {
    /// This process of this Pod or instance; `process` is random, so that a restart is another holder.
    pub fn new(owner: &str, process: &str) -> Self {
        Self { owner: owner.to_owned(), process: process.to_owned() }
    }

    /// As it stands in the Lease.
    pub fn text(&self) -> String {
        format!("{}/{}", self.owner, self.process)
    }

    fn is(&self, holder: &str) -> bool {
        holder.split_once('/') == Some((&self.owner, &self.process))
    }

    /// Whether the holder was an earlier process of this same Pod or instance, which cannot live any more.
    fn was(&self, holder: &str) -> bool {
        holder.split_once('/').is_some_and(|(owner, process)| owner == self.owner && process != self.process)
    }
}

/// The Lease as last seen, and since when by our clock nobody has renewed it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The object, with its resourceVersion.
    pub lease: Lease,
    /// When we saw its holder or its renew time change.
    pub since: Instant,
}

impl Observed {
    /// What is known now that this Lease was read at this moment. Expiry never rests on another node's clock.
    pub fn next(previous: Option<&Self>, lease: Lease, now: Instant) -> Self {
        let since = previous.filter(|p| mark(&p.lease) == mark(&lease)).map_or(now, |p| p.since);
        Self { lease, since }
    }

    /// Who holds it, if anybody does.
    pub fn holder(&self) -> Option<&str> {
        self.lease.spec.as_ref()?.holder_identity.as_deref().filter(|h| !h.is_empty())
    }

    /// The term: how often the holder changed.
    pub fn term(&self) -> Option<u64> {
        self.lease.spec.as_ref()?.lease_transitions.and_then(|t| u64::try_from(t).ok())
    }

    fn duration(&self) -> Duration {
        let seconds = self.lease.spec.as_ref().and_then(|s| s.lease_duration_seconds);
        seconds.and_then(|s| u64::try_from(s).ok()).map_or(DURATION, Duration::from_secs).max(DURATION)
    }
}

fn mark(lease: &Lease) -> (Option<&str>, Option<Timestamp>) {
    let spec = lease.spec.as_ref();
    (spec.and_then(|s| s.holder_identity.as_deref()), spec.and_then(|s| s.renew_time.as_ref()).map(|t| t.0))
}

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another holds it; look again, at the latest then.
    Wait(Instant),
    /// Take it under this term.
    Acquire(u64),
    /// It is ours.
    Renew,
}

/// What to do, given what was last seen.
pub fn decide(now: Instant, observed: Option<&Observed>, me: &Identity, wall: Timestamp) -> Decision {
    let Some(seen) = observed else { return Decision::Acquire(first_term(wall)) };
    let next = seen.term().map_or_else(|| first_term(wall), |term| term.saturating_add(1));
    match seen.holder() {
        None => Decision::Acquire(next),
        Some(holder) if me.is(holder) => Decision::Renew,
        Some(holder) if me.was(holder) => Decision::Acquire(next),
        Some(_) => {
            let free = seen.since + seen.duration();
            if now >= free { Decision::Acquire(next) } else { Decision::Wait(free) }
        }
    }
}

/// The term of a Lease that is created anew: seconds since 2026-01-01T00:00Z.
fn first_term(wall: Timestamp) -> u64 {
    u64::try_from(wall.as_second().saturating_sub(FIRST_SECOND)).unwrap_or(0)
}

/// What an agent's claim of a verified term means for ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raise {
    /// Ours is higher, or the same.
    Unneeded,
    /// The Lease was lost once: ours has to become this.
    To(u64),
    /// The claim cannot be true.
    Implausible,
}

/// Whether and how far to raise our term above one that an agent has verified.
pub fn raise(current: u64, claimed: u64) -> Raise {
    let target = claimed.saturating_add(1);
    if claimed <= current {
        Raise::Unneeded
    } else if target - current >= PLAUSIBLE_JUMP || i32::try_from(target).is_err() {
        Raise::Implausible
    } else {
        Raise::To(target)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn lease(holder: Option<&str>, renewed: i64, term: Option<i32>) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                lease_transitions: term,
                lease_duration_seconds: Some(30),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn wall() -> Timestamp {
        "2026-01-01T00:01:40Z".parse().unwrap()
    }

    #[test]
    fn every_state_of_the_lease_has_one_decision() {
        let me = Identity::new("pod-a", "x");
        let start = Instant::now();
        let (soon, late) = (start + Duration::from_secs(29), start + Duration::from_secs(30));
        let free = Decision::Wait(start + DURATION);
        // Holder, renew time (another node's clock may be anywhere), term, now, decision.
        for (holder, renewed, term, now, expected) in [
            (None, 0, Some(4), start, Decision::Acquire(5)),
            (Some(""), 0, Some(4), start, Decision::Acquire(5)),
            (Some("pod-a/x"), 0, Some(4), late, Decision::Renew),
            (Some("pod-b/y"), 0, Some(4), soon, free),
            (Some("pod-b/y"), 0, Some(4), late, Decision::Acquire(5)),
            (Some("pod-b/y"), 32_503_680_000, Some(4), soon, free),
            (Some("pod-b/y"), 32_503_680_000, Some(4), late, Decision::Acquire(5)),
            (Some("pod-b/x"), 0, Some(4), soon, free),
            (Some("pod-a/old"), 32_503_680_000, Some(4), start, Decision::Acquire(5)),
            (Some("pod-a"), 0, Some(4), soon, free),
            (None, 0, None, start, Decision::Acquire(100)),
        ] {
            let seen = Observed { lease: lease(holder, renewed, term), since: start };
            assert_eq!(decide(now, Some(&seen), &me, wall()), expected, "{holder:?} {renewed} {term:?}");
        }
        assert_eq!(decide(start, None, &me, wall()), Decision::Acquire(100));
    }

    #[test]
    fn waiting_begins_anew_only_when_the_holder_renewed() {
        let start = Instant::now();
        let later = start + Duration::from_secs(20);
        let first = Observed::next(None, lease(Some("b/y"), 1, Some(1)), start);
        assert_eq!(Observed::next(Some(&first), lease(Some("b/y"), 1, Some(1)), later).since, start);
        assert_eq!(Observed::next(Some(&first), lease(Some("b/y"), 2, Some(1)), later).since, later);
        assert_eq!(Observed::next(Some(&first), lease(Some("c/y"), 1, Some(1)), later).since, later);
    }

    #[test]
    fn a_longer_duration_of_another_holder_is_respected() {
        let start = Instant::now();
        let mut long = lease(Some("b/y"), 1, Some(1));
        long.spec.as_mut().unwrap().lease_duration_seconds = Some(60);
        let seen = Observed { lease: long, since: start };
        let me = Identity::new("a", "x");
        let at = |s| decide(start + Duration::from_secs(s), Some(&seen), &me, wall());
        assert!(matches!(at(59), Decision::Wait(_)));
        assert_eq!(at(60), Decision::Acquire(2));
    }

    #[test]
    fn the_term_is_raised_above_a_plausible_claim_only() {
        assert_eq!(raise(100, 100), Raise::Unneeded);
        assert_eq!(raise(100, 7), Raise::Unneeded);
        assert_eq!(raise(100, 101), Raise::To(102));
        assert_eq!(raise(100, 100 + PLAUSIBLE_JUMP), Raise::Implausible);
        assert_eq!(raise(100, u64::MAX), Raise::Implausible);
        assert_eq!(raise(u64::try_from(i32::MAX).unwrap(), 1 + u64::try_from(i32::MAX).unwrap()), Raise::Implausible);
    }
}
