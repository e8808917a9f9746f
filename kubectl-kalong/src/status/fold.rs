//! Equal healthy things share one line; everything else keeps a line of its own.

use kalong_crds::Kind;
use kalong_crds::lane::LaneAdmission;
use kube::ResourceExt;

use super::describe::{describe, lane_admission, lane_class};
use super::node::{FindingRecord, Naming, Node, Width, noun};
use crate::health::{Health, State};
use crate::site::{ObjectView, Site, named};

/// The line of one object.
pub(super) fn single(site: &Site, view: &ObjectView<'_>) -> Node {
    let health = Health::of(view);
    let mut node = Node::of(describe(site, view), health.state);
    node.object = Some(view.reference());
    node.finding = health.first().map(FindingRecord::from);
    node
}

/// Lines for these objects: those that need no look are counted by what the label says of them.
pub(super) fn fold<'a>(
    site: &Site,
    things: impl IntoIterator<Item = ObjectView<'a>>,
    width: Width,
    label: impl Fn(&ObjectView<'a>, &Health<'a>) -> String,
) -> Vec<Node> {
    let mut groups: Vec<(String, Vec<ObjectView<'a>>, State)> = Vec::new();
    let mut alone = Vec::new();
    for view in things {
        let health = Health::of(&view);
        if health.state >= State::Working {
            alone.push(single(site, &view));
            continue;
        }
        let label = label(&view, &health);
        match groups.iter_mut().find(|(l, _, state)| *l == label && *state == health.state) {
            Some((_, group, _)) => group.push(view),
            None => groups.push((label, vec![view], health.state)),
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

fn several(label: &str, group: &[ObjectView<'_>], state: State, width: Width) -> Node {
    let kind = group.first().map_or(Kind::Device, |t| t.kind);
    let mut node = Node::of(format!("{} {label}", noun(kind, group.len())), state);
    node.names = group.iter().map(|t| t.name().to_owned()).collect();
    node.naming = if width == Width::Wide { Naming::All } else { Naming::None };
    node
}

/// How a healthy or resting object stands, in one word.
pub(super) fn word(health: &Health<'_>, well: &str) -> String {
    if health.state == State::Resting { health.reason().to_owned() } else { well.to_owned() }
}

/// Lines for lanes: by service, direction and what they do; below a lane that is not well its devices that are not.
pub(super) fn lanes<'a>(site: &'a Site, lanes: Vec<ObjectView<'a>>, width: Width) -> Vec<Node> {
    let label = |view: &ObjectView<'a>, health: &Health<'a>| {
        let Some(lane) = named(&site.lanes, view.name()) else { return String::new() };
        let does = match lane_admission(lane) {
            LaneAdmission::Open if health.state == State::Well => "Open".to_owned(),
            _ => word(health, "Ready"),
        };
        format!("{} {does}", lane_class(lane))
    };
    let mut nodes = fold(site, lanes, width, label);
    for node in &mut nodes {
        let Some(object) = node.object.as_ref().filter(|_| node.state >= State::Working) else { continue };
        let Some(lane) = named(&site.lanes, &object.name) else { continue };
        let devices = lane.spec.slots.iter().filter_map(|slot| named(&site.devices, slot.device_ref.as_str()));
        let ill: Vec<ObjectView<'_>> =
            devices.map(crate::site::AsView::view).filter(|d| Health::of(d).state >= State::Working).collect();
        node.children = ill_devices(site, ill);
    }
    nodes
}

/// Lines for devices: the healthy ones counted, the others by model and reason.
pub(super) fn devices<'a>(site: &'a Site, devices: Vec<ObjectView<'a>>, width: Width) -> Vec<Node> {
    let (ill, well): (Vec<_>, Vec<_>) = devices.into_iter().partition(|d| Health::of(d).state >= State::Working);
    let mut nodes = match width {
        Width::Wide => {
            fold(site, well, width, |view, health| format!("{} {}", model(site, view), word(health, "Ready")))
        }
        Width::Narrow => fold(site, well, width, |_, health| word(health, "Ready")),
    };
    nodes.extend(ill_devices(site, ill));
    nodes
}

fn model(site: &Site, view: &ObjectView<'_>) -> String {
    named(&site.devices, view.name()).map(|d| d.spec.model_ref.0.clone()).unwrap_or_default()
}

/// Devices that are not well, by what is said of them.
fn ill_devices<'a>(site: &Site, devices: Vec<ObjectView<'a>>) -> Vec<Node> {
    let mut groups: Vec<(Health<'a>, Vec<ObjectView<'a>>)> = Vec::new();
    for device in devices {
        let health = Health::of(&device);
        let said = |s: &Health<'a>| s.first().map(|f| (f.state, f.reason, f.message));
        match groups.iter_mut().find(|(s, _)| said(s) == said(&health)) {
            Some((_, group)) => group.push(device),
            None => groups.push((health, vec![device])),
        }
    }
    groups
        .into_iter()
        .map(|(health, group)| match group.as_slice() {
            [one] => single(site, one),
            [first, others @ ..] => {
                let one_model = others.iter().all(|d| model(site, d) == model(site, first));
                let model = if one_model { format!(" {}", model(site, first)) } else { String::new() };
                let mut node = Node::of(format!("{}{model}", noun(Kind::Device, group.len())), health.state);
                node.names = group.iter().map(|t| t.name().to_owned()).collect();
                node.naming = Naming::Some;
                node.finding = health.first().map(FindingRecord::from);
                node
            }
            [] => Node::of("", health.state),
        })
        .collect()
}

/// The line of a crossing's vehicles: how many are declared, how many are heard, and who is not.
pub(super) fn igvs<'a>(site: &'a Site, igvs: Vec<ObjectView<'a>>, width: Width) -> Option<Node> {
    use kalong_crds::condition::{ConditionType, Conditioned};
    if igvs.is_empty() {
        return None;
    }
    let of = |view: &ObjectView<'_>| named(&site.igvs, view.name());
    let seen = igvs.iter().filter(|t| of(t).is_some_and(|i| i.is(ConditionType::Connected))).count();
    let resting = igvs.iter().filter(|t| Health::of(t).state == State::Resting).count();
    let missing: Vec<String> = igvs
        .iter()
        .filter(|t| Health::of(t).state != State::Resting)
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
    let state = igvs.iter().map(|t| Health::of(t).state).max().unwrap_or(State::Well);
    let ill = igvs.iter().filter(|t| width == Width::Wide || Health::of(t).state >= State::Working);
    let children = ill.map(|t| single(site, t)).collect();
    let mut node = Node::of(text, state).over(children);
    node.names = igvs.iter().map(|t| t.name().to_owned()).collect();
    Some(node)
}
