//! What is weighed when a claim wants to be accepted: the claim itself and the capacity of the site.

use std::collections::BTreeSet;
use std::time::Duration;

use kalong_crds::LaneDrain;
use kalong_crds::lane_drain::DrainTarget;
use kube::ResourceExt;

use super::lane::LaneObservation;
use super::sources::{LaneNames, Sources};
use super::terms::{has_ended, may_be_accepted, stored_acceptance};
use crate::capacity::{CapacitySnapshot, Claim, Floor};
use crate::kit::drains::Ledger;

/// A claim that wants to be accepted, and everything that is weighed.
pub(super) struct DrainRequest {
    pub(super) claim: Claim,
    pub(super) snapshot: CapacitySnapshot,
    /// When a lane that may count will have been heard: until then the status stays as it is.
    pub(super) unheard: Option<Duration>,
}

impl DrainRequest {
    pub(super) fn new<T, L, O, F>(
        drain: &LaneDrain,
        names: LaneNames,
        ledger: &Ledger,
        sources: &Sources<T, L, O, F>,
    ) -> Self
    where
        T: Fn(&DrainTarget) -> Option<LaneNames>,
        L: Fn() -> Vec<LaneObservation>,
        F: Fn() -> Vec<Floor>,
    {
        let lanes = (sources.lanes)();
        let groups: BTreeSet<_> =
            lanes.iter().filter(|lane| names.contains(&lane.name)).map(|lane| &lane.group).collect();
        let concerned = lanes.iter().filter(|lane| groups.contains(&lane.group));
        let unheard = concerned.filter_map(LaneObservation::unheard).min();
        Self { claim: claim(drain, names), snapshot: snapshot(&lanes, ledger, sources), unheard }
    }
}

/// The capacity of the site at this moment, with acceptances that are not in the cache yet.
fn snapshot<T, L, O, F>(lanes: &[LaneObservation], ledger: &Ledger, sources: &Sources<T, L, O, F>) -> CapacitySnapshot
where
    T: Fn(&DrainTarget) -> Option<LaneNames>,
    F: Fn() -> Vec<Floor>,
{
    let (mut accepted, mut waiting) = (Vec::new(), Vec::new());
    for drain in sources.drains.iter().filter(|drain| !has_ended(drain)) {
        let stored = stored_acceptance(drain);
        let decided = ledger.get(&drain.uid().unwrap_or_default()).cloned().or_else(|| stored.clone());
        let all = (sources.target)(&drain.spec.target).unwrap_or_default();
        let complete = decided.as_ref().is_some_and(|acceptance| acceptance.lanes.is_superset(&all));
        if !complete && may_be_accepted(drain, sources.now) {
            waiting.push(claim(drain, all));
        }
        // What is released counts as held until that is stored too: a restart would bring it back.
        let held = decided.into_iter().chain(stored).flat_map(|acceptance| acceptance.lanes).collect();
        accepted.push(claim(drain, held));
    }
    CapacitySnapshot {
        floors: (sources.floors)(),
        lanes: lanes.iter().map(|lane| (lane.name.clone(), lane.facts())).collect(),
        accepted,
        waiting,
    }
}

fn claim(drain: &LaneDrain, lanes: LaneNames) -> Claim {
    Claim {
        name: drain.name_any(),
        class: drain.spec.class,
        priority: drain.spec.priority,
        created: drain.creation_timestamp().map_or(0, |at| at.0.as_second()),
        lanes,
    }
}
