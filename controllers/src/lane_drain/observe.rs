//! Gathers what a decision about a LaneDrain needs.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::lane_drain::{DrainTarget, TargetKind};
use kalong_crds::{Crossing, Lane, LaneDrain};
use kube::ResourceExt;

use super::lane::{LaneObservation, observe_lane};
use super::request::DrainRequest;
use super::sources::{LaneNames, Sources};
use super::terms::{Deadline, deadline, has_ended, may_be_accepted, stored_acceptance};
use crate::capacity::{Floor, Group};
use crate::kit::caches::{self, Caches};
use crate::kit::context::Context;
use crate::kit::drains::{Acceptance, Ledger};
use crate::kit::life::LifecycleStage;

/// Lanes that one claim may concern: as many as its status has room for.
pub(super) const MAX_LANES: usize = 64;

/// Everything that a decision about one LaneDrain rests on.
pub(super) struct Observed {
    pub(super) drain: Arc<LaneDrain>,
    pub(super) now: Timestamp,
    pub(super) deadline: Deadline,
    /// The lanes that the target stands for; none when it does not exist.
    pub(super) target: Option<Vec<LaneObservation>>,
    /// What the cache shows of an acceptance.
    pub(super) stored: Option<Acceptance>,
    /// The same, or what was decided and is not in the cache yet; without lanes that left the target.
    pub(super) acceptance: Option<Acceptance>,
    /// What is weighed; none when nothing is to be accepted.
    pub(super) request: Option<DrainRequest>,
}

/// Reads caches and memory only, so that a decision is made at one moment.
pub(super) fn observe(ctx: &Context, drain: Arc<LaneDrain>, ledger: &Ledger) -> Observed {
    let namespace = drain.namespace().unwrap_or_default();
    let name = drain.name_any();
    let lane = |lane: &Lane| observe_lane(ctx, &namespace, lane, &name);
    let sources = Sources {
        now: ctx.clock.now(),
        drains: caches::select(&ctx.caches.drains, &namespace, |_| true),
        target: |target: &DrainTarget| under(&ctx.caches, &namespace, target),
        lanes: || caches::select(&ctx.caches.lanes, &namespace, |_| true).iter().map(|l| lane(l)).collect(),
        lane: |name: &str| caches::get(&ctx.caches.lanes, &namespace, name).map(|l| lane(&l)),
        floors: || {
            let crossings = caches::select(&ctx.caches.crossings, &namespace, |_| true);
            crossings.iter().flat_map(|crossing| floors(ctx, &namespace, crossing)).collect()
        },
    };
    gather(drain, ledger, &sources)
}

pub(super) fn gather<T, L, O, F>(drain: Arc<LaneDrain>, ledger: &Ledger, sources: &Sources<T, L, O, F>) -> Observed
where
    T: Fn(&DrainTarget) -> Option<LaneNames>,
    L: Fn() -> Vec<LaneObservation>,
    O: Fn(&str) -> Option<LaneObservation>,
    F: Fn() -> Vec<Floor>,
{
    let names = (sources.target)(&drain.spec.target);
    let target = names.as_ref().map(|names| names.iter().filter_map(|name| (sources.lane)(name)).collect());
    let stored = stored_acceptance(&drain);
    let decided = ledger.get(&drain.uid().unwrap_or_default()).filter(|_| !has_ended(&drain)).cloned();
    let acceptance = decided.or_else(|| stored.clone()).zip(names.as_ref()).map(|(acceptance, names)| Acceptance {
        lanes: acceptance.lanes.intersection(names).cloned().collect(),
        ..acceptance
    });
    // A lane of the target was not decided on yet, and may be now.
    let wants = |names: &LaneNames| {
        let complete = acceptance.as_ref().is_some_and(|acceptance| acceptance.lanes.is_superset(names));
        !complete && names.len() <= MAX_LANES && may_be_accepted(&drain, sources.now)
    };
    let request = names.filter(wants).map(|names| DrainRequest::new(&drain, names, ledger, sources));
    Observed { now: sources.now, deadline: deadline(&drain), target, stored, acceptance, request, drain }
}

/// Names of the lanes that a target stands for; none when it does not exist.
fn under(caches: &Caches, namespace: &str, target: &DrainTarget) -> Option<LaneNames> {
    let name = target.name.as_str();
    let exists = match target.kind {
        TargetKind::Lane => caches::get(&caches.lanes, namespace, name).is_some(),
        TargetKind::InspectionStation => caches::get(&caches.stations, namespace, name).is_some(),
        TargetKind::Crossing => caches::get(&caches.crossings, namespace, name).is_some(),
    };
    exists.then(|| caches.lanes_under(namespace, target).iter().map(|lane| lane.name_any()).collect())
}

/// Floors guard a crossing in service. One whose phase is not known keeps them: doubt never takes capacity away.
fn floors(ctx: &Context, namespace: &str, crossing: &Crossing) -> Vec<Floor> {
    if matches!(
        ctx.life(namespace, crossing.spec.phase.as_ref()),
        LifecycleStage::Planned | LifecycleStage::Commissioning
    ) {
        return Vec::new();
    }
    let floor = |floor: &kalong_crds::crossing::CapacityFloor| Floor {
        group: Group { crossing: crossing.name_any(), service: floor.service, direction: floor.direction },
        min_lanes: floor.min_open_lanes,
        min_passages_per_hour: floor.min_passages_per_hour,
    };
    crossing.spec.capacity_floors.iter().map(floor).collect()
}
