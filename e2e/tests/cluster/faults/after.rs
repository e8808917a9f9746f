//! What has to be true once everything is whole again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::device::HealthState;
use kalong_e2e::scenario::{ChangesDone, FaultActor, LiveSite, incident, incidents};
use tokio::time::sleep;

/// After a storm: agents that back off, controllers that do, and a machine that is busy.
pub const CONVERGE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);

/// Waits until every live device is Ready as declared now.
pub async fn settled(site: &LiveSite) {
    let names: Vec<_> = site.layout.live().map(|device| device.name.clone()).collect();
    let ready = site.devices.until("devices", CONVERGE, &site.progress, |seen| {
        let missing = names.iter().filter(|name| {
            !seen.get(*name).is_some_and(|device| {
                let current = device.condition(ConditionType::Ready).and_then(|ready| ready.observed_generation);
                device.is(ConditionType::Ready) && current == device.metadata.generation
            })
        });
        let missing: Vec<_> = missing.collect();
        match missing.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} of {} Ready, not {first}", names.len() - missing.len(), names.len())),
        }
    });
    ready.await.unwrap();
}

/// Waits until each object shows the last thing that was done to its device, and each device holds the last thing declared.
pub async fn converged(site: &LiveSite, actors: &[FaultActor], done: &BTreeMap<String, ChangesDone>) -> Duration {
    let begun = Instant::now();
    settled(site).await;
    let shown = site.devices.until("last values", CONVERGE, &site.progress, |seen| {
        let wrong: Vec<_> = actors
            .iter()
            .filter_map(|actor| {
                let (device, last) = (seen.get(&actor.name)?, done.get(&actor.name)?.health.last()?);
                let status = device.status.as_ref()?;
                let codes = status.health.clone().unwrap_or_default().codes;
                let applied = Some(status.applied) == device.metadata.generation;
                (codes != last.codes || !applied)
                    .then(|| format!("{} shows {codes:?}, not {:?}", actor.name, last.codes))
            })
            .collect();
        match wrong.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} of {} are behind: {first}", wrong.len(), actors.len())),
        }
    });
    shown.await.unwrap();
    let truth = site.truth().await.unwrap();
    for actor in actors {
        let Some(last) = done.get(&actor.name).and_then(|done| done.numbers.last()) else { continue };
        let held = actor.number(&truth[&actor.name].settings);
        assert_eq!(held, Some(*last), "{}: {:?}", actor.name, actor.dial);
    }
    begun.elapsed()
}

/// No object ever showed an older state after a newer one: what was seen is in the order of what was done.
pub fn never_went_back(site: &LiveSite, actors: &[FaultActor], done: &BTreeMap<String, ChangesDone>, since: Instant) {
    for actor in actors {
        let Some(done) = done.get(&actor.name) else { continue };
        let (mut place, mut applied) = (0, 0);
        for sighting in site.devices.history(&actor.name).into_iter().filter(|sighting| sighting.at >= since) {
            let Some(status) = &sighting.object.status else { continue };
            assert!(status.applied >= applied, "{}: generation {} after {applied}", actor.name, status.applied);
            applied = status.applied;
            // Nothing is stated of a device that cannot be heard.
            let Some(health) = &status.health else { continue };
            // Before the first change nothing was wrong.
            let state = |place: usize| match place.checked_sub(1) {
                None => (Vec::new(), since),
                Some(index) => (done.health[index].codes.clone(), done.health[index].from),
            };
            let next = (place..=done.health.len()).find(|place| {
                let (codes, from) = state(*place);
                codes == health.codes && from <= sighting.at
            });
            let told: Vec<_> = done.health.iter().map(|set| &set.codes).collect();
            let Some(next) = next else {
                panic!("{} showed {:?} after change {place} of {told:?}", actor.name, health.codes);
            };
            place = next;
        }
    }
}

/// Reasons of the Events about a device's health, in the order of the store.
pub async fn told(site: &LiveSite) -> BTreeMap<String, Vec<String>> {
    let about_health = [Reason::DeviceDegraded, Reason::DeviceFaulty, Reason::DeviceRecovered].map(Reason::as_str);
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let ids: Vec<_> = site.agents.keys().map(|agent| site.agent_id(agent)).collect();
    for event in site.events().await.unwrap() {
        let (Some(about), Some(reason)) = (event.regarding.as_ref().and_then(|r| r.name.clone()), event.reason.clone())
        else {
            continue;
        };
        let by_a_box = ids.iter().any(|id| incident(&event, id).is_some());
        if by_a_box && about_health.contains(&reason.as_str()) {
            told.entry(about).or_default().push(reason);
        }
    }
    told
}

/// What was told until now, once it is complete: everyone is well, so the last word about whoever was ill is that it recovered.
/// The Event comes after the status, and one that is still on its way belongs to what was before.
pub async fn told_that_everyone_is_well(site: &LiveSite) -> BTreeMap<String, Vec<String>> {
    let begun = Instant::now();
    loop {
        let told = told(site).await;
        let well = |reasons: &Vec<String>| reasons.last().is_none_or(|last| last == Reason::DeviceRecovered.as_str());
        let waiting: Vec<_> = told.iter().filter(|(_, reasons)| !well(reasons)).map(|(name, _)| name).collect();
        if waiting.is_empty() {
            return told;
        }
        assert!(begun.elapsed() < CONVERGE, "nobody told that {waiting:?} recovered");
        sleep(POLL).await;
    }
}

/// Every change of how well a device is was told once and in order, and no box left a gap.
pub async fn told_once_and_in_order(
    site: &LiveSite,
    actors: &[FaultActor],
    done: &BTreeMap<String, ChangesDone>,
    before: &BTreeMap<String, Vec<String>>,
) -> usize {
    let begun = Instant::now();
    let expected: BTreeMap<_, _> = actors.iter().map(|actor| (actor.name.clone(), transitions(actor, done))).collect();
    let wrong = loop {
        let now = told(site).await;
        let wrong: Vec<_> = expected
            .iter()
            .filter_map(|(name, expected)| {
                let earlier = before.get(name).map_or(0, Vec::len);
                let seen: Vec<_> = now.get(name).map(|all| all[earlier..].to_vec()).unwrap_or_default();
                (seen != *expected).then(|| format!("{name}: {seen:?}, expected {expected:?}"))
            })
            .collect();
        if wrong.is_empty() || begun.elapsed() > CONVERGE {
            break wrong;
        }
        sleep(POLL).await;
    };
    assert!(
        wrong.is_empty(),
        "{} devices were told of wrongly:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    let events = site.events().await.unwrap();
    for agent in site.agents.keys() {
        for pair in incidents(&events, &site.agent_id(agent)).windows(2) {
            let follows = (pair[1].epoch == pair[0].epoch && pair[1].seq == pair[0].seq + 1)
                || (pair[1].epoch > pair[0].epoch && pair[1].seq == 1);
            assert!(follows, "{agent}: {:?} is followed by {:?}", pair[0], pair[1]);
        }
    }
    expected.values().map(Vec::len).sum()
}

/// What a box has to tell of what was done to a device that was well.
fn transitions(actor: &FaultActor, done: &BTreeMap<String, ChangesDone>) -> Vec<String> {
    let mut state = HealthState::OK;
    let mut told = Vec::new();
    for set in done.get(&actor.name).map(|done| done.health.clone()).unwrap_or_default() {
        let next = actor.state(&set.codes);
        if next != state {
            let reason = match next {
                HealthState::OK => Reason::DeviceRecovered,
                HealthState::Degraded => Reason::DeviceDegraded,
                HealthState::Faulty => Reason::DeviceFaulty,
            };
            told.push(reason.as_str().to_owned());
        }
        state = next;
    }
    told
}
