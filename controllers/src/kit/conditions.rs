//! Conditions as metrics, made at scrape time from the caches: a series exists only while a condition is not healthy.

use std::collections::{BTreeMap, HashMap};

use kalong_crds::condition::{ConditionType, Conditioned, Truth};
use kube::ResourceExt;
use kube_runtime::reflector::Store;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use super::caches::{Caches, Kind};

/// Collects the conditions of all kinds.
pub struct ConditionCollector {
    caches: Caches,
    conditions: Desc,
    objects: Desc,
}

const CONDITION: (&str, &str) = (
    "resource_condition",
    "1 for each condition that is not healthy, by kind, namespace, name, type, status and reason.",
);
const OBJECTS: (&str, &str) = ("resources", "Objects by kind and status of their Ready condition.");
const CONDITION_LABELS: [&str; 6] = ["kind", "namespace", "name", "type", "status", "reason"];
const OBJECT_LABELS: [&str; 2] = ["kind", "ready"];

impl ConditionCollector {
    /// A collector over these caches.
    pub fn new(caches: Caches) -> Result<Self, prometheus::Error> {
        let desc = |(name, help): (&str, &str), labels: &[&str]| {
            Desc::new(
                name.to_owned(),
                help.to_owned(),
                labels.iter().map(|l| (*l).to_owned()).collect(),
                HashMap::new(),
            )
        };
        Ok(Self { caches, conditions: desc(CONDITION, &CONDITION_LABELS)?, objects: desc(OBJECTS, &OBJECT_LABELS)? })
    }
}

impl Collector for ConditionCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.conditions, &self.objects]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let vec = |(name, help): (&str, &str), labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let (Ok(conditions), Ok(objects)) = (vec(CONDITION, &CONDITION_LABELS), vec(OBJECTS, &OBJECT_LABELS)) else {
            return Vec::new();
        };
        sample(&self.caches.crossings, &conditions, &objects);
        sample(&self.caches.lanes, &conditions, &objects);
        sample(&self.caches.devices, &conditions, &objects);
        sample(&self.caches.models, &conditions, &objects);
        sample(&self.caches.agents, &conditions, &objects);
        sample(&self.caches.releases, &conditions, &objects);
        sample(&self.caches.stations, &conditions, &objects);
        sample(&self.caches.igvs, &conditions, &objects);
        sample(&self.caches.links, &conditions, &objects);
        sample(&self.caches.drains, &conditions, &objects);
        sample(&self.caches.phases, &conditions, &objects);
        conditions.collect().into_iter().chain(objects.collect()).collect()
    }
}

fn sample<K: Kind + Conditioned>(store: &Store<K>, conditions: &IntGaugeVec, objects: &IntGaugeVec) {
    let kind = K::kind(&());
    let mut totals: BTreeMap<String, i64> = BTreeMap::new();
    for object in store.state() {
        let ready = object.condition(ConditionType::Ready).map_or(Truth::Unknown.as_str(), |c| c.status.as_str());
        *totals.entry(ready.to_owned()).or_default() += 1;
        let resting = object.is(ConditionType::Ready)
            && object.reason(ConditionType::Available) == object.reason(ConditionType::Ready);
        for condition in object.conditions().iter().filter(|c| unhealthy(&c.type_, &c.status) && !resting) {
            let namespace = object.namespace().unwrap_or_default();
            let labels =
                [&kind, namespace.as_str(), &object.name_any(), &condition.type_, &condition.status, &condition.reason];
            conditions.with_label_values(&labels).set(1);
        }
    }
    for (ready, count) in totals {
        objects.with_label_values(&[kind.as_ref(), ready.as_str()]).set(count);
    }
}

fn unhealthy(kind: &str, status: &str) -> bool {
    let bad_when_true =
        [ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Revoked].iter().any(|t| t.as_str() == kind);
    if bad_when_true { status != "False" } else { status != "True" }
}
