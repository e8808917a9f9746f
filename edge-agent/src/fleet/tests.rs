//! What is read from messages of VDA 5050, and what is said of a vehicle then. No broker: time is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::igv::{Laden, Side, VehicleConnection};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::order::IgvOrder;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::message::{self, MessageError, StateMessage, Topic, VehicleMessage};
use super::vehicle::{BrokerLink, FRESH, Vehicle};
use crate::store::desired::StoredItem;

/// A yard of a hundred metres on our side and a bridge behind it.
fn order() -> IgvOrder {
    let corner = |x: i64, y: i64| json!({ "xCentimetres": x, "yCentimetres": y });
    let spec = json!({
        "crossing": "bac-luan",
        "broker": { "endpoint": "10.30.1.2:1883" },
        "vda5050": { "manufacturer": "westwell", "serialNumber": "q-07" },
        "zoneSet": { "id": "mc-1", "zones": [
            { "name": "yard", "side": "Domestic", "map": "mc",
              "corners": [corner(0, 0), corner(10_000, 0), corner(10_000, 10_000), corner(0, 10_000)] },
            { "name": "bridge", "side": "OnLine", "map": "mc",
              "corners": [corner(4_000, 10_000), corner(6_000, 10_000), corner(6_000, 15_000), corner(4_000, 15_000)] },
        ] },
        "changeAt": { "nodes": ["dock-1", "dock-2"], "minCharge": 40 },
        "batteryWattHours": 200_000,
    });
    serde_json::from_value(spec).unwrap()
}

fn vehicle() -> Vehicle {
    let item = Item::new(ItemKind::Igv, "mc", "igv-7", "uid-7", 3, &order()).unwrap();
    Vehicle::new(Arc::new(StoredItem { item: (&item).into(), adopted: true, leaving: false }), order())
}

/// A vehicle that stands loaded at its dock, and what differs from that.
fn state(number: u32, differs: Value) -> Vec<u8> {
    let mut state = json!({
        "headerId": number, "timestamp": "2026-11-22T03:00:00.000Z", "version": "2.1.0",
        "manufacturer": "westwell", "serialNumber": "q-07",
        "maps": [
            { "mapId": "mc", "mapVersion": "7", "mapStatus": "ENABLED", "mapDescription": "the yard" },
            { "mapId": "mc", "mapVersion": "8", "mapStatus": "DISABLED" },
            { "mapId": "apron", "mapVersion": "2", "mapStatus": "ENABLED" },
        ],
        "orderId": "", "orderUpdateId": 0, "lastNodeId": "dock-2", "lastNodeSequenceId": 4,
        "nodeStates": [], "edgeStates": [], "driving": false, "paused": false,
        "agvPosition": { "x": 20.004, "y": 31.5, "theta": 0.2, "mapId": "mc", "positionInitialized": true, "localizationScore": 0.9 },
        "loads": [{ "loadId": "", "loadType": "container", "weight": 21000.0 }],
        "actionStates": [{ "actionId": "a1", "actionStatus": "FINISHED" }, { "actionId": "a2", "actionStatus": "FAILED" }],
        "batteryState": { "batteryCharge": 81.25, "batteryVoltage": 614.0, "charging": false, "reach": 90000 },
        "operatingMode": "AUTOMATIC",
        "errors": [
            { "errorType": "lidarDirty", "errorLevel": "WARNING", "errorReferences": [] },
            { "errorType": "brakeTest", "errorLevel": "FATAL" },
            { "errorType": "axleSensor", "errorLevel": "FATAL" },
        ],
        "information": [], "safetyState": { "eStop": "NONE", "fieldViolation": false },
    });
    for (key, value) in differs.as_object().into_iter().flatten() {
        state[key] = value.clone();
    }
    serde_json::to_vec(&state).unwrap()
}

fn connection(word: &str) -> Vec<u8> {
    let message = json!({ "headerId": 1, "timestamp": "2026-11-20T00:00:00Z", "version": "2.1.0",
        "manufacturer": "westwell", "serialNumber": "q-07", "connectionState": word });
    serde_json::to_vec(&message).unwrap()
}

fn read_state(payload: &[u8]) -> StateMessage {
    match message::read(Topic::State, &order().vda5050, payload).unwrap().message {
        VehicleMessage::State(state) => state,
        other => panic!("{other:?}"),
    }
}

fn receive(vehicle: &mut Vehicle, topic: Topic, payload: &[u8], now: Instant) {
    let received = message::read(topic, &vehicle.order.vda5050, payload).unwrap();
    vehicle.receive(received, now);
}

/// A vehicle that is online and has sent this state.
fn received(differs: Value) -> (Vehicle, Instant) {
    let (mut vehicle, now) = (vehicle(), Instant::now());
    receive(&mut vehicle, Topic::Connection, &connection("ONLINE"), now);
    receive(&mut vehicle, Topic::State, &state(1, differs), now);
    (vehicle, now)
}

#[test]
fn state_tells_mode_place_load_maps_charge_and_fatal_errors() {
    let (vehicle, now) = received(json!({}));
    let report = vehicle.report(BrokerLink::Reached, now);
    assert!(report.broker && report.fresh && report.at_service);
    assert_eq!((report.connection, report.operating_mode.as_deref()), (VehicleConnection::Online, Some("AUTOMATIC")));
    assert_eq!((report.localised, report.side, report.laden), (Some(true), Side::Domestic, Laden::Laden));
    let maps: Vec<_> = report.maps.iter().flatten().map(|m| (m.name.as_str(), m.version.as_str())).collect();
    assert_eq!(maps, [("apron", "2"), ("mc", "7")]);
    assert_eq!(report.errors, ["axleSensor", "brakeTest"]);
    let counters = vehicle.counters();
    assert_eq!((counters.charge_percent, counters.energy_watt_hours, counters.lost_messages), (Some(81), 0, 0));
}

#[test]
fn unknown_words_and_fields_are_kept_or_passed_over_and_odd_shapes_count_as_absent() {
    let read = read_state(&state(
        1,
        json!({
            "operatingMode": "STARTUP", "somethingNew": { "deep": [1, 2] }, "maps": "none", "loads": 3,
            "batteryState": { "batteryCharge": "81", "charging": "no" }, "errors": [{ "errorLevel": "URGENT" }, 7],
            "agvPosition": { "x": "20", "y": null, "mapId": "mc", "positionInitialized": true },
        }),
    ));
    assert_eq!(read.mode.as_deref(), Some("STARTUP"));
    assert!(read.localised && read.position.is_none() && read.idle);
    assert_eq!((read.maps, read.laden, read.charge, read.errors), (None, None, None, vec![]));
    let bare = read_state(br#"{"manufacturer":"westwell","serialNumber":"q-07"}"#);
    assert_eq!(bare, StateMessage::default());
}

#[test]
fn both_spellings_of_a_broken_connection_are_understood_and_an_unknown_one_is_unknown() {
    for (word, told) in [
        ("ONLINE", VehicleConnection::Online),
        ("OFFLINE", VehicleConnection::Offline),
        ("CONNECTIONBROKEN", VehicleConnection::Broken),
        ("CONNECTION_BROKEN", VehicleConnection::Broken),
        ("DREAMING", VehicleConnection::Unknown),
    ] {
        let received = message::read(Topic::Connection, &order().vda5050, &connection(word)).unwrap();
        assert_eq!(received.message, VehicleMessage::Connection(told), "{word}");
    }
}

#[test]
fn message_of_another_vehicle_on_this_topic_is_not_heard() {
    let read = |payload: &[u8]| message::read(Topic::State, &order().vda5050, payload).unwrap_err();
    let stranger = |manufacturer: &str, serial: &str| MessageError::Stranger {
        manufacturer: manufacturer.into(),
        serial: serial.into(),
    };
    assert_eq!(read(&state(1, json!({ "serialNumber": "q-08" }))), stranger("westwell", "q-08"));
    assert_eq!(read(&state(1, json!({ "manufacturer": "other\u{7}" }))), stranger("other", "q-07"));
    assert_eq!(read(b"{}"), stranger("", ""));
    assert_eq!(read(b"[1]"), MessageError::Unreadable);
    assert_eq!(read(&vec![b' '; message::MAX_PAYLOAD + 1]), MessageError::TooLarge(message::MAX_PAYLOAD + 1));
}

#[test]
fn long_order_is_read_and_makes_the_vehicle_busy() {
    let node = |n: u32| {
        json!({ "nodeId": format!("n{n}"), "sequenceId": n * 2, "released": n < 8,
        "nodePosition": { "x": f64::from(n), "y": 1.5, "theta": 0.0, "mapId": "mc" } })
    };
    let payload = state(1, json!({ "nodeStates": (0..60).map(node).collect::<Vec<_>>() }));
    assert!(payload.len() > 6_000);
    assert!(!read_state(&payload).idle);
}

#[test]
fn topics_are_those_of_the_vehicle_and_nothing_around_them() {
    let vehicle = vehicle();
    assert_eq!(vehicle.topic(Topic::State), "uagv/v2/westwell/q-07/state");
    for topic in Topic::ALL {
        assert_eq!(vehicle.topic_of(&vehicle.topic(topic)), Some(topic));
    }
    for other in
        ["uagv/v2/westwell/q-07/order", "uagv/v2/westwell/q-077/state", "uagv/v3/westwell/q-07/state", "uagv", ""]
    {
        assert_eq!(vehicle.topic_of(other), None, "{other}");
    }
}

#[test]
fn state_is_fresh_for_forty_five_seconds_and_says_nothing_of_the_place_after_that() {
    let (mut vehicle, now) = received(json!({}));
    assert_eq!(vehicle.stale_at(now), Some(now + FRESH));
    assert!(vehicle.report(BrokerLink::Reached, now + Duration::from_millis(44_999)).fresh);
    let stale = vehicle.report(BrokerLink::Reached, now + FRESH);
    assert!(!stale.fresh && !stale.at_service);
    assert_eq!((stale.side, stale.localised, stale.connection), (Side::Unknown, Some(true), VehicleConnection::Online));
    assert_eq!(vehicle.stale_at(now + FRESH), None);
    receive(&mut vehicle, Topic::State, &state(2, json!({})), now + FRESH);
    assert!(vehicle.report(BrokerLink::Reached, now + FRESH).fresh);
}

#[test]
fn vehicle_whose_link_went_says_nothing_of_now_until_it_speaks_again() {
    for word in ["OFFLINE", "CONNECTIONBROKEN"] {
        let (mut vehicle, now) = received(json!({}));
        receive(&mut vehicle, Topic::Connection, &connection(word), now);
        let gone = vehicle.report(BrokerLink::Reached, now);
        assert!(!gone.fresh && !gone.at_service && gone.laden == Laden::Laden, "{word}");
        receive(&mut vehicle, Topic::Connection, &connection("ONLINE"), now);
        let back = vehicle.report(BrokerLink::Reached, now);
        assert_eq!((back.fresh, back.at_service, back.side), (true, false, Side::Unknown), "{word}");
        assert_eq!((back.localised, back.operating_mode, back.laden), (None, None, Laden::Unknown), "{word}");
        receive(&mut vehicle, Topic::State, &state(2, json!({})), now);
        assert!(vehicle.report(BrokerLink::Reached, now).at_service, "{word}");
    }
}

#[test]
fn vehicle_that_is_online_has_forty_five_seconds_for_its_first_state() {
    let (mut vehicle, now) = (vehicle(), Instant::now());
    assert!(!vehicle.report(BrokerLink::Reached, now).fresh, "never received");
    receive(&mut vehicle, Topic::Connection, &connection("ONLINE"), now);
    assert!(vehicle.report(BrokerLink::Reached, now + FRESH - Duration::from_millis(1)).fresh);
    // The retained word comes again and again; it is no state.
    receive(&mut vehicle, Topic::Connection, &connection("ONLINE"), now + FRESH);
    assert!(!vehicle.report(BrokerLink::Reached, now + FRESH).fresh);
}

#[test]
fn state_over_a_broker_that_forgot_the_connection_tells_that_there_is_one() {
    let (mut vehicle, now) = (vehicle(), Instant::now());
    receive(&mut vehicle, Topic::State, &state(1, json!({})), now);
    let report = vehicle.report(BrokerLink::Reached, now);
    assert!(report.connection == VehicleConnection::Online && report.fresh && report.at_service);
}

#[test]
fn nothing_is_fresh_without_the_broker_and_all_is_as_before_when_it_is_back_in_time() {
    let (mut vehicle, now) = received(json!({}));
    let before = vehicle.report(BrokerLink::Reached, now);
    let lost = vehicle.report(BrokerLink::Lost, now);
    assert!(!lost.broker && !lost.fresh && !lost.at_service && lost.side == Side::Unknown);
    vehicle.session_began(now);
    assert_eq!(vehicle.report(BrokerLink::Reached, now), before);
}

#[test]
fn after_a_long_time_without_the_broker_a_state_is_due_and_the_old_one_is_forgotten() {
    let (mut vehicle, now) = received(json!({}));
    let later = now + FRESH * 2;
    vehicle.session_began(later);
    let report = vehicle.report(BrokerLink::Reached, later);
    assert_eq!((report.fresh, report.at_service, report.localised), (true, false, None));
    assert!(!vehicle.report(BrokerLink::Reached, later + FRESH).fresh);
}

#[test]
fn vehicle_is_at_service_only_if_nothing_speaks_against_it() {
    let at_service = |differs: Value| {
        let (vehicle, now) = received(differs);
        vehicle.report(BrokerLink::Reached, now).at_service
    };
    assert!(at_service(json!({})));
    assert!(at_service(json!({ "batteryState": { "batteryCharge": 40.0, "charging": true } })));
    for against in [
        json!({ "lastNodeId": "gate-1" }),
        json!({ "lastNodeId": null }),
        json!({ "driving": true }),
        json!({ "driving": null }),
        json!({ "nodeStates": [{}] }),
        json!({ "nodeStates": null }),
        json!({ "edgeStates": [{}] }),
        json!({ "edgeStates": null }),
        json!({ "actionStates": [{ "actionStatus": "RUNNING" }] }),
        json!({ "actionStates": [{ "actionStatus": "SOMEHOW" }] }),
        json!({ "actionStates": [{}] }),
        json!({ "actionStates": null }),
        json!({ "batteryState": { "batteryCharge": 39.9, "charging": true } }),
        json!({ "batteryState": {} }),
    ] {
        assert!(!at_service(against.clone()), "{against}");
    }
}

#[test]
fn side_needs_a_vehicle_that_knows_where_it_is_on_a_map_of_the_zones() {
    let side = |position: Value| {
        let (vehicle, now) = received(json!({ "agvPosition": position }));
        let report = vehicle.report(BrokerLink::Reached, now);
        (report.localised, report.side)
    };
    let at = |x: f64, y: f64| json!({ "x": x, "y": y, "mapId": "mc", "positionInitialized": true });
    assert_eq!(side(at(50.0, 99.994)), (Some(true), Side::Domestic));
    assert_eq!(side(at(50.0, 100.006)), (Some(true), Side::OnLine));
    assert_eq!(side(at(50.0, 151.0)), (Some(true), Side::Unknown));
    assert_eq!(side(at(1e300, 0.0)), (Some(true), Side::Unknown));
    assert_eq!(
        side(json!({ "x": 5, "y": 5, "mapId": "mc", "positionInitialized": false })),
        (Some(false), Side::Unknown)
    );
    assert_eq!(
        side(json!({ "x": 5, "y": 5, "mapId": "apron", "positionInitialized": true })),
        (Some(true), Side::Unknown)
    );
    assert_eq!(side(Value::Null), (Some(false), Side::Unknown));
}

#[test]
fn driving_about_and_using_energy_changes_the_counters_and_not_the_report() {
    let (mut vehicle, now) = received(json!({ "driving": true, "lastNodeId": "n1" }));
    let first = vehicle.report(BrokerLink::Reached, now);
    for n in 2..=11_u32 {
        let moved = json!({ "x": f64::from(n) * 5.0, "y": 12.0, "mapId": "mc", "positionInitialized": true });
        let used = json!({ "batteryCharge": 81.25 - f64::from(n - 1) * 0.05, "charging": false });
        let state = state(
            n,
            json!({ "driving": true, "lastNodeId": format!("n{n}"), "agvPosition": moved, "batteryState": used }),
        );
        receive(&mut vehicle, Topic::State, &state, now);
        assert_eq!(vehicle.report(BrokerLink::Reached, now), first);
    }
    assert_eq!(vehicle.counters().energy_watt_hours, 1_000);
}

#[test]
fn empty_and_silent_about_the_load_are_two_things() {
    let laden = |loads: Value| {
        let (vehicle, now) = received(json!({ "loads": loads }));
        vehicle.report(BrokerLink::Reached, now).laden
    };
    assert_eq!((laden(json!([])), laden(Value::Null)), (Laden::Empty, Laden::Unknown));
}

#[test]
fn missing_states_are_counted_and_last_wills_are_not() {
    let (mut vehicle, now) = received(json!({}));
    for number in [2, 5, 5, 6] {
        receive(&mut vehicle, Topic::State, &state(number, json!({})), now);
    }
    assert_eq!(vehicle.counters().lost_messages, 2);
    for word in ["ONLINE", "CONNECTIONBROKEN", "ONLINE"] {
        receive(&mut vehicle, Topic::Connection, &connection(word), now);
    }
    receive(&mut vehicle, Topic::State, &state(40, json!({})), now);
    assert_eq!(vehicle.counters().lost_messages, 2, "its link was down, and it said so");
    vehicle.session_began(now);
    receive(&mut vehicle, Topic::State, &state(90, json!({})), now);
    assert_eq!(vehicle.counters().lost_messages, 2, "nobody listened");
}

#[test]
fn factsheet_tells_the_versions_sorted_bounded_and_in_plain_words() {
    let versions: Vec<_> =
        (0..40).map(|n| json!({ "key": format!("part-{:02}", 39 - n), "value": "1.\u{1b}[31m0" })).collect();
    let sheet = json!({ "headerId": 1, "manufacturer": "westwell", "serialNumber": "q-07",
        "typeSpecification": { "seriesName": "q" }, "vehicleConfig": { "versions": versions, "network": {} } });
    let (mut vehicle, now) = (vehicle(), Instant::now());
    receive(&mut vehicle, Topic::Factsheet, &serde_json::to_vec(&sheet).unwrap(), now);
    let software = vehicle.report(BrokerLink::Reached, now).software;
    assert_eq!(software.len(), 16);
    assert_eq!((software[0].name.as_str(), software[0].version.as_str()), ("part-00", "1.[31m0"));
    assert!(software.is_sorted());
}

#[test]
fn longest_words_of_a_peer_stay_below_the_bound_of_an_item() {
    let long = "x".repeat(500);
    let maps: Vec<_> =
        (0..40).map(|n| json!({ "mapId": format!("{n}{long}"), "mapVersion": long, "mapStatus": "ENABLED" })).collect();
    let errors: Vec<_> = (0..40).map(|n| json!({ "errorType": format!("{n}{long}"), "errorLevel": "FATAL" })).collect();
    let (vehicle, now) = received(json!({ "operatingMode": long, "maps": maps, "errors": errors }));
    let report = serde_json::to_vec(&vehicle.report(BrokerLink::Reached, now)).unwrap();
    assert!(report.len() < 4_000, "{}", report.len());
}

/// Any JSON, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn one_odd_field_never_silences_a_vehicle(
        field in prop::sample::select(vec!["headerId", "maps", "lastNodeId", "nodeStates", "driving", "agvPosition", "loads",
            "actionStates", "batteryState", "operatingMode", "errors", "safetyState", "orderId"]),
        odd in any_json(),
    ) {
        let (mut vehicle, now) = (vehicle(), Instant::now());
        receive(&mut vehicle, Topic::State, &state(1, json!({ field: odd })), now);
        let report = vehicle.report(BrokerLink::Reached, now);
        prop_assert!(report.fresh);
        prop_assert!(field == "operatingMode" || report.operating_mode.as_deref() == Some("AUTOMATIC"));
    }
}
