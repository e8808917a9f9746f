//! 4. The operator is killed and started again: every box is back under a higher term, one change behind each is in force within 30 s,
//!    and nothing else was done to any device or written of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use kalong_crds::Device;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::property::{Property, PropertyType};
use kalong_crds::units::Value;
use tokio::time::sleep;

use super::settled::settled;
use super::touched::done_to_devices;
use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, Meter, ScenarioError, Sighting};
use crate::site::report::DeviceSnapshot;

/// The lease of an earlier process of the same instance is taken over at once; agents back off by seconds.
const RETURN_DEADLINE: Duration = Duration::from_secs(150);
const IN_FORCE_WITHIN: Duration = Duration::from_secs(30);
/// What would still be written needlessly comes in this time: reports follow within a poll of 5 s.
const QUIET: Duration = Duration::from_secs(6);
const POLL: Duration = Duration::from_millis(100);
const PATCH_AT_ONCE: usize = 3;

/// One change behind one box.
struct SettingChange {
    device: String,
    setting: String,
    value: Value,
}

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    let before = site.truth().await?;
    let term = site.term().await?;
    let fence = match site.cluster.plane() {
        Some(plane) => Some(plane.audit_fence().await?),
        None => None,
    };
    let lines = site.uplink.meters();
    let killed = Instant::now();
    site.operator.kill().await?;
    site.operator.restart(site.cluster.supervisor()).await?;
    let (new_term, back) = returned(site, term, &lines, killed).await?;
    finding.say(format!(
        "{} agents back under term {new_term} (was {term}) after {:.1} s",
        site.agents.len(),
        back.as_secs_f64()
    ));
    finding.require(new_term > term, || format!("the term is {new_term} and was {term}"));

    let changes = changes(site, &before);
    finding.require(changes.len() == site.agents.len(), || format!("{} boxes have something to set", changes.len()));
    let slowest = in_force(site, &changes).await?;
    finding.require(slowest <= IN_FORCE_WITHIN, || format!("the slowest change took {:.1} s", slowest.as_secs_f64()));
    finding.say(format!("{} changes in force, the slowest after {:.1} s", changes.len(), slowest.as_secs_f64()));

    let names: BTreeSet<String> = changes.iter().map(|change| change.device.clone()).collect();
    confirmed(site, &names).await?;
    settled(site).await?;
    sleep(QUIET).await;
    let total = done_to_devices(&before, &site.truth().await?, &names, &mut finding);
    finding
        .say(format!("{} writes, {} restarts, {} uploads at the devices", total.writes, total.reboots, total.uploads));
    let foreign = foreign_writes(site, fence, killed, &names).await?;
    for name in &foreign {
        finding.require(false, || format!("status of {name} was written: {}", turns(site, name, killed).join(" -> ")));
    }
    finding.say(format!("{} status writes for the {} others", foreign.len(), before.len() - names.len()));
    finding.measure("terms", f64::from(i32::try_from(new_term - term).unwrap_or(i32::MAX)));
    finding.seconds("agentsBackSeconds", back);
    finding.seconds("slowestChangeSeconds", slowest);
    finding.count("changes", changes.len());
    finding.count("statusWritesOfOthers", foreign.len());
    Ok(finding)
}

/// Waits until the term is higher and something went both ways on a new session of every box.
async fn returned(
    site: &LiveSite,
    term: i64,
    lines: &BTreeMap<String, Meter>,
    killed: Instant,
) -> Result<(i64, Duration), ScenarioError> {
    loop {
        let now = site.term().await?;
        let back = site.uplink.meters().into_iter().filter(|(name, meter)| {
            let spoken_to = lines.get(name).is_none_or(|earlier| meter.bytes_down > earlier.bytes_down);
            let speaks =
                meter.last_up.is_some_and(|last| meter.since.is_some_and(|since| since > killed && last > since));
            meter.open > 0 && spoken_to && speaks
        });
        let back = back.count();
        if now > term && back == site.agents.len() {
            return Ok((now, killed.elapsed()));
        }
        site.check()?;
        if killed.elapsed() > RETURN_DEADLINE {
            let seen = format!("{back} of {} are back, the term is {now}", site.agents.len());
            return Err(ScenarioError::Deadline {
                what: "agents under a new term".into(),
                within: RETURN_DEADLINE,
                seen,
            });
        }
        site.progress.now_and_then(&format!("agents back: {back} of {}", site.agents.len()));
        sleep(POLL).await;
    }
}

/// A setting behind every box, with another value than it has.
fn changes(site: &LiveSite, truth: &BTreeMap<String, DeviceSnapshot>) -> Vec<SettingChange> {
    let change = |name: &String| {
        let (placed, setting) = site.layout.setting_behind(name)?;
        let now = truth.get(&placed.name)?.settings.get(&setting.name)?;
        Some(SettingChange { device: placed.name.clone(), setting: setting.name.clone(), value: another(setting, now) })
    };
    site.agents.keys().filter_map(change).collect()
}

fn another(setting: &Property, now: &Value) -> Value {
    match (setting.kind, now) {
        (PropertyType::Integer, Value::Integer(n)) if setting.max.is_some_and(|max| *n >= max) => {
            Value::Integer(setting.min.unwrap_or_default())
        }
        (PropertyType::Integer, Value::Integer(n)) => Value::Integer(n + 1),
        (PropertyType::Enumeration, now) => {
            let mut words = setting.values.iter().map(|word| Value::from(word.as_str()));
            words.find(|word| word != now).unwrap_or_else(|| now.clone())
        }
        (PropertyType::Integer | PropertyType::Text, now) => Value::from(format!("{now}-2").as_str()),
    }
}

/// Makes the changes as a person would; the longest time from a patch to the device that holds it.
async fn in_force(site: &LiveSite, changes: &[SettingChange]) -> Result<Duration, ScenarioError> {
    let control = site.simulated.control();
    let times: Vec<Duration> = futures::stream::iter(changes)
        .map(|change| async move {
            let begun = Instant::now();
            site.patch_setting(&change.device, &change.setting, &change.value).await?;
            let deadline = IN_FORCE_WITHIN * 2;
            while control.device(&change.device).await?.settings.get(&change.setting) != Some(&change.value) {
                if begun.elapsed() > deadline {
                    let what = format!("{} of {} on the device", change.setting, change.device);
                    let seen = "the old value".to_owned();
                    return Err(ScenarioError::Deadline { what, within: deadline, seen });
                }
                sleep(POLL).await;
            }
            Ok(begun.elapsed())
        })
        .buffer_unordered(PATCH_AT_ONCE)
        .try_collect()
        .await?;
    Ok(times.into_iter().max().unwrap_or_default())
}

/// Waits until the statuses say so too.
async fn confirmed(site: &LiveSite, names: &BTreeSet<String>) -> Result<(), ScenarioError> {
    site.devices
        .until("confirmed changes", RETURN_DEADLINE, &site.progress, |seen| {
            let done = names.iter().filter(|name| {
                seen.get(*name).is_some_and(|device| {
                    let applied = device.status.as_ref().map(|status| status.applied);
                    device.is(ConditionType::ConfigApplied) && applied == device.metadata.generation
                })
            });
            let done = done.count();
            if done == names.len() { Ok(()) } else { Err(format!("{done} of {}", names.len())) }
        })
        .await
}

/// What a device's Ready said, version by version, from the last one before this moment on.
fn turns(site: &LiveSite, name: &str, since: Instant) -> Vec<String> {
    let history = site.devices.history(name);
    let before = history.iter().rposition(|sighting| sighting.at < since).unwrap_or_default();
    let of = |sighting: &Sighting<Device>| {
        let ready = sighting.object.condition(ConditionType::Ready);
        ready.map_or_else(String::new, |ready| format!("{} {}", ready.reason, ready.message).trim().to_owned())
    };
    history.iter().skip(before).map(of).collect()
}

/// Devices that did not change and whose status was written all the same.
async fn foreign_writes(
    site: &LiveSite,
    fence: Option<crate::cluster::AuditMark>,
    since: Instant,
    names: &BTreeSet<String>,
) -> Result<Vec<String>, ScenarioError> {
    let (Some(plane), Some(fence)) = (site.cluster.plane(), fence) else {
        // Without an audit log: every version of an object that a watcher saw.
        let seen = site.devices.since(since).into_iter().filter_map(|sighting| sighting.object.metadata.name.clone());
        return Ok(seen.filter(|name| !names.contains(name)).collect());
    };
    plane.audit_fence().await?;
    let writes = plane.audit().writes_by(&site.operator_user(), fence)?;
    let of_others = writes.into_iter().filter(|entry| entry.resource == "devices" && entry.subresource == "status");
    Ok(of_others.map(|entry| entry.name).filter(|name| !names.contains(name)).collect())
}
