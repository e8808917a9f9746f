//! What every controller is given.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::wire::order::{Permit, Sealed};
use kalong_crds::wire::release::ReleaseKeys;
use kube::Client;
use kube_runtime::events::Recorder;
use parking_lot::Mutex;

use super::caches::{Caches, Triggers};
use super::clock::Clock;
use super::debounce::ConfirmationDebounce;
use super::drains::Drains;
use super::link::AgentLink;
use super::metrics::Metrics;
use super::mirror::Mirror;
use super::status::StatusWriter;

/// What the operator was told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often agents beat.
    pub heartbeat: Duration,
    /// The authors whose signatures count.
    pub release_keys: ReleaseKeys,
    /// Secret from which the ephemeral keys of sealing are derived, so that sealing again gives the same bytes.
    pub sealing_seed: [u8; 32],
}

/// Everything around a reconcile.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The agents.
    pub link: Arc<dyn AgentLink>,
    /// The operator's cache of artifacts.
    pub mirror: Arc<dyn Mirror>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the operator was told.
    pub settings: Settings,
    /// What the API server last said.
    pub caches: Caches,
    /// What waits to be looked at.
    pub wakes: Triggers,
    /// The one way to write a status.
    pub status: StatusWriter,
    /// Events for people.
    pub recorder: Recorder,
    /// What is counted.
    pub metrics: Metrics,
    /// What is known of drains beside the cache.
    pub drains: Drains,
    /// Leave that was given to touch devices.
    pub permits: Permits,
    /// Credentials that were read and sealed.
    pub credentials: Mutex<HashMap<(String, String, String), Sealed>>,
    /// Since when orders await their confirmation.
    pub debounce: ConfirmationDebounce,
}

/// Leave to touch devices, one device of a lane at a time. In memory: after a restart it is given again from what agents report.
#[derive(Debug, Default)]
pub struct Permits {
    given: Mutex<HashMap<String, Given>>,
}

#[derive(Clone, Debug)]
struct Given {
    permit: Permit,
    lane: Option<String>,
}

impl Permits {
    /// Leave for this attempt, unless another device of the lane has it. The same attempt gets the same leave again.
    pub fn give(&self, uid: &str, lane: Option<&str>, attempt: i64, until: Timestamp) -> Option<Permit> {
        let mut given = self.given.lock();
        if let Some(old) = given.get(uid).filter(|old| old.permit.attempt == attempt) {
            return Some(old.permit.clone());
        }
        let taken = lane.is_some() && given.iter().any(|(other, g)| other != uid && g.lane.as_deref() == lane);
        if taken {
            return None;
        }
        let permit = Permit { attempt, until: until.to_string() };
        given.insert(uid.to_owned(), Given { permit: permit.clone(), lane: lane.map(str::to_owned) });
        Some(permit)
    }

    /// The attempt ended. True when there was leave to give back, so that others of the lane may be next.
    pub fn give_back(&self, uid: &str) -> bool {
        self.given.lock().remove(uid).is_some()
    }

    /// Whether a device of this lane may be touched now.
    pub fn holds_lane(&self, lane: &str) -> bool {
        self.given.lock().values().any(|g| g.lane.as_deref() == Some(lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_of_a_lane_has_leave_at_a_time() {
        let permits = Permits::default();
        let until = Timestamp::UNIX_EPOCH;
        let first = permits.give("a", Some("l"), 1, until).unwrap();
        assert_eq!(permits.give("a", Some("l"), 1, Timestamp::MAX), Some(first), "the same attempt keeps its leave");
        assert!(permits.give("b", Some("l"), 1, until).is_none());
        assert!(permits.give("c", Some("m"), 1, until).is_some() && permits.give("d", None, 1, until).is_some());
        assert!(permits.holds_lane("l"));
        assert!(permits.give_back("a") && !permits.give_back("a"));
        assert!(!permits.holds_lane("l") && permits.give("b", Some("l"), 1, until).is_some());
    }
}
