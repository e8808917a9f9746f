//! What an object has to do with others.

use kalong_crds::{Kind, Reference};
use kube::ResourceExt;

use super::fold::{devices, fold, single, word};
use super::node::{Node, Width};
use crate::health::State;
use crate::site::{ObjectView, Site, drain_kind, named};

/// Another object, or several alike, and what they are to the one that is looked at.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) relation: String,
    pub(super) node: Node,
}

/// The neighbours of an object.
pub(super) fn related(site: &Site, view: &ObjectView<'_>, width: Width) -> Vec<Relation> {
    let mut collector = RelationCollector { site, width, found: Vec::new() };
    let name = view.name();
    if let Some(phase) = view.phase {
        collector.one("phase", Kind::Phase, phase);
    }
    match view.kind {
        Kind::Phase => collector.phase(name),
        Kind::Crossing => collector.crossing(name),
        Kind::Lane => collector.lane(name),
        Kind::LaneDrain => collector.drain(name),
        Kind::InspectionStation => collector.station(name),
        Kind::IGV => collector.igv(name),
        Kind::BilateralLink => collector.link(name),
        Kind::EdgeAgent => collector.agent(name),
        Kind::Device => collector.device(name),
        Kind::DeviceModel => collector.users("used by", |d| d.spec.model_ref.as_str() == name),
        Kind::FirmwareRelease => {
            collector.users("wanted by", |d| d.spec.firmware.as_ref().is_some_and(|f| f.release.as_str() == name));
        }
    }
    collector.found
}

struct RelationCollector<'a> {
    site: &'a Site,
    width: Width,
    found: Vec<Relation>,
}

impl RelationCollector<'_> {
    fn one(&mut self, relation: impl Into<String>, kind: Kind, name: &str) {
        let object = Reference::new(kind, name);
        let node = match self.site.object(&object) {
            Some(view) => single(self.site, &view),
            None => {
                let mut node = Node::of("does not exist", State::Stuck);
                node.object = Some(object);
                node
            }
        };
        self.found.push(Relation { relation: relation.into(), node });
    }

    fn nodes(&mut self, relation: &str, nodes: Vec<Node>) {
        self.found.extend(nodes.into_iter().map(|node| Relation { relation: relation.to_owned(), node }));
    }

    fn users(&mut self, relation: &str, wanted: impl Fn(&kalong_crds::Device) -> bool) {
        let found = self.site.devices.objects().filter(|d| wanted(d)).map(crate::site::AsView::view).collect();
        let nodes = devices(self.site, found, self.width);
        self.nodes(relation, nodes);
    }

    fn drains(&mut self, relation: &str, wanted: impl Fn(&kalong_crds::LaneDrain) -> bool) {
        let names: Vec<String> = self.site.drains.objects().filter(|d| wanted(d)).map(ResourceExt::name_any).collect();
        for name in names {
            self.one(relation, Kind::LaneDrain, &name);
        }
    }

    fn targeting(&mut self, kind: Kind, name: &str) {
        self.drains("to be emptied by", |d| drain_kind(d) == kind && d.spec.target.name.as_str() == name);
    }

    fn phase(&mut self, name: &str) {
        let Some(phase) = named(&self.site.phases, name) else { return };
        for before in phase.spec.after.clone() {
            self.one("after", Kind::Phase, before.as_str());
        }
        let Some(status) = &phase.status else { return };
        for gate in &status.gates {
            let met = gate.result == kalong_crds::phase::GateVerdict::Met;
            let text = if gate.message.is_empty() { format!("{:?}", gate.result) } else { gate.message.clone() };
            let node = Node::of(text, if met { State::Well } else { State::Warned });
            self.found.push(Relation { relation: format!("gate {}", gate.name), node });
        }
        for milestone in &status.milestones {
            let (seen, expects) = (milestone.seen, milestone.expects);
            let parts = [
                (seen.lanes, expects.lanes, "lanes"),
                (seen.igvs, expects.igvs, "IGVs"),
                (seen.stations, expects.stations, "stations"),
                (seen.devices, expects.devices, "devices"),
            ];
            let reached = parts.iter().all(|(seen, expected, _)| seen >= expected);
            let said: Vec<String> = parts
                .iter()
                .filter(|(_, expected, _)| *expected > 0)
                .map(|(seen, expected, word)| format!("{seen} of {expected} {word}"))
                .collect();
            let node = Node::of(said.join(", "), if reached { State::Well } else { State::Working });
            self.found.push(Relation { relation: format!("milestone {}", milestone.name), node });
        }
        for change in &status.changes {
            let mut node = Node::of("of an earlier phase", State::Well);
            node.object = change.parse().ok();
            self.found.push(Relation { relation: "changes".to_owned(), node });
        }
    }

    fn crossing(&mut self, name: &str) {
        let Some(crossing) = named(&self.site.crossings, name) else { return };
        if let Some(link) = &crossing.spec.link_ref {
            self.one("link", Kind::BilateralLink, link.as_str());
        }
        if let Some(fallback) = &crossing.spec.fallback {
            self.one("fallback", Kind::Crossing, fallback.as_str());
        }
        let counts = crossing.status.as_ref().map(|s| s.lanes.as_slice()).unwrap_or_default();
        for floor in &crossing.spec.capacity_floors {
            let count = counts.iter().find(|c| c.service == floor.service && c.direction == floor.direction);
            let (open, hourly) = count.map_or((0, 0), |c| (c.open, c.open_passages_per_hour));
            let holds = open >= floor.min_open_lanes && hourly >= floor.min_passages_per_hour;
            let text = format!(
                "{open} lanes open, {} needed; {hourly} passages/h, {} needed",
                floor.min_open_lanes, floor.min_passages_per_hour
            );
            let node = Node::of(text, if holds { State::Well } else { State::Failing });
            self.found.push(Relation { relation: format!("floor {:?} {:?}", floor.service, floor.direction), node });
        }
        self.targeting(Kind::Crossing, name);
    }

    fn lane(&mut self, name: &str) {
        let Some(lane) = named(&self.site.lanes, name) else { return };
        self.one("crossing", Kind::Crossing, lane.spec.crossing_ref.as_str());
        for slot in &lane.spec.slots {
            self.one(format!("slot {}", slot.name), Kind::Device, slot.device_ref.as_str());
        }
        if let Some(controller) = self.site.controller(lane) {
            self.one("run by", Kind::EdgeAgent, controller.spec.agent_ref.as_str());
        }
        let serving =
            self.site.stations.objects().filter(|s| s.spec.serves_lanes.iter().any(|l| l.name.as_str() == name));
        for station in serving.map(ResourceExt::name_any).collect::<Vec<_>>() {
            self.one("served by", Kind::InspectionStation, &station);
        }
        for fallback in &lane.spec.fallback {
            self.one("fallback", Kind::Lane, fallback.as_str());
        }
        let held = lane.status.as_ref().map(|s| s.held_by.clone()).unwrap_or_default();
        for drain in &held {
            self.one("held by", Kind::LaneDrain, drain.as_str());
        }
        let site = self.site;
        self.drains("to be emptied by", |d| {
            !held.iter().any(|h| h.as_str() == d.name_any()) && site.targets(d).iter().any(|l| l.name_any() == name)
        });
    }

    fn drain(&mut self, name: &str) {
        let Some(drain) = named(&self.site.drains, name) else { return };
        self.one("target", drain_kind(drain), drain.spec.target.name.as_str());
        if let Ok(Reference { kind, name }) = drain.spec.requester.parse() {
            self.one("requester", kind, &name);
        }
        for responder in drain.status.iter().flat_map(|s| &s.responders) {
            self.one(format!("empties ({:?})", responder.state), Kind::Lane, responder.name.as_str());
        }
    }

    fn station(&mut self, name: &str) {
        let Some(station) = named(&self.site.stations, name) else { return };
        self.one("crossing", Kind::Crossing, station.spec.crossing_ref.as_str());
        for slot in &station.spec.slots {
            self.one(format!("slot {}", slot.name), Kind::Device, slot.device_ref.as_str());
        }
        for lane in &station.spec.serves_lanes {
            self.one(format!("serves ({:?})", lane.need), Kind::Lane, lane.name.as_str());
        }
        if let Some(fallback) = &station.spec.fallback_ref {
            self.one("fallback", Kind::InspectionStation, fallback.as_str());
        }
        self.targeting(Kind::InspectionStation, name);
    }

    fn igv(&mut self, name: &str) {
        let Some(igv) = named(&self.site.igvs, name) else { return };
        self.one("crossing", Kind::Crossing, igv.spec.crossing_ref.as_str());
        self.one("heard by", Kind::EdgeAgent, igv.spec.agent_ref.as_str());
    }

    fn link(&mut self, name: &str) {
        let Some(link) = named(&self.site.links, name) else { return };
        self.one("crossing", Kind::Crossing, link.spec.crossing_ref.as_str());
        self.one("gateway", Kind::EdgeAgent, link.spec.agent_ref.as_str());
    }

    fn agent(&mut self, name: &str) {
        let site = self.site;
        let run =
            site.lanes.objects().filter(|l| site.controller(l).is_some_and(|c| c.spec.agent_ref.as_str() == name));
        let run = super::fold::lanes(site, run.map(crate::site::AsView::view).collect(), self.width);
        self.nodes("runs", run);
        self.users("reaches", |d| d.spec.agent_ref.as_str() == name);
        let heard = site.igvs.objects().filter(|i| i.spec.agent_ref.as_str() == name).map(crate::site::AsView::view);
        let heard = fold(site, heard, self.width, |_, health| word(health, "seen"));
        self.nodes("hears", heard);
        for link in site.links.objects().filter(|l| l.spec.agent_ref.as_str() == name) {
            self.one("carries", Kind::BilateralLink, &link.name_any());
        }
    }

    fn device(&mut self, name: &str) {
        let Some(device) = named(&self.site.devices, name) else { return };
        for place in self.site.places(name).to_vec() {
            self.one("stands in", place.kind, &place.name);
        }
        self.one("model", Kind::DeviceModel, device.spec.model_ref.as_str());
        self.one("reached by", Kind::EdgeAgent, device.spec.agent_ref.as_str());
        if let Some(firmware) = &device.spec.firmware {
            self.one("wants", Kind::FirmwareRelease, firmware.release.as_str());
        }
        let requester = format!("Device/{name}");
        self.drains("asked for", |d| d.spec.requester == requester);
    }
}
