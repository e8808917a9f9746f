//! Equal healthy things share one line; everything else keeps a line of its own.

use kalong_crds::lane::LaneAdmission;
use kube::ResourceExt;

use super::describe::{describe, lane_admission, lane_class};
use super::node::{Naming, Node, Said, Width, noun};
use crate::kind::Kind;
use crate::site::{Site, Thing, named};
use crate::standing::{Standing, State};

/// The line of one object.
pub(super) fn single(site: &Site, thing: &Thing<'_>) -> Node {
    let standing = Standing::of(thing);
    let mut node = Node::of(describe(site, thing), standing.state);
    node.object = Some(thing.reference());
    node.finding = standing.first().map(Said::from);
    node
}

/// Lines for these objects: those that need no look are counted by what the label says of them.
pub(super) fn fold<'a>(
    site: &Site,
    things: impl IntoIterator<Item = Thing<'a>>,
    width: Width,
    label: impl Fn(&Thing<'a>, &Standing<'a>) -> String,
) -> Vec<Node> {
    let mut groups: Vec<(String, Vec<Thing<'a>>, State)> = Vec::new();
    let mut alone = Vec::new();
    for thing in things {
        let standing = Standing::of(&thing);
        if standing.state >= State::Working {
            alone.push(single(site, &thing));
            continue;
        }
        let label = label(&thing, &standing);
        match groups.iter_mut().find(|(l, _, state)| *l == label && *state == standing.state) {
            Some((_, group, _)) => group.push(thing),
            None => groups.push((label, vec![thing], standing.state)),
        }
    }
    let mut nodes: Vec<Node> = groups
        .into_iter()
        .map(|(label, group, state)| match group.as_slice() {
            [one] => single(site, one),
            _ => several(&label, &group, state, width),
        })
        .collect();
    nodes.extend(alone);
    nodes
}

fn several(label: &str, group: &[Thing<'_>], state: State, width: Width) -> Node {
    let kind = group.first().map_or(Kind::Device, |t| t.kind);
    let mut node = Node::of(format!("{} {label}", noun(kind, group.len())), state);
    node.names = group.iter().map(|t| t.name().to_owned()).collect();
    node.naming = if width == Width::Wide { Naming::All } else { Naming::None };
    node
}

/// How a healthy or resting object stands, in one word.
pub(super) fn word(standing: &Standing<'_>, well: &str) -> String {
    if standing.state == State::Resting { standing.reason().to_owned() } else { well.to_owned() }
}

/// Lines for lanes: by service, direction and what they do; below a lane that is not well its devices that are not.
pub(super) fn lanes<'a>(site: &'a Site, lanes: Vec<Thing<'a>>, width: Width) -> Vec<Node> {
    let label = |thing: &Thing<'a>, standing: &Standing<'a>| {
        let Some(lane) = named(&site.lanes, thing.name()) else { return String::new() };
        let does = match lane_admission(lane) {
            LaneAdmission::Open if standing.state == State::Well => "Open".to_owned(),
            _ => word(standing, "Ready"),
        };
        format!("{} {does}", lane_class(lane))
    };
    let mut nodes = fold(site, lanes, width, label);
    for node in &mut nodes {
        let Some(object) = node.object.as_ref().filter(|_| node.state >= State::Working) else { continue };
        let Some(lane) = named(&site.lanes, &object.name) else { continue };
        let devices = lane.spec.slots.iter().filter_map(|slot| named(&site.devices, slot.device_ref.as_str()));
        let ill: Vec<Thing<'_>> =
            devices.map(crate::site::Viewed::view).filter(|d| Standing::of(d).state >= State::Working).collect();
        node.children = ill_devices(site, ill);
    }
    nodes
}

/// Lines for devices: the healthy ones counted, the others by model and reason.
pub(super) fn devices<'a>(site: &'a Site, devices: Vec<Thing<'a>>, width: Width) -> Vec<Node> {
    let (ill, well): (Vec<_>, Vec<_>) = devices.into_iter().partition(|d| Standing::of(d).state >= State::Working);
    let mut nodes = match width {
        Width::Wide => {
            fold(site, well, width, |thing, standing| format!("{} {}", model(site, thing), word(standing, "Ready")))
        }
        Width::Narrow => fold(site, well, width, |_, standing| word(standing, "Ready")),
    };
    nodes.extend(ill_devices(site, ill));
    nodes
}

fn model(site: &Site, thing: &Thing<'_>) -> String {
    named(&site.devices, thing.name()).map(|d| d.spec.model_ref.0.clone()).unwrap_or_default()
}

/// Devices that are not well, by what is said of them.
fn ill_devices<'a>(site: &Site, devices: Vec<Thing<'a>>) -> Vec<Node> {
    let mut groups: Vec<(Standing<'a>, Vec<Thing<'a>>)> = Vec::new();
    for device in devices {
        let standing = Standing::of(&device);
        let said = |s: &Standing<'a>| s.first().map(|f| (f.state, f.reason, f.message));
        match groups.iter_mut().find(|(s, _)| said(s) == said(&standing)) {
            Some((_, group)) => group.push(device),
            None => groups.push((standing, vec![device])),
        }
    }
    groups
        .into_iter()
        .map(|(standing, group)| match group.as_slice() {
            [one] => single(site, one),
            [first, others @ ..] => {
                let one_model = others.iter().all(|d| model(site, d) == model(site, first));
                let model = if one_model { format!(" {}", model(site, first)) } else { String::new() };
                let mut node = Node::of(format!("{}{model}", noun(Kind::Device, group.len())), standing.state);
                node.names = group.iter().map(|t| t.name().to_owned()).collect();
                node.naming = Naming::Some;
                node.finding = standing.first().map(Said::from);
                node
            }
            [] => Node::of("", standing.state),
        })
        .collect()
}

/// The line of a crossing's vehicles: how many are declared, how many are heard, and who is not.
pub(super) fn igvs<'a>(site: &'a Site, igvs: Vec<Thing<'a>>, width: Width) -> Option<Node> {
    use kalong_crds::condition::{ConditionType, Conditioned};
    if igvs.is_empty() {
        return None;
    }
    let of = |thing: &Thing<'_>| named(&site.igvs, thing.name());
    let seen = igvs.iter().filter(|t| of(t).is_some_and(|i| i.is(ConditionType::Connected))).count();
    let resting = igvs.iter().filter(|t| Standing::of(t).state == State::Resting).count();
    let missing: Vec<String> = igvs
        .iter()
        .filter(|t| Standing::of(t).state != State::Resting)
        .filter_map(of)
        .filter(|i| !i.is(ConditionType::Connected))
        .map(|i| i.name_any())
        .collect();
    let mut text = format!("IGVs: {} declared, {seen} seen", igvs.len());
    if !missing.is_empty() {
        text.push_str(&format!(": {} not seen", missing.join(", ")));
    }
    if resting > 0 {
        text.push_str(&format!(", {resting} at rest"));
    }
    let state = igvs.iter().map(|t| Standing::of(t).state).max().unwrap_or(State::Well);
    let ill = igvs.iter().filter(|t| width == Width::Wide || Standing::of(t).state >= State::Working);
    let children = ill.map(|t| single(site, t)).collect();
    let mut node = Node::of(text, state).over(children);
    node.names = igvs.iter().map(|t| t.name().to_owned()).collect();
    Some(node)
}
