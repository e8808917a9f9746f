//! Everything that a decision about a Crossing rests on, in one struct.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{BilateralLink, Crossing, IGV, InspectionStation, Lane};
use kalong_rules::capacity::{CapacitySnapshot, Group, StatusEvidence, count};
use kalong_rules::{LifecycleStage, Relation};
use kube::ResourceExt;

use crate::kit::context::Context;

pub(super) struct Observed {
    pub(super) crossing: Arc<Crossing>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    /// The lanes as their statuses show them, with the floors and the claims that hold them.
    pub(super) capacity: CapacitySnapshot,
    pub(super) lanes: Vec<(Arc<Lane>, LifecycleStage)>,
    pub(super) stations: Vec<(Arc<InspectionStation>, LifecycleStage)>,
    /// Live vehicles of this crossing, as a count.
    pub(super) igvs_declared: i64,
    /// Those of them that are connected, as a count.
    pub(super) igvs_seen: i64,
    /// The link that the spec names, if it exists.
    pub(super) link: Option<Arc<BilateralLink>>,
}

pub(super) fn observe(ctx: &Context, crossing: Arc<Crossing>) -> Observed {
    let (namespace, name) = (crossing.namespace().unwrap_or_default(), crossing.name_any());
    let site = ctx.site(&namespace);
    let live = |igv: &&Arc<IGV>| site.life(igv.spec.phase.as_ref()).is_live();
    let igvs = || site.igvs.by(Relation::Crossing, &name).filter(live);
    let heard = igvs().filter(|igv| igv.is(ConditionType::Connected)).count();
    let lanes = site.lanes.by(Relation::Crossing, &name);
    let stations = site.stations.by(Relation::Crossing, &name);
    Observed {
        now: ctx.clock.now(),
        life: site.life(crossing.spec.phase.as_ref()),
        capacity: count(&site, &Group::of_crossing(&site, &name), &StatusEvidence),
        lanes: lanes.map(|lane| (lane.clone(), site.life(lane.spec.phase.as_ref()))).collect(),
        stations: stations.map(|station| (station.clone(), site.life(station.spec.phase.as_ref()))).collect(),
        igvs_declared: i64::try_from(igvs().count()).unwrap_or(i64::MAX),
        igvs_seen: i64::try_from(heard).unwrap_or(i64::MAX),
        link: crossing.spec.link_ref.as_ref().and_then(|link| site.links.get(link.as_str())).cloned(),
        crossing,
    }
}
