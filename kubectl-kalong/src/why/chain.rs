//! From an object to the roots of its trouble. Pure: a site in, a tree of steps out.

use std::collections::BTreeSet;

use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::device::GuardState;
use kalong_crds::lane::{Direction, LaneAdmission, Service};
use kalong_crds::lane_drain::Responder;
use kalong_crds::phase::GateVerdict;
use kalong_crds::{Kind, Reference};
use serde::Serialize;

use crate::cause::{Cause, causes};
use crate::health::{Health, State};
use crate::site::{ObjectView, Site, named};

/// Longest way to a root; the longest of the design has eight steps.
const DEEPEST: usize = 16;

/// One object on the way to a root.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) object: Reference,
    /// How it stands; none when it does not exist.
    pub(crate) health: Option<Health<'a>>,
    /// What it says that it waits for.
    pub(crate) waits: &'a [BlockedBy],
    /// What else its status tells about the trouble, as it stands there.
    pub(crate) facts: Vec<Fact>,
    /// Others that suffer from the same things in the same way.
    pub(crate) alike: Vec<Reference>,
    /// Whether the way on was shown before.
    pub(crate) shown: Shown,
    pub(crate) causes: Vec<Step<'a>>,
}

/// Something that a status tells beside conditions and blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fact {
    pub(crate) about: About,
    /// As it stands in the status.
    pub(crate) text: String,
}

impl Fact {
    fn new(about: About, text: String) -> Self {
        Self { about, text }
    }
}

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum About {
    /// A gate of a phase that is not met.
    Gate,
    Certificate,
    /// Health codes of a device.
    Health,
    /// An interlock or seal that is not safe.
    Guard,
    Attempt,
    /// Open lanes and the floor; passages an hour and the floor.
    Floor,
    /// Who wants a lane empty, and why.
    Requester,
    /// Lanes that are not empty yet.
    Left,
    /// When they have to be.
    EmptyBy,
    /// When a claim ends by itself.
    Deadline,
}

/// Whether the way on from a step is shown here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Here,
    /// Where the object appeared first.
    Above,
}

impl Step<'_> {
    /// Whether nothing is the matter with it.
    pub(crate) fn is_well(&self) -> bool {
        let safe = !self.facts.iter().any(|f| f.about == About::Guard);
        safe && self.health.as_ref().is_some_and(|s| s.state == State::Well)
    }

    /// The steps at which the way ends, each object once, in the order in which they are shown.
    pub(crate) fn roots(&self) -> Vec<&Self> {
        let mut roots: Vec<&Self> = Vec::new();
        self.collect(&mut roots);
        roots
    }

    fn collect<'s>(&'s self, roots: &mut Vec<&'s Self>) {
        let ill: Vec<&Self> = self.causes.iter().filter(|c| !c.is_well() || !c.causes.is_empty()).collect();
        if ill.is_empty() && self.shown == Shown::Here && !self.is_well() {
            if !roots.iter().any(|r| r.object == self.object) {
                roots.push(self);
            }
            return;
        }
        ill.into_iter().for_each(|cause| cause.collect(roots));
    }
}

/// The way from this object to its roots.
pub(crate) fn chain<'a>(site: &'a Site, object: &Reference) -> Step<'a> {
    Walk { site, seen: BTreeSet::new() }.step(object, Vec::new(), 0)
}

struct Walk<'a> {
    site: &'a Site,
    seen: BTreeSet<Reference>,
}

impl<'a> Walk<'a> {
    /// `beside` are causes that belong below this object on this way, although it does not know of them itself.
    fn step(&mut self, object: &Reference, beside: Vec<Cause<'a>>, depth: usize) -> Step<'a> {
        let mut step = Step {
            object: object.clone(),
            health: None,
            waits: &[],
            facts: Vec::new(),
            alike: Vec::new(),
            shown: Shown::Here,
            causes: Vec::new(),
        };
        let Some(view) = self.site.object(object) else { return step };
        step.health = Some(Health::of(&view));
        step.waits = view.blocked_by;
        if !self.seen.insert(object.clone()) || depth >= DEEPEST {
            step.shown = Shown::Above;
            return step;
        }
        step.facts = facts(self.site, &view);
        // Of a crossing whose floor is in the way only those count who took its capacity.
        let found = if beside.is_empty() { causes(self.site, &view) } else { beside };
        let (next, mut taken) = self.sorted(&view, found);
        for group in self.grouped(next) {
            let Some((first, others)) = group.split_first() else { continue };
            let floor =
                first.wait.is_some_and(|w| w.code == BlockCode::CapacityFloor) && first.object.kind == Kind::Crossing;
            let beside = if floor { std::mem::take(&mut taken) } else { Vec::new() };
            let mut one = self.step(&first.object, beside, depth + 1);
            one.alike = others.iter().map(|o| o.object.clone()).collect();
            self.seen.extend(one.alike.iter().cloned());
            step.causes.push(one);
        }
        step
    }

    /// The causes to follow from here, and those that stand below the crossing whose floor is in the way.
    fn sorted(&self, view: &ObjectView<'a>, found: Vec<Cause<'a>>) -> (Vec<Cause<'a>>, Vec<Cause<'a>>) {
        let floor = found
            .iter()
            .any(|c| c.object.kind == Kind::Crossing && c.wait.is_some_and(|w| w.code == BlockCode::CapacityFloor));
        if view.kind == Kind::LaneDrain && floor {
            let (taken, next): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|c| c.wait.is_none() && c.object.kind == Kind::Lane);
            return (next, taken);
        }
        let beyond = |cause: &Cause<'_>| -> Vec<Reference> {
            let view = self.site.object(&cause.object);
            view.map(|t| causes(self.site, &t).into_iter().map(|c| c.object).collect()).unwrap_or_default()
        };
        // A device copies what its claim waits for, a lane names the interlock that its station shows: the way leads through the claim and
        // through the station, not past them.
        let own = view.reference().to_string();
        let between = |cause: &Cause<'_>| match cause.object.kind {
            Kind::InspectionStation => true,
            Kind::LaneDrain => named(&self.site.drains, &cause.object.name).is_some_and(|d| d.spec.requester == own),
            _ => false,
        };
        let ways: Vec<Reference> = found.iter().filter(|c| between(c)).flat_map(beyond).collect();
        // Who suffers from nothing but what is a cause here anyway explains nothing more.
        let repeats = |cause: &Cause<'_>| {
            let beyond = beyond(cause);
            let known = |object: &Reference| found.iter().any(|f| f.object == *object && f.object != cause.object);
            cause.wait.is_none() && !beyond.is_empty() && beyond.iter().all(known)
        };
        let kept = |cause: &&Cause<'_>| between(cause) || (!ways.contains(&cause.object) && !repeats(cause));
        let next = found.iter().filter(kept).cloned().collect();
        (next, Vec::new())
    }

    /// Causes that read alike in one group: same kind, same reason, held up by the same others.
    fn grouped(&self, found: Vec<Cause<'a>>) -> Vec<Vec<Cause<'a>>> {
        type Key = (Kind, String, Vec<Reference>);
        let mut groups: Vec<(Option<Key>, Vec<Cause<'a>>)> = Vec::new();
        for cause in found {
            let key: Option<Key> = self.site.object(&cause.object).filter(|_| cause.wait.is_none()).map(|view| {
                let beyond = causes(self.site, &view).into_iter().map(|c| c.object).collect();
                (view.kind, Health::of(&view).reason().to_owned(), beyond)
            });
            match groups.iter_mut().find(|(k, _)| key.is_some() && *k == key) {
                Some((_, group)) => group.push(cause),
                None => groups.push((key, vec![cause])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

/// What the status of this kind tells beside conditions and blocks.
fn facts(site: &Site, view: &ObjectView<'_>) -> Vec<Fact> {
    let name = view.name();
    match view.kind {
        Kind::Device => device_facts(site, name),
        Kind::Crossing => floor_facts(site, name, |_, _| true),
        Kind::Phase => {
            let status = named(&site.phases, name).and_then(|p| p.status.as_ref());
            let gates = status.map(|s| s.gates.as_slice()).unwrap_or_default();
            let failed = gates.iter().filter(|g| g.result == GateVerdict::Failed);
            failed.map(|g| Fact::new(About::Gate, format!("{}: {}", g.name, g.message))).collect()
        }
        Kind::LaneDrain => drain_facts(site, name),
        Kind::EdgeAgent => {
            let status = named(&site.agents, name).and_then(|a| a.status.as_ref());
            let certificate = status.and_then(|s| s.certificate.as_ref());
            certificate.map(|c| Fact::new(About::Certificate, c.not_after.clone())).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn device_facts(site: &Site, name: &str) -> Vec<Fact> {
    let Some(status) = named(&site.devices, name).and_then(|d| d.status.as_ref()) else { return Vec::new() };
    let mut facts = Vec::new();
    if let Some(health) = status.health.as_ref().filter(|h| !h.codes.is_empty()) {
        facts.push(Fact::new(About::Health, format!("{:?}: {}", health.state, health.codes.join(", "))));
    }
    for guard in status.guards.iter().filter(|g| g.state != GuardState::Safe) {
        facts.push(Fact::new(About::Guard, format!("{:?} {}: {:?}", guard.kind, guard.name, guard.state)));
    }
    if let Some(firmware) = &status.firmware
        && let Some(error) = &firmware.last_error
    {
        facts.push(Fact::new(About::Attempt, format!("{}: {error}", firmware.attempt)));
    }
    facts
}

fn floor_facts(site: &Site, name: &str, wanted: impl Fn(Service, Direction) -> bool) -> Vec<Fact> {
    let Some(crossing) = named(&site.crossings, name) else { return Vec::new() };
    let counts = crossing.status.as_ref().map(|s| s.lanes.as_slice()).unwrap_or_default();
    let floors = crossing.spec.capacity_floors.iter().filter(|f| wanted(f.service, f.direction)).map(|floor| {
        let count = counts.iter().find(|c| c.service == floor.service && c.direction == floor.direction);
        let (open, hourly) = count.map_or((0, 0), |c| (c.open, c.open_passages_per_hour));
        let class = format!("{:?} {:?}", floor.service, floor.direction);
        let (lanes, passages) = (floor.min_open_lanes, floor.min_passages_per_hour);
        Fact::new(About::Floor, format!("{class}: {open} / {lanes}; {hourly} / {passages}"))
    });
    floors.collect()
}

fn drain_facts(site: &Site, name: &str) -> Vec<Fact> {
    let Some(drain) = named(&site.drains, name) else { return Vec::new() };
    let mut facts = vec![Fact::new(About::Requester, format!("{}: {}", drain.spec.requester, drain.spec.reason))];
    if let Some(status) = drain.status.as_ref().filter(|s| s.accepted_at.is_some()) {
        let busy = |r: &&Responder| !matches!(r.state, LaneAdmission::Drained | LaneAdmission::Closed);
        let left: Vec<String> =
            status.responders.iter().filter(busy).map(|r| format!("{} {:?}", r.name, r.state)).collect();
        if !left.is_empty() {
            facts.push(Fact::new(About::Left, left.join(", ")));
            facts.extend(status.empty_by.clone().map(|by| Fact::new(About::EmptyBy, by)));
        }
    }
    let waits = drain.status.as_ref().map(|s| s.blocked_by.as_slice()).unwrap_or_default();
    if waits.iter().any(|w| w.code == BlockCode::CapacityFloor) {
        let lanes = site.targets(drain);
        let mut crossings: Vec<&str> = lanes.iter().map(|l| l.spec.crossing_ref.as_str()).collect();
        crossings.dedup();
        for crossing in crossings {
            let of =
                |service, direction| lanes.iter().any(|l| l.spec.service == service && l.spec.direction == direction);
            facts.extend(floor_facts(site, crossing, of));
        }
    }
    facts.extend(drain.spec.deadline.clone().map(|deadline| Fact::new(About::Deadline, deadline)));
    facts
}
