//! 8. Phase 2 is asked for too early and refused by name; then it is commissioned, then opened, and no device of phase 1 notices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::phase::{GateVerdict, PhaseState};
use kalong_crds::units::Name;
use kalong_crds::{Device, Lane};
use kube::ResourceExt;

use super::settled::settled;
use super::touched::done_to_devices;
use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, Present, ScenarioError};
use crate::site::report::DeviceSnapshot;

/// A refusal comes at once: nothing is waited for.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);
/// A box is enrolled, eight devices are told and read back.
const PROVEN_WITHIN: Duration = Duration::from_secs(120);
const OPEN_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    let before = site.truth().await?;
    let members = Members::of(site);
    refused(site, &members, &mut finding).await?;
    let begun = Instant::now();
    commissioned(site, &members, &mut finding).await?;
    opened(site, &members).await?;
    finding.say(format!("commissioned and opened {:.1} s later", begun.elapsed().as_secs_f64()));
    finding.seconds("commissionedAndOpenedSeconds", begun.elapsed());
    undisturbed(site, &before, &members, &mut finding).await?;
    Ok(finding)
}

/// What belongs to the later phase.
struct Members {
    devices: BTreeSet<String>,
    lanes: BTreeSet<String>,
    boxes: Vec<String>,
}

impl Members {
    fn of(site: &LiveSite) -> Self {
        let (layout, objects) = (&site.layout, &site.layout.objects);
        let planned = |phase: &Option<Name>| !layout.is_live(phase.as_ref());
        Self {
            devices: layout.devices.iter().filter(|d| !d.is_live()).map(|d| d.name.clone()).collect(),
            lanes: objects.lanes.iter().filter(|l| planned(&l.spec.phase)).map(ResourceExt::name_any).collect(),
            boxes: objects.agents.iter().filter(|a| planned(&a.spec.phase)).map(ResourceExt::name_any).collect(),
        }
    }
}

/// The phase that Git declares as planned.
fn planned_phase(site: &LiveSite) -> String {
    site.layout.planned_phase().unwrap_or_default()
}

async fn ask(site: &LiveSite, state: PhaseState) -> Result<(), ScenarioError> {
    site.patch("phase", &planned_phase(site), &serde_json::json!({"spec": {"state": state}}).to_string()).await
}

/// Too early: the gate and what is missing are named, waiters fail at once, and nothing moves.
async fn refused(site: &LiveSite, members: &Members, finding: &mut Finding) -> Result<(), ScenarioError> {
    ask(site, PhaseState::Open).await?;
    let (message, failed) = site
        .phases
        .until("the refusal of phase 2", REFUSED_WITHIN, &site.progress, |seen| {
            let phase = seen.get(&planned_phase(site)).ok_or("it is not there")?;
            let stalled = phase.condition(ConditionType::Stalled).filter(|c| c.reason == Reason::GateRefused.as_str());
            let stalled = stalled.filter(|c| c.observed_generation == phase.metadata.generation);
            let message = stalled.ok_or("it is not refused yet")?.message.clone();
            let gates = phase.status.as_ref().map(|s| s.gates.clone()).unwrap_or_default();
            let failed: Vec<String> =
                gates.into_iter().filter(|g| g.result == GateVerdict::Failed).map(|g| g.name).collect();
            Ok((message, failed))
        })
        .await?;
    let named = members.devices.iter().chain(&members.lanes).chain(&members.boxes).any(|name| message.contains(name));
    finding.require(named, || format!("the refusal names nothing that is missing: {message}"));
    finding.require(!failed.is_empty() && failed.iter().any(|gate| message.contains(gate)), || {
        format!("the refusal names none of the gates {failed:?}: {message}")
    });
    let state = site.phases.get(&planned_phase(site)).and_then(|p| p.status.as_ref().map(|s| s.state));
    finding.require(state == Some(PhaseState::Planned), || format!("phase 2 is in {state:?}"));
    let planned = |name: &String| {
        site.devices.get(name).is_some_and(|d| d.reason(ConditionType::Ready) == Reason::Planned.as_str())
    };
    finding.require(members.devices.iter().all(planned), || "a device of phase 2 is no longer planned".to_owned());
    finding.say(format!("asked for too early: refused by gate {}", failed.join(" and ")));
    Ok(())
}

/// Its boxes are enrolled, its devices proven, and its lanes stay closed.
async fn commissioned(site: &mut LiveSite, members: &Members, finding: &mut Finding) -> Result<(), ScenarioError> {
    ask(site, PhaseState::Commissioning).await?;
    for name in &members.boxes {
        site.add_agent(name).await?;
    }
    site.devices
        .until("devices of phase 2 proven", PROVEN_WITHIN, &site.progress, |seen: &Present<Device>| {
            all(&members.devices, seen, |device| {
                device.reason(ConditionType::Ready) == Reason::Commissioning.as_str()
                    && device.is(ConditionType::Connected)
                    && device.is(ConditionType::ConfigApplied)
                    && device.is(ConditionType::FirmwareUpToDate)
            })
        })
        .await?;
    site.lanes
        .until("lanes of phase 2 closed and ready to open", PROVEN_WITHIN, &site.progress, |seen: &Present<Lane>| {
            all(&members.lanes, seen, |lane| {
                lane.is(ConditionType::DevicesReady)
                    && lane.status.as_ref().is_some_and(|s| s.admission == LaneAdmission::Closed)
            })
        })
        .await?;
    let opened = members.lanes.iter().flat_map(|lane| site.lanes.history(lane)).filter(|sighting| {
        sighting.object.status.as_ref().is_some_and(|status| status.admission == LaneAdmission::Open)
    });
    let opened = opened.count();
    finding.require(opened == 0, || format!("a lane of phase 2 was open {opened} times before its phase was"));
    finding.say(format!(
        "{} devices proven in commissioning, {} lanes closed",
        members.devices.len(),
        members.lanes.len()
    ));
    Ok(())
}

async fn opened(site: &LiveSite, members: &Members) -> Result<(), ScenarioError> {
    ask(site, PhaseState::Open).await?;
    site.phases
        .until("phase 2 open", OPEN_WITHIN, &site.progress, |seen| {
            let phase = seen.get(&planned_phase(site)).ok_or("it is not there")?;
            let open = phase.status.as_ref().is_some_and(|s| s.state == PhaseState::Open);
            if open && phase.is(ConditionType::Ready) { Ok(()) } else { Err(why(phase.as_ref())) }
        })
        .await?;
    site.lanes
        .until("lanes of phase 2 open", OPEN_WITHIN, &site.progress, |seen: &Present<Lane>| {
            all(&members.lanes, seen, |lane| {
                let declared = match lane.spec.admission {
                    kalong_crds::lane::Admission::Open => LaneAdmission::Open,
                    kalong_crds::lane::Admission::Closed => LaneAdmission::Closed,
                };
                lane.is(ConditionType::Ready) && lane.status.as_ref().is_some_and(|s| s.admission == declared)
            })
        })
        .await
}

/// The devices of phase 1 count for themselves what was done to them.
async fn undisturbed(
    site: &LiveSite,
    before: &BTreeMap<String, DeviceSnapshot>,
    members: &Members,
    finding: &mut Finding,
) -> Result<(), ScenarioError> {
    let mut after = site.truth().await?;
    after.retain(|name, _| !members.devices.contains(name));
    done_to_devices(before, &after, &BTreeSet::new(), finding);
    let others = after.len();
    finding.say(format!("none of {others} devices of phase 1 was touched"));
    finding.count("undisturbedDevices", others);
    Ok(())
}

fn all<K: Conditioned + ResourceExt>(
    names: &BTreeSet<String>,
    seen: &Present<K>,
    holds: impl Fn(&K) -> bool,
) -> Result<(), String> {
    let missing = |name: &&String| !seen.get(*name).is_some_and(|object| holds(object.as_ref()));
    match names.iter().find(missing) {
        None => Ok(()),
        Some(name) => Err(format!("{name} {}", seen.get(name).map_or_else(String::new, |object| why(object.as_ref())))),
    }
}

fn why<K: Conditioned>(object: &K) -> String {
    let ready = object.condition(ConditionType::Ready);
    ready.map_or_else(|| "was not visited yet".to_owned(), |c| format!("is {}: {}", c.reason, c.message))
}
