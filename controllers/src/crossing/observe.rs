//! Everything that a decision about a Crossing rests on, in one struct.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{BilateralLink, Crossing, InspectionStation, Lane};
use kube::ResourceExt;

use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::life::LifecycleStage;
use crate::lane_drain;

pub(super) struct Observed {
    pub(super) crossing: Arc<Crossing>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) lanes: Vec<CountedLane>,
    pub(super) stations: Vec<(Arc<InspectionStation>, LifecycleStage)>,
    /// Live vehicles of this crossing, as a count.
    pub(super) igvs_declared: i64,
    /// Those of them that are connected, as a count.
    pub(super) igvs_seen: i64,
    /// The link that the spec names, if it exists.
    pub(super) link: Option<Arc<BilateralLink>>,
}

pub(super) struct CountedLane {
    pub(super) lane: Arc<Lane>,
    pub(super) life: LifecycleStage,
    /// Names of the accepted claims that empty or hold it.
    pub(super) held_by: Vec<String>,
}

pub(super) fn observe(ctx: &Context, crossing: Arc<Crossing>) -> Observed {
    let (namespace, name) = (crossing.namespace().unwrap_or_default(), crossing.name_any());
    let caches = &ctx.caches;
    let lanes = caches::select(&caches.lanes, &namespace, |lane| lane.spec.crossing_ref.as_str() == name);
    let stations = caches::select(&caches.stations, &namespace, |s| s.spec.crossing_ref.as_str() == name);
    let igvs = caches::select(&caches.igvs, &namespace, |igv| {
        igv.spec.crossing_ref.as_str() == name && ctx.life(&namespace, igv.spec.phase.as_ref()).is_live()
    });
    let heard = igvs.iter().filter(|igv| igv.is(ConditionType::Connected)).count();
    let mut lanes: Vec<CountedLane> = lanes
        .into_iter()
        .map(|lane| CountedLane {
            life: ctx.life(&namespace, lane.spec.phase.as_ref()),
            held_by: lane_drain::holds(ctx, &namespace, &lane.name_any()).iter().map(|d| d.name_any()).collect(),
            lane,
        })
        .collect();
    lanes.sort_by_key(|observed| observed.lane.name_any());
    let mut stations: Vec<_> = stations
        .into_iter()
        .map(|station| {
            let life = ctx.life(&namespace, station.spec.phase.as_ref());
            (station, life)
        })
        .collect();
    stations.sort_by_key(|(station, _)| station.name_any());
    let link = crossing.spec.link_ref.as_ref().and_then(|link| caches::get(&caches.links, &namespace, link.as_str()));
    Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, crossing.spec.phase.as_ref()),
        lanes,
        stations,
        igvs_declared: i64::try_from(igvs.len()).unwrap_or(i64::MAX),
        igvs_seen: i64::try_from(heard).unwrap_or(i64::MAX),
        link,
        crossing,
    }
}
