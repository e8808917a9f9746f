//! What is scraped: names that the operations page knows, few series, nothing that names a person or a plate.

use std::collections::{BTreeMap, BTreeSet};

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{Device, EdgeAgent};
use kalong_e2e::cluster::workspace_directory;
use serde_json::json;

use super::fixture::fixture;
use super::home::{Home, shared};
use super::site::number;
use crate::kit::{SOON, holds, until};
use kalong_e2e::scenario::plain_http::get;

/// Series that exist whatever happens, and those of one device beyond them (reference: at most 40 a lane of fifteen devices).
const FIXED_SERIES: usize = 400;
/// Labels that may exist at all. Every value comes from an enum or names an object of ours.
const LABELS: [&str; 20] = [
    "action",
    "category",
    "cause",
    "certificate",
    "code",
    "form",
    "issue",
    "kind",
    "le",
    "name",
    "namespace",
    "ready",
    "reason",
    "result",
    "route",
    "status",
    "topic",
    "type",
    "verb",
    "quantile",
];
/// Of the documented ones, those that exist only once something went wrong or firmware was fetched.
const ONLY_WHEN_IT_HAPPENS: [&str; 6] = [
    "kalong_artifact_fetches_total",
    "kalong_connections_refused_total",
    "kalong_gateway_denials_total",
    "kalong_gateway_sessions_ended_total",
    "kalong_key_refresh_failures_total",
    "kalong_reconcile_errors_total",
];

/// One sample: its name and its labels.
type Series = (String, BTreeMap<String, String>);

/// Reads the text format strictly: every sample belongs to a family with HELP and TYPE.
fn parse(text: &str) -> Vec<(Series, f64)> {
    let (mut helped, mut typed, mut samples) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && helped.insert(name), "{name}: one HELP");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(typed.insert(name, kind).is_none(), "{name}: one TYPE");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) =
                series.split_once('{').map_or((series, ""), |(n, l)| (n, l.strip_suffix('}').unwrap()));
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|stem| typed.get(stem) == Some(&"histogram")));
            let family = family.unwrap_or(name);
            assert!(helped.contains(family) && typed.contains_key(family), "{name} has HELP and TYPE");
            if typed[family] == "counter" {
                assert!(name.ends_with("_total"), "{name} is a counter");
            }
            samples.push(((name.to_owned(), labels_of(labels)), value.parse().unwrap()));
        }
    }
    samples
}

fn labels_of(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split("\",").filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once("=\"").unwrap()).map(|(k, v)| (k.into(), v.trim_end_matches('"').into())).collect()
}

/// Every name in backticks that the operations page lists.
fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string(workspace_directory().join("docs/operations.md")).unwrap();
    let words = page.split('`').skip(1).step_by(2).filter(|word| word.starts_with("kalong_"));
    words.map(|word| word.split('{').next().unwrap().to_owned()).filter(|word| word != "kalong_").collect()
}

async fn what_is_scraped_is_documented_small_and_names_nobody() {
    let fixture = fixture().await;
    let (home, operator): &(Home<'_>, _) = shared().await;
    let site = home.site("metrics");
    let http = operator.listens.http;
    let placed = fixture.device();
    site.working_box("gate").await;
    site.device(placed, "gate").await;
    site.ready::<Device>(&placed.name).await;
    site.ready::<EdgeAgent>("gate").await;
    assert_eq!(get(http, "/livez").await.unwrap(), (200, "ok\n".into()));
    assert_eq!(get(http, "/readyz").await.unwrap(), (200, "serving\n".into()));

    let scrape = async || parse(&get(http, "/metrics").await.unwrap().1);
    let samples = scrape().await;
    let here: BTreeSet<&str> = samples.iter().map(|((name, _), _)| name.as_str()).collect();
    for name in documented() {
        let there = here.iter().any(|h| *h == name || h.strip_prefix(name.as_str()) == Some("_count"));
        assert!(there || ONLY_WHEN_IT_HAPPENS.contains(&name.as_str()), "{name} is documented and not scraped");
    }
    for name in &here {
        assert!(name.starts_with("kalong_") || name.starts_with("process_"), "{name} has no prefix of ours");
    }
    for ((name, labels), _) in &samples {
        for (label, value) in labels {
            assert!(LABELS.contains(&label.as_str()), "{name} has the label {label}");
            assert!(value.len() <= 63, "{name}: {value}");
        }
    }
    // Other tests run meanwhile, and what is not healthy in theirs has series too.
    let objects = samples.iter().filter(|((name, _), _)| name == "kalong_resource_condition").count();
    let rest = samples.len() - objects;
    assert!(rest <= FIXED_SERIES, "{rest} series beside those of unhealthy objects");

    // A condition has a series only while it is not healthy.
    let mine = async || {
        let samples = scrape().await;
        let of_mine = |labels: &BTreeMap<String, String>| {
            labels.get("namespace") == Some(&site.name) && labels.get("name") == Some(&placed.name)
        };
        samples.into_iter().map(|((_, labels), _)| labels).filter(of_mine).collect::<Vec<_>>()
    };
    assert!(mine().await.is_empty(), "{:?}", mine().await);
    let (setting, _, high) = number(placed);
    site.patch::<Device>(&placed.name, json!({"spec": {"config": {setting: high + 1}}})).await;
    site.until::<Device>(&placed.name, "Stalled", SOON, |d| d.reason(ConditionType::Stalled) == "InvalidConfig").await;
    until("the condition is seen", SOON, async || {
        let series = mine().await;
        let stalled = series.iter().any(|s| s["type"] == "Stalled" && s["reason"] == "InvalidConfig");
        holds(stalled, format!("{series:?}"))
    })
    .await;
    site.patch::<Device>(&placed.name, json!({"spec": {"config": {setting: high}}})).await;
    site.ready::<Device>(&placed.name).await;
    until("the series is gone", SOON, async || {
        let series = mine().await;
        holds(series.is_empty(), format!("{series:?}"))
    })
    .await;
}

crate::tests![what_is_scraped_is_documented_small_and_names_nobody,];
