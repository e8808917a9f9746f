//! Vehicles of a fleet, heard over a broker on a socket: what is subscribed, what is reported, and that nothing is ever published.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kalong_crds::igv::{Laden, Side, VehicleConnection};
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::reported::{IgvReport, ItemState};
use kalong_e2e::site::fleet::broker::{Retain, TestBroker, message};
use rumqttc::{Packet, QoS};
use serde_json::{Value, json};

use crate::lone_box::{LoneBox, igv_item, item, until};

const AGENT: &str = "kalong-mc.box";

fn topic(serial: &str, level: &str) -> String {
    format!("uagv/v2/acme/{serial}/{level}")
}

fn say(broker: &TestBroker, serial: &str, level: &str, retain: Retain, body: Value) {
    let mut said = json!({ "headerId": 1, "timestamp": "2026-11-22T00:00:00.000Z", "version": "2.1.0",
        "manufacturer": "acme", "serialNumber": serial });
    for (key, value) in body.as_object().unwrap() {
        said[key] = value.clone();
    }
    broker.publish(&message(topic(serial, level), said.to_string(), QoS::AtMostOnce, retain));
}

fn state(number: u32, charge: f64) -> Value {
    json!({ "headerId": number, "orderId": "", "orderUpdateId": 0, "lastNodeId": "dock", "lastNodeSequenceId": 0,
        "nodeStates": [], "edgeStates": [], "driving": false, "actionStates": [], "operatingMode": "AUTOMATIC", "errors": [],
        "agvPosition": { "x": 1.0, "y": 1.0, "theta": 0.0, "mapId": "yard", "positionInitialized": true }, "loads": [],
        "batteryState": { "batteryCharge": charge, "charging": false }, "safetyState": { "eStop": "NONE", "fieldViolation": false } })
}

fn online(broker: &TestBroker, serial: &str) {
    say(broker, serial, "connection", Retain::Yes, json!({ "connectionState": "ONLINE" }));
}

/// Everything that a listener has reason to send.
fn only_listens(broker: &TestBroker) -> bool {
    let listens = |p: &Packet| {
        matches!(
            p,
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PubAck(_) | Packet::PingReq
        )
    };
    broker.sent_by(AGENT).iter().all(listens)
}

fn at_dock(report: &IgvReport) -> bool {
    report.fresh && report.at_service && report.side == Side::Domestic && report.laden == Laden::Empty
}

#[tokio::test]
async fn five_declared_and_four_seen_over_one_session_that_publishes_nothing() {
    let broker = TestBroker::start().await.unwrap();
    let serials = ["q-1", "q-2", "q-3", "q-4", "q-5"];
    // Two speak before the box listens; what they said is retained.
    serials[..2].iter().for_each(|s| online(&broker, s));
    let mut site = LoneBox::new().await;
    site.tell(&serials.map(|s| igv_item(s, &broker.address))).await;
    for serial in serials {
        site.until_igv(serial, |r| r.broker).await;
    }
    let wanted: BTreeSet<_> =
        serials.iter().flat_map(|s| ["connection", "state", "factsheet"].map(|l| topic(s, l))).collect();
    until(|| broker.heard_by(AGENT).as_ref() == Some(&wanted), || format!("{:?}", broker.heard_by(AGENT))).await;
    serials[2..4].iter().for_each(|s| online(&broker, s));
    let version = json!({ "vehicleConfig": { "versions": [{ "key": "drive", "value": "4.2" }] } });
    for serial in &serials[..4] {
        say(&broker, serial, "factsheet", Retain::Yes, version.clone());
        say(&broker, serial, "state", Retain::No, state(1, 80.0));
        let told = site.until_igv(serial, |r| at_dock(r) && r.software.len() == 1).await;
        assert_eq!((told.state, told.applied), (ItemState::Applied, 1));
    }
    let missing = site.igv("q-5").unwrap();
    assert_eq!((missing.connection, missing.fresh, missing.localised), (VehicleConnection::Unknown, false, None));
    let sessions = broker.sent_by(AGENT).iter().filter(|p| matches!(p, Packet::Connect(_))).count();
    assert!(sessions == 1 && only_listens(&broker), "{:?}", broker.sent_by(AGENT));
}

#[tokio::test]
async fn state_of_two_hundred_kilobytes_is_heard_and_one_beyond_reason_silences_nobody() {
    let broker = TestBroker::start().await.unwrap();
    let mut site = LoneBox::new().await;
    site.tell(&["q-1", "q-2"].map(|s| igv_item(s, &broker.address))).await;
    until(|| broker.heard_by(AGENT).is_some_and(|t| t.len() == 6), || format!("{:?}", broker.heard_by(AGENT))).await;
    let mut huge = state(1, 80.0);
    huge["information"] = json!(["i".repeat(400_000)]);
    say(&broker, "q-1", "state", Retain::No, huge.clone());
    let mut large = state(1, 80.0);
    large["information"] = json!(["i".repeat(200_000)]);
    say(&broker, "q-2", "state", Retain::No, large);
    site.until_igv("q-2", at_dock).await;
    assert!(!site.igv("q-1").unwrap().fresh);
    say(&broker, "q-1", "state", Retain::No, state(2, 80.0));
    site.until_igv("q-1", at_dock).await;
    assert!(only_listens(&broker));
}

#[tokio::test]
async fn lost_broker_is_said_and_what_is_retained_is_heard_when_it_is_back() {
    let broker = TestBroker::start().await.unwrap();
    online(&broker, "q-1");
    let mut site = LoneBox::new().await;
    site.tell(&[igv_item("q-1", &broker.address)]).await;
    site.until_igv("q-1", |r| r.connection == VehicleConnection::Online).await;
    let address = broker.address.clone();
    drop(broker);
    let told = site.until_igv("q-1", |r| !r.broker).await;
    assert_eq!(told.igv().unwrap().connection, VehicleConnection::Online, "nobody said otherwise");
    let broker = TestBroker::start_at(&address).await.unwrap();
    // The last will of a vehicle that broke meanwhile, with its old time and number.
    say(&broker, "q-1", "connection", Retain::Yes, json!({ "headerId": 0, "connectionState": "CONNECTIONBROKEN" }));
    site.until_igv("q-1", |r| r.broker && r.connection == VehicleConnection::Broken).await;
}

#[tokio::test]
async fn state_that_somebody_had_retained_is_not_taken_for_now() {
    let broker = TestBroker::start().await.unwrap();
    online(&broker, "q-1");
    say(&broker, "q-1", "state", Retain::Yes, state(7, 80.0));
    let mut site = LoneBox::new().await;
    site.tell(&[igv_item("q-1", &broker.address)]).await;
    until(|| broker.heard_by(AGENT).is_some_and(|t| t.len() == 3), || format!("{:?}", broker.heard_by(AGENT))).await;
    // All that was retained is on its way before this.
    say(
        &broker,
        "q-1",
        "factsheet",
        Retain::Yes,
        json!({ "vehicleConfig": { "versions": [{ "key": "a", "value": "1" }] } }),
    );
    site.until_igv("q-1", |r| r.connection == VehicleConnection::Online && !r.software.is_empty()).await;
    assert_eq!(site.igv("q-1").unwrap().localised, None);
    say(&broker, "q-1", "state", Retain::No, state(8, 80.0));
    site.until_igv("q-1", at_dock).await;
}

#[tokio::test]
async fn box_listens_from_its_store_before_it_has_any_uplink() {
    let broker = TestBroker::start().await.unwrap();
    let mut site = LoneBox::new().await;
    site.tell(&[igv_item("q-1", &broker.address)]).await;
    site.until_igv("q-1", |r| r.broker).await;
    online(&broker, "q-1");
    let site = site.restarted().await;
    site.until_igv("q-1", |r| r.connection == VehicleConnection::Online).await;
}

#[tokio::test]
async fn what_is_removed_is_not_listened_to_and_the_last_takes_the_session_with_it() {
    let broker = TestBroker::start().await.unwrap();
    let mut site = LoneBox::new().await;
    let items = ["q-1", "q-2"].map(|s| igv_item(s, &broker.address));
    site.tell(&items).await;
    until(|| broker.heard_by(AGENT).is_some_and(|t| t.len() == 6), || format!("{:?}", broker.heard_by(AGENT))).await;
    site.bury(&items[0], &items[1..]).await;
    until(
        || broker.heard_by(AGENT).is_some_and(|t| t.len() == 3 && t.contains(&topic("q-2", "state"))),
        || format!("{:?}", broker.heard_by(AGENT)),
    )
    .await;
    until(|| site.igv("q-1").is_none(), || format!("{:?}", broker.heard_by(AGENT))).await;
    site.bury(&items[1], &[]).await;
    until(|| broker.heard_by(AGENT).is_none(), || format!("{:?}", broker.heard_by(AGENT))).await;
    assert!(only_listens(&broker));
}

#[tokio::test]
async fn broker_that_cannot_be_one_is_rejected_and_the_others_are_heard() {
    let broker = TestBroker::start().await.unwrap();
    let mut site = LoneBox::new().await;
    let mut spec = igv_item("q-1", &broker.address).spec;
    spec["broker"]["endpoint"] = json!("10.0.0.1:99999");
    let wrong = item(ItemKind::Igv, "q-1", &spec);
    site.tell(&[wrong, igv_item("q-2", &broker.address)]).await;
    site.until_igv("q-2", |r| r.broker).await;
    let told = site.item("q-1").unwrap();
    assert_eq!((told.state, told.reason.as_str(), told.igv()), (ItemState::Rejected, "InvalidSpec", None));
}

#[tokio::test]
async fn energy_charge_and_gaps_are_counted() {
    let broker = TestBroker::start().await.unwrap();
    let mut site = LoneBox::new().await;
    site.tell(&[igv_item("q-1", &broker.address)]).await;
    until(|| broker.heard_by(AGENT).is_some_and(|t| t.len() == 3), || format!("{:?}", broker.heard_by(AGENT))).await;
    for (number, charge) in [(1, 80.0), (2, 79.5), (5, 79.0)] {
        say(&broker, "q-1", "state", Retain::No, state(number, charge));
    }
    let counters = || site.counters();
    until(|| counters().iter().any(|c| c.lost_messages == 2), || format!("{:?}", broker.heard_by(AGENT))).await;
    let told = counters();
    assert_eq!((told[0].uid.as_str(), told[0].energy_watt_hours, told[0].charge_percent), ("uid-q-1", 1_000, Some(79)));
}

#[tokio::test]
async fn fleet_of_five_costs_next_to_nothing() {
    /// Fewer than the broker lets wait for a client.
    const STATES: u32 = 1_000;
    let broker = TestBroker::start().await.unwrap();
    let mut site = LoneBox::new().await;
    let serials = ["q-1", "q-2", "q-3", "q-4", "q-5"];
    site.tell(&serials.map(|s| igv_item(s, &broker.address))).await;
    until(|| broker.heard_by(AGENT).is_some_and(|t| t.len() == 15), || format!("{:?}", broker.heard_by(AGENT))).await;
    let began = Instant::now();
    for number in 1..=STATES / 5 {
        for serial in serials {
            say(&broker, serial, "state", Retain::No, state(number, 80.0 - f64::from(number) / 100.0));
        }
    }
    let last = u64::from(STATES / 5 - 1) * 10;
    until(
        || site.counters().iter().filter(|c| c.energy_watt_hours == last).count() == 5,
        || format!("{:?}", broker.heard_by(AGENT)),
    )
    .await;
    let each = began.elapsed() / STATES;
    println!("one state, sent, heard and judged: {each:?}");
    // Five a second: below a twentieth of one processor even in a build for tests on a busy machine, broker and test included.
    assert!(each < Duration::from_millis(10), "{each:?}");
}
