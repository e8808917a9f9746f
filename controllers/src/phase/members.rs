//! What belongs to a Phase, gathered from the caches.

use std::collections::BTreeMap;

use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::units::Name;
use kalong_crds::{CHANGED_FOR_PHASE, Lane};
use kube::ResourceExt;

use super::inventory::{self, Missing};
use crate::kit::caches::{self, Caches, Controlled as Kind};
use crate::kit::context::Context;
use crate::lane::controller_device;

/// The kinds that the Inventory gate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MemberKind {
    EdgeAgent,
    Device,
    Lane,
    InspectionStation,
    Igv,
    BilateralLink,
}

impl MemberKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::EdgeAgent => "EdgeAgent",
            Self::Device => "Device",
            Self::Lane => "Lane",
            Self::InspectionStation => "InspectionStation",
            Self::Igv => "IGV",
            Self::BilateralLink => "BilateralLink",
        }
    }
}

/// One object of the phase.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) kind: MemberKind,
    pub(super) name: String,
    /// The crossing that it stands at; none when that cannot be told, and then it counts for each of them.
    pub(super) crossing: Option<String>,
    /// Why it is not proven, by its own conditions.
    pub(super) missing: Missing,
}

/// A lane of the phase, as far as closing is concerned.
#[derive(Clone, Debug)]
pub(super) struct MemberLane {
    pub(super) name: String,
    pub(super) closure: LaneClosure,
}

/// Whether a lane still has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneClosure {
    /// It reported Closed and was told of the phase, or it was never told anything.
    Closed,
    /// It admits, or is being emptied.
    Serving,
    /// Its agent was told once, and nobody can tell what it does now.
    Unheard,
}

pub(super) fn members(ctx: &Context, namespace: &str, phase: &str) -> Vec<Member> {
    let caches = &ctx.caches;
    let at = crossing_of_devices(caches, namespace);
    let ours = |named: &Option<Name>| named.as_ref().is_some_and(|p| p.as_str() == phase);
    let mut found = Vec::new();
    let mut add = |kind, name: String, crossing, missing| found.push(Member { kind, name, crossing, missing });
    for agent in caches::select(&caches.agents, namespace, |a| ours(&a.spec.phase)) {
        add(MemberKind::EdgeAgent, agent.name_any(), None, inventory::agent(&agent));
    }
    for device in caches::select(&caches.devices, namespace, |d| ours(&d.spec.phase)) {
        let name = device.name_any();
        let crossing = at.get(&name).cloned();
        add(MemberKind::Device, name, crossing, inventory::device(&device));
    }
    for lane in caches::select(&caches.lanes, namespace, |l| ours(&l.spec.phase)) {
        add(MemberKind::Lane, lane.name_any(), Some(lane.spec.crossing_ref.0.clone()), inventory::lane(&lane));
    }
    for station in caches::select(&caches.stations, namespace, |s| ours(&s.spec.phase)) {
        let crossing = Some(station.spec.crossing_ref.0.clone());
        add(MemberKind::InspectionStation, station.name_any(), crossing, inventory::station(&station));
    }
    for igv in caches::select(&caches.igvs, namespace, |v| ours(&v.spec.phase)) {
        add(MemberKind::Igv, igv.name_any(), Some(igv.spec.crossing_ref.0.clone()), inventory::igv(&igv));
    }
    for link in caches::select(&caches.links, namespace, |l| ours(&l.spec.phase)) {
        add(MemberKind::BilateralLink, link.name_any(), None, inventory::link(&link));
    }
    found.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    found
}

/// A device stands at the crossing of the lane or station whose slot it fills.
fn crossing_of_devices(caches: &Caches, namespace: &str) -> BTreeMap<String, String> {
    let mut at = BTreeMap::new();
    for station in caches::select(&caches.stations, namespace, |_| true) {
        for slot in &station.spec.slots {
            at.insert(slot.device_ref.0.clone(), station.spec.crossing_ref.0.clone());
        }
    }
    for lane in caches::select(&caches.lanes, namespace, |_| true) {
        for slot in &lane.spec.slots {
            at.insert(slot.device_ref.0.clone(), lane.spec.crossing_ref.0.clone());
        }
    }
    at
}

pub(super) fn lanes(ctx: &Context, namespace: &str, phase: &str) -> Vec<MemberLane> {
    let ours = |lane: &Lane| lane.spec.phase.as_ref().is_some_and(|p| p.as_str() == phase);
    let mut lanes: Vec<MemberLane> = caches::select(&ctx.caches.lanes, namespace, ours)
        .into_iter()
        .map(|lane| MemberLane { name: lane.name_any(), closure: closure_of(&lane, was_told(ctx, namespace, &lane)) })
        .collect();
    lanes.sort_by(|a, b| a.name.cmp(&b.name));
    lanes
}

/// Whether the agent of the lane's controller ever enrolled: before that nobody could be told to open.
fn was_told(ctx: &Context, namespace: &str, lane: &Lane) -> bool {
    controller_device(&ctx.caches, namespace, lane)
        .and_then(|device| caches::get(&ctx.caches.agents, namespace, device.spec.agent_ref.as_str()))
        .is_some_and(|agent| agent.status.as_ref().is_some_and(|s| s.certificate.is_some()))
}

/// A report from before the phase went back counts for nothing: an order to open may have been under way.
pub(super) fn closure_of(lane: &Lane, was_told: bool) -> LaneClosure {
    let admission = lane.status.as_ref().map(|s| s.admission).unwrap_or_default();
    let knows = [ConditionType::Available, ConditionType::Ready]
        .into_iter()
        .any(|kind| [Reason::Commissioning, Reason::Planned].iter().any(|reason| lane.reason(kind) == reason.as_str()));
    match admission {
        LaneAdmission::Open | LaneAdmission::Draining | LaneAdmission::Drained => LaneClosure::Serving,
        LaneAdmission::Closed if knows || !was_told => LaneClosure::Closed,
        LaneAdmission::Closed => LaneClosure::Unheard,
        LaneAdmission::Unknown if was_told => LaneClosure::Unheard,
        LaneAdmission::Unknown => LaneClosure::Closed,
    }
}

/// Objects of other phases that this one changes, as `Kind/name`.
pub(super) fn changes(ctx: &Context, namespace: &str, phase: &str) -> Vec<String> {
    let caches = &ctx.caches;
    let mut found = Vec::new();
    let mut add = |names: Vec<String>, kind: &str| found.extend(names.into_iter().map(|name| format!("{kind}/{name}")));
    add(changed(&caches.crossings, namespace, phase, |o| o.spec.phase.as_ref()), "Crossing");
    add(changed(&caches.lanes, namespace, phase, |o| o.spec.phase.as_ref()), "Lane");
    add(changed(&caches.devices, namespace, phase, |o| o.spec.phase.as_ref()), "Device");
    add(changed(&caches.stations, namespace, phase, |o| o.spec.phase.as_ref()), "InspectionStation");
    add(changed(&caches.igvs, namespace, phase, |o| o.spec.phase.as_ref()), "IGV");
    add(changed(&caches.links, namespace, phase, |o| o.spec.phase.as_ref()), "BilateralLink");
    add(changed(&caches.agents, namespace, phase, |o| o.spec.phase.as_ref()), "EdgeAgent");
    found.sort();
    found.truncate(CHANGES);
    found
}

/// The bound of `status.changes`.
const CHANGES: usize = 64;

fn changed<K: Kind>(
    store: &kube_runtime::reflector::Store<K>,
    namespace: &str,
    phase: &str,
    own: impl Fn(&K) -> Option<&Name>,
) -> Vec<String> {
    let fits = |object: &K| {
        object.annotations().get(CHANGED_FOR_PHASE).is_some_and(|p| p == phase)
            && own(object).is_none_or(|own| own.as_str() != phase)
    };
    caches::select(store, namespace, fits).iter().map(|object| object.name_any()).collect()
}
