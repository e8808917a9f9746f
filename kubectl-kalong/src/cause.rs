//! What an object waits for or suffers from: the step from one object to the next on the way to the root.
//!
//! `blockedBy` says most of it. The rest follows from the reason of a condition and from what the objects name: a lane whose
//! devices are not Ready suffers from those devices, whatever its message says.

use std::collections::{BTreeMap, BTreeSet};

use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::condition::Reason;
use kalong_crds::device::GuardState;
use kalong_crds::phase::GateVerdict;
use kalong_crds::{InspectionStation, Kind, Lane, LaneDrain, Reference};
use kube::ResourceExt;

use crate::health::{Health, State};
use crate::site::{ObjectView, Site, drain_kind, named};

/// Somebody who holds an object up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause<'a> {
    pub(crate) object: Reference,
    /// What the object itself says of the wait, if it does.
    pub(crate) wait: Option<&'a BlockedBy>,
}

/// Everybody who holds this object up, each once; those that it names itself come first.
pub(crate) fn causes<'a>(site: &'a Site, view: &ObjectView<'a>) -> Vec<Cause<'a>> {
    let mut found = CauseCollector { site, own: view.reference(), causes: Vec::new() };
    for wait in view.blocked_by {
        if let Ok(object) = wait.subject.parse::<Reference>() {
            found.named(object, wait);
        }
    }
    let health = Health::of(view);
    let mut reasons: Vec<Reason> = health.findings.iter().filter_map(|f| f.word()).collect();
    reasons.dedup();
    for reason in reasons {
        found.by_reason(view, reason);
    }
    if view.kind == Kind::LaneDrain
        && let Some(drain) = named(&site.drains, view.name())
    {
        found.of_drain(drain);
    }
    found.causes
}

struct CauseCollector<'a> {
    site: &'a Site,
    own: Reference,
    causes: Vec<Cause<'a>>,
}

impl<'a> CauseCollector<'a> {
    fn named(&mut self, object: Reference, wait: &'a BlockedBy) {
        if object != self.own && !self.causes.iter().any(|c| c.object == object) {
            self.causes.push(Cause { object, wait: Some(wait) });
        }
    }

    fn add(&mut self, object: Reference) {
        if object != self.own && !self.causes.iter().any(|c| c.object == object) {
            self.causes.push(Cause { object, wait: None });
        }
    }

    /// Adds an object if something is the matter with it, or if it is not there at all.
    fn suspect(&mut self, object: Reference) {
        let guilty = self.site.object(&object).is_none_or(|t| Health::of(&t).state >= State::Working);
        if guilty {
            self.add(object);
        }
    }

    /// Like [`Self::suspect`] for objects that may rest; a resting one explains nothing.
    fn suspects(&mut self, kind: Kind, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.suspect(Reference::new(kind, name));
        }
    }

    fn by_reason(&mut self, view: &ObjectView<'a>, reason: Reason) {
        match reason {
            Reason::AgentUnreachable | Reason::NotEnrolled | Reason::FleetUnreachable | Reason::OutOfSync => {
                if let Some(agent) = self.agent(view) {
                    self.suspect(agent);
                }
            }
            Reason::Planned | Reason::Commissioning | Reason::UnknownPhase => {
                if let Some(phase) = view.phase {
                    self.add(Reference::new(Kind::Phase, phase));
                }
            }
            reason if concerns_a_claim(reason) && matches!(view.kind, Kind::Device | Kind::Lane) => {
                self.own_claims();
                if view.kind == Kind::Lane {
                    self.of_lane(view.name(), reason);
                }
            }
            _ => match view.kind {
                Kind::Lane => self.of_lane(view.name(), reason),
                Kind::Crossing => self.of_crossing(view.name(), reason),
                Kind::InspectionStation => self.of_station(view.name()),
                Kind::Device => self.of_device(view.name(), reason),
                Kind::Phase => self.of_phase(view.name(), reason),
                _ => {}
            },
        }
    }

    /// The box that an object depends on.
    fn agent(&self, view: &ObjectView<'_>) -> Option<Reference> {
        let name = match view.kind {
            Kind::Device => named(&self.site.devices, view.name())?.spec.agent_ref.0.clone(),
            Kind::Lane => self.site.controller(named(&self.site.lanes, view.name())?)?.spec.agent_ref.0.clone(),
            Kind::IGV => named(&self.site.igvs, view.name())?.spec.agent_ref.0.clone(),
            Kind::BilateralLink => named(&self.site.links, view.name())?.spec.agent_ref.0.clone(),
            _ => return None,
        };
        Some(Reference::new(Kind::EdgeAgent, name))
    }

    /// The claims that the operator made for this object.
    fn own_claims(&mut self) {
        let requester = self.own.to_string();
        let own = self.site.drains.objects().filter(|d| d.spec.requester == requester);
        for drain in own.map(ResourceExt::name_any).collect::<Vec<_>>() {
            self.add(Reference::new(Kind::LaneDrain, drain));
        }
    }

    fn of_lane(&mut self, name: &str, reason: Reason) {
        let Some(lane) = named(&self.site.lanes, name) else { return };
        let held = lane.status.as_ref().map(|s| s.held_by.as_slice()).unwrap_or_default();
        for drain in held {
            self.add(Reference::new(Kind::LaneDrain, drain.as_str()));
        }
        if matches!(reason, Reason::InterlockOpen | Reason::AdmissionPending | Reason::Closed) {
            let closing = |station: &&InspectionStation| {
                station.status.as_ref().is_some_and(|s| s.closed_lanes.iter().any(|l| l.as_str() == name))
            };
            let stations: Vec<_> = self.site.stations.objects().filter(closing).map(ResourceExt::name_any).collect();
            self.suspects(Kind::InspectionStation, stations);
        }
        if matches!(
            reason,
            Reason::DeviceNotReady | Reason::DeviceNotAvailable | Reason::InvalidSpec | Reason::MissingReference
        ) {
            self.suspects(Kind::Device, lane.spec.slots.iter().map(|s| s.device_ref.0.clone()));
        }
    }

    fn of_crossing(&mut self, name: &str, reason: Reason) {
        if !matches!(reason, Reason::LaneNotReady | Reason::NoOpenLane | Reason::FloorBroken | Reason::DeviceNotReady) {
            return;
        }
        let site = self.site;
        let lanes: Vec<_> =
            site.lanes.objects().filter(|l| l.spec.crossing_ref.as_str() == name).map(ResourceExt::name_any).collect();
        self.suspects(Kind::Lane, lanes);
        let stations = site.stations.objects().filter(|s| s.spec.crossing_ref.as_str() == name);
        let stations: Vec<_> = stations.map(ResourceExt::name_any).collect();
        self.suspects(Kind::InspectionStation, stations);
    }

    fn of_station(&mut self, name: &str) {
        let Some(station) = named(&self.site.stations, name) else { return };
        for slot in &station.spec.slots {
            let device = named(&self.site.devices, slot.device_ref.as_str());
            let unsafe_guard = device
                .and_then(|d| d.status.as_ref())
                .is_some_and(|s| s.guards.iter().any(|g| g.state != GuardState::Safe));
            let object = Reference::new(Kind::Device, slot.device_ref.as_str());
            if unsafe_guard { self.add(object) } else { self.suspect(object) }
        }
    }

    fn of_device(&mut self, name: &str, reason: Reason) {
        let Some(device) = named(&self.site.devices, name) else { return };
        match reason {
            Reason::SignatureInvalid
            | Reason::NoReleaseKeys
            | Reason::FetchFailed
            | Reason::HostNotAllowed
            | Reason::ArtifactTooLarge
            | Reason::DigestMismatch
            | Reason::Expired
            | Reason::Revoked
            | Reason::Fetching => {
                if let Some(firmware) = &device.spec.firmware {
                    self.suspect(Reference::new(Kind::FirmwareRelease, firmware.release.as_str()));
                }
            }
            Reason::InvalidSpec | Reason::MissingReference | Reason::InvalidConfig => {
                self.suspect(Reference::new(Kind::DeviceModel, device.spec.model_ref.as_str()));
            }
            _ => {}
        }
    }

    fn of_phase(&mut self, name: &str, reason: Reason) {
        let site = self.site;
        let Some(phase) = named(&site.phases, name) else { return };
        let gates = phase.status.as_ref().map(|s| s.gates.as_slice()).unwrap_or_default();
        for gate in gates.iter().filter(|g| g.result == GateVerdict::Failed) {
            if let Some(before) = gate.name.strip_prefix("after-") {
                self.add(Reference::new(Kind::Phase, before));
            }
        }
        if matches!(
            reason,
            Reason::GateRefused
                | Reason::GateFailed
                | Reason::GateVoided
                | Reason::MilestonePassed
                | Reason::PhaseClosing
        ) {
            for view in site.objects().filter(|t| t.phase == Some(name)) {
                self.suspect(view.reference());
            }
        }
    }

    /// A claim that waits for a floor or for its turn: who took the capacity, or the turn.
    fn of_drain(&mut self, drain: &'a LaneDrain) {
        let site = self.site;
        let waits = drain.status.as_ref().map(|s| s.blocked_by.as_slice()).unwrap_or_default();
        let own: Vec<&Lane> = site.targets(drain);
        for wait in waits {
            match wait.code {
                BlockCode::CapacityFloor | BlockCode::DrainInProgress => {
                    let beside = site.lanes.objects().filter(|lane| own.iter().any(|mine| sisters(mine, lane)));
                    for lane in beside.collect::<Vec<_>>() {
                        self.suspect(Reference::new(Kind::Lane, lane.name_any()));
                    }
                }
                BlockCode::LaneNotEmpty | BlockCode::Retry => {
                    self.suspect(Reference::new(drain_kind(drain), drain.spec.target.name.as_str()));
                }
                _ => {}
            }
        }
    }
}

/// Reasons of those who wait for a claim, or are held by one.
fn concerns_a_claim(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AwaitingDrain
            | Reason::Staged
            | Reason::Draining
            | Reason::Drained
            | Reason::CapacityFloor
            | Reason::DrainInProgress
            | Reason::DrainTimedOut
            | Reason::DrainRefused
    )
}

/// Whether one lane's capacity is charged to the floor of the other.
fn sisters(one: &Lane, other: &Lane) -> bool {
    one.name_any() != other.name_any()
        && one.spec.crossing_ref == other.spec.crossing_ref
        && one.spec.service == other.spec.service
        && one.spec.direction == other.spec.direction
}

/// Which of the objects that are not well only follow from another one that is not: `true` for those.
pub(crate) fn followers(site: &Site) -> BTreeMap<Reference, bool> {
    let ill: Vec<ObjectView<'_>> = site.objects().filter(|t| Health::of(t).state >= State::Working).collect();
    let names: BTreeSet<Reference> = ill.iter().map(ObjectView::reference).collect();
    let mut edges: BTreeMap<Reference, Vec<Reference>> = BTreeMap::new();
    for view in &ill {
        // A floor in the way is broken by the lanes beside, which are causes of their own, not by all that ails the crossing.
        let floor = |c: &Cause<'_>| {
            c.object.kind == Kind::Crossing && c.wait.is_some_and(|w| w.code == BlockCode::CapacityFloor)
        };
        let to = causes(site, view).into_iter().filter(|c| !floor(c)).map(|c| c.object).filter(|o| names.contains(o));
        let to = to.collect();
        edges.insert(view.reference(), to);
    }
    let follows = |from: &Reference| {
        // Two objects that blame each other are both shown.
        edges.get(from).into_iter().flatten().any(|to| !reaches(&edges, to, from))
    };
    names.iter().map(|name| (name.clone(), follows(name))).collect()
}

fn reaches(edges: &BTreeMap<Reference, Vec<Reference>>, from: &Reference, to: &Reference) -> bool {
    let mut seen: BTreeSet<&Reference> = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            next.extend(edges.get(at).into_iter().flatten());
        }
    }
    false
}
