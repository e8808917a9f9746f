//! The device contract (docs/device-contract/openapi.yaml) by hand.

use std::io::Write;
use std::net::SocketAddr;

use kalong_crds::units::Digest;
use kalong_e2e::site::image::{self, Behaviour};
use kalong_e2e::site::report::{CutPoint, Fault, Power, Switch};
use serde_json::json;

use super::bench::{Bench, Reply, basic, bench, connect, http};

/// Two slots, with a login.
const GATE: &str = "fb-gate-01-e-gate";
/// One slot, without a login.
const DISPLAY: &str = "tb-trad-1-display";

fn get(address: SocketAddr, path: &str) -> Reply {
    http(address, &format!("GET /kalong/v1{path}"), &basic(), b"").unwrap()
}

fn send(address: SocketAddr, method: &str, path: &str, body: &serde_json::Value) -> Reply {
    let headers = format!("{}Content-Type: application/json\r\n", basic());
    http(address, &format!("{method} /kalong/v1{path}"), &headers, body.to_string().as_bytes()).unwrap()
}

fn name(image: &[u8]) -> serde_json::Value {
    json!({ "digest": Digest::of(image) })
}

fn put_image(address: SocketAddr, image: &[u8]) -> Option<Reply> {
    let path = format!("PUT /kalong/v1/images/{}", Digest::of(image).hex());
    http(address, &path, &basic(), image)
}

/// Uploads and installs; the device says `202` while it writes.
fn install(address: SocketAddr, image: &[u8]) -> Reply {
    assert_eq!(put_image(address, image).unwrap().status, 200);
    (0..10_000).map(|_| send(address, "POST", "/install", &name(image))).find(|r| r.status != 202).unwrap()
}

async fn started(bench: &Bench, device: &str, reboots: u64) {
    bench.until(device, |d| d.counts.reboots >= reboots && d.power == Power::On).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_as_the_contract_says() {
    let bench = bench().await;
    let (address, report) = (bench.address(GATE).await, bench.device(GATE).await);
    let identity = get(address, "/identity");
    assert_eq!(identity.status, 200);
    assert_eq!(
        identity.json(),
        json!({"contract": "v1", "serial": report.serial, "hardwareRevision": "e1", "version": "7.3.0",
               "digest": report.digest, "bootCount": report.boot_count})
    );
    assert_eq!(get(address, "/health").json(), json!({ "codes": [] }));
    let properties = get(address, "/properties").json();
    assert_eq!(properties["admission"], "Closed");
    assert_eq!(properties["admissionState"], "Closed");
    assert_eq!((&properties["occupancy"], &properties["doorHoldMillis"]), (&json!(0), &json!(6000)));
    assert_eq!(get(address, "/slots").json(), json!({"running": report.digest, "written": null, "committed": true}));
    assert_eq!(get(address, "/interlocks").status, 404);

    let nobody = http(address, "GET /kalong/v1/identity", "", b"").unwrap();
    assert_eq!(nobody.status, 401);
    assert!(nobody.head.contains("application/problem+json"));
    assert_eq!(http(bench.address(DISPLAY).await, "GET /kalong/v1/identity", "", b"").unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_all_or_nothing() {
    let bench = bench().await;
    let address = bench.address(GATE).await;
    let good = json!({"doorHoldMillis": 4000, "language": "Vietnamese"});
    assert_eq!(send(address, "PUT", "/properties", &good).status, 204);
    for bad in [
        json!({"doorHoldMillis": 5000, "colour": "red"}),
        json!({"doorHoldMillis": 5000, "occupancy": 3}),
        json!({"doorHoldMillis": 99}),
        json!({"doorHoldMillis": "4000"}),
        json!({"language": "Latin"}),
        json!([1]),
    ] {
        let refused = send(address, "PUT", "/properties", &bad);
        assert_eq!(refused.status, 422, "{bad}");
        assert!(!refused.json()["detail"].as_str().unwrap().is_empty());
    }
    let report = bench.device(GATE).await;
    assert_eq!(
        (&report.settings["doorHoldMillis"], &report.settings["language"]),
        (&4000.into(), &"Vietnamese".into())
    );
    assert_eq!(report.counts.setting_writes, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_go_as_in_the_table_of_the_contract() {
    let bench = bench().await;
    let (address, a) = (bench.address(GATE).await, bench.device(GATE).await.digest.unwrap());
    let image = image::build("e-gate", "7.4.0", &[], 20_000);
    let b = Digest::of(&image);
    assert_eq!(send(address, "POST", "/install", &name(&image)).status, 409, "nothing was uploaded");
    assert_eq!(install(address, &image).status, 200);
    assert_eq!(get(address, "/slots").json(), json!({"running": a, "written": b, "committed": true}));

    assert_eq!(send(address, "POST", "/activate", &name(&image)).status, 202);
    started(&bench, GATE, 1).await;
    assert_eq!(get(address, "/slots").json(), json!({"running": b, "written": a, "committed": false}));
    assert_eq!(send(address, "POST", "/rollback", &json!({})).status, 202);
    started(&bench, GATE, 2).await;
    assert_eq!(get(address, "/slots").json(), json!({"running": a, "written": b, "committed": true}));

    assert_eq!(send(address, "POST", "/activate", &name(&image)).status, 202);
    started(&bench, GATE, 3).await;
    assert_eq!(send(address, "POST", "/activate", &name(&image)).status, 202, "runs already");
    assert_eq!(send(address, "POST", "/commit", &json!({})).status, 204);
    assert_eq!(get(address, "/slots").json(), json!({"running": b, "written": a, "committed": true}));
    assert_eq!(send(address, "POST", "/rollback", &json!({})).status, 202, "nothing to go back from");
    let report = bench.device(GATE).await;
    assert_eq!((report.version.as_str(), report.counts.reboots, report.counts.uploads), ("7.4.0", 3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn uncommitted_image_does_not_survive_a_power_cut() {
    let bench = bench().await;
    let (address, a) = (bench.address(GATE).await, bench.device(GATE).await.digest.unwrap());
    let image = image::build("e-gate", "7.4.0", &[], 20_000);
    assert_eq!(install(address, &image).status, 200);
    bench.control.fault(GATE, Fault::PowerCutAt { point: CutPoint::Activate }, Switch::On).await.unwrap();
    http(address, "POST /kalong/v1/activate", &basic(), name(&image).to_string().as_bytes());
    started(&bench, GATE, 1).await;
    assert_eq!(get(address, "/identity").json()["digest"], json!(a));

    send(address, "POST", "/activate", &name(&image));
    started(&bench, GATE, 2).await;
    bench.control.fault(GATE, Fault::PowerCutAt { point: CutPoint::Commit }, Switch::On).await.unwrap();
    http(address, "POST /kalong/v1/commit", &basic(), b"");
    started(&bench, GATE, 3).await;
    assert_eq!(get(address, "/slots").json()["running"], json!(a));
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_goes_on_where_it_broke_off() {
    let bench = bench().await;
    let address = bench.address(GATE).await;
    let image = image::build("e-gate", "7.4.0", &[], 40_000);
    let path = format!("/images/{}", Digest::of(&image).hex());
    assert_eq!(get(address, &path).json(), json!({"received": 0, "size": null, "complete": false}));

    let mut half = connect(address);
    let head = format!("PUT /kalong/v1{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 40000\r\n{}\r\n", basic());
    half.write_all(&[head.as_bytes(), &image[..10_000]].concat()).unwrap();
    let held = || get(address, &path).json();
    while held()["received"] != json!(10_000) {}
    drop(half);
    assert_eq!(held(), json!({"received": 10_000, "size": 40_000, "complete": false}));

    let from = |first: usize| {
        let headers = format!("{}Content-Range: bytes {first}-39999/40000\r\n", basic());
        http(address, &format!("PUT /kalong/v1{path}"), &headers, &image[first..]).unwrap()
    };
    assert_eq!(from(20_000).status, 409, "a gap");
    assert_eq!(from(10_000).json(), json!({"received": 40_000, "size": 40_000, "complete": true}));
    assert_eq!(put_image(address, &image).unwrap().status, 200, "complete already");
    assert_eq!(bench.device(GATE).await.counts.uploads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cut_in_the_middle_of_an_upload_keeps_what_came() {
    let bench = bench().await;
    let address = bench.address(GATE).await;
    let image = image::build("e-gate", "7.4.0", &[], 400_000);
    bench.control.fault(GATE, Fault::PowerCutAt { point: CutPoint::Upload }, Switch::On).await.unwrap();
    let cut = put_image(address, &image);
    assert!(cut.is_none_or(|r| r.status != 200));
    started(&bench, GATE, 1).await;
    let received = get(address, &format!("/images/{}", Digest::of(&image).hex())).json()["received"].as_u64().unwrap();
    assert!((200_000..400_000).contains(&received), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_image_is_refused_and_forgotten() {
    let bench = bench().await;
    let address = bench.address(GATE).await;
    let other = image::build("display", "2.0.0", &[], 20_000);
    assert_eq!(put_image(address, &other).unwrap().status, 422, "for another model");
    let image = image::build("e-gate", "7.4.0", &[], 20_000);
    let path = format!("PUT /kalong/v1/images/{}", "0".repeat(64));
    assert_eq!(http(address, &path, &basic(), &image).unwrap().status, 422, "another digest");
    let flash = image::build("e-gate", "7.5.0", &[Behaviour::FlashError], 20_000);
    assert_eq!(install(address, &flash).status, 500);
    assert_eq!(bench.device(GATE).await.counts.installs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_slot_runs_the_new_image_and_cannot_go_back() {
    let bench = bench().await;
    let address = bench.address(DISPLAY).await;
    let image = image::build("display", "1.2.0", &[Behaviour::FailsSelfTest], 20_000);
    assert_eq!(install(address, &image).status, 200);
    assert_eq!(get(address, "/slots").json()["written"], json!(Digest::of(&image)));
    assert_eq!(send(address, "POST", "/activate", &name(&image)).status, 202);
    started(&bench, DISPLAY, 1).await;
    let slots = get(address, "/slots").json();
    assert_eq!((&slots["running"], &slots["written"]), (&json!(Digest::of(&image)), &json!(null)));
    assert_eq!(send(address, "POST", "/rollback", &json!({})).status, 409);
    let test = (0..10_000).map(|_| send(address, "POST", "/self-test", &json!({})).json());
    let done = test.into_iter().find(|t| t["result"] != "Running").unwrap();
    assert_eq!(done["result"], "Failed");
    assert!(!done["detail"].as_str().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_hangs_is_left_by_the_watchdog_of_two_slots() {
    let bench = bench().await;
    let address = bench.address(GATE).await;
    for (version, behaviour) in [("7.4.0", Behaviour::Hang), ("7.5.0", Behaviour::RebootLoop)] {
        let image = image::build("e-gate", version, &[behaviour], 20_000);
        let before = bench.device(GATE).await;
        assert_eq!(install(address, &image).status, 200);
        assert_eq!(send(address, "POST", "/activate", &name(&image)).status, 202);
        let after = bench.until(GATE, |d| d.counts.reboots == before.counts.reboots + 2 && d.power == Power::On).await;
        assert_eq!((after.version.as_str(), after.committed), ("7.3.0", true), "{behaviour:?}");
    }
}
