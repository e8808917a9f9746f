//! What one lane's controller counted, and what that adds to the lane's counters.
//!
//! A controller counts for ever: passages, passages by class of cargo, and two sums of times. Each visit gives the passages since the last
//! one and their mean times; that many go into the distribution at that mean. What passed before this box first looked goes in at the mean of
//! all of it. A controller that was replaced counts from another number: from then on its differences are added.

use std::collections::BTreeMap;

use kalong_crds::lane::CargoClass;
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::telemetry::{CLEARANCE_BOUNDS, ClassCount, GATE_BOUNDS, LaneCounters, Timing};

use crate::driver::Reading;

/// Milliseconds of a tenth of a second, in which gate transactions are counted.
const TENTH_MILLIS: u64 = 100;
/// Milliseconds of a second, in which clearances are counted.
const SECOND_MILLIS: u64 = 1000;

/// What a controller counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Odometer {
    passages: u64,
    classes: BTreeMap<CargoClass, u64>,
    gate_millis: Option<u64>,
    clearance_millis: Option<u64>,
}

impl Odometer {
    /// What a reading shows; none where the device counts no passages.
    pub(super) fn of(reading: &Reading) -> Option<Self> {
        let number = |name: &str| match reading.properties.get(name) {
            Some(Value::Integer(n)) => u64::try_from(*n).ok(),
            _ => None,
        };
        let classes = well_known::PASSAGES_BY_CLASS.iter().filter_map(|(name, class)| Some((*class, number(name)?)));
        Some(Self {
            passages: number(well_known::PASSAGES)?,
            classes: classes.collect(),
            gate_millis: number(well_known::GATE_TENTHS).map(|n| n.saturating_mul(TENTH_MILLIS)),
            clearance_millis: number(well_known::CLEARANCE_SECONDS).map(|n| n.saturating_mul(SECOND_MILLIS)),
        })
    }

    /// What was counted since `before`; none where a counter fell.
    fn since(&self, before: &Self) -> Option<Self> {
        let rise = |now: Option<u64>, then: Option<u64>| match (now, then) {
            (Some(now), then) => now.checked_sub(then.unwrap_or(0)).map(Some),
            (None, _) => Some(None),
        };
        let classes = self.classes.iter().map(|(class, now)| {
            let then = before.classes.get(class).copied().unwrap_or(0);
            Some((*class, now.checked_sub(then)?))
        });
        Some(Self {
            passages: self.passages.checked_sub(before.passages)?,
            classes: classes.collect::<Option<_>>()?,
            gate_millis: rise(self.gate_millis, before.gate_millis)?,
            clearance_millis: rise(self.clearance_millis, before.clearance_millis)?,
        })
    }

    /// This, with values that it lacks taken from before: a value that is missing once is not counted twice later.
    fn or(mut self, before: Self) -> Self {
        for (class, count) in before.classes {
            self.classes.entry(class).or_insert(count);
        }
        self.gate_millis = self.gate_millis.or(before.gate_millis);
        self.clearance_millis = self.clearance_millis.or(before.clearance_millis);
        self
    }

    /// Passages without a class of their own; none while the controller is between two of its own counters.
    fn general(&self) -> Option<u64> {
        self.passages.checked_sub(self.classes.values().sum())
    }
}

/// The counters of one lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    last: Odometer,
    classes: BTreeMap<CargoClass, u64>,
    gate: Timing,
    clearance: Timing,
}

impl Tally {
    /// The counters of a lane whose controller is seen for the first time.
    pub(super) fn begun(now: Odometer) -> Self {
        let classes = now.classes.keys().chain([&CargoClass::General]).map(|class| (*class, 0)).collect();
        let mut tally = Self { classes, ..Self::default() };
        tally.add(now);
        tally
    }

    /// Adds what a visit shows; returns whether that changed a counter.
    pub(super) fn add(&mut self, now: Odometer) -> bool {
        let Some(new) = now.since(&self.last) else {
            // The controller was replaced or reset: what it counted elsewhere is not this lane's.
            self.last = now;
            return false;
        };
        let Some(general) = new.general() else { return false };
        if new.passages == 0 {
            return false;
        }
        for (class, count) in &new.classes {
            *self.classes.entry(*class).or_default() += count;
        }
        *self.classes.entry(CargoClass::General).or_default() += general;
        if let Some(millis) = new.gate_millis {
            time(&mut self.gate, &GATE_BOUNDS, new.passages, millis);
        }
        if let Some(millis) = new.clearance_millis {
            time(&mut self.clearance, &CLEARANCE_BOUNDS, new.passages, millis);
        }
        self.last = now.or(std::mem::take(&mut self.last));
        true
    }

    pub(super) fn counters(&self, uid: &str) -> LaneCounters {
        LaneCounters {
            uid: uid.to_owned(),
            passages: self.classes.iter().map(|(class, count)| ClassCount { class: *class, count: *count }).collect(),
            gate: self.gate.clone(),
            clearance: self.clearance.clone(),
        }
    }
}

/// Adds so many transactions that took so long together.
fn time(timing: &mut Timing, bounds: &[u64], count: u64, millis: u64) {
    timing.buckets.resize(bounds.len(), 0);
    timing.count = timing.count.saturating_add(count);
    timing.sum_millis = timing.sum_millis.saturating_add(millis);
    let mean = millis.checked_div(count).unwrap_or(0);
    for (bucket, bound) in timing.buckets.iter_mut().zip(bounds) {
        if mean <= bound.saturating_mul(SECOND_MILLIS) {
            *bucket = bucket.saturating_add(count);
        }
    }
}
