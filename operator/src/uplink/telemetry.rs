//! The counters of agents as metrics, made at scrape time from the newest telemetry, so that nothing is stored twice.
//!
//! One series for each lane and vehicle: a restarted agent or PLC shows as the reset of one counter, which Prometheus understands; in a
//! sum over lanes it would look like traffic. Sums are left to queries.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use kalong_crds::wire::telemetry::{CLEARANCE_BOUNDS, GATE_BOUNDS, Timing};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::Uplink;
use super::counters::{IgvSample, LaneSample};

/// Holds the uplink once it was started: the collector is registered before that.
pub(super) type UplinkSlot = Arc<OnceLock<Weak<Uplink>>>;

struct MetricDescription {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

const PASSAGES: MetricDescription = MetricDescription {
    name: "kalong_lane_passages_total",
    help: "Passages of a lane by class of cargo, as its controller counted them.",
    kind: MetricType::COUNTER,
};
const GATE: MetricDescription = MetricDescription {
    name: "kalong_lane_passage_duration_seconds",
    help: "Time of gate transactions, from arrival at the gate to leaving it.",
    kind: MetricType::HISTOGRAM,
};
const CLEARANCE: MetricDescription = MetricDescription {
    name: "kalong_clearance_seconds",
    help: "Time from arrival at the crossing to release.",
    kind: MetricType::HISTOGRAM,
};
const ENERGY: MetricDescription = MetricDescription {
    name: "kalong_igv_energy_kwh_total",
    help: "Energy that a vehicle took from its battery, in kilowatt-hours.",
    kind: MetricType::COUNTER,
};
const CHARGE: MetricDescription = MetricDescription {
    name: "kalong_igv_charge_ratio",
    help: "Charge of a vehicle's battery, from 0 to 1; absent while nobody can tell.",
    kind: MetricType::GAUGE,
};
const LOST: MetricDescription = MetricDescription {
    name: "kalong_igv_lost_messages_total",
    help: "Messages that a vehicle numbered and that never came.",
    kind: MetricType::COUNTER,
};
const FAMILIES: [&MetricDescription; 6] = [&PASSAGES, &GATE, &CLEARANCE, &ENERGY, &CHARGE, &LOST];

/// Collects the counters of all agents.
pub(super) struct TelemetryCollector {
    source: UplinkSlot,
    descriptions: Vec<Desc>,
}

impl TelemetryCollector {
    /// `source` is empty until the uplink starts; nothing is collected before.
    pub fn new(source: UplinkSlot) -> Result<Self, prometheus::Error> {
        let describe = |family: &&MetricDescription| {
            Desc::new(family.name.to_owned(), family.help.to_owned(), Vec::new(), std::collections::HashMap::new())
        };
        Ok(Self { source, descriptions: FAMILIES.iter().map(describe).collect::<Result<_, _>>()? })
    }
}

impl Collector for TelemetryCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.source.get().and_then(Weak::upgrade).map(|uplink| families(&gather(&uplink))).unwrap_or_default()
    }
}

/// Newest samples by namespace and name: an object that moves from one agent to another appears once.
#[derive(Debug, Default)]
struct AgentSamples {
    lanes: BTreeMap<(String, String), LaneSample>,
    igvs: BTreeMap<(String, String), IgvSample>,
}

fn gather(uplink: &Uplink) -> AgentSamples {
    let context = uplink.context();
    let mut samples = AgentSamples::default();
    for cell in uplink.cells() {
        let state = cell.lock();
        let silent = state.is_silent(&context);
        for lane in state.counters.lanes() {
            samples.lanes.insert((lane.namespace.clone(), lane.lane.clone()), lane);
        }
        for mut igv in state.counters.igvs() {
            // A counter stays valid while its agent is silent; a charge does not.
            igv.counters.charge_percent = igv.counters.charge_percent.filter(|_| !silent);
            samples.igvs.insert((igv.namespace.clone(), igv.igv.clone()), igv);
        }
    }
    samples
}

fn families(samples: &AgentSamples) -> Vec<MetricFamily> {
    let (mut passages, mut gate, mut clearance) = (Vec::new(), Vec::new(), Vec::new());
    for sample in samples.lanes.values() {
        let LaneSample { namespace, lane, crossing, direction, service, counters } = sample;
        let (direction, service) = (format!("{direction:?}"), format!("{service:?}"));
        for count in &counters.passages {
            let labels = labels(&[
                ("cargo_class", &format!("{:?}", count.class)),
                ("crossing", crossing),
                ("direction", &direction),
                ("lane", lane),
                ("namespace", namespace),
                ("service", &service),
            ]);
            passages.push(counter(labels, float(count.count)));
        }
        let whole = labels(&[
            ("crossing", crossing),
            ("direction", &direction),
            ("lane", lane),
            ("namespace", namespace),
            ("service", &service),
        ]);
        gate.push(histogram(whole, &counters.gate, &GATE_BOUNDS));
        let at_crossing = labels(&[("crossing", crossing), ("lane", lane), ("namespace", namespace)]);
        clearance.push(histogram(at_crossing, &counters.clearance, &CLEARANCE_BOUNDS));
    }
    let (mut energy, mut charge, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for sample in samples.igvs.values() {
        let IgvSample { namespace, igv, crossing, counters } = sample;
        let labels = labels(&[("crossing", crossing), ("igv", igv), ("namespace", namespace)]);
        energy.push(counter(labels.clone(), float(counters.energy_watt_hours) / 1000.0));
        lost.push(counter(labels.clone(), float(counters.lost_messages)));
        if let Some(percent) = counters.charge_percent {
            charge.push(gauge(labels, f64::from(percent) / 100.0));
        }
    }
    vec![
        family(&PASSAGES, passages),
        family(&GATE, gate),
        family(&CLEARANCE, clearance),
        family(&ENERGY, energy),
        family(&CHARGE, charge),
        family(&LOST, lost),
    ]
}

fn family(of: &MetricDescription, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(of.name.to_owned());
    family.set_help(of.help.to_owned());
    family.set_field_type(of.kind);
    family.set_metric(metrics);
    family
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    pairs
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}

fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    let (mut counter, mut metric) = (Counter::default(), Metric::from_label(labels));
    counter.set_value(value);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let (mut gauge, mut metric) = (Gauge::default(), Metric::from_label(labels));
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn histogram(labels: Vec<LabelPair>, timing: &Timing, bounds: &[u64]) -> Metric {
    let (mut histogram, mut metric) = (Histogram::default(), Metric::from_label(labels));
    let bucket = |(bound, count): (&u64, &u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(float(*bound));
        bucket.set_cumulative_count(*count);
        bucket
    };
    histogram.set_bucket(bounds.iter().zip(&timing.buckets).map(bucket).collect());
    histogram.set_sample_count(timing.count);
    histogram.set_sample_sum(float(timing.sum_millis) / 1000.0);
    metric.set_histogram(histogram);
    metric
}

/// Exact, since counts are cut at 2^53 when they are taken.
fn float(count: u64) -> f64 {
    let half = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    half(count >> 32) * 4_294_967_296.0 + half(count & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_number_up_to_the_bound_is_exact() {
        for (count, value) in [(0, 0.0), (7, 7.0), (1 << 32, 4_294_967_296.0), ((1 << 53) - 1, 9_007_199_254_740_991.0)]
        {
            assert!((float(count) - value).abs() < f64::EPSILON, "{count}");
        }
    }
}
