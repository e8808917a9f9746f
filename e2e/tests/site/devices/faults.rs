//! Faults on demand do what they say, and go away again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kalong_crds::units::Digest;
use kalong_e2e::site::image;
use kalong_e2e::site::report::{Fault, Power, Switch};

use super::bench::{basic, bench, connect, http};

const GATE: &str = "fb-gate-01-e-gate";
const PLATE: &str = "tb-trad-1-front-plate";
const PLC: &str = "tb-trad-1-plc";

#[tokio::test(flavor = "multi_thread")]
async fn hung_device_takes_connections_and_answers_nothing_until_it_starts_again() {
    let bench = bench().await;
    let address = bench.address(PLC).await;
    bench.control.fault(PLC, Fault::Hang, Switch::On).await.unwrap();
    let mut stream = connect(address);
    stream.write_all(&[0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1]).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(stream.read(&mut [0; 16]).is_err(), "no answer");
    bench.control.fault(PLC, Fault::Hang, Switch::Off).await.unwrap();
    let report = bench.until(PLC, |d| d.power == Power::On).await;
    assert_eq!(report.counts.reboots, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_device_refuses_connections_and_does_not_restart() {
    let bench = bench().await;
    let address = bench.address(PLC).await;
    let mut before = connect(address);
    bench.control.fault(PLC, Fault::Unreachable, Switch::On).await.unwrap();
    assert_eq!(before.read(&mut [0; 1]).unwrap_or(0), 0, "connections are lost");
    let end = Instant::now() + super::bench::PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < end, "the device goes on listening");
    }
    bench.control.fault(PLC, Fault::Unreachable, Switch::Off).await.unwrap();
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "the device never came back");
    }
    assert_eq!(bench.device(PLC).await.counts.reboots, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn device_in_a_reboot_loop_starts_over_and_over() {
    let bench = bench().await;
    bench.control.fault(PLC, Fault::RebootLoop, Switch::On).await.unwrap();
    bench.until(PLC, |d| d.counts.reboots >= 3).await;
    bench.control.fault(PLC, Fault::RebootLoop, Switch::Off).await.unwrap();
    let settled = bench.until(PLC, |d| d.power == Power::On).await;
    assert_eq!(settled.settings["clearanceMillis"], 5000.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_device_answers_late() {
    let bench = bench().await;
    let address = bench.address(GATE).await;
    bench.control.fault(GATE, Fault::Slow { millis: 700 }, Switch::On).await.unwrap();
    let start = Instant::now();
    assert_eq!(http(address, "GET /kalong/v1/identity", &basic(), b"").unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(700));
}

#[tokio::test(flavor = "multi_thread")]
async fn dirty_lens_shows_where_the_model_has_the_code() {
    let bench = bench().await;
    bench.control.fault(PLATE, Fault::DirtyLens, Switch::On).await.unwrap();
    let reply = http(bench.address(PLATE).await, "GET /kalong/v1/health", &basic(), b"").unwrap();
    assert_eq!(reply.json(), serde_json::json!({ "codes": ["LensDirty"] }));
    bench.control.fault(PLATE, Fault::DirtyLens, Switch::Off).await.unwrap();
    assert!(bench.device(PLATE).await.health.is_empty());
    let refused = bench.control.fault(PLC, Fault::DirtyLens, Switch::On).await.unwrap_err();
    assert!(refused.to_string().contains("lane-plc"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn update_under_a_fault_fails_as_the_fault_says() {
    let bench = bench().await;
    let address = bench.address(GATE).await;
    let image = image::build("e-gate", "7.4.0", &[], 20_000);
    let digest = Digest::of(&image);
    let put = format!("PUT /kalong/v1/images/{}", digest.hex());
    let order = serde_json::json!({ "digest": digest }).to_string();
    let install = || {
        assert_eq!(http(address, &put, &basic(), &image).unwrap().status, 200);
        let again = || http(address, "POST /kalong/v1/install", &basic(), order.as_bytes()).unwrap().status;
        (0..10_000).map(|_| again()).find(|s| *s != 202).unwrap()
    };
    bench.control.fault(GATE, Fault::FlashError, Switch::On).await.unwrap();
    assert_eq!(install(), 500);
    bench.control.fault(GATE, Fault::FlashError, Switch::Off).await.unwrap();
    bench.control.fault(GATE, Fault::WrongVersionAfterUpdate, Switch::On).await.unwrap();
    assert_eq!(install(), 200);
    http(address, "POST /kalong/v1/activate", &basic(), order.as_bytes());
    let report = bench.until(GATE, |d| d.counts.reboots == 1 && d.power == Power::On).await;
    assert_eq!((report.version.as_str(), report.digest), ("7.3.0", Some(digest)));

    bench.control.service(GATE).await.unwrap();
    let served = bench.until(GATE, |d| d.power == Power::On && d.committed).await;
    assert_ne!(served.digest, Some(Digest::of(&image)), "the factory image is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_of_many_is_set_in_one_call_and_tampering_counts_no_write() {
    let bench = bench().await;
    let orders = BTreeMap::from([
        (PLATE.to_owned(), vec!["LensDirty".to_owned()]),
        (PLC.to_owned(), vec!["LoopStuck".to_owned(), "EmergencyStop".to_owned()]),
    ]);
    assert_eq!(bench.control.health_of_many(&orders).await.unwrap(), 2);
    assert_eq!(bench.device(PLC).await.health, ["EmergencyStop", "LoopStuck"]);
    bench.control.tamper(PLC, &BTreeMap::from([("clearanceMillis".to_owned(), 777.into())])).await.unwrap();
    let report = bench.device(PLC).await;
    assert_eq!((&report.settings["clearanceMillis"], report.counts.writes), (&777.into(), 0));
}
