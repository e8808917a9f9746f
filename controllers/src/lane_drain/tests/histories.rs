//! Random gates and random histories: what must be true after every step, whatever happened before.
//!
//! proptest, not a generator of our own on `rand`: it is in the tree for the wire already, and a failing history of sixty steps is of no
//! use to anybody before it was made small.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kalong_crds::condition::ConditionStatus;
use kalong_crds::lane::{Admission, LaneAdmission, Service};
use kalong_crds::lane_drain::{DrainClass, LaneDrainSpec, TargetKind};
use kalong_rules::capacity::{Floor, Group};
use kalong_rules::lifecycle::LifecycleStage;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::gate::{Gate, spec, target};
use super::test_lane::{EMPTYING, Health, TestLane, group, lane};
use crate::claim::{ClaimProgress, after};
use crate::kit::histories;
use crate::kit::link::Liveness;

/// Histories in an ordinary `cargo test`.
const CASES: u32 = 5_000;
const STEPS: usize = 60;

/// Nothing, or the promise that was broken.
type Kept = Result<(), TestCaseError>;

/// A number that is turned into what a world allows: every sequence is a history, so that shrinking never leaves the possible ones.
type Dice = (u8, u8, u8);

/// What a history is played on, and what must not be forgotten about it.
struct History {
    gate: Gate,
    /// The claim of each device in work, by device; its lane is the device's name before the point.
    touching: BTreeMap<String, String>,
    made: usize,
    /// Whether the last step broke something by itself, or a person took the risk.
    excused: bool,
}

fn lanes(sketch: &[Dice]) -> Vec<TestLane> {
    let make = |(index, dice): (usize, &Dice)| {
        let service = if dice.0 % 4 == 0 { Service::Passenger } else { Service::Smart };
        let declared = if dice.1 % 5 == 0 { Admission::Closed } else { Admission::Open };
        let life = match dice.2 % 12 {
            0 => LifecycleStage::Planned,
            1 => LifecycleStage::Commissioning,
            _ => LifecycleStage::InService,
        };
        lane(&format!("l{index}"), service, declared, life)
    };
    sketch.iter().enumerate().map(make).collect()
}

fn floors(dice: Dice) -> Vec<Floor> {
    let floor = |service, min: u8, rate: u8| Floor {
        group: group(service),
        min_lanes: i64::from(min % 4),
        min_passages_per_hour: i64::from(rate % 4) * 50,
    };
    let mut floors = vec![floor(Service::Smart, dice.0, dice.1)];
    if dice.2.is_multiple_of(2) {
        floors.push(floor(Service::Passenger, dice.2 / 2, 0));
    }
    floors
}

impl History {
    fn new(sketch: &[Dice], floor: Dice) -> Self {
        let mut gate = Gate::new(lanes(sketch), floors(floor));
        gate.behind = gate.lanes.iter().take(2).map(TestLane::name).collect();
        Self { gate, touching: BTreeMap::new(), made: 0, excused: false }
    }

    fn any_lane(&self, dice: u8) -> usize {
        usize::from(dice) % self.gate.lanes.len()
    }

    fn any_drain(&self, dice: u8) -> Option<String> {
        let names: Vec<_> = self.gate.drains.keys().cloned().collect();
        names.get(usize::from(dice) % names.len().max(1)).cloned()
    }

    fn step(&mut self, (what, which, how): Dice) -> Kept {
        self.excused = false;
        let index = self.any_lane(which);
        match what % 35 {
            0..=3 => self.claim(which, how),
            4 => self.end(which),
            5..=8 => return self.pass(which),
            10 => self.flicker(index),
            9 => {
                if let Some(name) = self.any_drain(which) {
                    self.gate.store(&name);
                }
            }
            11..=13 => self.gate.pass_lane(index),
            14 | 15 => {
                self.gate.deliver(index);
            }
            16 | 17 => self.gate.visit(index),
            18 | 19 => self.gate.hear(index),
            20 => self.traffic(index, how),
            21 | 22 => self.by_itself(index, how),
            23 => self.recover(index),
            24 => self.wait(how),
            25 => self.gate.restart(),
            26 => self.declare(index, how),
            27 => self.floor(how),
            28 => return self.touch(index, how),
            29 => self.finish(which),
            30 => self.station(which),
            31 => self.move_deadline(which, how),
            32 => self.recreate(which),
            33 => return self.come_back(index),
            _ => return self.settle(),
        }
        Ok(())
    }

    /// A person, or a device, claims something.
    fn claim(&mut self, which: u8, how: u8) {
        self.made += 1;
        let lane = format!("l{}", self.any_lane(which));
        let target = match how % 10 {
            0 => target(TargetKind::Crossing, "x"),
            1 => target(TargetKind::InspectionStation, "stn"),
            _ => target(TargetKind::Lane, &lane),
        };
        let class = if how % 7 == 3 { DrainClass::Emergency } else { DrainClass::Change };
        let seconds = 400 + i64::from(how) * 10;
        let ends = class == DrainClass::Emergency || how % 11 == 5;
        let deadline = ends.then(|| after(self.gate.now, SignedDuration::from_secs(seconds)).to_string());
        let priority = 100 + i64::from(how % 3);
        self.gate.claim(&format!("d{}", self.made), LaneDrainSpec { deadline, priority, ..spec(class, target) });
    }

    /// A claim that is accepted, told, and ended again before its lane's agent has read a word.
    fn flicker(&mut self, index: usize) {
        self.made += 1;
        let name = format!("d{}", self.made);
        let lane = self.gate.lanes[index].name();
        self.gate.claim(&name, spec(DrainClass::Change, target(TargetKind::Lane, &lane)));
        self.gate.pass(&name);
        self.gate.store(&name);
        self.gate.pass_lane(index);
        self.gate.end(&name);
        self.gate.pass_lane(index);
    }

    /// Whoever claimed ends it. A device that is in work keeps its claim: its controller would make it anew.
    fn end(&mut self, which: u8) {
        let used: BTreeSet<_> = self.touching.values().cloned().collect();
        if let Some(name) = self.any_drain(which).filter(|name| !used.contains(name)) {
            self.gate.end(&name);
        }
    }

    /// A person prolongs a claim or shortens it. What a device is in work under stays as it is.
    fn move_deadline(&mut self, which: u8, how: u8) {
        let used: BTreeSet<_> = self.touching.values().cloned().collect();
        if let Some(name) = self.any_drain(which).filter(|name| !used.contains(name)) {
            let end = self.gate.in_seconds(i64::from(how) * 20 - 400);
            self.gate.change(&name, |spec| spec.deadline = Some(end));
        }
    }

    /// A person prolongs a claim that has lapsed, and its controller looks before anybody sees that it is there again.
    fn come_back(&mut self, index: usize) -> Kept {
        self.made += 1;
        let (name, lane) = (format!("d{}", self.made), self.gate.lanes[index].name());
        let over = Some(self.gate.in_seconds(-1));
        let lapsed = LaneDrainSpec { deadline: over, ..spec(DrainClass::Change, target(TargetKind::Lane, &lane)) };
        self.gate.claim(&name, lapsed);
        self.gate.pass(&name);
        self.gate.store(&name);
        let end = self.gate.in_seconds(2000);
        self.gate.change(&name, |spec| spec.deadline = Some(end));
        self.decide(&name)
    }

    /// A claim is deleted and declared again under its name, in one go.
    fn recreate(&mut self, which: u8) {
        let used: BTreeSet<_> = self.touching.values().cloned().collect();
        if let Some(name) = self.any_drain(which).filter(|name| !used.contains(name)) {
            let spec = self.gate.drain(&name).spec.clone();
            self.gate.end(&name);
            self.gate.claim(&name, spec);
        }
    }

    /// One decision, and everything that is promised of it.
    fn pass(&mut self, which: u8) -> Kept {
        self.any_drain(which).map_or(Ok(()), |name| self.decide(&name))
    }

    fn decide(&mut self, name: &str) -> Kept {
        let before = self.gate.accepted();
        let Some(decision) = self.gate.pass(name) else { return Ok(()) };
        let drain = self.gate.drain(name).clone();
        let new: BTreeSet<String> = {
            let old = before.iter().find(|(n, _, _)| n == name).map(|(_, _, lanes)| lanes.clone()).unwrap_or_default();
            let now = decision.acceptance.map(|acceptance| acceptance.lanes).unwrap_or_default();
            now.difference(&old).cloned().collect()
        };
        if drain.spec.class == DrainClass::Emergency {
            self.excused |= !new.is_empty();
            return Ok(());
        }
        self.one_at_a_time(name, &new, &before)?;
        self.nothing_doubtful_counts(&new, &before)
    }

    /// No lane that serves is taken while another claim changes a lane that stands in for it.
    fn one_at_a_time(
        &self,
        name: &str,
        new: &BTreeSet<String>,
        before: &[(String, DrainClass, BTreeSet<String>)],
    ) -> Kept {
        let under = self.gate.under(&self.gate.drain(name).spec.target);
        let changes = || before.iter().filter(|(_, class, _)| *class == DrainClass::Change);
        for lane in self.gate.lanes.iter().filter(|lane| new.contains(&lane.name()) && in_service(lane)) {
            if changes().any(|(_, _, lanes)| lanes.contains(&lane.name())) {
                continue;
            }
            for (other, _, held) in changes().filter(|(other, _, _)| other != name) {
                let clash = self.gate.lanes.iter().find(|sister| {
                    let name = sister.name();
                    sister.group == lane.group && in_service(sister) && held.contains(&name) && !under.contains(&name)
                });
                let sister = clash.map(TestLane::name);
                prop_assert!(sister.is_none(), "{name} took {} while {other} changes {sister:?}", lane.name());
            }
        }
        Ok(())
    }

    /// What the operator was told to be broken, closed or silent is not what a floor stands on.
    fn nothing_doubtful_counts(
        &self,
        new: &BTreeSet<String>,
        before: &[(String, DrainClass, BTreeSet<String>)],
    ) -> Kept {
        // What an Emergency holds comes back when it ends.
        let changed = |lane: &TestLane| {
            before.iter().any(|(_, class, lanes)| *class == DrainClass::Change && lanes.contains(&lane.name()))
        };
        let costs = |lane: &&TestLane| new.contains(&lane.name()) && in_service(lane) && !changed(lane);
        let groups: BTreeSet<Group> = self.gate.lanes.iter().filter(costs).map(|lane| lane.group.clone()).collect();
        for floor in self.gate.floors.iter().filter(|floor| groups.contains(&floor.group)) {
            let sound = |lane: &&TestLane| {
                let heard = lane.heard.as_ref().is_some_and(|(_, report, _)| {
                    report.admission == LaneAdmission::Open && !report.closed_by_interlock
                });
                let held = before.iter().any(|(_, _, lanes)| lanes.contains(&lane.name()));
                lane.group == floor.group
                    && lane.life == LifecycleStage::InService
                    && lane.liveness == Liveness::Live
                    && heard
                    && lane.available == ConditionStatus::True
                    && lane.object.spec.admission == Admission::Open
                    && !held
                    && !new.contains(&lane.name())
            };
            let left: Vec<_> = self.gate.lanes.iter().filter(sound).collect();
            let rate: i64 = left.iter().map(|lane| lane.object.spec.rated_passages_per_hour).sum();
            let count = i64::try_from(left.len()).unwrap();
            let holds = count >= floor.min_lanes && rate >= floor.min_passages_per_hour;
            prop_assert!(holds, "accepted on lanes that do not serve: {floor:?}");
        }
        Ok(())
    }

    fn traffic(&mut self, index: usize, how: u8) {
        let lane = &mut self.gate.lanes[index];
        match lane.barrier {
            LaneAdmission::Open if how.is_multiple_of(2) => lane.inside = 2,
            _ => lane.inside = lane.inside.saturating_sub(1),
        }
    }

    /// Something breaks, or a person closes what has to stay open, with nobody asked.
    fn by_itself(&mut self, index: usize, how: u8) {
        self.excused = true;
        let lane = &mut self.gate.lanes[index];
        let sound = lane.health == Health::Sound && !lane.interlock && lane.online;
        match how % 4 {
            0 if sound => lane.health = Health::Broken,
            1 if sound => lane.health = Health::Dark,
            2 if sound => lane.interlock = true,
            3 if sound => lane.online = false,
            // The grace time is over.
            3 if !lane.online => lane.liveness = Liveness::Lost,
            _ => {}
        }
    }

    fn recover(&mut self, index: usize) {
        let lane = &mut self.gate.lanes[index];
        (lane.health, lane.interlock) = (Health::Sound, false);
        self.gate.visit(index);
        let lane = &self.gate.lanes[index];
        if !lane.online || lane.liveness != Liveness::Live {
            self.gate.reconnect(index);
        }
    }

    /// Time moves. What is on its way arrives first: nothing travels for longer than [`crate::kit::drains::IN_FLIGHT`].
    fn wait(&mut self, how: u8) {
        for index in 0..self.gate.lanes.len() {
            while self.gate.deliver(index) {}
            self.gate.visit(index);
        }
        let seconds = [2, 20, 40, EMPTYING, 700][usize::from(how) % 5];
        self.gate.wait(seconds);
        // The grace time is over.
        for lane in self.gate.lanes.iter_mut().filter(|lane| !lane.online && seconds > 15) {
            lane.liveness = Liveness::Lost;
        }
    }

    fn declare(&mut self, index: usize, how: u8) {
        let lane = &mut self.gate.lanes[index];
        lane.object.spec.admission = if how.is_multiple_of(2) { Admission::Open } else { Admission::Closed };
    }

    fn floor(&mut self, how: u8) {
        self.excused = true;
        if let Some(floor) = self.gate.floors.first_mut() {
            floor.min_lanes = i64::from(how % 4);
        }
    }

    fn station(&mut self, which: u8) {
        let count = self.gate.lanes.len();
        self.gate.behind = (0..count).filter(|i| (usize::from(which) >> i) & 1 == 1).map(|i| format!("l{i}")).collect();
    }

    /// A device of the lane is touched, if its lane is empty for it and no other device of the lane is in work.
    fn touch(&mut self, index: usize, how: u8) -> Kept {
        let lane = &self.gate.lanes[index];
        let device = format!("{}.{}", lane.name(), how % 2);
        let ours = |drain: &&std::sync::Arc<kalong_crds::LaneDrain>| {
            ClaimProgress::of(drain) == ClaimProgress::Drained
                && drain.spec.target == target(TargetKind::Lane, &lane.name())
                && drain.spec.class == DrainClass::Change
                && drain.spec.deadline.is_none()
        };
        let claim = self.gate.drains.values().find(ours).map(|drain| kube::ResourceExt::name_any(drain.as_ref()));
        let knows = lane.online && lane.liveness == Liveness::Live && lane.life == LifecycleStage::InService;
        let taken = self.touching.keys().any(|other| other.starts_with(&format!("{}.", lane.name())));
        if let Some(claim) = claim.filter(|_| knows && !taken) {
            let holds = lane.order.hold.as_ref().is_some_and(|hold| hold.drains.contains(&claim));
            let empty = lane.barrier == LaneAdmission::Closed && lane.inside == 0;
            prop_assert!(
                holds && empty,
                "{device} is touched in a lane that is {:?} with {} inside",
                lane.barrier,
                lane.inside
            );
            self.gate.lanes[index].under_change.insert(device.clone());
            self.touching.insert(device, claim);
        }
        Ok(())
    }

    fn finish(&mut self, which: u8) {
        let devices: Vec<_> = self.touching.keys().cloned().collect();
        let Some(device) = devices.get(usize::from(which) % devices.len().max(1)) else { return };
        if let Some(claim) = self.touching.remove(device) {
            for lane in &mut self.gate.lanes {
                lane.under_change.remove(device);
            }
            self.gate.end(&claim);
        }
    }

    fn settle(&mut self) -> Kept {
        for _ in 0..3 {
            let names: Vec<_> = self.gate.drains.keys().cloned().collect();
            for name in &names {
                self.gate.store(name);
                self.decide(name)?;
                self.gate.store(name);
            }
            for index in 0..self.gate.lanes.len() {
                self.gate.pass_lane(index);
                self.gate.deliver(index);
                self.gate.lanes[index].inside = 0;
                self.gate.visit(index);
                self.gate.visit(index);
                self.gate.hear(index);
            }
        }
        Ok(())
    }

    /// What really serves and is promised to nobody: lanes, and passages an hour. A lane that broke counts until somebody could know; one
    /// that a hold may still reach does not.
    fn capacity(&self, group: &Group) -> (i64, i64) {
        let accepted = self.gate.accepted();
        let serves = |lane: &&TestLane| {
            let would_open = lane.order.admission == Admission::Open && lane.order.hold.is_none();
            lane.group == *group
                && lane.life == LifecycleStage::InService
                && !known_lost(lane)
                && !told_closed(lane)
                && !std::iter::once(&lane.order).chain(&lane.wire).any(|order| order.hold.is_some())
                && (lane.barrier == LaneAdmission::Open || (lane.interlock && would_open))
                && !accepted.iter().any(|(_, _, lanes)| lanes.contains(&lane.name()))
        };
        let serving: Vec<_> = self.gate.lanes.iter().filter(serves).collect();
        let rate = serving.iter().map(|lane| lane.object.spec.rated_passages_per_hour).sum();
        (i64::try_from(serving.len()).unwrap(), rate)
    }

    fn capacities(&self) -> Vec<(i64, i64)> {
        self.gate.floors.iter().map(|floor| self.capacity(&floor.group)).collect()
    }

    /// A step in which nothing broke by itself never takes a floor away, and takes nothing more from one that is broken already.
    fn floors_hold(&self, before: &[(i64, i64)]) -> Kept {
        for ((floor, before), after) in self.gate.floors.iter().zip(before).zip(self.capacities()) {
            let holds = after.0 >= floor.min_lanes && after.1 >= floor.min_passages_per_hour;
            prop_assert!(holds || self.excused || after.0 >= before.0, "{floor:?} fell from {before:?} to {after:?}");
        }
        Ok(())
    }

    /// While a device is in work its lane is shut and nobody is inside, and it is the only one.
    fn work_is_safe(&self) -> Kept {
        for lane in self.gate.lanes.iter().filter(|lane| !lane.under_change.is_empty()) {
            prop_assert_eq!(lane.under_change.len(), 1, "two devices of {} are in work", lane.name());
            let shut = lane.barrier == LaneAdmission::Closed && lane.inside == 0;
            prop_assert!(shut, "{} is {:?} in work", lane.name(), lane.barrier);
        }
        Ok(())
    }

    /// What Kalong never opened stays shut: only an order that says Open opens a lane.
    fn opened_as_declared(&self, before: &[LaneAdmission]) -> Kept {
        for (lane, before) in self.gate.lanes.iter().zip(before) {
            let opened = *before != LaneAdmission::Open && lane.barrier == LaneAdmission::Open;
            let told = lane.order.admission == Admission::Open;
            prop_assert!(!opened || told, "{} opened although it is told Closed", lane.name());
        }
        Ok(())
    }

    /// Everything heals and every claim ends in its turn: then each lane does what is declared, and no more is held.
    fn comes_to_rest(&mut self) -> Kept {
        self.gate.floors.clear();
        for index in 0..self.gate.lanes.len() {
            self.recover(index);
        }
        for _ in 0..40 {
            self.settle()?;
            let idle: Vec<_> = self.touching.keys().cloned().collect();
            (0..idle.len()).for_each(|_| self.finish(0));
            let done = |drain: &&std::sync::Arc<kalong_crds::LaneDrain>| {
                !drain.spec.reason.is_empty()
                    && matches!(ClaimProgress::of(drain), ClaimProgress::Drained | ClaimProgress::Ended)
            };
            let done: Vec<_> =
                self.gate.drains.values().filter(done).map(|d| kube::ResourceExt::name_any(d.as_ref())).collect();
            done.iter().for_each(|name| self.gate.end(name));
            if self.gate.drains.is_empty() {
                break;
            }
            if done.is_empty() {
                self.wait(4);
            }
        }
        let stuck: Vec<_> =
            self.gate.drains.values().map(|d| (kube::ResourceExt::name_any(d.as_ref()), d.status.clone())).collect();
        prop_assert!(stuck.is_empty(), "claims never got their turn: {stuck:#?}");
        self.gate.settle();
        for lane in self.gate.lanes.iter().filter(|lane| lane.life == LifecycleStage::InService) {
            let declared = match lane.object.spec.admission {
                Admission::Open => LaneAdmission::Open,
                Admission::Closed => LaneAdmission::Closed,
            };
            let now = (lane.barrier, &lane.order.hold);
            prop_assert_eq!(now, (declared, &None), "{} did not come back as declared", lane.name());
        }
        Ok(())
    }
}

/// A lane that was closed when it was told to be closed is given up, even if an interlock lets go of it before the word arrives.
fn told_closed(lane: &TestLane) -> bool {
    let mut told = lane.wanted.iter().chain([&lane.order]).chain(&lane.wire);
    told.any(|order| order.admission == Admission::Closed)
}

/// Whether the operator was last told that an interlock keeps the lane closed.
fn told_interlocked(lane: &TestLane) -> bool {
    lane.heard.as_ref().is_some_and(|(_, report, _)| report.closed_by_interlock)
}

/// Whether the lane is lost by itself, and the operator was told.
fn known_lost(lane: &TestLane) -> bool {
    let heard = lane.heard.as_ref();
    (lane.health == Health::Dark && heard.is_none_or(|(_, _, health)| *health == Health::Dark))
        || (lane.health == Health::Broken && lane.available != ConditionStatus::True)
        || (lane.interlock && (heard.is_none() || told_interlocked(lane)))
        || (!lane.online && lane.liveness != Liveness::Live)
}

/// Whether the lane serves, or is about to: closed for good means declared and reported so.
fn in_service(lane: &TestLane) -> bool {
    lane.life == LifecycleStage::InService && lane.object.spec.admission == Admission::Open
}

fn play(sketch: &[Dice], floor: Dice, steps: &[Dice]) -> Kept {
    let mut history = History::new(sketch, floor);
    for step in steps {
        let before = history.capacities();
        let barriers: Vec<_> = history.gate.lanes.iter().map(|lane| lane.barrier).collect();
        let known: Vec<_> = history.gate.lanes.iter().map(known_lost).collect();
        let closed: Vec<_> = history.gate.lanes.iter().map(told_closed).collect();
        history.step(*step)?;
        history.excused |= history.gate.lanes.iter().map(known_lost).ne(known);
        // A lane that was last reported closed is told so at once; it may have opened in the moment before.
        history.excused |= history.gate.lanes.iter().map(told_closed).ne(closed);
        history.floors_hold(&before)?;
        history.work_is_safe()?;
        history.opened_as_declared(&barriers)?;
    }
    history.comes_to_rest()
}

#[test]
fn floors_hold_after_every_step_of_every_history() {
    let dice = || (any::<u8>(), any::<u8>(), any::<u8>());
    let sketches = (proptest::collection::vec(dice(), 1..=5), dice(), proptest::collection::vec(dice(), 1..=STEPS));
    histories::play(CASES, &sketches, |(sketch, floor, steps)| play(&sketch, floor, &steps));
}
