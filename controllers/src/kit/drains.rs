//! What is known of drains before the cache of the API server shows it. In memory: a restart loses nothing that was acted on.

use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use kalong_crds::units::Digest;
use parking_lot::{Mutex, MutexGuard};

/// How long an order that was replaced before its agent confirmed it may still be on its way.
pub const IN_FLIGHT: SignedDuration = SignedDuration::from_secs(30);

/// Acceptances that are not in the cache yet, and the claims in the orders that were last sent for lanes.
#[derive(Debug, Default)]
pub struct Drains {
    ledger: Mutex<Ledger>,
    sent: Mutex<HashMap<String, SentOrder>>,
}

/// Acceptances that are not in the cache yet, by uid of the claim. Its lock is held for a whole decision, so that two reconciles never take
/// the same last lane.
#[derive(Debug, Default)]
pub struct Ledger {
    accepted: HashMap<String, Acceptance>,
}

/// That a claim was accepted, and for which lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// When it was accepted, in whole seconds.
    pub at: Timestamp,
    /// Names of the lanes. A lane that joins the target later is decided on separately.
    pub lanes: BTreeSet<String>,
    /// Of an Emergency: what breaks by it, as a sentence.
    pub breaking: Option<String>,
}

impl Ledger {
    /// The uids of the claims whose acceptance is not in the cache yet.
    pub fn uids(&self) -> impl Iterator<Item = &str> {
        self.accepted.keys().map(String::as_str)
    }

    /// The acceptance of this claim that is not in the cache yet.
    pub fn get(&self, uid: &str) -> Option<&Acceptance> {
        self.accepted.get(uid)
    }

    /// Notes an acceptance whose status is about to be written.
    pub fn put(&mut self, uid: &str, acceptance: Acceptance) {
        self.accepted.insert(uid.to_owned(), acceptance);
    }

    /// Drops the entry of a claim once the cache shows its acceptance, or it has ended.
    pub fn settle(&mut self, uid: &str) {
        self.accepted.remove(uid);
    }
}

/// The claims in the order that was last sent for a lane.
#[derive(Clone, Debug)]
struct SentOrder {
    hash: Digest,
    drains: Vec<String>,
    confirmed: bool,
    /// When a hold was withdrawn that the agent had not confirmed: until it cannot arrive any more, the lane may still close for a moment.
    withdrawn: Option<Timestamp>,
}

/// How far the agent of a lane is with one claim on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldProgress {
    /// No order of the lane was decided since this operator started.
    Unknown,
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

    /// Notes the order of a lane and the names of the claims in it; `reported` is the hash that its agent reports. To be called in every
    /// reconcile of the lane, before the order goes out: a lane without this note counts neither as capacity nor as drained.
    pub fn order_sent(
        &self,
        lane_uid: &str,
        order: &Digest,
        drains: &[String],
        reported: Option<&Digest>,
        now: Timestamp,
    ) {
        let mut sent = self.sent.lock();
        let old = sent.get(lane_uid);
        let same = old.is_some_and(|old| &old.hash == order);
        let known = old.is_some_and(|old| old.confirmed || reported == Some(&old.hash));
        let withdrawn = match old {
            Some(old) if !same && !known && !old.drains.is_empty() && drains.is_empty() => Some(now),
            Some(old) => old.withdrawn,
            None => None,
        };
        let confirmed = reported == Some(order) || (same && known);
        let entry = SentOrder { hash: order.clone(), drains: drains.to_vec(), confirmed, withdrawn };
        sent.insert(lane_uid.to_owned(), entry);
    }

    /// How far the agent of this lane is with this claim, by the hash that it reports.
    pub fn hold_progress(&self, lane_uid: &str, drain: &str, reported: Option<&Digest>) -> HoldProgress {
        match self.sent.lock().get(lane_uid) {
            None => HoldProgress::Unknown,
            Some(sent) if !sent.drains.iter().any(|name| name == drain) => HoldProgress::Without,
            Some(sent) if reported == Some(&sent.hash) => HoldProgress::Confirmed,
            Some(_) => HoldProgress::Unconfirmed,
        }
    }

    /// Whether the last order of this lane carries no claim, its agent holds that order, and no earlier claim can still reach it.
    pub fn is_free(&self, lane_uid: &str, reported: Option<&Digest>, now: Timestamp) -> bool {
        self.sent.lock().get(lane_uid).is_some_and(|sent| {
            sent.drains.is_empty()
                && reported == Some(&sent.hash)
                && sent.withdrawn.is_none_or(|since| now.duration_since(since) >= IN_FLIGHT)
        })
    }

    /// Whether the agent of this lane holds the last order.
    pub fn is_confirmed(&self, lane_uid: &str, reported: Option<&Digest>) -> bool {
        self.sent.lock().get(lane_uid).is_some_and(|sent| reported == Some(&sent.hash))
    }

    /// Drops what is known of a lane that is gone.
    pub fn forget(&self, lane_uid: &str) {
        self.sent.lock().remove(lane_uid);
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
        assert_eq!(drains.hold_progress("l", "d", Some(&plain)), HoldProgress::Unknown);
        drains.order_sent("l", &plain, &[], Some(&plain), at(0));
        assert_eq!(drains.hold_progress("l", "d", Some(&plain)), HoldProgress::Without);
        assert!(drains.is_free("l", Some(&plain), at(0)));
        drains.order_sent("l", &held, &["d".into()], Some(&plain), at(1));
        assert_eq!(drains.hold_progress("l", "d", Some(&plain)), HoldProgress::Unconfirmed);
        assert_eq!(drains.hold_progress("l", "d", Some(&held)), HoldProgress::Confirmed);
        assert!(!drains.is_free("l", Some(&held), at(1)));
    }

    #[test]
    fn hold_that_was_withdrawn_unconfirmed_may_still_arrive() {
        let (drains, plain, held) = (Drains::default(), Digest::of(b"plain"), Digest::of(b"held"));
        drains.order_sent("l", &plain, &[], Some(&plain), at(0));
        drains.order_sent("l", &held, &["d".into()], Some(&plain), at(1));
        drains.order_sent("l", &plain, &[], Some(&plain), at(2));
        assert!(!drains.is_free("l", Some(&plain), at(31)), "the report may be older than the hold");
        assert!(drains.is_free("l", Some(&plain), at(32)));
        drains.order_sent("l", &held, &["d".into()], Some(&held), at(40));
        drains.order_sent("l", &plain, &[], Some(&held), at(41));
        assert!(!drains.is_free("l", Some(&held), at(41)), "it has not confirmed that the hold is over");
        assert!(drains.is_free("l", Some(&plain), at(42)), "a hold that was confirmed cannot arrive again");
    }
}
