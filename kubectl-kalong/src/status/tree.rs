//! A whole site: what is wrong, then the tree from phases down to devices.

use kalong_crds::{Kind, Reference};
use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::fold::{devices, fold, igvs, lanes, single, word};
use super::node::{Node, Width};
use super::problems::{Problems, counted, problems};
use crate::health::{Health, State};
use crate::screen::{Line, Paint, sign};
use crate::site::{ObjectView, Site, named};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SiteDocument<'a> {
    namespace: &'a str,
    #[serde(flatten)]
    problems: Problems,
    tree: Vec<Node>,
}

/// A site as a document.
pub(super) fn document(site: &Site, width: Width) -> SiteDocument<'_> {
    SiteDocument { namespace: &site.namespace, problems: problems(site), tree: branches(site, width) }
}

pub(super) fn lines(site: &Site, width: Width, now: Timestamp) -> Vec<Line> {
    let Problems { problems, under_way, follow } = problems(site);
    let tree = branches(site, width);
    // What rests on purpose makes no site worse.
    let worst =
        site.objects().map(|t| Health::of(&t).state).filter(|s| *s > State::Resting).max().unwrap_or(State::Well);
    let mut lines = vec![title(site, problems.len(), under_way.len(), worst)];
    for problem in problems.iter().chain(&under_way) {
        lines.push(problem.node().line(Line::of("  "), now));
    }
    if !follow.is_empty() {
        let verb = if follow.len() == 1 { "follows" } else { "follow" };
        lines.push(Line::default().with(Paint::Faint, format!("  {} {verb} from these", counted(&follow))));
    }
    if problems.len() + under_way.len() > 0 {
        let hint = format!("  `kubectl kalong why KIND/NAME -n {}` says why and what to do", site.namespace);
        lines.push(Line::default().with(Paint::Faint, hint));
    }
    lines.push(Line::default());
    for branch in tree {
        lines.extend(branch.draw(now));
    }
    lines
}

fn title(site: &Site, problems: usize, under_way: usize, worst: State) -> Line {
    let counted = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    };
    let parts: Vec<String> =
        [counted(problems, "problem", "problems"), counted(under_way, "thing under way", "things under way")]
            .into_iter()
            .flatten()
            .collect();
    let said = if parts.is_empty() { "no problem".to_owned() } else { parts.join(", ") };
    Line::default()
        .with(Paint::State(worst), format!("{} ", sign(worst)))
        .with(Paint::Strong, format!("Site {}", site.namespace))
        .and(format!(": {said}"))
}

/// What stands directly below the site.
fn branches(site: &Site, width: Width) -> Vec<Node> {
    let mut nodes: Vec<Node> = groups(site).into_iter().map(|phase| stage(site, phase, width)).collect();
    let drains = site.of_kind(Kind::LaneDrain);
    if !drains.is_empty() {
        let state = drains.iter().map(|d| Health::of(d).state).max().unwrap_or(State::Well);
        let children = drains.iter().map(|d| single(site, d)).collect();
        nodes.push(Node::of(format!("Drains: {}", drains.len()), state).over(children));
    }
    for (kind, well) in [(Kind::DeviceModel, "valid"), (Kind::FirmwareRelease, "usable")] {
        nodes.extend(fold(site, site.of_kind(kind), width, |_, health| word(health, well)));
    }
    nodes
}

/// The stages of this site: declared ones, named ones that do not exist, and none.
fn groups(site: &Site) -> Vec<Option<String>> {
    let mut names: BTreeSet<Option<String>> = site.phases.objects().map(|p| Some(p.name_any())).collect();
    let staged = [
        Kind::Crossing,
        Kind::Lane,
        Kind::InspectionStation,
        Kind::IGV,
        Kind::BilateralLink,
        Kind::EdgeAgent,
        Kind::Device,
    ];
    for kind in staged {
        names.extend(site.of_kind(kind).into_iter().map(|t| t.phase.map(str::to_owned)));
    }
    // What belongs to no stage stands last: it is the exception.
    let none = names.remove(&None);
    names.into_iter().chain(none.then_some(None)).collect()
}

/// A stage with all that belongs to it.
pub(super) fn stage(site: &Site, phase: Option<String>, width: Width) -> Node {
    let name = phase.as_deref();
    let mut node = match name {
        None => Node::of("without a phase, always live", State::Well),
        Some(name) => match named(&site.phases, name) {
            Some(phase) => single(site, &crate::site::AsView::view(phase)),
            None => {
                let mut node = Node::of("does not exist", State::Stuck);
                node.object = Some(Reference::new(Kind::Phase, name));
                node
            }
        },
    };
    let of = |kind: Kind| site.of_kind(kind).into_iter().filter(|t| t.phase == name).collect::<Vec<_>>();
    let belongs = |view: &ObjectView<'_>| view.phase == name;
    for crossing in crossings(site, name) {
        node.children.push(crossing_node(site, &crossing, &belongs, width));
    }
    node.children.extend(fold(site, of(Kind::EdgeAgent), width, |_, health| word(health, "connected")));
    let elsewhere = |device: &ObjectView<'_>| {
        let ill = |place: &Reference| site.object(place).is_some_and(|t| Health::of(&t).state >= State::Working);
        let lane = |place: &&Reference| place.kind == Kind::Lane && ill(place);
        Health::of(device).state >= State::Working && site.places(device.name()).iter().any(|p| lane(&p))
    };
    // Those that are not well stand below their lane already.
    let here = of(Kind::Device).into_iter().filter(|d| !elsewhere(d)).collect();
    node.children.extend(devices(site, here, width));
    node
}

/// The crossings at which something of a stage is.
fn crossings(site: &Site, phase: Option<&str>) -> BTreeSet<String> {
    let own = site.crossings.objects().filter(|c| c.spec.phase.as_ref().map(|p| p.as_str()) == phase);
    let mut names: BTreeSet<String> = own.map(ResourceExt::name_any).collect();
    if let Some(declared) = phase.and_then(|name| named(&site.phases, name)) {
        names.extend(declared.spec.crossings.iter().map(|c| c.0.clone()));
    }
    let is = |p: &Option<kalong_crds::units::Name>| p.as_ref().map(|p| p.as_str()) == phase;
    names.extend(site.lanes.objects().filter(|l| is(&l.spec.phase)).map(|l| l.spec.crossing_ref.0.clone()));
    names.extend(site.stations.objects().filter(|s| is(&s.spec.phase)).map(|s| s.spec.crossing_ref.0.clone()));
    names.extend(site.igvs.objects().filter(|i| is(&i.spec.phase)).map(|i| i.spec.crossing_ref.0.clone()));
    names.extend(site.links.objects().filter(|l| is(&l.spec.phase)).map(|l| l.spec.crossing_ref.0.clone()));
    names
}

/// A crossing with those of its lanes, stations, vehicles and links that are wanted.
pub(super) fn crossing_node(site: &Site, name: &str, wanted: &dyn Fn(&ObjectView<'_>) -> bool, width: Width) -> Node {
    let mut node = match named(&site.crossings, name).map(crate::site::AsView::view) {
        Some(crossing) if wanted(&crossing) => single(site, &crossing),
        Some(crossing) => {
            // It stands in full where it belongs.
            let stage = crossing.phase.map_or("no phase".to_owned(), |p| p.to_owned());
            let mut node = Node::of(format!("of {stage}"), State::Well);
            node.object = Some(crossing.reference());
            node
        }
        None => {
            let mut node = Node::of("does not exist", State::Stuck);
            node.object = Some(Reference::new(Kind::Crossing, name));
            node
        }
    };
    let at = |kind: Kind| {
        site.of_kind(kind).into_iter().filter(|t| wanted(t) && crossing_of(site, t) == Some(name)).collect::<Vec<_>>()
    };
    node.children.extend(lanes(site, at(Kind::Lane), width));
    node.children.extend(fold(site, at(Kind::InspectionStation), width, |_, health| word(health, "Ready")));
    node.children.extend(igvs(site, at(Kind::IGV), width));
    node.children.extend(at(Kind::BilateralLink).iter().map(|link| single(site, link)));
    node
}

fn crossing_of<'a>(site: &'a Site, view: &ObjectView<'_>) -> Option<&'a str> {
    let name = view.name();
    let crossing = match view.kind {
        Kind::Lane => &named(&site.lanes, name)?.spec.crossing_ref,
        Kind::InspectionStation => &named(&site.stations, name)?.spec.crossing_ref,
        Kind::IGV => &named(&site.igvs, name)?.spec.crossing_ref,
        Kind::BilateralLink => &named(&site.links, name)?.spec.crossing_ref,
        _ => return None,
    };
    Some(crossing.as_str())
}
