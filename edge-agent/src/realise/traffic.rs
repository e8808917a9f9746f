//! What passed the lanes and what the vehicles used, as counters that only rise. Nothing of it is status, and no passage has an identity.
//!
//! A lane's controller counts for ever: number of passages, by class of cargo, and two sums of times. Each visit gives the passages
//! since the last one and their mean times; so many go into the distribution at that mean. What passed before this box first looked
//! goes in at the mean of all of it. A controller that was replaced counts from another number: from then on its differences are added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use kalong_crds::lane::CargoClass;
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::PART_BUDGET;
use kalong_crds::wire::telemetry::{
    CLEARANCE_BOUNDS, ClassCount, GATE_BOUNDS, IgvCounters, LaneCounters, Telemetry, Timing,
};
use tokio::sync::Notify;

use crate::driver::Reading;

/// Milliseconds of a tenth of a second, in which gate transactions are counted.
const TENTH_MILLIS: u64 = 100;
/// Milliseconds of a second, in which clearances are counted.
const SECOND_MILLIS: u64 = 1000;

/// What a controller counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Odometer {
    passages: u64,
    classes: BTreeMap<CargoClass, u64>,
    gate_millis: Option<u64>,
    clearance_millis: Option<u64>,
}

impl Odometer {
    /// What a reading shows; none where the device counts no passages.
    fn of(reading: &Reading) -> Option<Self> {
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

    /// This, with what it does not show now as it was before: a value that was not told once is not counted twice later.
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
struct Tally {
    last: Odometer,
    classes: BTreeMap<CargoClass, u64>,
    gate: Timing,
    clearance: Timing,
}

impl Tally {
    /// Adds what a visit shows; says whether that changed a counter.
    fn add(&mut self, now: Odometer) -> bool {
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

    fn told(&self, uid: &str) -> LaneCounters {
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

#[derive(Debug, Default)]
struct Inner {
    lanes: BTreeMap<String, Tally>,
    igvs: BTreeMap<String, IgvCounters>,
    /// UIDs of either kind that changed since they were last taken.
    dirty: BTreeSet<String>,
}

/// Which counters are taken to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All, as at the begin of a session.
    All,
    /// Those that changed since they were last taken.
    Changed,
}

/// The counters of the box. They begin with what the devices counted before this box started, and are lost with it without harm.
#[derive(Debug, Default)]
pub struct Counters {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes in what the controller of this lane shows. Readings without passage counters change nothing.
    pub fn lane_seen(&self, uid: &str, reading: &Reading) {
        let Some(now) = Odometer::of(reading) else { return };
        let mut inner = self.lock();
        let changed = match inner.lanes.get_mut(uid) {
            Some(tally) => tally.add(now),
            None => {
                let mut tally = Tally::default();
                for class in now.classes.keys().chain([&CargoClass::General]) {
                    tally.classes.insert(*class, 0);
                }
                tally.add(now);
                inner.lanes.insert(uid.to_owned(), tally);
                true
            }
        };
        if changed {
            inner.dirty.insert(uid.to_owned());
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Takes in the counters of a vehicle, as they are to be told. Equal ones change nothing.
    pub fn igv_seen(&self, counters: IgvCounters) {
        let mut inner = self.lock();
        if inner.igvs.get(&counters.uid) == Some(&counters) {
            return;
        }
        inner.dirty.insert(counters.uid.clone());
        inner.igvs.insert(counters.uid.clone(), counters);
        drop(inner);
        self.changed.notify_one();
    }

    /// Lets go of a lane or vehicle.
    pub fn forget(&self, uid: &str) {
        let mut inner = self.lock();
        inner.lanes.remove(uid);
        inner.igvs.remove(uid);
        inner.dirty.remove(uid);
    }

    /// A lane or vehicle got another uid; what was counted stays.
    pub fn rename(&self, old: &str, new: &str) {
        let mut inner = self.lock();
        if let Some(tally) = inner.lanes.remove(old) {
            inner.lanes.insert(new.to_owned(), tally);
        }
        if let Some(counters) = inner.igvs.remove(old) {
            inner.igvs.insert(new.to_owned(), IgvCounters { uid: new.to_owned(), ..counters });
        }
        inner.dirty.remove(old);
        inner.dirty.insert(new.to_owned());
    }

    /// Ends when there may be counters to send.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What to send now, each message within [`PART_BUDGET`]; nothing where nothing is counted or changed.
    pub fn take(&self, which: Which) -> Vec<Telemetry> {
        let mut inner = self.lock();
        let dirty = std::mem::take(&mut inner.dirty);
        let wanted = |uid: &String| which == Which::All || dirty.contains(uid);
        let mut parts = Parts::default();
        for (uid, tally) in inner.lanes.iter().filter(|(uid, _)| wanted(uid)) {
            let told = tally.told(uid);
            parts.room_for(&told).lanes.push(told);
        }
        for (_, counters) in inner.igvs.iter().filter(|(uid, _)| wanted(uid)) {
            parts.room_for(counters).igvs.push(counters.clone());
        }
        parts.full.extend(parts.open);
        parts.full
    }
}

/// Messages under way.
#[derive(Default)]
struct Parts {
    full: Vec<Telemetry>,
    open: Option<Telemetry>,
    used: usize,
}

impl Parts {
    /// The message that has room for this.
    fn room_for<T: serde::Serialize>(&mut self, counters: &T) -> &mut Telemetry {
        // Plain numbers and texts always become JSON; a length of nothing would only make a message longer.
        let length = serde_json::to_vec(counters).map_or(0, |bytes| bytes.len()) + 1;
        if self.used + length > PART_BUDGET {
            self.full.extend(self.open.take());
            self.used = 0;
        }
        self.used += length;
        self.open.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(values: &[(&str, i64)]) -> Reading {
        let properties = values.iter().map(|(name, n)| ((*name).to_owned(), Value::Integer(*n))).collect();
        Reading { properties, ..Reading::default() }
    }

    fn shown(passages: i64, fresh: i64, gate_tenths: i64, clearance: i64) -> Reading {
        reading(&[
            ("passages", passages),
            ("passagesFreshProduce", fresh),
            ("gateTenths", gate_tenths),
            ("clearanceSeconds", clearance),
        ])
    }

    fn only(counters: &Counters, which: Which) -> LaneCounters {
        let mut messages = counters.take(which);
        assert_eq!(messages.len(), 1);
        messages.remove(0).lanes.remove(0)
    }

    fn count(lane: &LaneCounters, class: CargoClass) -> u64 {
        lane.passages.iter().find(|c| c.class == class).unwrap().count
    }

    #[test]
    fn first_look_takes_what_the_controller_counted_and_the_next_adds_the_difference() {
        let counters = Counters::default();
        counters.lane_seen("l", &shown(10, 4, 10 * 80, 10 * 600));
        let first = only(&counters, Which::Changed);
        assert_eq!((count(&first, CargoClass::FreshProduce), count(&first, CargoClass::General)), (4, 6));
        // Ten of 8 s: none within 5 s, all within 10 s.
        assert_eq!((first.gate.count, first.gate.sum_millis), (10, 80_000));
        assert_eq!(first.gate.buckets, [0, 10, 10, 10, 10, 10, 10, 10]);
        assert_eq!(first.clearance.buckets, [0, 0, 10, 10, 10, 10, 10, 10, 10]);
        // Two more, of 40 s each at the gate.
        counters.lane_seen("l", &shown(12, 5, 1600, 10 * 600 + 100));
        let second = only(&counters, Which::Changed);
        assert_eq!((count(&second, CargoClass::FreshProduce), count(&second, CargoClass::General)), (5, 7));
        assert_eq!(second.gate.buckets, [0, 10, 10, 10, 12, 12, 12, 12]);
        assert_eq!(second.clearance.buckets[0], 2);
    }

    #[test]
    fn unchanged_counters_are_not_told_again_and_a_new_session_tells_all() {
        let counters = Counters::default();
        counters.lane_seen("l", &shown(0, 0, 0, 0));
        assert_eq!(count(&only(&counters, Which::Changed), CargoClass::General), 0, "a lane without traffic exists");
        counters.lane_seen("l", &shown(0, 0, 0, 0));
        assert!(counters.take(Which::Changed).is_empty());
        assert_eq!(only(&counters, Which::All).uid, "l");
    }

    #[test]
    fn replaced_controller_never_takes_a_counter_back() {
        let counters = Counters::default();
        counters.lane_seen("l", &shown(100, 40, 8000, 1000));
        counters.lane_seen("l", &shown(3, 1, 200, 20));
        let same = only(&counters, Which::All);
        assert_eq!((count(&same, CargoClass::FreshProduce), same.gate.count), (40, 100));
        counters.lane_seen("l", &shown(5, 1, 300, 40));
        let more = only(&counters, Which::All);
        assert_eq!((count(&more, CargoClass::General), more.gate.count, more.gate.sum_millis), (62, 102, 810_000));
    }

    #[test]
    fn reading_between_two_counters_waits_for_the_next() {
        let counters = Counters::default();
        counters.lane_seen("l", &shown(1, 1, 50, 10));
        counters.lane_seen("l", &shown(1, 2, 50, 10));
        assert_eq!(count(&only(&counters, Which::All), CargoClass::FreshProduce), 1);
        counters.lane_seen("l", &shown(2, 2, 100, 20));
        assert_eq!(count(&only(&counters, Which::All), CargoClass::FreshProduce), 2);
    }

    #[test]
    fn value_that_is_missing_once_is_not_counted_twice() {
        let counters = Counters::default();
        counters.lane_seen("l", &shown(10, 4, 1000, 100));
        counters.lane_seen("l", &reading(&[("passages", 11)]));
        counters.lane_seen("l", &shown(12, 5, 1200, 120));
        let told = only(&counters, Which::All);
        assert_eq!((told.gate.sum_millis, count(&told, CargoClass::FreshProduce)), (120_000, 5));
        assert_eq!(told.passages.iter().map(|c| c.count).sum::<u64>(), 12);
    }

    #[test]
    fn controller_without_counters_is_no_series_and_one_without_times_has_no_times() {
        let counters = Counters::default();
        counters.lane_seen("l", &reading(&[("occupancy", 1)]));
        assert!(counters.take(Which::All).is_empty());
        counters.lane_seen("l", &reading(&[("passages", 7)]));
        let told = only(&counters, Which::All);
        assert_eq!((count(&told, CargoClass::General), told.gate.count), (7, 0));
    }

    #[test]
    fn vehicles_are_told_when_they_changed_and_messages_stay_small() {
        let counters = Counters::default();
        let igv = |n: u32| IgvCounters { uid: format!("igv-{n}"), energy_watt_hours: 5, ..IgvCounters::default() };
        for n in 0..2000 {
            counters.igv_seen(igv(n));
        }
        let messages = counters.take(Which::Changed);
        assert!(messages.len() > 1 && messages.iter().map(|m| m.igvs.len()).sum::<usize>() == 2000);
        assert!(messages.iter().all(|m| serde_json::to_vec(m).unwrap().len() < kalong_crds::wire::MAX_MESSAGE));
        counters.igv_seen(igv(1));
        assert!(counters.take(Which::Changed).is_empty());
        counters.rename("igv-1", "new");
        assert_eq!(counters.take(Which::Changed)[0].igvs[0].uid, "new");
        counters.forget("new");
        assert!(counters.take(Which::All).iter().all(|m| m.igvs.iter().all(|v| v.uid != "new")));
    }
}
