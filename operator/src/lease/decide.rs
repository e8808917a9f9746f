//! Whether to take, keep or wait for the Lease. Pure, and by this process's clock alone.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

/// How long a Lease counts after its holder last renewed it.
pub const DURATION: Duration = Duration::from_secs(30);
/// Terms count from here in seconds, so that a deleted Lease never begins below an old term; fits until 2094.
const FIRST_SECOND: i64 = 1_767_225_600;
/// A claimed term more than a year ahead cannot be true; in seconds.
const PLAUSIBLE_JUMP: u64 = 366 * 24 * 3600;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderIdentity {
    owner: String,
    process: String,
}

impl HolderIdentity {
    /// `owner` is the Pod's UID or the instance's name; `process` is random, so that a restart is another holder.
    pub fn new(owner: &str, process: &str) -> Self {
        Self { owner: owner.to_owned(), process: process.to_owned() }
    }

    /// As the Lease has it: `<owner>/<process>`.
    pub fn text(&self) -> String {
        format!("{}/{}", self.owner, self.process)
    }

    fn is(&self, holder: &str) -> bool {
        holder.split_once('/') == Some((&self.owner, &self.process))
    }

    /// Whether the holder is an earlier process of this same Pod or instance, which is certainly dead.
    fn was(&self, holder: &str) -> bool {
        holder.split_once('/').is_some_and(|(owner, process)| owner == self.owner && process != self.process)
    }
}

/// The Lease as last read, and since when it was not renewed, by this process's clock.
#[derive(Clone, Debug)]
pub struct ObservedLease {
    /// The object, with its resourceVersion.
    pub lease: Lease,
    /// When its holder or its renew time was last seen to change.
    pub since: Instant,
}

impl ObservedLease {
    /// Takes a read of the Lease. Expiry never depends on the clock of another node.
    pub fn next(previous: Option<&Self>, lease: Lease, now: Instant) -> Self {
        let since = previous.filter(|p| mark(&p.lease) == mark(&lease)).map_or(now, |p| p.since);
        Self { lease, since }
    }

    /// The holder; none if it was given back.
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
pub enum LeaseDecision {
    /// Another process holds it; read it again, at the latest then.
    Wait(Instant),
    /// Take it under this term.
    Acquire(u64),
    Renew,
}

/// Decides from the last read; `wall` is used only for the first term.
pub fn decide(now: Instant, observed: Option<&ObservedLease>, me: &HolderIdentity, wall: Timestamp) -> LeaseDecision {
    let Some(seen) = observed else { return LeaseDecision::Acquire(first_term(wall)) };
    let next = seen.term().map_or_else(|| first_term(wall), |term| term.saturating_add(1));
    match seen.holder() {
        None => LeaseDecision::Acquire(next),
        Some(holder) if me.is(holder) => LeaseDecision::Renew,
        Some(holder) if me.was(holder) => LeaseDecision::Acquire(next),
        Some(_) => {
            let free = seen.since + seen.duration();
            if now >= free { LeaseDecision::Acquire(next) } else { LeaseDecision::Wait(free) }
        }
    }
}

/// The term of a new Lease: seconds since 2026-01-01T00:00Z.
fn first_term(wall: Timestamp) -> u64 {
    u64::try_from(wall.as_second().saturating_sub(FIRST_SECOND)).unwrap_or(0)
}

/// What follows from the term that an agent claims to have verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TermRaise {
    /// The term of the Lease is at least as high.
    Unneeded,
    /// The Lease was lost once: its term has to become this.
    To(u64),
    /// Too far ahead to be true.
    Implausible,
}

/// Whether, and how far, to raise the current term above a claimed one.
pub fn raise(current: u64, claimed: u64) -> TermRaise {
    let target = claimed.saturating_add(1);
    if claimed <= current {
        TermRaise::Unneeded
    } else if target - current >= PLAUSIBLE_JUMP || i32::try_from(target).is_err() {
        TermRaise::Implausible
    } else {
        TermRaise::To(target)
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
        let me = HolderIdentity::new("pod-a", "x");
        let start = Instant::now();
        let (soon, late) = (start + Duration::from_secs(29), start + Duration::from_secs(30));
        let free = LeaseDecision::Wait(start + DURATION);
        // Holder, renew time (another node's clock may be anywhere), term, now, decision.
        for (holder, renewed, term, now, expected) in [
            (None, 0, Some(4), start, LeaseDecision::Acquire(5)),
            (Some(""), 0, Some(4), start, LeaseDecision::Acquire(5)),
            (Some("pod-a/x"), 0, Some(4), late, LeaseDecision::Renew),
            (Some("pod-b/y"), 0, Some(4), soon, free),
            (Some("pod-b/y"), 0, Some(4), late, LeaseDecision::Acquire(5)),
            (Some("pod-b/y"), 32_503_680_000, Some(4), soon, free),
            (Some("pod-b/y"), 32_503_680_000, Some(4), late, LeaseDecision::Acquire(5)),
            (Some("pod-b/x"), 0, Some(4), soon, free),
            (Some("pod-a/old"), 32_503_680_000, Some(4), start, LeaseDecision::Acquire(5)),
            (Some("pod-a"), 0, Some(4), soon, free),
            (None, 0, None, start, LeaseDecision::Acquire(100)),
        ] {
            let seen = ObservedLease { lease: lease(holder, renewed, term), since: start };
            assert_eq!(decide(now, Some(&seen), &me, wall()), expected, "{holder:?} {renewed} {term:?}");
        }
        assert_eq!(decide(start, None, &me, wall()), LeaseDecision::Acquire(100));
    }

    #[test]
    fn waiting_begins_anew_only_when_the_holder_renewed() {
        let start = Instant::now();
        let later = start + Duration::from_secs(20);
        let first = ObservedLease::next(None, lease(Some("b/y"), 1, Some(1)), start);
        assert_eq!(ObservedLease::next(Some(&first), lease(Some("b/y"), 1, Some(1)), later).since, start);
        assert_eq!(ObservedLease::next(Some(&first), lease(Some("b/y"), 2, Some(1)), later).since, later);
        assert_eq!(ObservedLease::next(Some(&first), lease(Some("c/y"), 1, Some(1)), later).since, later);
    }

    #[test]
    fn a_longer_duration_of_another_holder_is_respected() {
        let start = Instant::now();
        let mut long = lease(Some("b/y"), 1, Some(1));
        long.spec.as_mut().unwrap().lease_duration_seconds = Some(60);
        let seen = ObservedLease { lease: long, since: start };
        let me = HolderIdentity::new("a", "x");
        let at = |s| decide(start + Duration::from_secs(s), Some(&seen), &me, wall());
        assert!(matches!(at(59), LeaseDecision::Wait(_)));
        assert_eq!(at(60), LeaseDecision::Acquire(2));
    }

    #[test]
    fn the_term_is_raised_above_a_plausible_claim_only() {
        assert_eq!(raise(100, 100), TermRaise::Unneeded);
        assert_eq!(raise(100, 7), TermRaise::Unneeded);
        assert_eq!(raise(100, 101), TermRaise::To(102));
        assert_eq!(raise(100, 100 + PLAUSIBLE_JUMP), TermRaise::Implausible);
        assert_eq!(raise(100, u64::MAX), TermRaise::Implausible);
        assert_eq!(
            raise(u64::try_from(i32::MAX).unwrap(), 1 + u64::try_from(i32::MAX).unwrap()),
            TermRaise::Implausible
        );
    }
}
