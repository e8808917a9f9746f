//! The fleet's broker and its vehicles, over MQTT 3.1.1 written by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use kalong_e2e::site::report::{Switch, VehicleOrder};
use kalong_e2e::site::{Preset, SiteOptions, SiteProcess};
use serde_json::Value;

use super::bench::{Bench, PATIENCE, bench, connect, layout};

const SERIAL: &str = "SIM-IGV-01";

struct Client(TcpStream);

#[derive(Debug)]
struct Heard {
    topic: String,
    payload: Vec<u8>,
    retained: bool,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }

    fn kind(&self) -> &str {
        self.topic.rsplit('/').next().unwrap()
    }
}

fn text(text: &str) -> Vec<u8> {
    [u16::try_from(text.len()).unwrap().to_be_bytes().as_slice(), text.as_bytes()].concat()
}

fn frame(head: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of length is enough for a test");
    [&[head, u8::try_from(body.len()).unwrap()], body].concat()
}

impl Client {
    /// Connects under this name; the will, where there is one, is kept and of QoS 1.
    fn new(bench: &Bench, name: &str, keep_alive: u8, will: Option<(&str, &str)>) -> Self {
        let broker = layout().broker_endpoint(bench.site.network()).unwrap().unwrap();
        let mut client = Self(connect(SocketAddr::from(broker)));
        let flags = if will.is_some() { 0b0010_1110 } else { 0b10 };
        let will = will.map(|(topic, payload)| [text(topic), text(payload)].concat()).unwrap_or_default();
        let body = [text("MQTT"), vec![4, flags, 0, keep_alive], text(name), will].concat();
        client.send(&frame(0x10, &body));
        assert_eq!(client.packet(), (0x20, vec![0, 0]));
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        let head = byte[0];
        let (mut length, mut shift) = (0, 0);
        loop {
            self.0.read_exact(&mut byte).unwrap();
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head, body)
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&frame(0x82, &[vec![0, 7], text(filter), vec![qos]].concat()));
        assert_eq!(self.packet(), (0x90, vec![0, 7, qos]));
    }

    fn publish(&mut self, topic: &str, payload: &str, retain: u8) {
        self.send(&frame(0x32 | retain, &[text(topic), vec![0, 9], payload.as_bytes().to_vec()].concat()));
        loop {
            let (head, body) = self.packet();
            if head == 0x40 {
                assert_eq!(body, [0, 9]);
                break;
            }
        }
    }

    fn next(&mut self) -> Heard {
        let (head, body) = self.packet();
        assert_eq!(head >> 4, 3, "{body:?}");
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
        let mut rest = &body[2 + length..];
        if head & 0b110 != 0 {
            let id = [rest[0], rest[1]];
            rest = &rest[2..];
            self.send(&frame(0x40, &id));
        }
        Heard { topic, payload: rest.to_vec(), retained: head & 1 == 1 }
    }

    fn until(&mut self, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let end = Instant::now() + PATIENCE;
        loop {
            let heard = self.next();
            if wanted(&heard) {
                return heard;
            }
            assert!(Instant::now() < end, "it never came");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicle_presents_itself_to_whoever_comes_later() {
    let bench = bench().await;
    let mut client = Client::new(&bench, "watcher", 60, None);
    client.subscribe("uagv/v2/+/+/connection", 1);
    let connection = client.next();
    assert_eq!(connection.topic, format!("uagv/v2/kalong-sim/{SERIAL}/connection"));
    assert!(connection.retained);
    assert_eq!(connection.json()["connectionState"], "ONLINE");
    client.subscribe("uagv/v2/+/+/factsheet", 0);
    let factsheet = client.next();
    assert!(factsheet.retained);
    let json = factsheet.json();
    assert_eq!(json["vehicleConfig"]["versions"][0]["key"], "softwareVersion");
    for part in ["typeSpecification", "physicalParameters", "protocolLimits", "protocolFeatures", "loadSpecification"] {
        assert!(json[part].is_object(), "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicle_says_goodbye_or_its_last_will_speaks() {
    let bench = bench().await;
    let mut client = Client::new(&bench, "watcher", 60, None);
    client.subscribe("uagv/#", 1);
    for (order, word) in [
        (VehicleOrder::Off, "CONNECTIONBROKEN"),
        (VehicleOrder::On, "ONLINE"),
        (VehicleOrder::Goodbye, "OFFLINE"),
        (VehicleOrder::On, "ONLINE"),
    ] {
        let vehicle = bench.control.vehicle(SERIAL, order).await.unwrap();
        assert_eq!(vehicle.power == Switch::On, word == "ONLINE");
        let said = client.until(|h| h.kind() == "connection" && !h.retained);
        assert_eq!(said.json()["connectionState"], word);
        let mut later = Client::new(&bench, "later", 60, None);
        later.subscribe("uagv/+/+/+/connection", 0);
        assert_eq!(later.next().json()["connectionState"], word, "it is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicle_drives_over_the_line_and_back_and_numbers_what_it_says() {
    let bench = bench().await;
    let mut client = Client::new(&bench, "watcher", 60, None);
    client.subscribe(&format!("uagv/v2/kalong-sim/{SERIAL}/state"), 0);
    bench.control.yard(100).await.unwrap();
    let first = client.next().json();
    for part in [
        "headerId",
        "timestamp",
        "version",
        "manufacturer",
        "serialNumber",
        "orderId",
        "orderUpdateId",
        "lastNodeId",
        "lastNodeSequenceId",
        "nodeStates",
        "edgeStates",
        "driving",
        "actionStates",
        "batteryState",
        "operatingMode",
        "errors",
        "safetyState",
        "agvPosition",
        "maps",
    ] {
        assert!(!first[part].is_null(), "{part}");
    }
    let mut number = first["headerId"].as_u64().unwrap();
    let (mut far, mut back, mut least) = (false, false, f64::MAX);
    let full = first["batteryState"]["batteryCharge"].as_f64().unwrap();
    let end = Instant::now() + PATIENCE;
    while !back {
        assert!(Instant::now() < end, "it never came back");
        let state = client.next();
        assert!(!state.retained);
        let state = state.json();
        assert_eq!(state["headerId"].as_u64(), Some(number + 1), "none is missing");
        number += 1;
        let x = state["agvPosition"]["x"].as_f64().unwrap();
        let steps = state["nodeStates"].as_array().unwrap().len();
        assert_eq!(steps, state["edgeStates"].as_array().unwrap().len());
        assert!(state["driving"] == false || steps > 0, "who drives has nodes ahead");
        far |= x > 400.0;
        back = far && x < 0.0;
        least = least.min(state["batteryState"]["batteryCharge"].as_f64().unwrap());
    }
    assert!(least < full, "{least} of {full} percent");
    bench.control.yard(0).await.unwrap();
    let parked = client.until(|h| {
        let state = h.json();
        state["driving"] == false && state["orderId"] == ""
    });
    assert!(["service-1", "service-2"].contains(&parked.json()["lastNodeId"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicle_that_is_lost_says_so_at_once() {
    let bench = bench().await;
    let mut client = Client::new(&bench, "watcher", 60, None);
    client.subscribe("uagv/+/+/+/state", 0);
    for (order, known) in [(VehicleOrder::Lose, false), (VehicleOrder::Find, true)] {
        bench.control.vehicle(SERIAL, order).await.unwrap();
        client.until(|h| h.json()["agvPosition"]["positionInitialized"] == known);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_the_five_vehicles_of_l1_is_not_there() {
    let binary = Some(env!("CARGO_BIN_EXE_kalong-site").into());
    let options = SiteOptions { preset: Preset::L1, binary, ..Default::default() };
    let site = SiteProcess::start_on_free_network(options).await.unwrap();
    let control = site.control();
    let bench = Bench { control, site };
    assert_eq!(bench.control.vehicles().await.unwrap().len(), 5);
    let absent = bench.control.absent_vehicles().await.unwrap();
    assert_eq!(absent.into_iter().collect::<Vec<_>>(), ["SIM-IGV-05"]);
    let mut client = Client::new(&bench, "watcher", 60, None);
    client.subscribe("uagv/v2/+/+/connection", 0);
    let heard: Vec<String> = (0..4).map(|_| client.next().topic).collect();
    assert!(heard.iter().all(|topic| !topic.contains("SIM-IGV-05")), "{heard:?}");
    bench.control.vehicle("SIM-IGV-05", VehicleOrder::On).await.unwrap();
    assert!(client.next().topic.contains("SIM-IGV-05"), "it was never heard before");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_vanishes_leaves_its_will_and_one_that_says_goodbye_does_not() {
    let bench = bench().await;
    let mut watcher = Client::new(&bench, "watcher", 60, None);
    watcher.subscribe("test/#", 1);
    let mut polite = Client::new(&bench, "polite", 60, Some(("test/polite", "gone")));
    polite.send(&[0xe0, 0]);
    drop(polite);
    drop(Client::new(&bench, "rude", 60, Some(("test/rude", "gone"))));
    let heard = watcher.next();
    assert_eq!((heard.topic.as_str(), heard.payload.as_slice(), heard.retained), ("test/rude", &b"gone"[..], false));
    let mut later = Client::new(&bench, "later", 60, None);
    later.subscribe("test/+", 0);
    assert!(later.next().retained, "a will may be kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_breaks_its_promise_is_ended_and_one_under_a_used_name_takes_over() {
    let bench = bench().await;
    let mut watcher = Client::new(&bench, "watcher", 60, None);
    watcher.subscribe("test/#", 0);
    let _silent = Client::new(&bench, "silent", 1, Some(("test/silent", "gone")));
    assert_eq!(watcher.next().topic, "test/silent");
    let mut first = Client::new(&bench, "same", 60, Some(("test/same", "gone")));
    let mut second = Client::new(&bench, "same", 60, None);
    assert_eq!(watcher.next().topic, "test/same");
    assert!(matches!(first.0.read(&mut [0]), Ok(0) | Err(_)), "the first is gone");
    second.send(&[0xc0, 0]);
    assert_eq!(second.packet(), (0xd0, vec![]), "the second is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_message_is_replaced_and_taken_away_by_an_empty_one() {
    let bench = bench().await;
    let mut client = Client::new(&bench, "author", 60, None);
    client.publish("test/kept", "one", 1);
    client.publish("test/kept", "two", 1);
    client.publish("test/passing", "three", 0);
    let mut later = Client::new(&bench, "later", 60, None);
    later.subscribe("test/#", 1);
    let heard = later.next();
    assert_eq!((heard.payload.as_slice(), heard.retained), (&b"two"[..], true));
    client.publish("test/kept", "", 1);
    assert!(later.next().payload.is_empty());
    let mut last = Client::new(&bench, "last", 60, None);
    last.subscribe("test/#", 1);
    client.publish("test/end", "end", 0);
    assert_eq!(last.next().payload, b"end", "nothing is kept any more");
}
