//! A phase from plan to service and back: what is only planned is healthy and untouched, a gate that is not met leaves everything as it
//! is, and going back empties lanes first.

use std::net::SocketAddr;

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::phase::{GateVerdict, PhaseState};
use kalong_crds::{CHANGED_FOR_PHASE, Crossing, Device, EdgeAgent, Lane, Phase};
use kalong_e2e::site::layout::Placed;
use kalong_e2e::site::{ControlClient, Layout, Preset, SiteOptions, SiteProcess};
use serde_json::json;

use super::fixture::{Fixture, fixture};
use super::home::Home;
use super::moving::talks;
use super::site::{Kind, TestSite, declared};
use crate::kit::{SOON, holds, until};
use kalong_e2e::scenario::plain_http::get;

const FIRST: &str = "phase-1";
const LATER: &str = "phase-2";

/// A gate of its own: the controllers of lanes of the shared one are few.
async fn yard() -> (SiteProcess, Layout) {
    let options = SiteOptions { preset: Preset::L0, ..SiteOptions::default() };
    (SiteProcess::start_on_free_network(options).await.unwrap(), Layout::read(&Preset::L0.source()).unwrap())
}

/// A bridge with one device in service, and a lane with its own box that come later.
async fn declare(fixture: &Fixture, yard: &SiteProcess, site: &TestSite<'_>, live: &Placed, later: &Placed) {
    site.create_json::<Phase>(FIRST, json!({"state": "Open", "crossings": ["bridge"]})).await;
    site.create_json::<Phase>(
        LATER,
        json!({
            "state": "Planned", "crossings": ["bridge"], "after": [FIRST],
            "entryGates": [{"name": "inventory", "type": "Inventory"}],
            "milestones": [{"name": "lane", "crossingRef": "bridge", "due": "2099-12-31", "expects": {"lanes": 1, "devices": 1}}],
        }),
    )
    .await;
    site.crossing("bridge").await;
    site.create_json::<EdgeAgent>("later", json!({"phase": LATER})).await;
    site.model_of(later).await;
    site.model_of(live).await;
    for (placed, phase) in [(live, FIRST), (later, LATER)] {
        let mut device = declared(fixture, placed, "gate");
        device.spec.phase = Some(phase.into());
        if phase == LATER {
            device.spec.connection.endpoint = placed.endpoint(yard.network()).to_string();
        }
        site.create(&device).await;
    }
    site.create_json::<Lane>(
        "lane",
        json!({
            "crossingRef": "bridge", "direction": "Inbound", "service": "Traditional", "admission": "Open", "phase": LATER,
            "ratedPassagesPerHour": 40, "slots": [{"name": "plc", "role": "Controller", "deviceRef": later.name}],
        }),
    )
    .await;
}

async fn rests<K: Kind + Conditioned>(site: &TestSite<'_>, name: &str, reason: &str) {
    site.until(name, &format!("Ready because {reason}"), SOON, |object: &K| {
        object.is(ConditionType::Ready) && object.reason(ConditionType::Ready) == reason
    })
    .await;
}

async fn ask(site: &TestSite<'_>, state: &str) {
    site.patch::<Phase>(LATER, json!({"spec": {"state": state}})).await;
}

async fn in_force(site: &TestSite<'_>, state: PhaseState) -> Phase {
    let is = |phase: &Phase| super::site::settled(phase) && phase.status.as_ref().is_some_and(|s| s.state == state);
    site.until(LATER, &format!("{state:?} in force"), SOON, is).await
}

async fn admission(site: &TestSite<'_>, wanted: LaneAdmission) {
    let is = |lane: &Lane| lane.status.as_ref().is_some_and(|s| s.admission == wanted);
    site.until::<Lane>("lane", &format!("{wanted:?}"), SOON, is).await;
}

/// The gate refuses to open, names this object, and everything is as it was.
async fn refused(site: &TestSite<'_>, missing: &str, stays: PhaseState) {
    let say = site.stalled::<Phase>(LATER, "GateRefused", SOON).await;
    assert!(say.contains("inventory") && say.contains(missing), "{say}");
    let phase: Phase = site.get(LATER).await;
    assert!(!phase.is(ConditionType::Ready) && !phase.is(ConditionType::EntryMet));
    let status = phase.status.unwrap();
    assert_eq!(status.state, stays);
    assert!(status.gates.iter().any(|g| g.name == "inventory" && g.result == GateVerdict::Failed));
    assert!(status.blocked_by.iter().any(|b| b.subject == missing), "{:?}", status.blocked_by);
}

async fn a_phase_opens_when_everything_is_proven_and_goes_back_by_emptying_its_lanes() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "planned", &["planned"]).await;
    let site = home.site("planned");
    let mut operator = home.operator("only");
    operator.start().await;
    operator.serves().await;
    let (yard, layout) = yard().await;
    let (live, later) = (fixture.device(), layout.devices.iter().find(|d| d.model.name == "lane-plc").unwrap());
    site.working_box("gate").await;
    declare(fixture, &yard, &site, live, later).await;
    let counts = async |control: ControlClient, placed: &Placed| control.device(&placed.name).await.unwrap().counts;

    // Planned: healthy, and nobody speaks to it.
    rests::<Phase>(&site, LATER, "Planned").await;
    rests::<EdgeAgent>(&site, "later", "Planned").await;
    rests::<Device>(&site, &later.name, "Planned").await;
    rests::<Lane>(&site, "lane", "Planned").await;
    rests::<Crossing>(&site, "bridge", "InForce").await;
    site.ready::<Device>(&live.name).await;
    let untouched = async || {
        let counts = counts(yard.control(), later).await;
        assert_eq!((counts.connections, counts.requests), (0, 0), "a planned device is not contacted");
    };
    untouched().await;
    let (_, metrics) = get(operator.listens.http, "/metrics").await.unwrap();
    let alarms = metrics.lines().filter(|line| line.starts_with("kalong_resource_condition{")).collect::<Vec<_>>();
    let planned = |name: &str| alarms.iter().any(|line| line.contains(&format!("name=\"{name}\"")));
    assert!(![later.name.as_str(), "later", "lane", LATER].into_iter().any(planned), "{alarms:?}");

    // Too early: refused by name.
    ask(&site, "Open").await;
    refused(&site, &format!("Device/{}", later.name), PhaseState::Planned).await;
    rests::<Device>(&site, &later.name, "Planned").await;
    untouched().await;

    // Commissioning: contacted and proven, and closed although it is declared Open.
    ask(&site, "Commissioning").await;
    in_force(&site, PhaseState::Commissioning).await;
    rests::<Device>(&site, &later.name, "Commissioning").await;
    site.until::<Device>(&later.name, "proven", SOON, |d| {
        d.is(ConditionType::Connected) && d.is(ConditionType::ConfigApplied) && !d.is(ConditionType::Available)
    })
    .await;
    rests::<Lane>(&site, "lane", "Commissioning").await;
    admission(&site, LaneAdmission::Closed).await;
    rests::<EdgeAgent>(&site, "later", "Commissioning").await;

    // A box is missing: refused by its name, until it is there; then the phase opens by itself.
    ask(&site, "Open").await;
    refused(&site, "EdgeAgent/later", PhaseState::Commissioning).await;
    admission(&site, LaneAdmission::Closed).await;
    let before = counts(fixture.control(), live).await;
    site.enrol("later").await.unwrap();
    site.run("later").await;
    let open = in_force(&site, PhaseState::Open).await;
    assert!(open.is(ConditionType::Ready) && open.is(ConditionType::Open) && open.is(ConditionType::EntryMet));
    admission(&site, LaneAdmission::Open).await;
    site.ready::<Lane>("lane").await;
    site.until::<Phase>(LATER, "counts what is there", SOON, |phase| {
        let seen = phase.status.iter().flat_map(|s| &s.milestones).map(|m| (m.seen.lanes, m.seen.devices));
        seen.eq([(1, 1)])
    })
    .await;
    let after = counts(fixture.control(), live).await;
    assert_eq!(after.setting_writes, before.setting_writes, "what was in service is not disturbed");
    assert_eq!(after.connections, before.connections, "what was in service is not disturbed");

    // What it changes of an earlier phase is seen at both ends.
    let changes = async |wanted: &[String]| {
        let listed = |phase: &Phase| phase.status.as_ref().is_some_and(|s| s.changes == wanted);
        site.until::<Phase>(LATER, &format!("changes {wanted:?}"), SOON, listed).await;
    };
    let note = async |value: serde_json::Value| {
        site.patch::<Device>(&live.name, json!({"metadata": {"annotations": {CHANGED_FOR_PHASE: value}}})).await;
    };
    note(json!(LATER)).await;
    changes(&[format!("Device/{}", live.name)]).await;
    note(json!(null)).await;
    changes(&[]).await;

    // Evidence that goes void closes nothing.
    site.stop_box("later").await;
    let void = |phase: &Phase| phase.reason(ConditionType::EntryMet) == "GateVoided";
    let phase = site.until::<Phase>(LATER, "its evidence is void", SOON, void).await;
    assert_eq!(phase.status.as_ref().unwrap().state, PhaseState::Open);
    assert!(phase.is(ConditionType::Ready));
    admission(&site, LaneAdmission::Open).await;
    site.run("later").await;
    site.until::<Phase>(LATER, "its evidence is back", SOON, |phase| phase.is(ConditionType::EntryMet)).await;

    goes_back(&yard, &site, later).await;
    site.ready::<Device>(&live.name).await;
}

/// Lanes are emptied while their devices are in contact; only then the box lets go of them.
async fn goes_back(yard: &SiteProcess, site: &TestSite<'_>, later: &Placed) {
    let (pid, endpoint) = (site.process_of("gate").pid(), SocketAddr::V4(later.endpoint(yard.network())));
    until("the box reads it", SOON, async || holds(talks(pid, endpoint), "no connection")).await;
    yard.control().occupancy(&later.name, 1).await.unwrap();
    ask(site, "Planned").await;
    let phase = in_force(site, PhaseState::Commissioning).await;
    assert_eq!(phase.reason(ConditionType::Reconciling), "PhaseClosing");
    let waits = |phase: &Phase| phase.status.iter().flat_map(|s| &s.blocked_by).any(|b| b.subject == "Lane/lane");
    site.until::<Phase>(LATER, "waits for its lane", SOON, waits).await;
    admission(site, LaneAdmission::Draining).await;
    assert!(talks(pid, endpoint), "a lane that is emptied is in contact");

    yard.control().occupancy(&later.name, 0).await.unwrap();
    in_force(site, PhaseState::Planned).await;
    let barrier = yard.control().device(&later.name).await.unwrap().lane.unwrap();
    assert_eq!((barrier.admission.as_str(), barrier.occupancy), ("Closed", 0), "it was closed before it was let go of");
    rests::<Phase>(site, LATER, "Planned").await;
    rests::<Device>(site, &later.name, "Planned").await;
    rests::<Lane>(site, "lane", "Planned").await;
    until("the box lets go of it", SOON, async || holds(!talks(pid, endpoint), "still connected")).await;
}

crate::tests![a_phase_opens_when_everything_is_proven_and_goes_back_by_emptying_its_lanes,];
