//! What is known of drains before, and beside, what the cache of the API server shows. In memory: a restart loses nothing that was acted on.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use kalong_crds::units::Digest;

/// How long an order that was taken back before anybody confirmed it may still be on its way to the agent.
pub const IN_FLIGHT: SignedDuration = SignedDuration::from_secs(30);

/// Claims that were accepted and are not in the cache yet, and what the agents of lanes were last told of claims.
#[derive(Debug, Default)]
pub struct Drains {
    ledger: Mutex<Ledger>,
    told: Mutex<HashMap<String, Told>>,
}

/// Claims that were accepted and are not in the cache yet, by uid. Whoever holds it decides alone: two passes never take the same last lane.
#[derive(Debug, Default)]
pub struct Ledger {
    accepted: HashMap<String, Acceptance>,
}

/// That a claim was accepted, and for which lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// When.
    pub at: Timestamp,
    /// The names of the lanes; a lane that joins the target later is decided on anew.
    pub lanes: BTreeSet<String>,
    /// Of an Emergency: what breaks by it, as a sentence.
    pub breaking: Option<String>,
}

impl Ledger {
    /// The acceptance of this claim that is not in the cache yet.
    pub fn get(&self, uid: &str) -> Option<&Acceptance> {
        self.accepted.get(uid)
    }

    /// This claim was accepted; its status is about to be written.
    pub fn put(&mut self, uid: &str, acceptance: Acceptance) {
        self.accepted.insert(uid.to_owned(), acceptance);
    }

    /// The cache shows it, or the claim has ended.
    pub fn settle(&mut self, uid: &str) {
        self.accepted.remove(uid);
    }

    /// Claims that are gone are forgotten.
    pub fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.accepted.retain(|uid, _| exists(uid));
    }
}

/// What the agent of a lane was last told of claims on it.
#[derive(Clone, Debug)]
struct Told {
    hash: Digest,
    drains: Vec<String>,
    confirmed: bool,
    /// When a hold was taken back that nobody had confirmed: until it cannot arrive any more, the lane may still close for a moment.
    taken_back: Option<Timestamp>,
}

/// How far an agent is with a claim on its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldProgress {
    /// The lane was not looked at since this operator started.
    Untold,
    /// The last order does not carry the claim.
    Without,
    /// The last order carries it, and the agent has not confirmed that order yet.
    Unconfirmed,
    /// The agent holds the last order, and it carries the claim.
    Confirmed,
}

impl Drains {
    /// The ledger, for as long as one decision takes.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// The order of this lane is now this one and carries the claims with these names; `reported` is the hash that its agent reports.
    /// To be said at every pass over the lane, before the order goes out.
    pub fn told(&self, lane_uid: &str, order: &Digest, drains: &[String], reported: Option<&Digest>, now: Timestamp) {
        let mut told = self.told.lock();
        let old = told.get(lane_uid);
        let same = old.is_some_and(|old| &old.hash == order);
        let known = old.is_some_and(|old| old.confirmed || reported == Some(&old.hash));
        let taken_back = match old {
            Some(old) if !same && !known && !old.drains.is_empty() && drains.is_empty() => Some(now),
            Some(old) => old.taken_back,
            None => None,
        };
        let confirmed = reported == Some(order) || (same && known);
        let entry = Told { hash: order.clone(), drains: drains.to_vec(), confirmed, taken_back };
        told.insert(lane_uid.to_owned(), entry);
    }

    /// How far the agent of this lane is with this claim, by the hash that it reports.
    pub fn hold_progress(&self, lane_uid: &str, drain: &str, reported: Option<&Digest>) -> HoldProgress {
        let told = self.told.lock();
        match told.get(lane_uid) {
            None => HoldProgress::Untold,
            Some(told) if !told.drains.iter().any(|name| name == drain) => HoldProgress::Without,
            Some(told) if reported == Some(&told.hash) => HoldProgress::Confirmed,
            Some(_) => HoldProgress::Unconfirmed,
        }
    }

    /// Whether the agent of this lane was told of no claim, holds that order, and no earlier claim can still reach it.
    pub fn is_free(&self, lane_uid: &str, reported: Option<&Digest>, now: Timestamp) -> bool {
        let told = self.told.lock();
        told.get(lane_uid).is_some_and(|told| {
            told.drains.is_empty()
                && reported == Some(&told.hash)
                && told.taken_back.is_none_or(|since| now.duration_since(since) >= IN_FLIGHT)
        })
    }

    /// Whether the agent of this lane holds the last order.
    pub fn is_confirmed(&self, lane_uid: &str, reported: Option<&Digest>) -> bool {
        let told = self.told.lock();
        told.get(lane_uid).is_some_and(|told| reported == Some(&told.hash))
    }

    /// The lane is gone.
    pub fn forget(&self, lane_uid: &str) {
        self.told.lock().remove(lane_uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn claim_stands_when_the_agent_confirmed_the_order_that_carries_it() {
        let (drains, plain, held) = (Drains::default(), Digest::of(b"plain"), Digest::of(b"held"));
        assert_eq!(drains.hold_progress("l", "d", Some(&plain)), HoldProgress::Untold);
        drains.told("l", &plain, &[], Some(&plain), at(0));
        assert_eq!(drains.hold_progress("l", "d", Some(&plain)), HoldProgress::Without);
        assert!(drains.is_free("l", Some(&plain), at(0)));
        drains.told("l", &held, &["d".into()], Some(&plain), at(1));
        assert_eq!(drains.hold_progress("l", "d", Some(&plain)), HoldProgress::Unconfirmed);
        assert_eq!(drains.hold_progress("l", "d", Some(&held)), HoldProgress::Confirmed);
        assert!(!drains.is_free("l", Some(&held), at(1)));
    }

    #[test]
    fn hold_that_was_taken_back_unconfirmed_may_still_arrive() {
        let (drains, plain, held) = (Drains::default(), Digest::of(b"plain"), Digest::of(b"held"));
        drains.told("l", &plain, &[], Some(&plain), at(0));
        drains.told("l", &held, &["d".into()], Some(&plain), at(1));
        drains.told("l", &plain, &[], Some(&plain), at(2));
        assert!(!drains.is_free("l", Some(&plain), at(31)), "the report may be older than the hold");
        assert!(drains.is_free("l", Some(&plain), at(32)));
        drains.told("l", &held, &["d".into()], Some(&held), at(40));
        drains.told("l", &plain, &[], Some(&held), at(41));
        assert!(!drains.is_free("l", Some(&held), at(41)), "it has not confirmed that the hold is over");
        assert!(drains.is_free("l", Some(&plain), at(42)), "a hold that was confirmed cannot arrive again");
    }
}
