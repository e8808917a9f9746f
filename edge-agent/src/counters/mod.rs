//! What passed the lanes and what the vehicles used, as counters that only rise. Nothing of it is status, and no passage has an identity.

mod passages;

use std::collections::{BTreeMap, BTreeSet};

use kalong_crds::wire::PART_BUDGET;
use kalong_crds::wire::telemetry::{IgvCounters, Telemetry};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::driver::Reading;
use passages::{Odometer, Tally};

#[derive(Debug, Default)]
struct CounterTable {
    lanes: BTreeMap<String, Tally>,
    igvs: BTreeMap<String, IgvCounters>,
    /// UIDs of either kind that changed since they were last taken.
    dirty: BTreeSet<String>,
}

/// Which counters are taken to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterScope {
    /// All, as at the start of a session.
    All,
    /// Those that changed since they were last taken.
    Changed,
}

/// The counters of the box. They begin with what the devices counted before this box started, and are lost with it without harm.
#[derive(Debug, Default)]
pub struct TrafficCounters {
    table: Mutex<CounterTable>,
    changed: Notify,
}

impl TrafficCounters {
    /// Takes in what the controller of this lane shows. Readings without passage counters change nothing.
    pub fn lane_seen(&self, uid: &str, reading: &Reading) {
        let Some(now) = Odometer::of(reading) else { return };
        let mut table = self.table.lock();
        let changed = match table.lanes.get_mut(uid) {
            Some(tally) => tally.add(now),
            None => {
                table.lanes.insert(uid.to_owned(), Tally::begun(now));
                true
            }
        };
        if changed {
            table.dirty.insert(uid.to_owned());
            drop(table);
            self.changed.notify_one();
        }
    }

    /// Takes in the counters of a vehicle. Equal ones change nothing.
    pub fn igv_seen(&self, counters: IgvCounters) {
        let mut table = self.table.lock();
        if table.igvs.get(&counters.uid) == Some(&counters) {
            return;
        }
        table.dirty.insert(counters.uid.clone());
        table.igvs.insert(counters.uid.clone(), counters);
        drop(table);
        self.changed.notify_one();
    }

    /// Lets go of a lane or vehicle.
    pub fn forget(&self, uid: &str) {
        let mut table = self.table.lock();
        table.lanes.remove(uid);
        table.igvs.remove(uid);
        table.dirty.remove(uid);
    }

    /// A lane or vehicle got another uid; what was counted stays.
    pub fn rename(&self, old: &str, new: &str) {
        let mut table = self.table.lock();
        if let Some(tally) = table.lanes.remove(old) {
            table.lanes.insert(new.to_owned(), tally);
        }
        if let Some(counters) = table.igvs.remove(old) {
            table.igvs.insert(new.to_owned(), IgvCounters { uid: new.to_owned(), ..counters });
        }
        table.dirty.remove(old);
        table.dirty.insert(new.to_owned());
    }

    /// Resolves when there may be counters to send.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What to send now, each message within [`PART_BUDGET`]; nothing where nothing is counted or changed.
    pub fn take(&self, scope: CounterScope) -> Vec<Telemetry> {
        let mut table = self.table.lock();
        let dirty = std::mem::take(&mut table.dirty);
        let wanted = |uid: &String| scope == CounterScope::All || dirty.contains(uid);
        let mut messages = TelemetryMessages::default();
        for (uid, tally) in table.lanes.iter().filter(|(uid, _)| wanted(uid)) {
            let counters = tally.counters(uid);
            messages.room_for(&counters).lanes.push(counters);
        }
        for (_, counters) in table.igvs.iter().filter(|(uid, _)| wanted(uid)) {
            messages.room_for(counters).igvs.push(counters.clone());
        }
        messages.full.extend(messages.open);
        messages.full
    }
}

/// Splits counters into messages that stay within [`PART_BUDGET`].
#[derive(Default)]
struct TelemetryMessages {
    full: Vec<Telemetry>,
    open: Option<Telemetry>,
    used: usize,
}

impl TelemetryMessages {
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
    use kalong_crds::lane::CargoClass;
    use kalong_crds::units::Value;
    use kalong_crds::wire::telemetry::LaneCounters;

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

    fn only(counters: &TrafficCounters, scope: CounterScope) -> LaneCounters {
        let mut messages = counters.take(scope);
        assert_eq!(messages.len(), 1);
        messages.remove(0).lanes.remove(0)
    }

    fn count(lane: &LaneCounters, class: CargoClass) -> u64 {
        lane.passages.iter().find(|c| c.class == class).unwrap().count
    }

    #[test]
    fn first_look_takes_what_the_controller_counted_and_the_next_adds_the_difference() {
        let counters = TrafficCounters::default();
        counters.lane_seen("l", &shown(10, 4, 10 * 80, 10 * 600));
        let first = only(&counters, CounterScope::Changed);
        assert_eq!((count(&first, CargoClass::FreshProduce), count(&first, CargoClass::General)), (4, 6));
        // Ten of 8 s: none within 5 s, all within 10 s.
        assert_eq!((first.gate.count, first.gate.sum_millis), (10, 80_000));
        assert_eq!(first.gate.buckets, [0, 10, 10, 10, 10, 10, 10, 10]);
        assert_eq!(first.clearance.buckets, [0, 0, 10, 10, 10, 10, 10, 10, 10]);
        // Two more, of 40 s each at the gate.
        counters.lane_seen("l", &shown(12, 5, 1600, 10 * 600 + 100));
        let second = only(&counters, CounterScope::Changed);
        assert_eq!((count(&second, CargoClass::FreshProduce), count(&second, CargoClass::General)), (5, 7));
        assert_eq!(second.gate.buckets, [0, 10, 10, 10, 12, 12, 12, 12]);
        assert_eq!(second.clearance.buckets[0], 2);
    }

    #[test]
    fn unchanged_counters_are_not_told_again_and_a_new_session_tells_all() {
        let counters = TrafficCounters::default();
        counters.lane_seen("l", &shown(0, 0, 0, 0));
        assert_eq!(
            count(&only(&counters, CounterScope::Changed), CargoClass::General),
            0,
            "a lane without traffic exists"
        );
        counters.lane_seen("l", &shown(0, 0, 0, 0));
        assert!(counters.take(CounterScope::Changed).is_empty());
        assert_eq!(only(&counters, CounterScope::All).uid, "l");
    }

    #[test]
    fn replaced_controller_never_takes_a_counter_back() {
        let counters = TrafficCounters::default();
        counters.lane_seen("l", &shown(100, 40, 8000, 1000));
        counters.lane_seen("l", &shown(3, 1, 200, 20));
        let same = only(&counters, CounterScope::All);
        assert_eq!((count(&same, CargoClass::FreshProduce), same.gate.count), (40, 100));
        counters.lane_seen("l", &shown(5, 1, 300, 40));
        let more = only(&counters, CounterScope::All);
        assert_eq!((count(&more, CargoClass::General), more.gate.count, more.gate.sum_millis), (62, 102, 810_000));
    }

    #[test]
    fn reading_between_two_counters_waits_for_the_next() {
        let counters = TrafficCounters::default();
        counters.lane_seen("l", &shown(1, 1, 50, 10));
        counters.lane_seen("l", &shown(1, 2, 50, 10));
        assert_eq!(count(&only(&counters, CounterScope::All), CargoClass::FreshProduce), 1);
        counters.lane_seen("l", &shown(2, 2, 100, 20));
        assert_eq!(count(&only(&counters, CounterScope::All), CargoClass::FreshProduce), 2);
    }

    #[test]
    fn value_that_is_missing_once_is_not_counted_twice() {
        let counters = TrafficCounters::default();
        counters.lane_seen("l", &shown(10, 4, 1000, 100));
        counters.lane_seen("l", &reading(&[("passages", 11)]));
        counters.lane_seen("l", &shown(12, 5, 1200, 120));
        let told = only(&counters, CounterScope::All);
        assert_eq!((told.gate.sum_millis, count(&told, CargoClass::FreshProduce)), (120_000, 5));
        assert_eq!(told.passages.iter().map(|c| c.count).sum::<u64>(), 12);
    }

    #[test]
    fn controller_without_counters_is_no_series_and_one_without_times_has_no_times() {
        let counters = TrafficCounters::default();
        counters.lane_seen("l", &reading(&[("occupancy", 1)]));
        assert!(counters.take(CounterScope::All).is_empty());
        counters.lane_seen("l", &reading(&[("passages", 7)]));
        let told = only(&counters, CounterScope::All);
        assert_eq!((count(&told, CargoClass::General), told.gate.count), (7, 0));
    }

    #[test]
    fn vehicles_are_told_when_they_changed_and_messages_stay_small() {
        let counters = TrafficCounters::default();
        let igv = |n: u32| IgvCounters { uid: format!("igv-{n}"), energy_watt_hours: 5, ..IgvCounters::default() };
        for n in 0..2000 {
            counters.igv_seen(igv(n));
        }
        let messages = counters.take(CounterScope::Changed);
        assert!(messages.len() > 1 && messages.iter().map(|m| m.igvs.len()).sum::<usize>() == 2000);
        assert!(messages.iter().all(|m| serde_json::to_vec(m).unwrap().len() < kalong_crds::wire::MAX_MESSAGE));
        counters.igv_seen(igv(1));
        assert!(counters.take(CounterScope::Changed).is_empty());
        counters.rename("igv-1", "new");
        assert_eq!(counters.take(CounterScope::Changed)[0].igvs[0].uid, "new");
        counters.forget("new");
        assert!(counters.take(CounterScope::All).iter().all(|m| m.igvs.iter().all(|v| v.uid != "new")));
    }
}
