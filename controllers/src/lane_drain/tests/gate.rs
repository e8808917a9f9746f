//! A gate made by hand: lanes with their controllers and agents on one side, the API server and the operator's memory on the other, and
//! everything between them as slow as a test wants. What decides is the real thing.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::ConditionStatus;
use kalong_crds::crossing::CapacityFloor;
use kalong_crds::inspection_station::ServedLane;
use kalong_crds::lane::{Admission, Lane, LaneAdmission, Need};
use kalong_crds::lane_drain::{DrainClass, DrainTarget, LaneDrain, LaneDrainSpec, LaneDrainStatus, TargetKind};
use kalong_crds::phase::{PhaseState, PhaseStatus};
use kalong_crds::units::Digest;
use kalong_crds::wire::reported::LaneReport;
use kalong_crds::{Crossing, InspectionStation, Phase};
use kalong_rules::SiteSnapshot;
use kalong_rules::capacity::{Floor, holds};
use kalong_rules::claim::is_accepted;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::super::decide::{Decision, decide};
use super::super::lane::LaneObservation;
use super::super::observe::gather;
use super::super::{act, status};
use super::test_lane::{Health, Order, TestLane};
use crate::claim::{after, hold_until};
use crate::kit::drains::Drains;
use crate::kit::link::Liveness;
use crate::kit::reconciler::EventToEmit;

pub(super) const AT: &str = "2026-11-22T07:00:00Z";

/// A status on its way to the API server, and the version that it was made from.
struct Write {
    version: i64,
    status: LaneDrainStatus,
}

pub(super) struct Gate {
    pub(super) now: Timestamp,
    pub(super) floors: Vec<Floor>,
    pub(super) lanes: Vec<TestLane>,
    pub(super) drains: BTreeMap<String, Arc<LaneDrain>>,
    /// The lanes behind the one station.
    pub(super) behind: BTreeSet<String>,
    writes: BTreeMap<String, Write>,
    /// What people would be told after the last pass, once its status is stored.
    pub(super) events: Vec<EventToEmit>,
    /// When the last pass wants to look again.
    pub(super) again: Option<Duration>,
    pub(super) memory: Drains,
    versions: i64,
    site: RefCell<Stored>,
}

/// What the API server holds, brought up to date by increments as the operator's snapshot is.
struct Stored {
    snapshot: SiteSnapshot,
    floors: Vec<Floor>,
    behind: BTreeSet<String>,
}

impl Stored {
    fn new() -> Self {
        let mut snapshot = phases().clone();
        snapshot.upsert(Arc::new(crossing(&[])));
        snapshot.upsert(Arc::new(station(&BTreeSet::new())));
        Self { snapshot, floors: Vec::new(), behind: BTreeSet::new() }
    }

    fn follow(&mut self, gate: &Gate) {
        let site = &mut self.snapshot;
        if self.floors != gate.floors {
            self.floors.clone_from(&gate.floors);
            site.upsert(Arc::new(crossing(&gate.floors)));
        }
        if self.behind != gate.behind {
            self.behind.clone_from(&gate.behind);
            site.upsert(Arc::new(station(&gate.behind)));
        }
        for lane in &gate.lanes {
            let stored = site.lanes.get(&lane.name()).map(|stored| stored.spec.admission);
            if stored != Some(lane.object.spec.admission) {
                site.upsert(Arc::new(lane.stored()));
            }
        }
        let known: Vec<String> = site.drains.iter().map(|drain| drain.name_any()).collect();
        for name in known.iter().filter(|name| !gate.drains.contains_key(*name)) {
            site.remove::<LaneDrain>(name);
        }
        for (name, drain) in &gate.drains {
            if site.drains.get(name).is_none_or(|stored| !Arc::ptr_eq(stored, drain)) {
                site.upsert(drain.clone());
            }
        }
    }
}

/// A phase for each stage but that of an object whose phase does not exist.
fn phases() -> &'static SiteSnapshot {
    static PHASES: LazyLock<SiteSnapshot> = LazyLock::new(|| {
        let mut site = SiteSnapshot::default();
        for state in [PhaseState::Planned, PhaseState::Commissioning] {
            let name = format!("{:?}", LifecycleStage::of(state)).to_lowercase();
            let spec = serde_json::json!({"crossings": ["x"]});
            let mut phase = Phase::new(&name, serde_json::from_value(spec).unwrap());
            phase.status = Some(PhaseStatus { state, ..PhaseStatus::default() });
            site.upsert(Arc::new(phase));
        }
        site
    });
    &PHASES
}

fn crossing(floors: &[Floor]) -> Crossing {
    static CROSSING: LazyLock<Crossing> = LazyLock::new(|| {
        let spec = serde_json::json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh"});
        Crossing::new("x", serde_json::from_value(spec).unwrap())
    });
    let mut crossing = CROSSING.clone();
    let declared = floors.iter().map(|floor| CapacityFloor {
        service: floor.group.service,
        direction: floor.group.direction,
        min_open_lanes: floor.min_lanes,
        min_passages_per_hour: floor.min_passages_per_hour,
    });
    crossing.spec.capacity_floors = declared.collect();
    crossing
}

fn station(behind: &BTreeSet<String>) -> InspectionStation {
    static STATION: LazyLock<InspectionStation> = LazyLock::new(|| {
        let spec = serde_json::json!({"crossingRef": "x", "type": "Weighing", "capacityPerHour": 20, "slots": []});
        InspectionStation::new("stn", serde_json::from_value(spec).unwrap())
    });
    let mut station = STATION.clone();
    let served = behind.iter().map(|lane| ServedLane { name: lane.as_str().into(), need: Need::Required });
    station.spec.serves_lanes = served.collect();
    station
}

pub(super) fn target(kind: TargetKind, name: &str) -> DrainTarget {
    DrainTarget { kind, name: name.into() }
}

pub(super) fn spec(class: DrainClass, target: DrainTarget) -> LaneDrainSpec {
    LaneDrainSpec {
        target,
        class,
        requester: "duty-officer".into(),
        reason: "A test.".into(),
        priority: 100,
        timeout_seconds: None,
        deadline: None,
    }
}

impl Gate {
    /// A gate in service whose agents were all heard.
    pub(super) fn new(lanes: Vec<TestLane>, floors: Vec<Floor>) -> Self {
        let mut gate = Self {
            now: AT.parse().unwrap(),
            floors,
            lanes,
            drains: BTreeMap::new(),
            behind: BTreeSet::new(),
            writes: BTreeMap::new(),
            events: Vec::new(),
            again: None,
            memory: Drains::default(),
            versions: 0,
            site: RefCell::new(Stored::new()),
        };
        gate.settle();
        gate
    }

    pub(super) fn claim(&mut self, name: &str, spec: LaneDrainSpec) {
        let mut drain = LaneDrain::new(name, spec);
        self.versions += 1;
        drain.metadata.uid = Some(format!("uid-{name}-{}", self.versions));
        drain.metadata.generation = Some(1);
        drain.metadata.resource_version = Some(self.versions.to_string());
        drain.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
        self.drains.insert(name.to_owned(), Arc::new(drain));
    }

    pub(super) fn end(&mut self, name: &str) {
        self.drains.remove(name);
        self.writes.remove(name);
    }

    pub(super) fn change(&mut self, name: &str, edit: impl FnOnce(&mut LaneDrainSpec)) {
        let mut drain = self.drains.get(name).unwrap().as_ref().clone();
        edit(&mut drain.spec);
        self.versions += 1;
        drain.metadata.resource_version = Some(self.versions.to_string());
        drain.metadata.generation = drain.metadata.generation.map(|g| g + 1);
        self.drains.insert(name.to_owned(), Arc::new(drain));
    }

    /// What the API server holds.
    fn site(&self) -> Ref<'_, SiteSnapshot> {
        self.site.borrow_mut().follow(self);
        Ref::map(self.site.borrow(), |stored| &stored.snapshot)
    }

    /// The names of the lanes that this target stands for.
    pub(super) fn under(&self, target: &DrainTarget) -> BTreeSet<String> {
        self.site().lanes_under(target).into_iter().map(|lane| lane.name_any()).collect()
    }

    fn observed(&self, lane: &TestLane, drain: &str) -> LaneObservation {
        let hash = lane.heard.as_ref().map(|(hash, _, _)| hash);
        LaneObservation {
            name: lane.name(),
            life: lane.life,
            declared: lane.object.spec.admission,
            emptying: SignedDuration::from_secs(lane.object.spec.drain.timeout_seconds),
            available: lane.available,
            agent: format!("box-{}", lane.name()),
            liveness: lane.liveness,
            grace: None,
            report: lane.heard.as_ref().map(|(_, report, _)| report.clone()),
            told_closed: lane.told_closed,
            confirmed: self.memory.is_confirmed(&lane.uid(), hash),
            orders_confirmed: self.memory.is_free(&lane.uid(), hash, self.now),
            hold_progress: self.memory.hold_progress(&lane.uid(), drain, hash),
        }
    }

    /// One pass of the controller over this claim. Its status is on the way then, unless it is what is stored.
    pub(super) fn pass(&mut self, name: &str) -> Option<Decision> {
        if self.writes.contains_key(name) {
            return None;
        }
        let drain = self.drains.get(name)?.clone();
        let mut ledger = self.memory.ledger();
        let lane = |name: &str| self.lanes.iter().find(|lane| lane.name() == name).unwrap();
        let look = |object: &Lane| self.observed(lane(&object.name_any()), name);
        let observed = gather(drain.clone(), &ledger, &self.site(), self.now, look);
        let decision = decide(&observed);
        act(&mut ledger, &observed, &decision);
        let result = status(&observed, &decision);
        drop(ledger);
        (self.events, self.again) = (result.events, result.again);
        if let Some(status) = result.status.filter(|status| drain.status.as_ref() != Some(status)) {
            let version = drain.metadata.resource_version.clone().unwrap_or_default().parse().unwrap();
            self.writes.insert(name.to_owned(), Write { version, status });
        }
        Some(decision)
    }

    /// The API server refuses what is on the way: somebody else wrote first.
    pub(super) fn lose(&mut self, name: &str) {
        self.writes.remove(name);
    }

    /// The API server stores what is on the way, unless the object was changed meanwhile.
    pub(super) fn store(&mut self, name: &str) -> bool {
        let Some(Write { version, status }) = self.writes.remove(name) else { return false };
        let Some(drain) = self.drains.get(name) else { return false };
        if drain.metadata.resource_version.as_deref() != Some(version.to_string().as_str()) {
            return false;
        }
        self.versions += 1;
        let mut drain = drain.as_ref().clone();
        drain.metadata.resource_version = Some(self.versions.to_string());
        drain.status = Some(status);
        self.drains.insert(name.to_owned(), Arc::new(drain));
        true
    }

    fn holds(&self, lane: &str) -> Vec<Arc<LaneDrain>> {
        let site = self.site();
        let claims = site.lanes.get(lane).map(|lane| site.claims_on(lane)).unwrap_or_default();
        claims.into_iter().filter(|claim| holds(claim, lane)).cloned().collect()
    }

    /// One pass of the operator over this lane, in the words of the contract: told what is declared, and of the claims on it; a lane that
    /// is to be closed is claimed first.
    pub(super) fn pass_lane(&mut self, index: usize) {
        let (now, name) = (self.now, self.lanes[index].name());
        let holds = self.holds(&name);
        let lane = &self.lanes[index];
        if lane.life == LifecycleStage::Planned || lane.liveness == Liveness::Pending {
            return;
        }
        let uid = lane.uid();
        let (hash, report, health) = lane.heard.clone().unzip3();
        let admission = report.as_ref().map_or(LaneAdmission::Unknown, |report| report.admission);
        let silent = lane.liveness == Liveness::Lost;
        let confirmed = lane.wanted.as_ref().is_none_or(|wanted| Some(&wanted.hash) == hash.as_ref());
        let shut = !silent && confirmed && matches!(admission, LaneAdmission::Drained | LaneAdmission::Closed);
        let closing = format!("closing-{name}");
        let was_open = lane.wanted.as_ref().map_or(!shut, |wanted| wanted.admission == Admission::Open);
        let declared =
            if lane.life == LifecycleStage::InService { lane.object.spec.admission } else { Admission::Closed };
        let told = match declared {
            Admission::Open => Admission::Open,
            Admission::Closed if was_open && !shut => Admission::Open,
            Admission::Closed => Admission::Closed,
        };
        let claims = declared == Admission::Closed && told == Admission::Open;
        let hold = hold_until(&lane.object, &holds, |drain, empty_by| {
            let end = drain.spec.deadline.as_ref().and_then(|end| end.parse().ok());
            end.unwrap_or_else(|| after(empty_by, SignedDuration::from_hours(1)))
        });
        let order = Order::new(told, hold);
        let drains = order.hold.as_ref().map(|hold| hold.drains.clone()).unwrap_or_default();
        self.memory.order_sent(&uid, &order.hash, &drains, hash.as_ref(), now);
        let lane = &mut self.lanes[index];
        lane.told_closed = told == Admission::Closed;
        lane.available = match admission {
            _ if silent => ConditionStatus::Unknown,
            LaneAdmission::Unknown => ConditionStatus::Unknown,
            LaneAdmission::Open => ConditionStatus::of(health == Some(Health::Sound)),
            _ => ConditionStatus::False,
        };
        if lane.wanted.as_ref() != Some(&order) {
            lane.wanted = Some(order.clone());
            lane.wire.push_back(order);
        }
        if claims && !self.drains.contains_key(&closing) {
            self.claim(&closing, spec(DrainClass::Change, target(TargetKind::Lane, &name)));
        } else if !claims
            && self.drains.contains_key(&closing)
            && (declared == Admission::Open || admission == LaneAdmission::Closed || shut)
        {
            self.end(&closing);
        }
    }

    /// The next order reaches the agent.
    pub(super) fn deliver(&mut self, index: usize) -> bool {
        let lane = &mut self.lanes[index];
        if !lane.online {
            return false;
        }
        let Some(order) = lane.wire.pop_front() else { return false };
        if order.hold != lane.order.hold {
            lane.visits = 0;
        }
        lane.order = order;
        true
    }

    pub(super) fn visit(&mut self, index: usize) {
        let now = self.now;
        self.lanes[index].visit(now);
    }

    /// The agent's report reaches the operator.
    pub(super) fn hear(&mut self, index: usize) {
        let now = self.now;
        let lane = &mut self.lanes[index];
        if lane.online && lane.life != LifecycleStage::Planned {
            lane.liveness = Liveness::Live;
            lane.heard = Some((lane.order.hash.clone(), lane.report(now), lane.health));
        }
    }

    pub(super) fn reconnect(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        lane.online = true;
        // A new session begins with the whole: what was on its way in the old one is gone.
        lane.wire.clear();
        let wanted = lane.wanted.clone().filter(|wanted| *wanted != lane.order);
        lane.wire.extend(wanted);
        self.hear(index);
    }

    /// The operator's process ends and another begins: what was only in memory, or on its way, is lost.
    pub(super) fn restart(&mut self) {
        self.memory = Drains::default();
        self.writes.clear();
        for lane in &mut self.lanes {
            (lane.liveness, lane.heard, lane.wanted) = (Liveness::Pending, None, None);
            lane.wire.clear();
        }
    }

    /// The moment so many seconds from now, as a claim writes it.
    pub(super) fn in_seconds(&self, seconds: i64) -> String {
        after(self.now, SignedDuration::from_secs(seconds)).to_string()
    }

    pub(super) fn wait(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// Everything on its way arrives, everybody looks, until nothing changes any more. Whatever is inside leaves.
    pub(super) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..20 {
            let mut moved = false;
            let names: Vec<_> = self.drains.keys().cloned().collect();
            for name in &names {
                moved |= self.store(name);
                self.pass(name);
                moved |= self.store(name);
            }
            for index in 0..self.lanes.len() {
                self.pass_lane(index);
                while self.deliver(index) {
                    moved = true;
                }
                self.lanes[index].inside = 0;
                (0..3).for_each(|_| self.visit(index));
                self.hear(index);
            }
            quiet = if moved { 0 } else { quiet + 1 };
            if quiet == 4 {
                break;
            }
        }
    }

    /// Whether nobody who acts sees a claim on this lane.
    pub(super) fn holds_nothing(&self, lane: &str) -> bool {
        self.holds(lane).is_empty()
    }

    pub(super) fn drain(&self, name: &str) -> &LaneDrain {
        self.drains.get(name).unwrap()
    }

    pub(super) fn lane(&mut self, name: &str) -> &mut TestLane {
        self.lanes.iter_mut().find(|lane| lane.name() == name).unwrap()
    }

    /// Lanes that a claim was accepted for, stored or not yet.
    pub(super) fn accepted(&self) -> Vec<(String, DrainClass, BTreeSet<String>)> {
        let ledger = self.memory.ledger();
        let accepted = self.drains.values().filter_map(|drain| {
            let decided = ledger.get(&drain.uid().unwrap()).map(|acceptance| acceptance.lanes.clone());
            let stored = || {
                is_accepted(drain).then(|| {
                    let responders = drain.status.iter().flat_map(|status| &status.responders);
                    responders.map(|r| r.name.0.clone()).collect::<BTreeSet<_>>()
                })
            };
            let lanes: BTreeSet<_> = decided.into_iter().chain(stored()).flatten().collect();
            (!lanes.is_empty()).then(|| (drain.name_any(), drain.spec.class, lanes))
        });
        accepted.collect()
    }
}

trait Unzip3 {
    fn unzip3(self) -> (Option<Digest>, Option<LaneReport>, Option<Health>);
}

impl Unzip3 for Option<(Digest, LaneReport, Health)> {
    fn unzip3(self) -> (Option<Digest>, Option<LaneReport>, Option<Health>) {
        self.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)))
    }
}
