//! The fleet against a vehicle and a fleet control that were not written here: vda-5050-lib on Node. Where Node is absent, or the package
//! cannot be had, the tests count as ignored and say why.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kalong_crds::igv::{Laden, Side, VehicleConnection};
use kalong_crds::wire::reported::IgvReport;
use kalong_e2e::site::fleet::broker::TestBroker;
use libtest_mimic::Trial;
use rumqttc::Packet;

use crate::lone_box::{LoneBox, igv_item, until};
use crate::{Listed, trial};

const SERIAL: &str = "v-9";
/// Longest wait for one answer of the registry, in milliseconds, as npm takes it.
const NPM_TIMEOUT: &str = "--fetch-timeout=60000";
/// What our own client is called on the broker.
const AGENT: &str = "kalong-mc.box";

/// The tests, with Node and its library for them, or with why there is none.
pub fn trials(listed: Listed) -> Vec<Trial> {
    let node = if listed == Listed::Only { Ok(()) } else { node() };
    let tests: [(&str, fn()); 2] = [
        ("vehicle_of_another_hand_is_heard_from_its_dock_to_the_gate", vehicle_is_heard),
        ("vehicle_of_another_hand_says_goodbye_or_breaks", vehicle_goes),
    ];
    tests.into_iter().map(|(name, test)| trial(name, node.clone(), move |()| test())).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/outside/vda5050")
}

/// Where the library is, put there once, below the target folder.
fn modules() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("vda5050")
}

fn node_with_library() -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules().join("node_modules")).current_dir(folder()).stdin(Stdio::null());
    command
}

/// Whether there is Node, and the library that `package.json` pins.
fn node() -> Result<(), String> {
    let found = || node_with_library().args(["-e", "require('vda-5050-lib')"]).output();
    if found().map_err(|_| "node is not there".to_owned())?.status.success() {
        return Ok(());
    }
    let (prefix, package) = (modules(), "package.json");
    std::fs::create_dir_all(&prefix).map_err(|error| error.to_string())?;
    std::fs::copy(folder().join(package), prefix.join(package)).map_err(|error| error.to_string())?;
    let install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", NPM_TIMEOUT];
    let output = Command::new("npm").args(install).arg("--prefix").arg(&prefix).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() && found().is_ok_and(|output| output.status.success()) => Ok(()),
        Ok(output) => Err(format!("vda-5050-lib cannot be had: {}", last_line(&output.stderr))),
        Err(_) => Err("npm is not there".to_owned()),
    }
}

fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().last().unwrap_or("npm failed without a word").to_owned()
}

/// A vehicle of another hand; it is killed when this is dropped.
struct Vehicle(Child);

impl Drop for Vehicle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Vehicle {
    fn start(broker: &str) -> Self {
        let mut command = node_with_library();
        command.arg("vehicle.js").args([broker, SERIAL]);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{word}").unwrap();
    }
}

fn within<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn in_dock(report: &IgvReport) -> bool {
    report.connection == VehicleConnection::Online && report.fresh && report.at_service && report.side == Side::Domestic
}

fn vehicle_is_heard() {
    within(async {
        let broker = TestBroker::start().await.unwrap();
        let mut vehicle = Vehicle::start(&broker.address);
        let mut site = LoneBox::new().await;
        site.tell(&[igv_item(SERIAL, &broker.address)]).await;
        site.until_igv(SERIAL, |r| in_dock(r) && r.software.len() == 2).await;
        let report = site.igv(SERIAL).unwrap();
        assert_eq!((report.operating_mode.as_deref(), report.localised), (Some("AUTOMATIC"), Some(true)));
        assert_eq!(
            (report.maps, report.laden, report.errors.len()),
            (None, Laden::Unknown, 0),
            "it says nothing of them"
        );
        assert_eq!((report.software[0].name.as_str(), report.software[1].version.as_str()), ("adapter", "1.4.0"));
        vehicle.tell("order");
        site.until_igv(SERIAL, |r| r.fresh && !r.at_service && r.side == Side::Unknown).await;
        // Forty of the twenty thousand metres that a full battery of 100 kWh lasts.
        let counters = || site.counters();
        until(|| counters().iter().any(|c| c.energy_watt_hours >= 190), || format!("{:?}", counters())).await;
        assert_eq!(counters()[0].lost_messages, 0);
        let published = broker.sent_by(AGENT).iter().any(|p| matches!(p, Packet::Publish(_)));
        assert!(!published, "a vehicle is never spoken to");
    });
}

fn vehicle_goes() {
    within(async {
        let broker = TestBroker::start().await.unwrap();
        let mut site = LoneBox::new().await;
        site.tell(&[igv_item(SERIAL, &broker.address)]).await;
        let mut polite = Vehicle::start(&broker.address);
        site.until_igv(SERIAL, in_dock).await;
        polite.tell("stop");
        site.until_igv(SERIAL, |r| r.connection == VehicleConnection::Offline && !r.fresh && !r.at_service).await;
        drop(polite);
        let broken = Vehicle::start(&broker.address);
        site.until_igv(SERIAL, in_dock).await;
        drop(broken);
        site.until_igv(SERIAL, |r| r.connection == VehicleConnection::Broken && !r.fresh).await;
    });
}
