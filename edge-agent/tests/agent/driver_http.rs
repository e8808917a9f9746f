//! The driver of the published contract against scripted misbehaviour.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::Category;
use kalong_crds::units::{Digest, Value};
use kalong_edge_agent::driver::{self, CALL_DEADLINE, DeviceCredential, Driver, DriverError, MAX_OBJECTIONS, SelfTest};
use kalong_edge_agent::probe::{self, Outcome, Subject};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::driver_order;

const DEADLINE: Duration = Duration::from_secs(30);
const MODEL: &str = "
class: XRayScanner
protocol: { name: GenericHttp }
properties:
  - { name: energyKilovolts, type: Integer, access: ReadWrite, unit: kV, min: 0, max: 300 }
  - { name: mode, type: Enumeration, values: [Scan, Idle] }
healthCodes:
  - { name: TubeHot, severity: Degraded }
regulatory:
  interlocks:
    - { name: beam, safe: 'Off' }
update: { slots: Dual, rollback: Supported }
";

/// Answers each path from a script: status, headers, body. The last entry of a path stays.
struct Script {
    address: SocketAddr,
    answers: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn json(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

impl Script {
    async fn start(answers: &[(&str, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, answer) in answers {
            map.entry((*path).to_owned()).or_default().push(answer.clone());
        }
        let (answers, seen) = (Arc::new(Mutex::new(map)), Arc::new(Mutex::new(Vec::new())));
        let shared = (Arc::clone(&answers), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&shared.0), Arc::clone(&shared.1)));
            }
        });
        Self { address, answers, seen, task }
    }

    fn device(&self) -> Box<dyn Driver> {
        driver::connect(&driver_order::order(MODEL, self.address, &[]), None).unwrap()
    }

    fn say(&self, path: &str, answer: String) {
        self.answers.lock().insert(path.to_owned(), vec![answer]);
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            match stream.read_buf(&mut held).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let head = String::from_utf8(held.drain(..end + 4).collect()).unwrap();
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or_default();
        while held.len() < length {
            if matches!(stream.read_buf(&mut held).await, Ok(0) | Err(_)) {
                return;
            }
        }
        held.drain(..length);
        seen.lock().push(head.clone());
        let mut line = head.split(' ');
        let call = format!("{} {}", line.next().unwrap(), line.next().unwrap().trim_start_matches("/kalong/v1"));
        let answer = {
            let mut answers = answers.lock();
            let list = answers.get_mut(&call).unwrap_or_else(|| panic!("nobody expected {call}"));
            if list.len() > 1 { list.remove(0) } else { list[0].clone() }
        };
        if answer.is_empty() {
            return;
        }
        let _ = stream.write_all(answer.as_bytes()).await;
        if answer.contains("Connection: close") {
            return;
        }
    }
}

async fn timely<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("the test ends in time")
}

#[tokio::test]
async fn what_the_model_does_not_know_is_objected_to_and_left_out() {
    let script = Script::start(&[
        (
            "GET /properties",
            json(200, r#"{"energyKilovolts": 301, "mode": "Idle", "colour": "red", "extra": {"a": [1.5]}}"#),
        ),
        ("GET /health", json(200, r#"{"codes": ["TubeHot", "Unheard"]}"#)),
        ("GET /interlocks", json(200, r#"{"beam": "Off"}"#)),
    ])
    .await;
    let reading = timely(script.device().read()).await.unwrap();
    let expected: BTreeMap<String, Value> =
        [("mode", "Idle"), ("beam", "Off")].map(|(n, v)| (n.into(), v.into())).into();
    assert_eq!(reading.properties, expected);
    assert_eq!(reading.health.iter().collect::<Vec<_>>(), ["TubeHot"]);
    assert_eq!(reading.objections.len(), 2, "{:?}", reading.objections);
    assert!(reading.objections[0].contains("at most 300 kV") && reading.objections[1].contains("Unheard"));

    let many: Vec<String> = (0..100).map(|n| format!("\"Code{n}\"")).collect();
    script.say("GET /health", json(200, &format!("{{\"codes\": [{}]}}", many.join(","))));
    assert_eq!(timely(script.device().read()).await.unwrap().objections.len(), MAX_OBJECTIONS);
}

#[tokio::test]
async fn device_that_tells_its_health_beside_its_properties_is_asked_once_a_visit() {
    let told = r#"{"mode": "Idle", "beam": "On", "healthCodes": ["TubeHot"]}"#;
    let script = Script::start(&[("GET /properties", json(200, told))]).await;
    let reading = timely(script.device().read()).await.unwrap();
    assert_eq!(reading.health.iter().collect::<Vec<_>>(), ["TubeHot"]);
    assert_eq!((reading.properties.len(), reading.objections.len()), (2, 0), "{reading:?}");
    assert_eq!(script.seen.lock().len(), 1);
}

#[tokio::test]
async fn a_problem_document_becomes_the_reason_and_stays_short() {
    let detail = format!("too hot\\u001b[31m{}", "!".repeat(5000));
    let problem = json(409, &format!(r#"{{"title": "Busy", "detail": "{detail}"}}"#));
    let script = Script::start(&[("PUT /properties", problem)]).await;
    let values = [("mode".to_owned(), Value::from("Idle"))].into();
    let Err(DriverError::Refused(why)) = timely(script.device().set(&values)).await else { panic!("not refused") };
    assert!(why.starts_with("Busy: too hot[31m!!!") && why.ends_with("(HTTP 409)"), "{why}");
    assert!(why.len() < 600);
}

#[tokio::test]
async fn a_token_without_a_name_is_a_bearer() {
    let identity = r#"{"contract": "v1", "serial": "s", "version": "1"}"#;
    let script = Script::start(&[("GET /identity", json(200, identity))]).await;
    let order = driver_order::order(MODEL, script.address, &[]);
    let token = DeviceCredential { username: String::new(), password: "t0k".into() };
    timely(driver::connect(&order, Some(token)).unwrap().identify()).await.unwrap();
    assert!(script.seen.lock()[0].to_lowercase().contains("authorization: bearer t0k"));
}

#[tokio::test]
async fn a_device_of_another_version_or_language_is_a_protocol_error() {
    let script =
        Script::start(&[("GET /identity", json(200, r#"{"contract": "v2", "serial": "s", "version": "1"}"#))]).await;
    assert_eq!(timely(script.device().identify()).await.unwrap_err().category(), "protocol");
    for bad in ["{}", "nonsense", "[1]"] {
        script.say("GET /identity", json(200, bad));
        assert_eq!(timely(script.device().identify()).await.unwrap_err().category(), "protocol", "{bad}");
    }
    script.say("GET /identity", "SSH-2.0-OpenSSH\r\n\r\n".into());
    assert_eq!(timely(script.device().identify()).await.unwrap_err().category(), "protocol");
    script.say("GET /identity", json(200, &"x".repeat(100_000)));
    assert_eq!(timely(script.device().identify()).await.unwrap_err().category(), "protocol");
}

#[tokio::test]
async fn a_connection_that_the_device_closed_is_no_fault() {
    let identity = r#"{"contract": "v1", "serial": "s", "version": "1"}"#;
    let once = json(200, identity).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let script = Script::start(&[("GET /identity", once)]).await;
    let mut device = script.device();
    for _ in 0..3 {
        timely(device.identify()).await.unwrap();
    }
    script.say("GET /identity", String::new());
    assert_eq!(timely(device.identify()).await.unwrap_err().category(), "unreachable");
}

#[tokio::test]
async fn a_device_that_hangs_costs_its_deadline_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let order = driver_order::order(MODEL, listener.local_addr().unwrap(), &[]);
    let mut device = driver::connect(&order, None).unwrap();
    let begun = std::time::Instant::now();
    let error = timely(device.identify()).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout(..)) && begun.elapsed() < CALL_DEADLINE * 2);
}

#[tokio::test]
async fn an_upload_that_breaks_goes_on_where_it_was() {
    let image = b"0123456789".repeat(10);
    let digest = Digest::of(&image);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &image).unwrap();
    let (get, put) = (format!("GET /images/{}", digest.hex()), format!("PUT /images/{}", digest.hex()));
    let script = Script::start(&[
        (&get, json(200, r#"{"received": 0, "size": null, "complete": false}"#)),
        (&get, json(200, r#"{"received": 40, "size": 100, "complete": false}"#)),
        (&put, String::new()),
        (&put, json(200, r#"{"received": 100, "size": 100, "complete": true}"#)),
    ])
    .await;
    timely(script.device().transfer(file.path(), &digest, 100)).await.unwrap();
    let seen = script.seen.lock();
    let puts: Vec<String> =
        seen.iter().filter(|head| head.starts_with("PUT")).map(|head| head.to_lowercase()).collect();
    assert!(puts[0].contains("content-length: 100") && !puts[0].contains("content-range"));
    assert!(puts[1].contains("content-length: 60") && puts[1].contains("content-range: bytes 40-99/100"));
}

#[tokio::test]
async fn a_long_installation_is_asked_after_until_it_is_done() {
    let script = Script::start(&[
        ("POST /install", json(202, "{}").replace("\r\n\r\n", "\r\nRetry-After: 0\r\n\r\n")),
        ("POST /install", json(202, "{}").replace("\r\n\r\n", "\r\nRetry-After: 0\r\n\r\n")),
        ("POST /install", json(200, "{}")),
        ("POST /self-test", json(200, r#"{"result": "Failed", "detail": "tube"}"#)),
    ])
    .await;
    let mut device = script.device();
    timely(device.install(&Digest::of(b"x"))).await.unwrap();
    assert_eq!(script.seen.lock().len(), 3);
    assert_eq!(timely(device.self_test()).await.unwrap(), SelfTest::Failed("tube".into()));
}

#[tokio::test]
async fn activating_again_after_a_power_cut_does_not_swap_back() {
    let (new, old) = (Digest::of(b"new"), Digest::of(b"old"));
    let slots = format!(r#"{{"running": "{new}", "written": "{old}", "committed": false}}"#);
    let script = Script::start(&[("GET /slots", json(200, &slots))]).await;
    timely(script.device().activate()).await.unwrap();
    assert!(!script.seen.lock().iter().any(|head| head.starts_with("POST")));
}

#[tokio::test]
async fn the_probe_names_each_promise_that_is_broken() {
    let digest = Digest::of(b"one");
    let script = Script::start(&[
        (
            "GET /identity",
            json(200, &format!(r#"{{"contract": "v1", "serial": "s", "version": "1", "digest": "{digest}"}}"#)),
        ),
        ("GET /properties", json(200, r#"{"energyKilovolts": 160}"#)),
        ("GET /health", json(200, r#"{"codes": ["Unheard"]}"#)),
        ("GET /interlocks", json(404, r#"{"title": "Not found"}"#)),
        ("PUT /properties", "HTTP/1.1 204 x\r\n\r\n".into()),
        ("GET /slots", json(200, r#"{"running": null, "written": null, "committed": true}"#)),
    ])
    .await;
    let subject = Subject {
        model: driver_order::model(MODEL),
        endpoint: script.address.to_string(),
        parameters: BTreeMap::new(),
        credential: None,
        image: None,
    };
    let mut told = 0;
    let report = timely(probe::run(&subject, &mut |_| told += 1)).await;
    let failed: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::Failed(_)))
        .map(|check| check.name)
        .collect();
    assert_eq!(
        failed,
        [
            "all properties are told",
            "values and health codes are those of the model",
            "an unknown property is refused",
            "image slots agree with the identity"
        ]
    );
    assert_eq!((told, report.passed()), (report.checks.len(), false));
}

#[test]
fn an_order_that_cannot_be_carried_out_is_said_at_once() {
    for endpoint in ["", "host", "host:0", "host:99999", "ho st:80", "a/b:80"] {
        let error = driver::connect(&driver_order::order(MODEL, endpoint, &[]), None).err().unwrap();
        assert_eq!(error.category(), "invalid", "{endpoint}");
    }
    let toledo = "{ class: Weighbridge, protocol: { name: ToledoContinuous } }";
    for bad in [("checksum", Value::from("Sometimes")), ("zeroBand", Value::Integer(-1))] {
        assert!(driver::connect(&driver_order::order(toledo, "h:1", &[bad]), None).is_err());
    }
    let modbus = "{ class: Barrier, protocol: { name: ModbusTcp, registers: [{ name: x, table: Coil, address: 0, words: 2 }] } }";
    assert!(driver::connect(&driver_order::order(modbus, "h:1", &[]), None).is_err());
}
