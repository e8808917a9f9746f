//! The newest counters of each lane and vehicle of one agent, within bounds. Pure.
//!
//! Labels come from the orders, never from the agent; counters of objects that were not ordered from it are dropped.

use std::collections::BTreeMap;

use kalong_crds::lane::{Direction, Service};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::order::{IgvOrder, LaneOrder};
use kalong_crds::wire::telemetry::{CLEARANCE_BOUNDS, GATE_BOUNDS, IgvCounters, LaneCounters, Telemetry, Timing};

/// Lanes of one message beyond these are dropped.
const MAX_LANES: usize = 64;
/// Vehicles of one message beyond these are dropped.
const MAX_IGVS: usize = 64;
/// Larger counts are cut to this: every whole number up to it is exact as a float.
const MOST: u64 = 1 << 53;
/// A full battery, in percent.
const FULL: u8 = 100;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum SampleScope {
    Lane { crossing: String, direction: Direction, service: Service },
    Igv { crossing: String },
}

/// A lane or vehicle as its order names it.
#[derive(Clone, Debug, PartialEq)]
struct CountedObject {
    namespace: String,
    name: String,
    scope: SampleScope,
}

/// Labels and counters of a lane.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LaneSample {
    pub namespace: String,
    pub lane: String,
    pub crossing: String,
    pub direction: Direction,
    pub service: Service,
    pub counters: LaneCounters,
}

/// Labels and counters of a vehicle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IgvSample {
    pub namespace: String,
    pub igv: String,
    pub crossing: String,
    pub counters: IgvCounters,
}

/// How many counters of a message were dropped, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DroppedCounters {
    /// Of objects that this agent does not realise.
    pub unbound: u64,
    /// Beyond the bounds of a message.
    pub beyond: u64,
    /// Numbers that contradict each other.
    pub unsound: u64,
}

#[derive(Debug, Default)]
pub(super) struct AgentCounters {
    objects: BTreeMap<String, CountedObject>,
    lanes: BTreeMap<String, LaneCounters>,
    igvs: BTreeMap<String, IgvCounters>,
}

impl AgentCounters {
    /// The item is wanted of the agent, which may count for it from now on.
    pub fn wanted(&mut self, item: &Item) {
        match scope(item) {
            Some(scope) => {
                let object = CountedObject { namespace: item.namespace.clone(), name: item.name.clone(), scope };
                self.objects.insert(item.uid.clone(), object);
            }
            None => self.gone(&item.uid),
        }
    }

    /// The item is not wanted of the agent any more.
    pub fn gone(&mut self, uid: &str) {
        self.objects.remove(uid);
        self.lanes.remove(uid);
        self.igvs.remove(uid);
    }

    /// Takes a message; objects that it does not name keep their counters.
    pub fn take(&mut self, said: Telemetry) -> DroppedCounters {
        let mut dropped = DroppedCounters {
            beyond: beyond(said.lanes.len(), MAX_LANES) + beyond(said.igvs.len(), MAX_IGVS),
            ..DroppedCounters::default()
        };
        for lane in said.lanes.into_iter().take(MAX_LANES) {
            if !matches!(self.objects.get(&lane.uid), Some(CountedObject { scope: SampleScope::Lane { .. }, .. })) {
                dropped.unbound += 1;
                continue;
            }
            match bounded_lane(lane) {
                Some(lane) => {
                    self.lanes.insert(lane.uid.clone(), lane);
                }
                None => dropped.unsound += 1,
            }
        }
        for igv in said.igvs.into_iter().take(MAX_IGVS) {
            if matches!(self.objects.get(&igv.uid), Some(CountedObject { scope: SampleScope::Igv { .. }, .. })) {
                self.igvs.insert(igv.uid.clone(), bounded_igv(igv));
            } else {
                dropped.unbound += 1;
            }
        }
        dropped
    }

    /// One sample for each lane with counters.
    pub fn lanes(&self) -> impl Iterator<Item = LaneSample> {
        self.lanes.iter().filter_map(|(uid, counters)| {
            let CountedObject { namespace, name, scope } = self.objects.get(uid)?.clone();
            let SampleScope::Lane { crossing, direction, service } = scope else { return None };
            Some(LaneSample { namespace, lane: name, crossing, direction, service, counters: counters.clone() })
        })
    }

    /// One sample for each vehicle with counters.
    pub fn igvs(&self) -> impl Iterator<Item = IgvSample> {
        self.igvs.iter().filter_map(|(uid, counters)| {
            let CountedObject { namespace, name, scope } = self.objects.get(uid)?.clone();
            let SampleScope::Igv { crossing } = scope else { return None };
            Some(IgvSample { namespace, igv: name, crossing, counters: counters.clone() })
        })
    }
}

fn scope(item: &Item) -> Option<SampleScope> {
    match item.kind {
        ItemKind::Lane => item.order::<LaneOrder>().ok().map(|order| SampleScope::Lane {
            crossing: order.crossing,
            direction: order.direction,
            service: order.service,
        }),
        ItemKind::Igv => item.order::<IgvOrder>().ok().map(|order| SampleScope::Igv { crossing: order.crossing }),
        ItemKind::Agent | ItemKind::Device | ItemKind::Link => None,
    }
}

fn beyond(said: usize, most: usize) -> u64 {
    u64::try_from(said.saturating_sub(most)).unwrap_or(u64::MAX)
}

/// The counters within bounds, one for each class of cargo. Nothing if the buckets of a histogram contradict each other.
fn bounded_lane(said: LaneCounters) -> Option<LaneCounters> {
    let LaneCounters { uid, mut passages, gate, clearance } = said;
    passages.sort_by_key(|count| count.class);
    passages.dedup_by_key(|count| count.class);
    for count in &mut passages {
        count.count = count.count.min(MOST);
    }
    let (gate, clearance) = (bounded(gate, &GATE_BOUNDS)?, bounded(clearance, &CLEARANCE_BOUNDS)?);
    Some(LaneCounters { uid, passages, gate, clearance })
}

fn bounded(said: Timing, bounds: &[u64]) -> Option<Timing> {
    let count = said.count.min(MOST);
    let rising = said.buckets.is_sorted() && said.buckets.last().is_none_or(|last| *last <= said.count);
    let buckets: Vec<u64> = said.buckets.into_iter().map(|n| n.min(count)).collect();
    (buckets.len() == bounds.len() && rising).then_some(Timing {
        count,
        sum_millis: said.sum_millis.min(MOST),
        buckets,
    })
}

fn bounded_igv(said: IgvCounters) -> IgvCounters {
    IgvCounters {
        uid: said.uid,
        energy_watt_hours: said.energy_watt_hours.min(MOST),
        charge_percent: said.charge_percent.map(|charge| charge.min(FULL)),
        lost_messages: said.lost_messages.min(MOST),
    }
}

#[cfg(test)]
mod tests {
    use kalong_crds::lane::CargoClass;
    use kalong_crds::wire::telemetry::ClassCount;
    use serde_json::json;

    use super::*;

    fn lane(uid: &str) -> Item {
        let order = json!({"crossing": "bac-luan-2", "direction": "Outbound", "service": "Smart", "admission": "Open",
            "controller": "c", "members": []});
        Item::new(ItemKind::Lane, "mong-cai", "l1", uid, 1, &order).unwrap()
    }

    fn passed(uid: &str, count: u64) -> LaneCounters {
        let timing = |bounds: &[u64]| Timing { count, sum_millis: 9_000 * count, buckets: vec![count; bounds.len()] };
        LaneCounters {
            uid: uid.into(),
            passages: vec![ClassCount { class: CargoClass::General, count }],
            gate: timing(&GATE_BOUNDS),
            clearance: timing(&CLEARANCE_BOUNDS),
        }
    }

    fn said(lanes: Vec<LaneCounters>) -> Telemetry {
        Telemetry { lanes, igvs: vec![] }
    }

    #[test]
    fn only_lanes_that_are_wanted_of_the_agent_are_counted_and_under_the_orders_names() {
        let mut counters = AgentCounters::default();
        counters.wanted(&lane("u1"));
        let dropped = counters.take(said(vec![passed("u1", 5), passed("u2", 7)]));
        assert_eq!(dropped, DroppedCounters { unbound: 1, ..DroppedCounters::default() });
        let samples: Vec<_> = counters.lanes().collect();
        assert_eq!(samples.len(), 1);
        assert_eq!((samples[0].lane.as_str(), samples[0].crossing.as_str()), ("l1", "bac-luan-2"));
        counters.gone("u1");
        assert_eq!(counters.lanes().count(), 0);
    }

    #[test]
    fn a_lane_cannot_be_counted_as_a_vehicle() {
        let mut counters = AgentCounters::default();
        counters.wanted(&lane("u1"));
        let igv = IgvCounters { uid: "u1".into(), ..IgvCounters::default() };
        assert_eq!(counters.take(Telemetry { lanes: vec![], igvs: vec![igv] }).unbound, 1);
    }

    #[test]
    fn what_a_later_message_does_not_name_stays_and_what_it_names_is_replaced() {
        let mut counters = AgentCounters::default();
        counters.wanted(&lane("u1"));
        counters.wanted(&lane("u2"));
        counters.take(said(vec![passed("u1", 5), passed("u2", 1)]));
        counters.take(said(vec![passed("u1", 3)]));
        let counts: Vec<_> = counters.lanes().map(|lane| lane.counters.gate.count).collect();
        assert_eq!(counts, [3, 1]);
    }

    #[test]
    fn numbers_that_contradict_each_other_are_dropped_and_huge_ones_are_cut() {
        let mut counters = AgentCounters::default();
        counters.wanted(&lane("u1"));
        let falling = LaneCounters {
            gate: Timing { count: 5, sum_millis: 1, buckets: vec![5, 4, 5, 5, 5, 5, 5, 5] },
            ..passed("u1", 5)
        };
        let short = LaneCounters { gate: Timing { buckets: vec![], ..Timing::default() }, ..passed("u1", 5) };
        let over = LaneCounters {
            gate: Timing { count: 5, sum_millis: 1, buckets: vec![6; GATE_BOUNDS.len()] },
            ..passed("u1", 5)
        };
        assert_eq!(counters.take(said(vec![falling, short, over])).unsound, 3);
        assert_eq!(counters.take(said(vec![passed("u1", 1 << 50)])), DroppedCounters::default());
        let huge = LaneCounters {
            passages: vec![ClassCount { class: CargoClass::General, count: u64::MAX }; 3],
            ..passed("u1", 1)
        };
        counters.take(said(vec![huge]));
        let lane = counters.lanes().next().unwrap();
        assert_eq!(lane.counters.passages, [ClassCount { class: CargoClass::General, count: MOST }]);
    }

    #[test]
    fn no_more_lanes_are_looked_at_than_an_agent_may_have() {
        let mut counters = AgentCounters::default();
        counters.wanted(&lane("u1"));
        let many = (0..MAX_LANES + 9).map(|n| passed(&format!("x{n}"), 1)).collect();
        assert_eq!(counters.take(said(many)), DroppedCounters { unbound: 64, beyond: 9, unsound: 0 });
    }
}
