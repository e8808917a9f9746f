//! Conditions as metrics, made at scrape time from the caches: a series exists only while a condition is not healthy.

use std::collections::{BTreeMap, HashMap};

use kalong_crds::condition::{ConditionStatus, ConditionType, Reason};
use kube::ResourceExt;
use kube_runtime::reflector::Store;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use super::caches::{Caches, Controlled};

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
        macro_rules! sample_all {
            ($($kind:ident { $list:ident $($facts:tt)* })+) => {
                $(sample(&self.caches.$list, &conditions, &objects);)+
            };
        }
        kalong_crds::for_each_kind!(sample_all);
        conditions.collect().into_iter().chain(objects.collect()).collect()
    }
}

fn sample<K: Controlled>(store: &Store<K>, conditions: &IntGaugeVec, objects: &IntGaugeVec) {
    let kind = K::kind(&());
    let mut totals: BTreeMap<String, i64> = BTreeMap::new();
    for object in store.state() {
        let ready =
            object.condition(ConditionType::Ready).map_or(ConditionStatus::Unknown.as_str(), |c| c.status.as_str());
        *totals.entry(ready.to_owned()).or_default() += 1;
        // Planned, suspended, disabled, in commissioning, in dry run: an object that rests on purpose raises no alert.
        let resting = object.is(ConditionType::Ready)
            && object.reason(ConditionType::Available) == object.reason(ConditionType::Ready);
        for condition in object.conditions().iter().filter(|c| unhealthy(&c.type_, &c.status, &c.reason) && !resting) {
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

/// Types of which neither True nor False is a fault; each with the one reason that is.
const NEUTRAL: [(ConditionType, Option<Reason>); 8] = [
    (ConditionType::Accepted, Some(Reason::EmergencyAccepted)),
    (ConditionType::Drained, None),
    (ConditionType::Released, None),
    (ConditionType::EntryMet, Some(Reason::GateVoided)),
    (ConditionType::ExitMet, Some(Reason::GateVoided)),
    (ConditionType::Open, None),
    (ConditionType::SafeToChange, None),
    (ConditionType::Licensed, Some(Reason::LicenceEnding)),
];

/// Types of which True is the fault.
const BAD_WHEN_TRUE: [ConditionType; 4] =
    [ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Revoked, ConditionType::Late];

fn unhealthy(kind: &str, status: &str, reason: &str) -> bool {
    let Some(kind) = ConditionType::parse(kind) else { return status != ConditionStatus::True.as_str() };
    // Nothing is sent by choice, and what follows from that is no fault either.
    if [Reason::DryRun, Reason::NotExchanging].iter().any(|choice| choice.as_str() == reason) {
        return false;
    }
    match NEUTRAL.iter().find(|(neutral, _)| *neutral == kind) {
        // A licence that is not in force is a fault like any other; one that ends soon is a fault while it is still in force.
        Some((ConditionType::Licensed, trouble)) => {
            status != ConditionStatus::True.as_str() || trouble.is_some_and(|t| t.as_str() == reason)
        }
        Some((_, trouble)) => trouble.is_some_and(|trouble| trouble.as_str() == reason),
        None if BAD_WHEN_TRUE.contains(&kind) => status != ConditionStatus::False.as_str(),
        None => status != ConditionStatus::True.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neutral_condition_is_no_fault_by_itself() {
        for kind in ["Accepted", "Drained", "Released", "EntryMet", "ExitMet", "Open", "SafeToChange"] {
            for status in ["True", "False", "Unknown"] {
                assert!(!unhealthy(kind, status, "GateFailed"), "{kind} {status}");
            }
        }
    }

    #[test]
    fn what_pages_is_trouble() {
        for (kind, status, reason) in [
            ("EntryMet", "False", "GateVoided"),
            ("Accepted", "True", "EmergencyAccepted"),
            ("Late", "True", "MilestonePassed"),
            ("Licensed", "True", "LicenceEnding"),
            ("Licensed", "False", "LicenceExpired"),
            ("InterlocksSafe", "False", "InterlockOpen"),
            ("FloorsMet", "False", "FloorBroken"),
            ("Stalled", "True", "GateRefused"),
            ("Connected", "Unknown", "AgentUnreachable"),
        ] {
            assert!(unhealthy(kind, status, reason), "{kind} {status} {reason}");
        }
    }

    #[test]
    fn what_is_well_is_no_trouble() {
        for (kind, status, reason) in [
            ("Late", "False", "OnTime"),
            ("Licensed", "True", "LicenceValid"),
            ("Ready", "True", "Commissioning"),
            ("CounterpartAligned", "False", "DryRun"),
            ("ReceiptsTimely", "Unknown", "NotExchanging"),
        ] {
            assert!(!unhealthy(kind, status, reason), "{kind} {status} {reason}");
        }
    }
}
