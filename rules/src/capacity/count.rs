//! The one count of lanes: from the objects of a site to a [`CapacitySnapshot`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::crossing::CapacityFloor;
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::{Crossing, Lane, LaneDrain};

use super::{CapacitySnapshot, Claim, Floor, Group, LaneFacts};
use crate::claim::{has_ended, is_accepted};
use crate::lifecycle::LifecycleStage;
use crate::snapshot::{Relation, SiteObject, SiteSnapshot};

/// What a count of lanes rests on beside specs. The count for a claim rests on what agents report and have confirmed; the count in the
/// status of a crossing and the preview of the kubectl plugin rest on statuses ([`StatusEvidence`]), which anybody can check.
pub trait LaneEvidence {
    /// What this lane is known to do.
    fn lane(&self, lane: &Lane) -> LaneReading;

    /// The names of the lanes that this claim holds; none while it is not accepted.
    fn held(&self, site: &SiteSnapshot, claim: &LaneDrain) -> BTreeSet<String>;

    /// Whether this claim waits, for any of the lanes that its target stands for, and could be accepted now.
    fn waits(&self, claim: &LaneDrain, lanes: &BTreeSet<String>) -> bool;

    /// The uids of the claims that hold lanes although no object shows it yet.
    fn unstored(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}

/// What a lane is known to do. Each field is explained at the field of [`LaneFacts`] with the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at `LaneFacts`")]
pub struct LaneReading {
    pub reported: LaneAdmission,
    pub available: ConditionStatus,
    pub interlocked: bool,
    pub orders_confirmed: bool,
    pub closed_for_good: bool,
}

/// Counts by what statuses show. A status is written once an agent has confirmed its order, so every order counts as confirmed; a claim
/// holds the lanes that it was accepted for and that its target still stands for; and nothing waits, since a count accepts nothing.
#[derive(Clone, Copy, Debug)]
pub struct StatusEvidence;

impl LaneEvidence for StatusEvidence {
    fn lane(&self, lane: &Lane) -> LaneReading {
        let reported = lane.status.as_ref().map(|status| status.admission).unwrap_or_default();
        LaneReading {
            reported,
            available: available(lane),
            interlocked: lane.reason(ConditionType::Available) == Reason::InterlockOpen.as_str(),
            orders_confirmed: true,
            closed_for_good: lane.spec.admission == Admission::Closed && reported == LaneAdmission::Closed,
        }
    }

    fn held(&self, site: &SiteSnapshot, claim: &LaneDrain) -> BTreeSet<String> {
        let lanes = site.lanes_under(&claim.spec.target).into_iter().map(|lane| lane.name());
        lanes.filter(|lane| holds(claim, lane)).map(str::to_owned).collect()
    }

    fn waits(&self, _: &LaneDrain, _: &BTreeSet<String>) -> bool {
        false
    }
}

/// Whether the claim was accepted for this lane and has not ended.
pub fn holds(claim: &LaneDrain, lane: &str) -> bool {
    let responders = claim.status.iter().flat_map(|status| &status.responders);
    is_accepted(claim) && responders.into_iter().any(|responder| responder.name.as_str() == lane)
}

/// Status of the condition Available.
pub fn available(lane: &Lane) -> ConditionStatus {
    match lane.condition(ConditionType::Available).map(|condition| condition.status.as_str()) {
        Some("True") => ConditionStatus::True,
        Some("False") => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}

impl Group {
    /// The group of this lane.
    pub fn of(lane: &Lane) -> Self {
        let spec = &lane.spec;
        Self { crossing: spec.crossing_ref.0.clone(), service: spec.service, direction: spec.direction }
    }

    /// The groups of a crossing: those that have a lane or a floor.
    pub fn of_crossing(site: &SiteSnapshot, crossing: &str) -> BTreeSet<Self> {
        let floors = site.crossings.get(crossing).into_iter().flat_map(|crossing| floors(site, crossing));
        let lanes = site.lanes.by(Relation::Crossing, crossing).map(|lane| Self::of(lane));
        lanes.chain(floors.map(|floor| floor.group)).collect()
    }

    /// The lanes of this group.
    pub fn lanes<'a>(&'a self, site: &'a SiteSnapshot) -> impl Iterator<Item = &'a Arc<Lane>> {
        let same = |lane: &&Arc<Lane>| lane.spec.service == self.service && lane.spec.direction == self.direction;
        site.lanes.by(Relation::Crossing, &self.crossing).filter(same)
    }
}

impl Claim {
    /// This LaneDrain as a claim on these lanes.
    pub fn new(drain: &LaneDrain, lanes: BTreeSet<String>) -> Self {
        Self {
            name: drain.name().to_owned(),
            class: drain.spec.class,
            priority: drain.spec.priority,
            created: drain.metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_second()),
            lanes,
        }
    }
}

/// Counts the lanes of these groups, with the floors and the claims that concern them. Costs as much as that, however large the site is.
pub fn count(site: &SiteSnapshot, groups: &BTreeSet<Group>, evidence: &impl LaneEvidence) -> CapacitySnapshot {
    let mut snapshot = CapacitySnapshot::default();
    let mut claims: BTreeMap<&str, &Arc<LaneDrain>> = BTreeMap::new();
    for lane in groups.iter().flat_map(|group| group.lanes(site)) {
        // A lane that left the target of a claim may still be held by it.
        let held = site.drains.by(Relation::Responder, lane.name());
        claims.extend(site.claims_on(lane).into_iter().chain(held).map(|claim| (claim.name(), claim)));
        snapshot.lanes.insert(lane.name().to_owned(), facts(site, lane, evidence));
    }
    // Charged whatever their status still says: a claim that has lapsed and was prolonged is one of them.
    let unstored = evidence.unstored().flat_map(|uid| site.drains.by(Relation::Uid, uid));
    claims.extend(unstored.map(|claim| (claim.name(), claim)));
    for claim in claims.into_values() {
        let lanes = site.lanes_under(&claim.spec.target).into_iter().map(|lane| lane.name().to_owned()).collect();
        if !has_ended(claim) && evidence.waits(claim, &lanes) {
            snapshot.waiting.push(Claim::new(claim, lanes));
        }
        let held = evidence.held(site, claim);
        if !held.is_empty() {
            snapshot.accepted.push(Claim::new(claim, held));
        }
    }
    let crossings: BTreeSet<&str> = groups.iter().map(|group| group.crossing.as_str()).collect();
    let crossings = crossings.into_iter().filter_map(|crossing| site.crossings.get(crossing));
    snapshot.floors =
        crossings.flat_map(|crossing| floors(site, crossing)).filter(|floor| groups.contains(&floor.group)).collect();
    snapshot
}

fn facts(site: &SiteSnapshot, lane: &Lane, evidence: &impl LaneEvidence) -> LaneFacts {
    let LaneReading { reported, available, interlocked, orders_confirmed, closed_for_good } = evidence.lane(lane);
    LaneFacts {
        group: Group::of(lane),
        passages_per_hour: lane.spec.rated_passages_per_hour,
        life: site.life(lane.spec.phase.as_ref()),
        declared: lane.spec.admission,
        reported,
        available,
        interlocked,
        orders_confirmed,
        closed_for_good,
    }
}

/// The floors of a crossing in service. One whose phase is not known keeps them: doubt never takes capacity away.
fn floors(site: &SiteSnapshot, crossing: &Crossing) -> Vec<Floor> {
    match site.life(crossing.spec.phase.as_ref()) {
        LifecycleStage::Planned | LifecycleStage::Commissioning => Vec::new(),
        LifecycleStage::InService | LifecycleStage::UnknownPhase => {
            crossing.spec.capacity_floors.iter().map(|floor| Floor::new(crossing, floor)).collect()
        }
    }
}

impl Floor {
    fn new(crossing: &Crossing, floor: &CapacityFloor) -> Self {
        Self {
            group: Group { crossing: crossing.name().to_owned(), service: floor.service, direction: floor.direction },
            min_lanes: floor.min_open_lanes,
            min_passages_per_hour: floor.min_passages_per_hour,
        }
    }
}
