//! What belongs to a phase: the objects that its gates count, the lanes that it closes, and what it changes of other phases.

use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::{Device, Lane};
use strum::IntoStaticStr;

use super::inventory::{self, Missing};
use crate::snapshot::{Relation, SiteObject, SiteSnapshot, Table};

/// The kinds that the Inventory gate counts, in the order in which a message names their objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[expect(missing_docs, reason = "the kinds of the API")]
pub enum MemberKind {
    EdgeAgent,
    Device,
    Lane,
    InspectionStation,
    #[strum(to_string = "IGV")]
    Igv,
    BilateralLink,
}

impl MemberKind {
    /// The kind as it stands in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One object of the phase.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its kind.
    pub kind: MemberKind,
    /// Its name.
    pub name: String,
    /// The crossing that it stands at; none when that cannot be told, and then it counts for each of them.
    pub crossing: Option<String>,
    /// Why it is not proven, by its own conditions.
    pub missing: Missing,
}

/// A lane of the phase, as far as closing is concerned.
#[derive(Clone, Debug)]
pub struct MemberLane {
    /// Its name.
    pub name: String,
    /// Whether it still has to be closed.
    pub closure: LaneClosure,
}

/// Whether a lane still has to be closed before its phase goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneClosure {
    /// It reported Closed after it had learnt of the phase's state, or it never got an order.
    Closed,
    /// It admits traffic, or is being emptied.
    Serving,
    /// Its agent once got an order, and what the lane does now is not known.
    Unheard,
}

/// The objects of this phase that gates count, by kind and name.
pub fn members(site: &SiteSnapshot, phase: &str) -> Vec<Member> {
    let mut found = Vec::new();
    let mut add = |kind, name: &str, crossing: Option<&str>, missing| {
        let crossing = crossing.map(str::to_owned);
        found.push(Member { kind, name: name.to_owned(), crossing, missing });
    };
    for agent in site.agents.by(Relation::Phase, phase) {
        add(MemberKind::EdgeAgent, agent.name(), None, inventory::agent(agent));
    }
    for device in site.devices.by(Relation::Phase, phase) {
        add(MemberKind::Device, device.name(), crossing_of(site, device), inventory::device(device));
    }
    for lane in site.lanes.by(Relation::Phase, phase) {
        add(MemberKind::Lane, lane.name(), Some(lane.spec.crossing_ref.as_str()), inventory::lane(lane));
    }
    for station in site.stations.by(Relation::Phase, phase) {
        let crossing = station.spec.crossing_ref.as_str();
        add(MemberKind::InspectionStation, station.name(), Some(crossing), inventory::station(station));
    }
    for igv in site.igvs.by(Relation::Phase, phase) {
        add(MemberKind::Igv, igv.name(), Some(igv.spec.crossing_ref.as_str()), inventory::igv(igv));
    }
    for link in site.links.by(Relation::Phase, phase) {
        add(MemberKind::BilateralLink, link.name(), None, inventory::link(link));
    }
    found
}

/// A device stands at the crossing of the lane or station whose slot it fills.
fn crossing_of<'a>(site: &'a SiteSnapshot, device: &Device) -> Option<&'a str> {
    let lane = site.lanes_of(device.name()).last().map(|lane| &lane.spec.crossing_ref);
    let crossing = lane.or_else(|| site.stations_of(device.name()).last().map(|station| &station.spec.crossing_ref));
    crossing.map(|crossing| crossing.as_str())
}

/// The lanes of this phase, by name.
pub fn member_lanes(site: &SiteSnapshot, phase: &str) -> Vec<MemberLane> {
    let lanes = site.lanes.by(Relation::Phase, phase);
    lanes
        .map(|lane| MemberLane {
            name: lane.name().to_owned(),
            closure: closure_of(lane, was_ever_ordered(site, lane)),
        })
        .collect()
}

/// Whether the agent of the lane's controller ever enrolled: before that no order to open could reach it.
fn was_ever_ordered(site: &SiteSnapshot, lane: &Lane) -> bool {
    site.controller(lane)
        .and_then(|device| site.agents.get(device.spec.agent_ref.as_str()))
        .is_some_and(|agent| agent.status.as_ref().is_some_and(|status| status.certificate.is_some()))
}

/// Whether the lane still has to be closed. `ever_ordered` says whether its agent could ever get an order. A report from before the
/// phase went back counts for nothing: an order to open may have been under way.
pub fn closure_of(lane: &Lane, ever_ordered: bool) -> LaneClosure {
    let admission = lane.status.as_ref().map(|s| s.admission).unwrap_or_default();
    let knows = [ConditionType::Available, ConditionType::Ready]
        .into_iter()
        .any(|kind| [Reason::Commissioning, Reason::Planned].iter().any(|reason| lane.reason(kind) == reason.as_str()));
    match admission {
        LaneAdmission::Open | LaneAdmission::Draining | LaneAdmission::Drained => LaneClosure::Serving,
        LaneAdmission::Closed if knows || !ever_ordered => LaneClosure::Closed,
        LaneAdmission::Closed => LaneClosure::Unheard,
        LaneAdmission::Unknown if ever_ordered => LaneClosure::Unheard,
        LaneAdmission::Unknown => LaneClosure::Closed,
    }
}

/// The bound of `status.changes` in the schema.
const CHANGES: usize = 64;

/// Objects of other phases that this one changes, as `Kind/name`, sorted; as many as the status has room for.
pub fn changes(site: &SiteSnapshot, phase: &str) -> Vec<String> {
    let mut found = Vec::new();
    changed(&site.crossings, phase, &mut found);
    changed(&site.lanes, phase, &mut found);
    changed(&site.devices, phase, &mut found);
    changed(&site.stations, phase, &mut found);
    changed(&site.igvs, phase, &mut found);
    changed(&site.links, phase, &mut found);
    changed(&site.agents, phase, &mut found);
    found.sort();
    found.truncate(CHANGES);
    found
}

fn changed<K: SiteObject>(table: &Table<K>, phase: &str, found: &mut Vec<String>) {
    let changed = table.by(Relation::ChangedForPhase, phase);
    let others = changed.filter(|object| object.phase().is_none_or(|own| own.as_str() != phase));
    found.extend(others.map(|object| format!("{}/{}", K::KIND, object.name())));
}
