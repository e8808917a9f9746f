//! What an open lane serves with goes only when it is empty: closing it, and switching off what it cannot do without.

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::{Crossing, Device, Lane, LaneDrain};
use kube::ResourceExt;
use serde_json::json;

use super::fixture::fixture;
use super::home::Home;
use super::site::TestSite;
use crate::kit::SOON;

const CLOSING: &str = "closing-lane";

async fn admission(site: &TestSite<'_>, wanted: LaneAdmission) -> Lane {
    let is = |lane: &Lane| lane.status.as_ref().is_some_and(|s| s.admission == wanted);
    site.until::<Lane>("lane", &format!("{wanted:?}"), SOON, is).await
}

async fn floor(site: &TestSite<'_>, lanes: i64) {
    let floors =
        json!([{"service": "Traditional", "direction": "Inbound", "minOpenLanes": lanes, "minPassagesPerHour": 0}]);
    site.patch::<Crossing>("bridge", json!({"spec": {"capacityFloors": floors}})).await;
}

async fn says<K: super::site::Kind + Conditioned>(site: &TestSite<'_>, name: &str, reason: &str) {
    site.until::<K>(name, reason, SOON, |object| object.reason(ConditionType::Ready) == reason).await;
}

async fn open_lane_closes_and_loses_a_device_only_when_it_is_empty_and_the_floors_allow_it() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "closing", &["closing"]).await;
    let site = home.site("closing");
    let mut operator = home.operator("only");
    operator.start().await;
    operator.serves().await;
    let plc = fixture.device_of("lane-plc");
    site.working_box("gate").await;
    site.crossing("bridge").await;
    site.device(plc, "gate").await;
    site.lane("lane", "bridge", &[("Controller", &plc.name)]).await;
    site.ready::<Lane>("lane").await;
    site.patch::<Lane>("lane", json!({"spec": {"admission": "Open"}})).await;
    admission(&site, LaneAdmission::Open).await;
    site.ready::<Lane>("lane").await;

    // The floor needs it: it stays open and says on whom it waits, and a revert leaves nothing behind.
    floor(&site, 1).await;
    site.patch::<Lane>("lane", json!({"spec": {"admission": "Closed"}})).await;
    says::<Lane>(&site, "lane", "CapacityFloor").await;
    admission(&site, LaneAdmission::Open).await;
    site.patch::<Lane>("lane", json!({"spec": {"admission": "Open"}})).await;
    site.gone::<LaneDrain>(CLOSING).await;
    site.ready::<Lane>("lane").await;

    // Without the floor it goes, but not before the last one left; a new operator finds the claim and keeps it.
    floor(&site, 0).await;
    fixture.control().occupancy(&plc.name, 1).await.unwrap();
    site.patch::<Lane>("lane", json!({"spec": {"admission": "Closed"}})).await;
    admission(&site, LaneAdmission::Draining).await;
    let claim: LaneDrain = site.get(CLOSING).await;
    operator.kill().await;
    operator.start().await;
    operator.serves().await;
    site.until::<Lane>("lane", "still draining", SOON, |lane| {
        lane.status.as_ref().is_some_and(|s| s.admission == LaneAdmission::Draining && s.held_by.len() == 1)
    })
    .await;
    assert_eq!(site.get::<LaneDrain>(CLOSING).await.uid(), claim.uid(), "the claim that stands is not made anew");
    fixture.control().occupancy(&plc.name, 0).await.unwrap();
    admission(&site, LaneAdmission::Closed).await;
    site.gone::<LaneDrain>(CLOSING).await;
    site.ready::<Lane>("lane").await;

    // The device that runs the lane is switched off under the same rules.
    site.patch::<Lane>("lane", json!({"spec": {"admission": "Open"}})).await;
    admission(&site, LaneAdmission::Open).await;
    site.ready::<Lane>("lane").await;
    floor(&site, 1).await;
    site.patch::<Device>(&plc.name, json!({"spec": {"admin": "Disabled"}})).await;
    says::<Device>(&site, &plc.name, "CapacityFloor").await;
    let device: Device = site.get(&plc.name).await;
    assert!(device.is(ConditionType::Available) && device.is(ConditionType::Connected), "it serves on");
    floor(&site, 0).await;
    says::<Device>(&site, &plc.name, "Disabled").await;
    site.gone::<LaneDrain>(&format!("disabling-{}", plc.name)).await;
}

crate::tests![open_lane_closes_and_loses_a_device_only_when_it_is_empty_and_the_floors_allow_it,];
