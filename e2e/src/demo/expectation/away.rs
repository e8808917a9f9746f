//! 9. Operator, gateway and API server are gone for a minute while traffic flows: whoever was due passed and is counted once, and no device
//!    is disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kalong_crds::lane::CargoClass;
use tokio::time::sleep;

use super::passing::{self, SEED};
use super::settled::settled;
use super::touched::done_to_devices;
use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, ScenarioError, plain_http};
use crate::site::traffic::{LaneTraffic, due};

const AWAY: Duration = Duration::from_secs(60);
/// Whoever was due when the minute ended has passed in this time.
const PASS_DEADLINE: Duration = Duration::from_secs(60);
/// From the moment when every box is back.
const COUNT_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_secs(1);

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    let before = site.truth().await?;
    let begun = Instant::now();
    site.operator.kill().await?;
    match site.cluster.plane() {
        Some(plane) => plane.kill_api_server().await?,
        None => finding.say("this cluster's API server is not ours to stop"),
    }
    let (from, first) = at_the_gate(site).await?;
    site.progress.line("operator, gateway and API server are gone for a minute");
    sleep(AWAY).await;
    let (to, last) = at_the_gate(site).await?;
    if let Some(plane) = site.cluster.plane() {
        plane.start_api_server().await?;
    }
    site.operator.restart(site.cluster.supervisor()).await?;
    let gone = begun.elapsed();

    let expected = expected(site, from, to)?;
    let mut total = 0;
    for (lane, due) in &expected {
        total += due;
        let counted = last.get(lane).map_or(0, |l| l.due) - first.get(lane).map_or(0, |l| l.due);
        finding.require(counted == *due, || format!("{lane}: the seed gives {due}, {counted} came"));
    }
    finding.require(total > 0, || "nobody was due in the minute".to_owned());
    passing::until(site, "whoever was due in the minute to pass", PASS_DEADLINE, |lanes| {
        let late = last
            .values()
            .filter(|lane| lane.is_open())
            .find(|lane| lanes.get(&lane.name).is_none_or(|now| now.total() < lane.due));
        late.map_or(Ok(()), |lane| Err(format!("{} still has somebody waiting", lane.name)))
    })
    .await?;
    finding.say(format!(
        "{total} passages were due in the {:.0} s of {:.0} s, and all happened",
        (to - from).as_secs_f64() / 10.0,
        gone.as_secs_f64()
    ));
    settled(site).await?;
    counted_once(site, &mut finding).await?;
    let after = site.truth().await?;
    done_to_devices(&before, &after, &BTreeSet::new(), &mut finding);
    finding.say(format!("none of {} devices was disturbed", after.len()));
    finding.measure("passagesWhileAway", f64::from(u32::try_from(total).unwrap_or(u32::MAX)));
    Ok(finding)
}

/// What the lanes say of themselves, and the time of the traffic.
async fn at_the_gate(site: &LiveSite) -> Result<(Duration, BTreeMap<String, LaneTraffic>), ScenarioError> {
    let report = site.simulated.control().traffic_report().await?;
    let lanes = report.lanes.into_iter().map(|lane| (lane.name.clone(), lane)).collect();
    Ok((Duration::from_millis(report.traffic_millis), lanes))
}

/// How many are due at each lane between two moments of the traffic's clock: from the seed alone.
fn expected(site: &LiveSite, from: Duration, to: Duration) -> Result<BTreeMap<String, u64>, ScenarioError> {
    let mut expected = BTreeMap::new();
    for lane in site.layout.demands() {
        let count = due(SEED, &lane, from, to).len();
        let count = u64::try_from(count).map_err(|e| ScenarioError::shape("a count", e))?;
        expected.insert(lane.name, count);
    }
    Ok(expected)
}

/// The traffic ends, and what the operator counts is what the lanes counted.
async fn counted_once(site: &LiveSite, finding: &mut Finding) -> Result<(), ScenarioError> {
    site.simulated.control().traffic_stop().await?;
    let truth = passing::until(site, "the last to leave", PASS_DEADLINE, |lanes| {
        let inside: u64 = lanes.values().map(|lane| lane.inside).sum();
        if inside == 0 { Ok(totals(site, lanes)) } else { Err(format!("{inside} are inside")) }
    })
    .await?;
    let begun = Instant::now();
    loop {
        let counted = scrape(site).await;
        if counted == truth {
            break;
        }
        if begun.elapsed() > COUNT_DEADLINE {
            let wrong: Vec<String> = truth
                .iter()
                .filter(|(labels, count)| counted.get(*labels) != Some(count))
                .take(4)
                .map(|(labels, count)| format!("{labels:?}: {count} passed, {:?} counted", counted.get(labels)))
                .collect();
            finding.require(false, || wrong.join("; "));
            return Ok(());
        }
        sleep(POLL).await;
    }
    let total: u64 = truth.values().sum();
    finding.say(format!("{total} passages in all, each counted once in kalong_lane_passages_total"));
    finding.count("passagesCounted", usize::try_from(total).unwrap_or(usize::MAX));
    Ok(())
}

/// Crossing, direction, service and class of cargo.
type Labels = [String; 4];

fn totals(site: &LiveSite, lanes: &BTreeMap<String, LaneTraffic>) -> BTreeMap<Labels, u64> {
    let mut totals: BTreeMap<Labels, u64> = BTreeMap::new();
    for (name, lane) in lanes {
        let Some(declared) = site.lanes.get(name) else { continue };
        let spec = &declared.spec;
        for (class, count) in lane.passed.iter().filter(|(_, count)| **count > 0) {
            let labels = [
                spec.crossing_ref.0.clone(),
                format!("{:?}", spec.direction),
                format!("{:?}", spec.service),
                class_word(*class),
            ];
            *totals.entry(labels).or_default() += count;
        }
    }
    totals
}

fn class_word(class: CargoClass) -> String {
    format!("{class:?}")
}

/// `kalong_lane_passages_total` as the operator shows it, over the lanes of a crossing.
async fn scrape(site: &LiveSite) -> BTreeMap<Labels, u64> {
    let address = site.operator.order().listens.http;
    // An operator that is still starting has nothing to say yet.
    let text = plain_http::get(address, "/metrics").await.map(|(_, text)| text).unwrap_or_default();
    let mut counted = BTreeMap::new();
    for (labels, count) in text.lines().filter_map(sample) {
        *counted.entry(labels).or_default() += count;
    }
    counted
}

fn sample(line: &str) -> Option<(Labels, u64)> {
    let rest = line.strip_prefix("kalong_lane_passages_total{")?;
    let (labels, value) = rest.split_once("} ")?;
    let label = |name: &str| {
        let (_, after) = labels.split_once(&format!("{name}=\""))?;
        after.split_once('"').map(|(word, _)| word.to_owned())
    };
    let value = value.trim().parse::<f64>().ok().filter(|value| *value > 0.0)?;
    let value = format!("{value:.0}").parse().ok()?;
    Some(([label("crossing")?, label("direction")?, label("service")?, label("cargo_class")?], value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_read_whatever_the_order_of_its_labels() {
        let line = r#"kalong_lane_passages_total{cargo_class="General",crossing="bl2",direction="Inbound",service="Smart"} 12"#;
        let labels = ["bl2", "Inbound", "Smart", "General"].map(str::to_owned);
        assert_eq!(sample(line), Some((labels, 12)));
        assert_eq!(sample("kalong_lane_passages_total_of_another{} 1"), None);
    }
}
