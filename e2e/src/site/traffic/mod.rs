//! Who comes to which lane, and when: seeded, so that whoever knows the seed knows the list.
//!
//! [`due`] is the list; it needs no simulator. [`Flow`] is one lane under its own controller: arrivals wait while the lane is not open,
//! go in one after the other, and are counted as they leave. What a running site says of all that is a [`TrafficReport`]. Times are
//! those of the traffic's clock, which starts at zero with the traffic and may run faster than real time. The figures are assumptions
//! (`docs/site-assumptions.md`).

mod flow;
mod report;

use std::time::Duration;

use kalong_crds::Lane;
use kalong_crds::lane::{CargoClass, Service};
use kube::ResourceExt;
use serde::Deserialize;

pub use flow::{Flow, LaneEntry, Left};
pub use report::{AdmissionChange, LaneTraffic, Touch, TouchKind, TrafficOrder, TrafficReport};

use super::image;

/// One vehicle or person on the way through a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// When it comes to the lane, in whole milliseconds of the traffic's clock.
    pub at: Duration,
    /// What it carries; people are `General`.
    pub class: CargoClass,
    /// How long before it came to the crossing: papers, the yard, the queue at the park.
    pub before: Duration,
    /// How long the transaction at the gate takes, in whole tenths of a second.
    pub gate: Duration,
}

/// How a service's traffic comes and goes: the shortest and the longest of each time, evenly spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficPace {
    pub every_seconds: (u64, u64),
    /// A transaction at the gate.
    pub gate_seconds: (u64, u64),
    /// From arrival at the crossing to arrival at the lane.
    pub before_minutes: (u64, u64),
}

/// What of a lane decides who comes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneDemand {
    pub name: String,
    pub service: Service,
    pub classes: Vec<CargoClass>,
    /// How often, and how long it takes.
    pub pace: TrafficPace,
}

const ALL_CLASSES: [CargoClass; 4] =
    [CargoClass::FreshProduce, CargoClass::FrozenSeafood, CargoClass::Electronics, CargoClass::General];

impl LaneDemand {
    /// Of a lane whose service has this pace. People have no class of cargo.
    #[must_use]
    pub fn of(lane: &Lane, pace: TrafficPace) -> Self {
        let classes = match lane.spec.service {
            Service::Passenger => vec![CargoClass::General],
            _ if lane.spec.allowed_cargo_classes.is_empty() => ALL_CLASSES.to_vec(),
            _ => lane.spec.allowed_cargo_classes.clone(),
        };
        Self { name: lane.name_any(), service: lane.spec.service, classes, pace }
    }
}

/// Everybody who comes to this lane after `from` and at `to` at the latest, in order. The same seed and the same lane give the same list
/// for ever, whatever the lane does meanwhile.
#[must_use]
pub fn due(seed: u64, lane: &LaneDemand, from: Duration, to: Duration) -> Vec<Passage> {
    Arrivals::new(seed, lane).take_while(|p| p.at <= to).filter(|p| p.at > from).collect()
}

/// The endless list of those who come to a lane.
#[derive(Clone, Debug)]
pub struct Arrivals {
    random: u64,
    at_millis: u64,
    pace: TrafficPace,
    classes: Vec<CargoClass>,
}

impl Arrivals {
    /// From the first one on.
    #[must_use]
    pub fn new(seed: u64, lane: &LaneDemand) -> Self {
        let random = image::seed(&format!("{seed} traffic {}", lane.name));
        Self { random, at_millis: 0, pace: lane.pace, classes: lane.classes.clone() }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Tenths of a second within the span.
    fn tenths(&mut self, (least, most): (u64, u64)) -> u64 {
        let width = most.saturating_sub(least).saturating_mul(10).saturating_add(1);
        least.saturating_mul(10).saturating_add(self.random() % width)
    }
}

impl Iterator for Arrivals {
    type Item = Passage;

    fn next(&mut self) -> Option<Passage> {
        let pace = self.pace;
        self.at_millis = self.at_millis.checked_add(self.tenths(pace.every_seconds).saturating_mul(100))?;
        let random = self.random();
        let count = u64::try_from(self.classes.len()).ok()?;
        let pick = usize::try_from(random.checked_rem(count)?).ok()?;
        let class = self.classes.get(pick).copied()?;
        let gate = Duration::from_millis(self.tenths(pace.gate_seconds).saturating_mul(100));
        let (least, most) = pace.before_minutes;
        let before = Duration::from_secs(self.tenths((least.saturating_mul(60), most.saturating_mul(60))) / 10);
        Some(Passage { at: Duration::from_millis(self.at_millis), class, before, gate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{Layout, Preset};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn lanes() -> Vec<LaneDemand> {
        Layout::read(&Preset::L1.source()).unwrap().demands()
    }

    #[test]
    fn same_seed_gives_the_same_list_and_another_seed_another() {
        for lane in lanes() {
            let list = due(7, &lane, Duration::ZERO, DAY);
            assert_eq!(list, due(7, &lane, Duration::ZERO, DAY));
            assert_ne!(list, due(8, &lane, Duration::ZERO, DAY), "{}", lane.name);
        }
        let lanes = lanes();
        assert_ne!(due(7, &lanes[0], Duration::ZERO, DAY), due(7, &lanes[1], Duration::ZERO, DAY));
    }

    #[test]
    fn parts_of_the_list_make_the_whole_list() {
        for lane in lanes() {
            let cuts = [0, 1, 59, 60, 61, 3_599, 86_400].map(Duration::from_secs);
            let parts: Vec<Passage> = cuts.windows(2).flat_map(|c| due(3, &lane, c[0], c[1])).collect();
            assert_eq!(parts, due(3, &lane, Duration::ZERO, DAY));
        }
    }

    #[test]
    fn times_and_classes_are_as_assumed() {
        for lane in lanes() {
            let list = due(1, &lane, Duration::ZERO, DAY);
            let each = DAY.as_secs() / u64::try_from(list.len()).unwrap();
            let (every, gate) = match lane.service {
                Service::Passenger => (14..=16, 7..=14),
                Service::Traditional => (29..=31, 25..=45),
                Service::Smart | Service::Igv => (29..=31, 12..=30),
            };
            assert!(every.contains(&each), "{}: one in {each} s", lane.name);
            assert!(list.iter().all(|p| gate.contains(&p.gate.as_secs())), "{}", lane.name);
            assert!(list.iter().all(|p| lane.classes.contains(&p.class)), "{}", lane.name);
            assert!(list.windows(2).all(|two| two[0].at < two[1].at));
        }
    }
}
