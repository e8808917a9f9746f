//! Where a decision about a LaneDrain gets the rest of the site from.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::LaneDrain;

/// A namespace, as [`observe`](super::observe::observe) reads it from the caches or a test makes it. What is a function is read only for a
/// claim that wants to be accepted.
pub(super) struct Sources<T, L, O, F> {
    pub(super) now: Timestamp,
    pub(super) drains: Vec<Arc<LaneDrain>>,
    /// From a target to the names of its lanes; none when it does not exist.
    pub(super) target: T,
    /// To the observations of all lanes.
    pub(super) lanes: L,
    /// From a name to the observation of that lane.
    pub(super) lane: O,
    /// To the floors of crossings in service.
    pub(super) floors: F,
}

pub(super) type LaneNames = BTreeSet<String>;
