//! 7. Firmware for the plate cameras of all open lanes is wanted at once, by hand, while traffic flows: lanes are drained one at a time, no
//!    floor breaks, nobody is inside when a device is touched, and a lane that cannot go says why and on whom it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::condition::ConditionType;
use kalong_crds::condition::Conditioned;
use kalong_crds::lane::{Admission, LaneAdmission, SlotRole};
use kalong_crds::{Device, Lane};
use tokio::time::sleep;

use super::passing::{self, Group};
use super::rollout;
use super::settled::{is_ready, settled};
use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, Present, ScenarioError};
use crate::site::layout::Placed;

/// A version that no other expectation wants.
const VERSION: &str = "8.0.0";
const COUNTER: i64 = 8;
/// Lanes go one after the other: each is emptied, two cameras are changed in turn, each with a soak of 5 s.
const ROLL_DEADLINE: Duration = Duration::from_secs(420);
const CLOSE_DEADLINE: Duration = Duration::from_secs(90);
/// A lane that is given back lets the next one go within this time.
const TURN: Duration = Duration::from_secs(6);

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    passing::start(site).await?;
    let cameras: Vec<Placed> =
        site.layout.live().filter(|device| is_plate_camera_of_open_lane(device)).cloned().collect();
    let groups = passing::groups(site);
    let releases = rollout::publish_all(site, &cameras, |_| VERSION.to_owned(), COUNTER).await?;
    let before = site.truth().await?;
    let asked_millis = site.simulated.control().traffic_report().await?.now_millis;
    let begun = Instant::now();
    rollout::want(site, &cameras, &releases).await?;
    let stuck = until_done_or_stuck(site, &cameras).await?;
    finding.require(stuck.len() < cameras.len(), || "every lane had to wait for a floor".to_owned());
    // Capacity that a person adds lets the last lane go, and is taken back when it went.
    let spares = open_spares(site, &cameras, &stuck).await?;
    until_done(site, &cameras).await?;
    close_spares(site, &spares).await?;
    finding.say(format!(
        "{} plate cameras of {} open lanes run proven firmware after {:.1} s",
        cameras.len(),
        lanes_of(&cameras).len(),
        begun.elapsed().as_secs_f64()
    ));
    let waited = waits(site, &cameras, begun, &mut finding);
    at_the_gate(site, &groups, asked_millis, &cameras, &mut finding).await?;
    rollout::prove(site, &cameras, &releases, &before, &mut finding).await?;
    settled(site).await?;
    finding.seconds("drainedRolloutSeconds", begun.elapsed());
    finding.count("drainedCameras", cameras.len());
    finding.count("waitedForFloor", waited);
    Ok(finding)
}

fn is_plate_camera_of_open_lane(device: &Placed) -> bool {
    device.slot.as_ref().is_some_and(|slot| slot.role == SlotRole::PlateReader && slot.admission == Admission::Open)
}

fn lanes_of(cameras: &[Placed]) -> BTreeSet<String> {
    cameras.iter().filter_map(|camera| camera.slot.as_ref().map(|slot| slot.lane.clone())).collect()
}

fn is_done(device: &Device) -> bool {
    let running = device.status.as_ref().and_then(|status| status.firmware.as_ref()).map(|f| f.running.as_str());
    running == Some(VERSION) && is_ready(device) && device.is(ConditionType::FirmwareUpToDate)
}

fn floor_block(device: &Device) -> Option<&BlockedBy> {
    device.status.as_ref()?.blocked_by.iter().find(|block| block.code == BlockCode::CapacityFloor)
}

/// Cameras that said at some moment that a floor is in their way; each has to say on whom it waits.
fn waits(site: &LiveSite, cameras: &[Placed], since: Instant, finding: &mut Finding) -> usize {
    let mut waited: BTreeMap<&str, BlockedBy> = BTreeMap::new();
    for camera in cameras {
        for sighting in site.devices.history(&camera.name).into_iter().filter(|sighting| sighting.at >= since) {
            if let Some(block) = floor_block(sighting.object.as_ref()) {
                let on_whom = block.subject.split_once('/').is_some_and(|(_, name)| block.message.contains(name));
                finding.require(on_whom, || format!("{} does not say on whom it waits: {block:?}", camera.name));
                waited.insert(&camera.name, block.clone());
            }
        }
    }
    match waited.iter().next() {
        Some((camera, block)) => finding.say(format!(
            "{} cameras said CapacityFloor meanwhile, {camera}: waits on {}",
            waited.len(),
            block.subject
        )),
        None => finding.require(false, || "no lane had to wait for a floor".to_owned()),
    }
    waited.len()
}

/// Waits until each camera is done, or says that a floor is in its way while no other lane is being changed.
async fn until_done_or_stuck(site: &LiveSite, cameras: &[Placed]) -> Result<BTreeSet<String>, ScenarioError> {
    let begun = Instant::now();
    loop {
        let stuck = site
            .devices
            .until("plate cameras, lane by lane", ROLL_DEADLINE, &site.progress, |seen: &Present<Device>| {
                let of = |holds: &dyn Fn(&Device) -> bool| -> BTreeSet<String> {
                    let fits = |camera: &&Placed| seen.get(&camera.name).is_some_and(|device| holds(device));
                    cameras.iter().filter(fits).map(|camera| camera.name.clone()).collect()
                };
                let (done, stuck) = (of(&is_done), of(&|device| floor_block(device).is_some()));
                if done.len() + stuck.len() == cameras.len() && !done.is_empty() {
                    Ok(stuck)
                } else {
                    Err(format!("{} of {} done, {} wait for a floor", done.len(), cameras.len(), stuck.len()))
                }
            })
            .await?;
        // Whoever only waits for the lane before it goes on by itself once that one is given back.
        sleep(TURN).await;
        let moves = site.drains.present().values().any(|drain| drain.is(ConditionType::Accepted));
        let still = |name: &String| site.devices.get(name).is_some_and(|device| floor_block(&device).is_some());
        if !moves && stuck.iter().all(still) {
            return Ok(stuck);
        }
        if begun.elapsed() > ROLL_DEADLINE {
            let seen = format!("{} still wait", stuck.len());
            return Err(ScenarioError::Deadline { what: "plate cameras".into(), within: ROLL_DEADLINE, seen });
        }
    }
}

/// Opens a closed lane that does the same as a lane that cannot go.
async fn open_spares(
    site: &LiveSite,
    cameras: &[Placed],
    stuck: &BTreeSet<String>,
) -> Result<BTreeSet<String>, ScenarioError> {
    let all = site.lanes.present();
    let group = |lane: &Lane| -> Group { (lane.spec.crossing_ref.0.clone(), lane.spec.service, lane.spec.direction) };
    let waiting = cameras.iter().filter(|camera| stuck.contains(&camera.name));
    let wanted: BTreeSet<Group> =
        waiting.filter_map(|camera| all.get(camera.slot.as_ref()?.lane.as_str()).map(|lane| group(lane))).collect();
    let mut spares = BTreeSet::new();
    for wanted in wanted {
        let spare = all.iter().find(|(_, lane)| group(lane) == wanted && lane.spec.admission == Admission::Closed);
        let Some((name, _)) = spare else {
            let why = format!("{} has no closed lane that could be opened", passing::words(&wanted));
            return Err(ScenarioError::shape("the site", why));
        };
        declare(site, name, Admission::Open).await?;
        spares.insert(name.clone());
    }
    Ok(spares)
}

async fn declare(site: &LiveSite, lane: &str, admission: Admission) -> Result<(), ScenarioError> {
    site.patch("lane", lane, &serde_json::json!({"spec": {"admission": admission}}).to_string()).await
}

/// Closing is a change like any other: it goes through a drain of its own, under the floors.
async fn close_spares(site: &LiveSite, spares: &BTreeSet<String>) -> Result<(), ScenarioError> {
    for lane in spares {
        declare(site, lane, Admission::Closed).await?;
    }
    site.lanes
        .until("the spare lanes closed again", CLOSE_DEADLINE, &site.progress, |seen: &Present<Lane>| {
            let closed = |lane: &Lane| {
                is_ready(lane) && lane.status.as_ref().is_some_and(|status| status.admission == LaneAdmission::Closed)
            };
            let open = spares.iter().find(|name| !seen.get(*name).is_some_and(|lane| closed(lane)));
            open.map_or(Ok(()), |name| Err(format!("{name} is not closed")))
        })
        .await
}

async fn until_done(site: &LiveSite, cameras: &[Placed]) -> Result<(), ScenarioError> {
    site.devices
        .until("plate cameras of all open lanes", ROLL_DEADLINE, &site.progress, |seen: &Present<Device>| {
            let done =
                cameras.iter().filter(|camera| seen.get(&camera.name).is_some_and(|device| is_done(device))).count();
            if done == cameras.len() { Ok(()) } else { Err(format!("{done} of {} done", cameras.len())) }
        })
        .await
}

/// What the lanes' own controllers say: how many were open, and whether anybody was inside.
async fn at_the_gate(
    site: &LiveSite,
    groups: &BTreeMap<Group, BTreeSet<String>>,
    since_millis: u64,
    cameras: &[Placed],
    finding: &mut Finding,
) -> Result<(), ScenarioError> {
    let lanes = passing::lanes(site).await?;
    let mut least = Vec::new();
    for (group, floor) in passing::floors(site) {
        let everyone: BTreeSet<String> = site
            .lanes
            .present()
            .iter()
            .filter(|(_, lane)| (lane.spec.crossing_ref.0.clone(), lane.spec.service, lane.spec.direction) == group)
            .map(|(name, _)| name.clone())
            .collect();
        let fewest = passing::fewest_open(&lanes, &everyone, since_millis);
        finding.require(fewest >= floor, || {
            format!("{}: {fewest} lanes were open at a moment, the floor is {floor}", passing::words(&group))
        });
        least.push(format!("{} {fewest} of at least {floor}", passing::words(&group)));
    }
    for (group, open) in groups {
        let fewest = passing::fewest_open(&lanes, open, since_millis);
        finding.require(fewest + 1 >= open.len(), || {
            format!("{}: {} lanes were out of service at once", passing::words(group), open.len() - fewest)
        });
    }
    let ours = lanes_of(cameras);
    let mut touched = 0;
    for (name, lane) in lanes.iter().filter(|(name, _)| ours.contains(*name)) {
        for touch in lane.touched.iter().filter(|touch| touch.at_millis >= since_millis) {
            touched += 1;
            finding.require(touch.inside == 0 && touch.state != LaneAdmission::Open, || {
                format!("{} of {name}, {:?}, was touched with {} inside", touch.device, touch.state, touch.inside)
            });
        }
    }
    finding
        .require(touched >= cameras.len(), || format!("the lanes saw {touched} touches of {} cameras", cameras.len()));
    finding.say(format!("every floor held ({})", least.join(", ")));
    finding.say(format!("nobody was inside at any of {touched} touches"));
    let passed: u64 = lanes.values().map(crate::site::traffic::LaneTraffic::total).sum();
    let lost = lanes.values().find(|lane| lane.total() + lane.waiting + lane.inside != lane.due);
    finding.require(lost.is_none(), || format!("{:?} lost somebody", lost.map(|lane| &lane.name)));
    finding.say(format!("{passed} passages meanwhile"));
    Ok(())
}
