//! Permits to touch devices: one device of a lane at a time.

use std::collections::HashMap;

use kalong_crds::wire::order::Permit;
use parking_lot::Mutex;

/// The permits that are out, by uid of the device. In memory: after a restart they are taken again from what agents report.
#[derive(Debug, Default)]
pub struct Permits {
    grants: Mutex<HashMap<String, Grant>>,
}

#[derive(Clone, Debug)]
struct Grant {
    permit: Permit,
    lane: Option<String>,
}

impl Permits {
    /// The permit that this device has.
    pub fn of(&self, uid: &str) -> Option<Permit> {
        self.grants.lock().get(uid).map(|grant| grant.permit.clone())
    }

    /// Whether a device of this lane, other than this one, has a permit.
    pub fn is_taken(&self, lane: &str, uid: &str) -> bool {
        taken(&self.grants.lock(), lane, uid)
    }

    /// Takes this permit, unless another device of the lane has one; false then.
    #[must_use]
    pub fn take(&self, uid: &str, lane: Option<&str>, permit: &Permit) -> bool {
        let mut grants = self.grants.lock();
        if grants.get(uid).is_some_and(|own| own.permit == *permit) {
            return true;
        }
        if lane.is_some_and(|lane| taken(&grants, lane, uid)) {
            return false;
        }
        grants.insert(uid.to_owned(), Grant { permit: permit.clone(), lane: lane.map(str::to_owned) });
        true
    }

    /// True when there was a permit to give back, so that other devices of the lane may be next.
    pub fn give_back(&self, uid: &str) -> bool {
        self.grants.lock().remove(uid).is_some()
    }

    /// Whether a device of this lane may be touched now.
    pub fn holds_lane(&self, lane: &str) -> bool {
        self.grants.lock().values().any(|grant| grant.lane.as_deref() == Some(lane))
    }
}

fn taken(grants: &HashMap<String, Grant>, lane: &str, uid: &str) -> bool {
    grants.iter().any(|(other, grant)| other != uid && grant.lane.as_deref() == Some(lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(attempt: i64) -> Permit {
        Permit { attempt, until: "2026-11-22T08:00:00Z".to_owned() }
    }

    #[test]
    fn one_device_of_a_lane_has_a_permit_at_a_time() {
        let permits = Permits::default();
        assert!(permits.take("a", Some("l"), &permit(1)) && permits.take("a", Some("l"), &permit(1)));
        assert_eq!(permits.of("a"), Some(permit(1)));
        assert!(permits.is_taken("l", "b") && !permits.is_taken("l", "a") && !permits.is_taken("m", "b"));
        assert!(!permits.take("b", Some("l"), &permit(1)));
        assert!(permits.take("c", Some("m"), &permit(1)) && permits.take("d", None, &permit(1)));
        assert!(permits.holds_lane("l"));
        assert!(permits.give_back("a") && !permits.give_back("a"));
        assert!(!permits.holds_lane("l") && permits.take("b", Some("l"), &permit(1)));
    }

    #[test]
    fn next_attempt_replaces_the_permit_of_the_one_before() {
        let permits = Permits::default();
        assert!(permits.take("a", Some("l"), &permit(1)) && permits.take("a", Some("l"), &permit(2)));
        assert_eq!(permits.of("a"), Some(permit(2)));
    }
}
