//! Drivers against peers that were not written in this language, or not written here at all. Where Python or a package of it cannot be had, the
//! tests count as ignored and say why.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kalong_crds::Category;
use kalong_crds::units::{Digest, Value};
use kalong_edge_agent::driver::{self, DeviceCredential, Driver, DriverError, SelfTest};
use kalong_edge_agent::probe::{self, Subject};
use libtest_mimic::Trial;

use crate::{Listed, driver_order, trial};

/// The implementation that the Modbus driver must get along with, pinned: a new release is looked at before it judges us.
const PYMODBUS: &str = "pymodbus==3.11.4";
/// Longest time for pip, in seconds, as it takes it.
const PIP_TIMEOUT: &str = "60";
const DEADLINE: Duration = Duration::from_secs(120);

/// A test and its name.
type Named = (&'static str, fn(&Path));

/// The tests, with a Python and a pymodbus for them, or with why there is none.
pub fn trials(listed: Listed) -> Vec<Trial> {
    let python = if listed == Listed::Only { Ok(PathBuf::from("python3")) } else { python() };
    let pymodbus = match &python {
        Ok(python) if listed == Listed::AndRun => with_pymodbus(python),
        other => other.clone(),
    };
    let plain: [Named; 3] = [
        ("device_in_python_passes_the_probe_firmware_included", device_in_python_passes_the_probe),
        ("device_in_python_refuses_what_is_not_its_own", device_in_python_refuses),
        ("device_in_python_that_was_killed_goes_on_from_its_disk", device_in_python_survives_a_kill),
    ];
    let outside: [Named; 4] = [
        ("pymodbus_tells_identity_readings_and_health", pymodbus_tells),
        ("pymodbus_is_set_and_read_back", pymodbus_is_set),
        ("pymodbus_refusals_are_told_from_absence", pymodbus_refuses),
        ("pymodbus_device_passes_the_probe", pymodbus_passes_the_probe),
    ];
    let tests = plain.into_iter().map(|t| (t, &python)).chain(outside.into_iter().map(|t| (t, &pymodbus)));
    tests.map(|((name, test), python)| trial(name, python.clone(), move |python| test(&python))).collect()
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(text.lines().last().unwrap_or("it failed without a word").to_owned())
    }
}

/// Python 3.10 or later, which the example device asks for.
fn python() -> Result<PathBuf, String> {
    let check = "import sys; sys.exit(sys.version_info < (3, 10))";
    run(Command::new("python3").args(["-c", check])).map_err(|_| "python3 of 3.10 or later is not there".to_owned())?;
    Ok(PathBuf::from("python3"))
}

/// A Python that has pymodbus, made once below the target folder.
fn with_pymodbus(python: &Path) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PYMODBUS.replace("==", "-"));
    let own = folder.join("bin/python");
    if run(Command::new(&own).args(["-c", "import pymodbus.server"])).is_ok() {
        return Ok(own);
    }
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder)).map_err(|why| format!("no venv: {why}"))?;
    let pip = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", PIP_TIMEOUT, PYMODBUS];
    run(Command::new(&own).args(pip)).map_err(|why| format!("{PYMODBUS} cannot be had: {why}"))?;
    Ok(own)
}

/// A device in another language; it ends when this is dropped.
struct Peer {
    child: Child,
    address: String,
}

impl Peer {
    fn start(python: &Path, script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/outside").join(script);
        let mut command = Command::new(python);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("the peer says where it listens").to_owned();
        Self { child, address }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn within<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("the test ends in time") })
}

fn probed(subject: &Subject) {
    let report = within(probe::run(subject, &mut |_| {}));
    let mut text = Vec::new();
    for check in &report.checks {
        check.print(&mut text, probe::Paint::Plain).unwrap();
    }
    assert!(report.passed(), "\n{}", String::from_utf8_lossy(&text));
}

// The published contract.

fn python_model() -> kalong_crds::device_model::DeviceModelSpec {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/outside/http_device_model.yaml");
    probe::load_model(&file).unwrap()
}

fn python_subject(peer: &Peer, image: Option<PathBuf>) -> Subject {
    Subject {
        model: python_model(),
        endpoint: peer.address.clone(),
        parameters: BTreeMap::new(),
        credential: None,
        image,
    }
}

fn image(folder: &Path, version: &str, size: usize) -> (PathBuf, Digest, u64) {
    let mut bytes = format!("barrier firmware {version} ").into_bytes();
    bytes.extend((0..size).map(|n| u8::try_from(n % 251).unwrap()));
    let path = folder.join(version);
    std::fs::write(&path, &bytes).unwrap();
    (path, Digest::of(&bytes), u64::try_from(bytes.len()).unwrap())
}

fn http_peer(python: &Path, state: &Path, more: &[&str]) -> Peer {
    let state = state.to_str().unwrap();
    Peer::start(
        python,
        "http_device.py",
        &[&["--port", "0", "--state", state, "--restart-seconds", "0.3"], more].concat(),
    )
}

fn device_in_python_passes_the_probe(python: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let peer = http_peer(python, &folder.path().join("state"), &[]);
    let (path, ..) = image(folder.path(), "2.0.0", 700_000);
    probed(&python_subject(&peer, Some(path)));
}

fn device_in_python_refuses(python: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let peer = http_peer(python, &folder.path().join("state"), &["--login", "kalong:secret"]);
    let order = driver_order::order_of(python_model(), &peer.address, &[]);
    let login = |password: &str| Some(DeviceCredential { username: "kalong".into(), password: password.into() });
    within(async {
        let mut nobody = driver::connect(&order, login("wrong")).unwrap();
        assert!(matches!(nobody.identify().await, Err(DriverError::Unauthorised)));
        let mut device = driver::connect(&order, login("secret")).unwrap();
        assert_eq!(device.identify().await.unwrap().serial, "PY-0001");

        let before = device.read().await.unwrap();
        for bad in [("holdOpenMillis", Value::Integer(60_001)), ("armState", "Up".into()), ("nothing", "x".into())] {
            let values = BTreeMap::from([("mode".to_owned(), "LockedDown".into()), (bad.0.to_owned(), bad.1)]);
            let refusal = device.set(&values).await.unwrap_err();
            assert!(matches!(&refusal, DriverError::Refused(why) if why.contains(bad.0)), "{refusal}");
        }
        assert_eq!(device.read().await.unwrap(), before, "all or nothing");

        let (path, _, size) = image(folder.path(), "2.0.0", 1000);
        let wrong = Digest::of(b"another image");
        assert!(matches!(device.transfer(&path, &wrong, size).await, Err(DriverError::Refused(_))));
        assert!(matches!(device.install(&wrong).await, Err(DriverError::Refused(_))));
        assert!(matches!(device.activate().await, Err(DriverError::Refused(_))));
    });
}

fn device_in_python_survives_a_kill(python: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (path, digest, size) = image(folder.path(), "2.0.0", 300_000);
    let first = http_peer(python, &state, &[]);
    let order = |peer: &Peer| driver_order::order_of(python_model(), &peer.address, &[]);
    within(async {
        let mut device = driver::connect(&order(&first), None).unwrap();
        device.transfer(&path, &digest, size).await.unwrap();
        device.install(&digest).await.unwrap();
        device.activate().await.unwrap();
    });
    drop(first);
    // A start without commit goes back: what no agent could prove does not stay.
    let second = http_peer(python, &state, &[]);
    within(async {
        let mut device = driver::connect(&order(&second), None).unwrap();
        assert_eq!(device.identify().await.unwrap().version, "1.0.0");
        let slots = device.slots().await.unwrap();
        assert_eq!((slots.written, slots.committed), (Some(digest.clone()), true));
        // A driver that was made after the power cut goes on from what the device holds.
        device.transfer(&path, &digest, size).await.unwrap();
        device.activate().await.unwrap();
        until_version(device.as_mut(), "2.0.0").await;
        while device.self_test().await.unwrap() == SelfTest::Running {}
        device.commit().await.unwrap();
    });
    drop(second);
    let third = http_peer(python, &state, &[]);
    within(async {
        let mut device = driver::connect(&order(&third), None).unwrap();
        assert_eq!(device.identify().await.unwrap().version, "2.0.0");
    });
}

async fn until_version(device: &mut dyn Driver, version: &str) {
    while device.identify().await.map_or(true, |identity| identity.version != version) {
        tokio::task::yield_now().await;
    }
}

// Modbus.

const BARRIER: &str = "
class: LanePlc
protocol:
  name: ModbusTcp
  registers:
    - { name: serialNumber, table: InputRegister, address: 0, words: 6, encoding: Ascii }
    - { name: firmwareVersion, table: InputRegister, address: 6, words: 4, encoding: Ascii }
    - { name: imageDigest, table: InputRegister, address: 10, words: 16, encoding: Bytes }
    - { name: bootCount, table: InputRegister, address: 26 }
    - { name: healthBits, table: InputRegister, address: 30, words: 2 }
    - { name: admissionState, table: InputRegister, address: 40 }
    - { name: occupancy, table: InputRegister, address: 41 }
    - { name: holdOpenMillis, table: HoldingRegister, address: 0 }
    - { name: admission, table: HoldingRegister, address: 1 }
    - { name: offset, table: HoldingRegister, address: 2, words: 2, encoding: Signed }
    - { name: location, table: HoldingRegister, address: 4, words: 8, encoding: Ascii }
    - { name: lamp, table: Coil, address: 0 }
    - { name: loop, table: DiscreteInput, address: 0 }
properties:
  - { name: holdOpenMillis, type: Integer, access: ReadWrite, unit: ms, min: 0, max: 60000 }
  - { name: offset, type: Integer, access: ReadWrite, unit: kg, min: -1000, max: 1000 }
  - { name: location, type: Text, access: ReadWrite }
  - { name: lamp, type: Enumeration, access: ReadWrite, values: [Off, On] }
  - { name: loop, type: Enumeration, values: [Free, Occupied] }
healthCodes:
  - { name: ArmBlocked, severity: Faulty, bit: 0 }
  - { name: LampBroken, severity: Degraded, bit: 1 }
  - { name: DoorOpen, severity: Degraded, bit: 16 }
";

fn modbus_device(python: &Path) -> (Peer, kalong_crds::wire::order::DeviceOrder) {
    let peer = Peer::start(python, "modbus_device.py", &[]);
    let order = driver_order::order(BARRIER, &peer.address, &[("unit", Value::Integer(7))]);
    (peer, order)
}

fn pymodbus_tells(python: &Path) {
    let (_peer, order) = modbus_device(python);
    within(async {
        let mut device = driver::connect(&order, None).unwrap();
        let identity = device.identify().await.unwrap();
        assert_eq!((identity.serial.as_str(), identity.version.as_str()), ("PYM-0007", "3.1.4"));
        assert_eq!((identity.digest, identity.boot_count), (Some(Digest::of(b"image")), Some(12)));
        let reading = device.read().await.unwrap();
        let expected = [
            ("admission", "Closed".into()),
            ("admissionState", "Closed".into()),
            ("holdOpenMillis", Value::Integer(1500)),
            ("lamp", "Off".into()),
            ("location", "Bac Luan".into()),
            ("loop", "Occupied".into()),
            ("occupancy", Value::Integer(3)),
            ("offset", Value::Integer(-10)),
        ];
        let expected: BTreeMap<String, Value> = expected.map(|(name, value)| (name.to_owned(), value)).into();
        assert_eq!(reading.properties, expected);
        let health: Vec<&str> = reading.health.iter().map(String::as_str).collect();
        assert_eq!((health, reading.objections), (vec!["DoorOpen", "LampBroken"], vec![]));
        assert_eq!(device.slots().await.unwrap().running, Some(Digest::of(b"image")));
    });
}

fn pymodbus_is_set(python: &Path) {
    let (_peer, order) = modbus_device(python);
    within(async {
        let mut device = driver::connect(&order, None).unwrap();
        let values: BTreeMap<String, Value> = [
            ("holdOpenMillis", Value::Integer(60_000)),
            ("offset", Value::Integer(-1000)),
            ("location", "Kalong 3".into()),
            ("lamp", "On".into()),
            ("admission", "Open".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        device.set(&values).await.unwrap();
        let mut seen = device.read().await.unwrap().properties;
        // The plant follows in its own time.
        while seen.get("admissionState") != Some(&"Open".into()) {
            seen = device.read().await.unwrap().properties;
        }
        for (name, value) in &values {
            assert_eq!(seen.get(name), Some(value), "{name}");
        }
    });
}

fn pymodbus_refuses(python: &Path) {
    let (peer, mut order) = modbus_device(python);
    within(async {
        let mut device = driver::connect(&order, None).unwrap();
        for bad in [
            ("holdOpenMillis", Value::Integer(60_001)),
            ("loop", "Free".into()),
            ("admissionState", "Open".into()),
            ("unheardOf", Value::Integer(1)),
            ("admission", "Draining".into()),
        ] {
            let values = BTreeMap::from([(bad.0.to_owned(), bad.1)]);
            let refusal = device.set(&values).await.unwrap_err();
            assert_eq!(refusal.category(), "invalid", "{refusal}");
        }
        assert!(matches!(device.transfer(Path::new("x"), &Digest::of(b""), 0).await, Err(DriverError::Unsupported(_))));
        assert!(matches!(device.self_test().await, Err(DriverError::Unsupported(_))));

        // A register that the device does not have.
        order.protocol.registers.iter_mut().find(|r| r.name == "occupancy").unwrap().address = 999;
        let mut wrong = driver::connect(&order, None).unwrap();
        let refusal = wrong.read().await.unwrap_err();
        assert!(matches!(&refusal, DriverError::Refused(why) if why.contains("occupancy")), "{refusal}");

        drop(peer);
        let absence = device.read().await.unwrap_err();
        assert!(absence.is_absence(), "{absence}");
    });
}

fn pymodbus_passes_the_probe(python: &Path) {
    let (peer, _) = modbus_device(python);
    probed(&Subject {
        model: driver_order::model(BARRIER),
        endpoint: peer.address.clone(),
        parameters: BTreeMap::from([("unit".to_owned(), Value::Integer(7))]),
        credential: None,
        image: None,
    });
}
