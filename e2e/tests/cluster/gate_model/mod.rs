//! The real controllers against the real API server, driven by a seeded history of what people, devices and operators do, with restarts
//! at random steps. Every moment is held against what must never happen at a gate in service.

mod boxes;
mod gate;

use std::collections::BTreeSet;

use boxes::{Boxes, Cause};
use gate::{FLOORS, Gate, INBOUND, OUTBOUND, SCANNER};
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::lane_drain::DrainClass;
use kalong_e2e::cluster::TestNamespace;
use kube::ResourceExt;

use crate::kit::crds;

/// Steps of one history; `KALONG_MODEL_STEPS` asks for more, `KALONG_MODEL_SEED` for another history.
const STEPS: u64 = 30;
const SEED: u64 = 1;
/// The deed by which whatever is wrong by itself ends.
const MENDED: usize = 10;

fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// xorshift64*: the same seed gives the same history.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bound = u64::try_from(bound).unwrap();
        usize::try_from((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound).unwrap()
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// What is wrong at the gate by itself, and so is nobody's decision.
#[derive(Debug, Default)]
struct Trouble {
    broken: BTreeSet<String>,
    interlock: bool,
    silent: bool,
}

impl Trouble {
    /// Brings it about, or ends it.
    fn reach(&self, boxes: &Boxes, lanes: &[&str]) -> String {
        for lane in lanes {
            boxes.breaks(&format!("plc-{lane}"), self.broken.contains(*lane));
        }
        boxes.interlock(SCANNER, self.interlock);
        boxes.silence(self.silent);
        format!("{self:?}")
    }

    fn excuses(&self, lane: &str) -> bool {
        self.broken.contains(lane) || (self.interlock && lane == "in-3")
    }

    fn is_any(&self) -> bool {
        self.interlock || self.silent || !self.broken.is_empty()
    }
}

async fn no_history_breaks_a_floor_or_leaves_a_lane_closed() {
    let namespace = TestNamespace::new("model").await.unwrap();
    crds(namespace.plane()).await;
    let mut gate = Gate::new(namespace).await;
    let (mut chance, mut trouble) = (Chance(given("KALONG_MODEL_SEED", SEED)), Trouble::default());
    gate.settle(|_| {}).await;
    at_rest(&gate, &trouble, "at the beginning").await;
    let every: Vec<&str> = INBOUND.into_iter().chain(OUTBOUND).collect();
    let mut made = 0;
    let steps = given("KALONG_MODEL_STEPS", STEPS);
    let (mut restarts, mut closures) = (0, 0);
    for step in 0..steps {
        // What broke in this very step is not yet known to whoever decides.
        let mut calm = true;
        let lane = chance.one(&every);
        // What is broken does not stay so for long: most of a gate's life is in order.
        let dice = if trouble.is_any() && chance.below(2) == 0 { MENDED } else { chance.below(MENDED) };
        let deed = match dice {
            0..=2 => {
                made += 1;
                gate.claim(&format!("claim-{made}"), lane, "Change").await;
                format!("claim-{made} on {lane}")
            }
            3 => {
                made += 1;
                gate.claim(&format!("claim-{made}"), lane, "Emergency").await;
                format!("emergency claim-{made} on {lane}")
            }
            4 | 5 => {
                let drains = gate.drains().await;
                let ours: Vec<String> =
                    drains.iter().map(|d| d.name_any()).filter(|n| n.starts_with("claim-")).collect();
                if !ours.is_empty() {
                    gate.release(&ours[chance.below(ours.len())]).await;
                }
                "a claim ends".to_owned()
            }
            6 => {
                let wanted = if gate.lane(lane).await.spec.admission == Admission::Open { "Closed" } else { "Open" };
                gate.declare(lane, wanted).await;
                format!("{lane} is declared {wanted}")
            }
            7 => {
                calm = false;
                match chance.below(3) {
                    0 => trouble.broken.extend([lane.to_owned()]),
                    1 => trouble.interlock = true,
                    _ => trouble.silent = true,
                }
                trouble.reach(&gate.boxes, &every)
            }
            MENDED => {
                calm = false;
                trouble = Trouble::default();
                trouble.reach(&gate.boxes, &every)
            }
            8 => {
                gate.boxes.arrive(lane, 6);
                format!("vehicles in {lane}")
            }
            _ => "nothing".to_owned(),
        };
        if chance.below(4) == 0 {
            restarts += 1;
            gate.restart().await;
        }
        let emergencies: BTreeSet<String> = gate
            .drains()
            .await
            .iter()
            .filter(|drain| drain.spec.class == DrainClass::Emergency)
            .map(|drain| drain.name_any())
            .collect();
        gate.settle(|boxes| {
            closures += floors_hold(boxes, &emergencies, &trouble, calm, &format!("step {step}: {deed}"));
        })
        .await;
        at_rest(&gate, &trouble, &format!("step {step}: {deed}")).await;
    }
    println!("{steps} steps, {made} claims, {restarts} restarts, {closures} lanes closed by a decision");
    assert!(
        restarts > 0 && closures > 0,
        "a history without restarts, or in which nothing was accepted, proves nothing"
    );
    gate.end().await;
}

/// No lane stops admitting by a decision that leaves fewer than the floor. How many were looked at.
fn floors_hold(boxes: &Boxes, emergencies: &BTreeSet<String>, trouble: &Trouble, calm: bool, when: &str) -> usize {
    let mut decisions = 0;
    let closed = boxes.closed();
    let truth = boxes.truth();
    for (lane, cause, drains) in closed {
        let decided = match cause {
            Cause::Interlock => false,
            Cause::Held => !drains.iter().any(|drain| emergencies.contains(drain)),
            Cause::Declared => true,
        };
        if !decided || !calm {
            continue;
        }
        decisions += 1;
        for (lanes, floor) in FLOORS.iter().filter(|(lanes, _)| lanes.contains(&lane.as_str())) {
            let open = |name: &&&str| {
                !trouble.excuses(name) && truth.get(**name).is_some_and(|truth| truth.admission == LaneAdmission::Open)
            };
            let left = lanes.iter().filter(open).count();
            assert!(
                left >= *floor,
                "{when}: {lane} was closed for {drains:?} ({cause:?}) and left {left} open, the floor is {floor}"
            );
        }
    }
    decisions
}

/// Whoever has no reason to be closed is open, and what is accepted is empty.
async fn at_rest(gate: &Gate<'_>, trouble: &Trouble, when: &str) {
    if trouble.silent {
        return;
    }
    let drains = gate.drains().await;
    let truth = gate.boxes.truth();
    for name in INBOUND.into_iter().chain(OUTBOUND) {
        let lane = gate.lane(name).await;
        let really = truth.get(name).map(|truth| truth.admission).unwrap_or_default();
        let on = |accepted: bool| {
            drains.iter().any(|d| d.spec.target.name.as_str() == name && d.is(ConditionType::Accepted) == accepted)
        };
        let held = on(true) || trouble.excuses(name);
        match lane.spec.admission {
            Admission::Open if !held => {
                assert_eq!(really, LaneAdmission::Open, "{when}: {name} has no reason to be closed");
            }
            Admission::Open if on(true) && !trouble.is_any() => {
                assert_eq!(really, LaneAdmission::Closed, "{when}: {name} is held and not empty");
            }
            Admission::Closed if really == LaneAdmission::Open && !trouble.excuses(name) => {
                // It may only wait for its floor.
                assert!(on(false), "{when}: {name} is declared Closed, is open, and waits for nothing");
            }
            Admission::Open | Admission::Closed => {}
        }
    }
}

crate::tests![no_history_breaks_a_floor_or_leaves_a_lane_closed,];
