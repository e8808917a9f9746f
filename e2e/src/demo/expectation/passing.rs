//! What passes the gate while it is changed: read from the simulated lanes, never from what the operator says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kalong_crds::lane::{Admission, Direction, LaneAdmission, Service};
use kube::ResourceExt;
use tokio::time::sleep;

use crate::scenario::{LiveSite, ScenarioError};
use crate::site::traffic::LaneTraffic;

/// The traffic of every demo is the same.
pub(super) const SEED: u64 = 164;
/// How much faster than real time vehicles come and go.
pub(super) const SPEED: u32 = 10;
/// At ten times real time a lane has a passage every few seconds.
const FLOW_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(250);

/// Lanes that do the same for the same traffic.
pub(super) type Group = (String, Service, Direction);

/// Lets vehicles and passengers come, and waits until some have passed.
pub(super) async fn start(site: &LiveSite) -> Result<(), ScenarioError> {
    site.simulated.control().traffic_start(SEED, SPEED).await?;
    until(site, "traffic to flow", FLOW_DEADLINE, |lanes| {
        let passed: u64 = lanes.values().map(LaneTraffic::total).sum();
        if passed >= 20 { Ok(()) } else { Err(format!("{passed} have passed")) }
    })
    .await
}

/// What every lane says of itself, by name.
pub(super) async fn lanes(site: &LiveSite) -> Result<BTreeMap<String, LaneTraffic>, ScenarioError> {
    let lanes = site.simulated.control().traffic_report().await?.lanes;
    Ok(lanes.into_iter().map(|lane| (lane.name.clone(), lane)).collect())
}

/// Looks until it is content.
pub(super) async fn until<T>(
    site: &LiveSite,
    what: &str,
    within: Duration,
    mut look: impl FnMut(&BTreeMap<String, LaneTraffic>) -> Result<T, String>,
) -> Result<T, ScenarioError> {
    let begun = Instant::now();
    loop {
        match look(&lanes(site).await?) {
            Ok(found) => return Ok(found),
            Err(seen) if begun.elapsed() > within => {
                return Err(ScenarioError::Deadline { what: what.to_owned(), within, seen });
            }
            Err(seen) => site.progress.now_and_then(&format!("{what}: {seen}")),
        }
        sleep(POLL).await;
    }
}

/// The lanes that are declared open now, by what they do.
pub(super) fn groups(site: &LiveSite) -> BTreeMap<Group, BTreeSet<String>> {
    let mut groups: BTreeMap<Group, BTreeSet<String>> = BTreeMap::new();
    for (name, lane) in site.lanes.present() {
        if lane.spec.admission == Admission::Open {
            let group = (lane.spec.crossing_ref.0.clone(), lane.spec.service, lane.spec.direction);
            groups.entry(group).or_default().insert(name);
        }
    }
    groups
}

/// The least that were open at any moment since `since`, of these lanes, by the account of their own controllers.
pub(super) fn fewest_open(lanes: &BTreeMap<String, LaneTraffic>, names: &BTreeSet<String>, since_millis: u64) -> usize {
    let mut turns: Vec<(u64, &str, LaneAdmission)> = Vec::new();
    for (name, lane) in lanes.iter().filter(|(name, _)| names.contains(*name)) {
        turns.extend(lane.admission.iter().map(|turn| (turn.at_millis, name.as_str(), turn.state)));
    }
    turns.sort_by_key(|(at, ..)| *at);
    let mut open: BTreeSet<&str> = BTreeSet::new();
    let mut fewest = None;
    let mut note = |open: &BTreeSet<&str>| fewest = Some(fewest.map_or(open.len(), |n: usize| n.min(open.len())));
    let mut begun = false;
    for (at, name, state) in turns {
        if at >= since_millis && !begun {
            begun = true;
            note(&open);
        }
        if state == LaneAdmission::Open {
            open.insert(name)
        } else {
            open.remove(name)
        };
        if begun {
            note(&open);
        }
    }
    if !begun {
        note(&open);
    }
    fewest.unwrap_or_default()
}

/// The floors that are declared, with the lanes that there are for each.
pub(super) fn floors(site: &LiveSite) -> Vec<(Group, usize)> {
    let mut floors = Vec::new();
    for crossing in site.crossings.present().values() {
        for floor in &crossing.spec.capacity_floors {
            let least = usize::try_from(floor.min_open_lanes).unwrap_or_default();
            floors.push(((crossing.name_any(), floor.service, floor.direction), least));
        }
    }
    floors
}

pub(super) fn words((crossing, service, direction): &Group) -> String {
    format!("{crossing} {service:?} {direction:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::traffic::AdmissionChange;

    #[test]
    fn fewest_open_is_counted_from_the_controllers_own_turns() {
        let lane = |name: &str, turns: &[(u64, LaneAdmission)]| {
            let admission = turns
                .iter()
                .map(|(at_millis, state)| AdmissionChange { at_millis: *at_millis, state: *state })
                .collect();
            (name.to_owned(), LaneTraffic { name: name.to_owned(), admission, ..LaneTraffic::default() })
        };
        let (open, closed) = (LaneAdmission::Open, LaneAdmission::Closed);
        let lanes = BTreeMap::from([
            lane("a", &[(0, open), (50, closed), (60, open)]),
            lane("b", &[(0, open), (100, LaneAdmission::Draining), (110, closed), (200, open)]),
            lane("c", &[(0, closed)]),
        ]);
        let both = BTreeSet::from(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        assert_eq!(fewest_open(&lanes, &both, 55), 1, "before 55 ms nobody asks, and a is closed until 60");
        assert_eq!(fewest_open(&lanes, &both, 61), 1);
        assert_eq!(fewest_open(&lanes, &both, 201), 2);
    }
}
