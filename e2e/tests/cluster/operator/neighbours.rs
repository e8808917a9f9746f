//! What stands beside the lanes: a station whose interlock closes them, a vehicle that is only listened to, and the link to the other side.

use std::time::Duration;

use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::{BilateralLink, IGV, InspectionStation, Lane, LaneDrain};
use kalong_e2e::site::report::{InterlockState, VehicleOrder};
use kalong_e2e::site::{Preset, SiteOptions, SiteProcess};
use kube::api::ListParams;
use serde_json::json;
use tokio::time::sleep;

use super::fixture::fixture;
use super::home::shared_site;
use super::site::{TestSite, declared};
use crate::kit::SOON;

/// Longer than two looks of a gateway at its peer.
const TWO_LOOKS: Duration = Duration::from_secs(21);

async fn open_interlock_closes_the_lanes_that_need_the_station_and_gives_them_back() {
    let (fixture, site) = (fixture().await, shared_site("station").await);
    // A gate of its own: the controllers of lanes of the shared one are few.
    let options = SiteOptions { preset: Preset::L0, ..SiteOptions::default() };
    let yard = SiteProcess::start_on_free_network(options).await.unwrap();
    let of = |model: &str| fixture.layout.devices.iter().find(|d| d.model.name == model).unwrap();
    let (plc, sprayer) = (of("lane-plc"), of("disinfection"));
    site.working_box("gate").await;
    site.crossing("bridge").await;
    for placed in [plc, sprayer] {
        site.model_of(placed).await;
        let mut device = declared(fixture, placed, "gate");
        device.spec.connection.endpoint = placed.endpoint(yard.network()).to_string();
        site.create(&device).await;
    }
    site.lane("lane", "bridge", &[("Controller", &plc.name)]).await;
    site.patch::<Lane>("lane", json!({"spec": {"admission": "Open"}})).await;
    let station = json!({"crossingRef": "bridge", "type": "Quarantine", "capacityPerHour": 6,
        "slots": [{"name": "sprayer", "deviceRef": sprayer.name}], "servesLanes": [{"name": "lane", "need": "Required"}]});
    site.create_json::<InspectionStation>("quarantine", station).await;
    site.ready::<InspectionStation>("quarantine").await;
    shows(&site, LaneAdmission::Open, Reason::Open).await;

    yard.control().interlock(&sprayer.name, InterlockState::Open).await.unwrap();
    shows(&site, LaneAdmission::Closed, Reason::InterlockOpen).await;
    site.until::<InspectionStation>("quarantine", "an open interlock", SOON, |station| {
        let safe = station.condition(ConditionType::InterlocksSafe).map(|c| c.status.clone());
        let closed = station.status.as_ref().is_some_and(|s| s.closed_lanes.iter().any(|lane| lane.as_str() == "lane"));
        safe.as_deref() == Some(ConditionStatus::False.as_str()) && !station.is(ConditionType::Available) && closed
    })
    .await;
    let drains = site.api::<LaneDrain>().list(&ListParams::default()).await.unwrap().items;
    assert!(drains.is_empty(), "a safety closure is no drain: {drains:?}");

    yard.control().interlock(&sprayer.name, InterlockState::Safe).await.unwrap();
    shows(&site, LaneAdmission::Open, Reason::Open).await;
}

async fn shows(site: &TestSite<'_>, admission: LaneAdmission, reason: Reason) {
    site.until::<Lane>("lane", &format!("{admission:?} {reason}"), SOON, |lane| {
        lane.status.as_ref().is_some_and(|s| s.admission == admission)
            && lane.reason(ConditionType::Available) == reason.as_str()
    })
    .await;
}

async fn vehicle_is_heard_lost_and_no_longer_listened_to_when_suspended() {
    let (fixture, site) = (fixture().await, shared_site("vehicle").await);
    let (vehicle, network) = (&fixture.layout.objects.vehicles[0].spec.vda5050, fixture.network());
    let broker = fixture.layout.broker_endpoint(network).unwrap().unwrap();
    site.working_box("yard").await;
    site.crossing("bridge").await;
    let spec = json!({"crossingRef": "bridge", "agentRef": "yard",
        "broker": {"endpoint": broker.to_string()},
        "vda5050": {"manufacturer": vehicle.manufacturer, "serialNumber": vehicle.serial_number}});
    site.create_json::<IGV>("vehicle", spec).await;
    connected(&site, ConditionStatus::True, Reason::VehicleOnline).await;
    site.until::<IGV>("vehicle", "where it is, and what it runs", SOON, |igv| {
        let told = igv.status.as_ref().is_some_and(|status| !status.software.is_empty());
        told && igv.is(ConditionType::Ready) && igv.is(ConditionType::Localised)
    })
    .await;

    fixture.control().vehicle(&vehicle.serial_number, VehicleOrder::Off).await.unwrap();
    connected(&site, ConditionStatus::False, Reason::VehicleConnectionBroken).await;
    let lost: IGV = site.get("vehicle").await;
    assert!(lost.is(ConditionType::Ready), "what is declared is in force: the vehicle is only not there");
    fixture.control().vehicle(&vehicle.serial_number, VehicleOrder::On).await.unwrap();
    connected(&site, ConditionStatus::True, Reason::VehicleOnline).await;

    site.patch::<IGV>("vehicle", json!({"spec": {"suspend": true}})).await;
    site.until::<IGV>("vehicle", "suspended", SOON, |igv| {
        igv.reason(ConditionType::Ready) == Reason::Suspended.as_str() && !igv.is(ConditionType::Available)
    })
    .await;
}

async fn connected(site: &TestSite<'_>, status: ConditionStatus, reason: Reason) {
    site.until::<IGV>("vehicle", reason.as_str(), SOON, |igv| {
        let connected = igv.condition(ConditionType::Connected);
        connected.is_some_and(|c| c.status == status.as_str() && c.reason == reason.as_str())
    })
    .await;
}

async fn link_is_silent_without_an_agreement_and_after_the_switch_was_thrown() {
    let (fixture, site) = (fixture().await, shared_site("link").await);
    site.working_box("gateway").await;
    site.crossing("bridge").await;
    let peer = fixture.layout.peer_endpoint(fixture.network()).unwrap().unwrap().to_string();
    let spec = json!({"crossingRef": "bridge", "agentRef": "gateway",
        "counterpart": {"country": "CN", "authority": "Customs", "crossing": "Dongxing"},
        "transport": {"profile": "Simulated", "endpoint": peer}});
    site.create_json::<BilateralLink>("link", spec).await;
    ready_as(&site, Reason::DryRun).await;
    assert_eq!(fixture.control().peer_calls().await.unwrap(), 0, "nothing is sent in dry run");

    let agreement = json!({"name": "state", "dataset": "LaneState", "direction": "Outbound", "fields": ["lane"],
        "legalRef": "Framework agreement", "impactAssessmentRef": "DPIA-1", "validFrom": "2026-01-01", "validUntil": "2099-12-31"});
    site.patch::<BilateralLink>("link", json!({"spec": {"agreements": [agreement]}})).await;
    site.until::<BilateralLink>("link", "a peer that answers", SOON, |link| {
        link.is(ConditionType::AgreementInForce)
            && link.is(ConditionType::PeerReachable)
            && link.is(ConditionType::ClockSynchronised)
    })
    .await;

    site.patch::<BilateralLink>("link", json!({"spec": {"suspend": true}})).await;
    ready_as(&site, Reason::Suspended).await;
    let calls = fixture.control().peer_calls().await.unwrap();
    assert!(calls > 0);
    sleep(TWO_LOOKS).await;
    assert_eq!(fixture.control().peer_calls().await.unwrap(), calls, "the peer was called after the switch was thrown");
}

async fn ready_as(site: &TestSite<'_>, reason: Reason) {
    site.until::<BilateralLink>("link", reason.as_str(), SOON, |link| {
        link.is(ConditionType::Ready)
            && link.reason(ConditionType::Ready) == reason.as_str()
            && !link.is(ConditionType::Available)
    })
    .await;
}

crate::tests![
    open_interlock_closes_the_lanes_that_need_the_station_and_gives_them_back,
    vehicle_is_heard_lost_and_no_longer_listened_to_when_suspended,
    link_is_silent_without_an_agreement_and_after_the_switch_was_thrown,
];
