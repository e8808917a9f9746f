//! The camera driver against a scripted ONVIF device service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use kalong_crds::Category;
use kalong_crds::units::{Digest, Value};
use kalong_edge_agent::driver::{self, DeviceCredential, Driver, DriverError, SelfTest};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::driver_order;

const DEADLINE: Duration = Duration::from_secs(30);
const MODEL: &str = "
class: Camera
protocol: { name: OnvifHttp }
properties:
  - { name: hostname, type: Text, access: ReadWrite }
  - { name: ntpServer, type: Text, access: ReadWrite }
  - { name: dateTimeType, type: Enumeration, access: ReadWrite, values: [Manual, NTP] }
healthCodes:
  - { name: ClockSkew, severity: Degraded }
update: { slots: Single, downtimeSeconds: 1 }
";

/// What the camera is; a test changes it and looks at it.
struct State {
    version: String,
    ahead: SignedDuration,
    hostname: String,
    ntp: String,
    kind: String,
    password: Option<String>,
    upload_host: Option<String>,
    restarts_itself: bool,
    /// Connections that are hung up on, as while restarting.
    silent: u32,
    calls: Vec<String>,
    image: Vec<u8>,
}

struct Camera {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Camera {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            version: "1.0.0".into(),
            ahead: SignedDuration::ZERO,
            hostname: "cam-1".into(),
            ntp: "192.0.2.1".into(),
            kind: "NTP".into(),
            password: None,
            upload_host: None,
            restarts_itself: true,
            silent: 0,
            calls: vec![],
            image: vec![],
        }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut state = shared.lock();
                if state.silent > 0 {
                    state.silent -= 1;
                    continue;
                }
                drop(state);
                tokio::spawn(serve(stream, address, Arc::clone(&shared)));
            }
        });
        Self { address, state, task }
    }

    fn device(&self, credential: Option<DeviceCredential>) -> Box<dyn Driver> {
        driver::connect(&driver_order::order(MODEL, self.address, &[]), credential).unwrap()
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock())
    }
}

/// One connection; it ends when the camera restarts.
async fn serve(mut stream: TcpStream, address: SocketAddr, state: Arc<Mutex<State>>) {
    let mut held = Vec::new();
    loop {
        let Some((head, body)) = request(&mut stream, &mut held).await else { return };
        let (answer, away) = {
            let mut state = state.lock();
            if head.starts_with("POST /upload ") {
                state.image = body;
                if state.restarts_itself {
                    state.version = "2.0.0".into();
                    state.silent = 3;
                }
                (http("200 OK", ""), state.restarts_itself)
            } else {
                let text = String::from_utf8(body).unwrap();
                let operation = text.split("<tds:").nth(1).unwrap().split('>').next().unwrap().to_owned();
                state.calls.push(operation.clone());
                answer(&mut state, &operation, &text, address)
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || away {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = loop {
        if let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(held).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(held.drain(..end + 4).collect()).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.expect("every request has a length");
    while held.len() < length {
        if stream.read_buf(held).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, held.drain(..length).collect()))
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/soap+xml\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn soap(status: &str, inner: &str) -> String {
    http(
        status,
        &format!(
            "<?xml version=\"1.0\"?>\n<env:Envelope xmlns:env=\"http://www.w3.org/2003/05/soap-envelope\" \
             xmlns:d=\"http://www.onvif.org/ver10/device/wsdl\" xmlns:t=\"http://www.onvif.org/ver10/schema\">\
             <env:Body>{inner}</env:Body></env:Envelope>"
        ),
    )
}

fn fault(subcode: &str, reason: &str) -> String {
    soap(
        "400 Bad Request",
        &format!(
            "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>{subcode}</env:Value>\
             </env:Subcode></env:Code><env:Reason><env:Text xml:lang=\"en\">{reason}</env:Text></env:Reason></env:Fault>"
        ),
    )
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(found, _)| found)
}

/// Whether the token is of this password and not older than the camera's clock allows.
fn is_authorised(text: &str, password: &str, now: Timestamp) -> bool {
    let Some(nonce) = between(text, "Base64Binary\">", "<") else { return false };
    let created = between(text, "<wsu:Created>", "<").unwrap();
    let digest = between(text, "#PasswordDigest\">", "<").unwrap();
    let mut bytes = BASE64.decode(nonce).unwrap();
    bytes.extend(created.bytes().chain(password.bytes()));
    let right = BASE64.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &bytes));
    let age = now.duration_since(created.parse().unwrap()).abs();
    right == digest && text.contains("<wsse:Username>kalong</wsse:Username>") && age < SignedDuration::from_secs(5)
}

fn answer(state: &mut State, operation: &str, text: &str, address: SocketAddr) -> (String, bool) {
    let now = Timestamp::now().checked_add(state.ahead).unwrap();
    if operation != "GetSystemDateAndTime"
        && state.password.as_deref().is_some_and(|password| !is_authorised(text, password, now))
    {
        return (fault("ter:NotAuthorized", "Sender not authorized"), false);
    }
    let reply =
        |inner: String| (soap("200 OK", &format!("<d:{operation}Response>{inner}</d:{operation}Response>")), false);
    match operation {
        "GetDeviceInformation" => reply(format!(
            "<d:Manufacturer>ACME</d:Manufacturer><d:Model>P1</d:Model><d:FirmwareVersion>{}</d:FirmwareVersion>\
             <d:SerialNumber>CAM&amp;7</d:SerialNumber><d:HardwareId>hw-2</d:HardwareId>",
            state.version
        )),
        "GetSystemDateAndTime" => {
            let utc = now.to_zoned(jiff::tz::TimeZone::UTC);
            reply(format!(
                "<d:SystemDateAndTime><t:DateTimeType>{}</t:DateTimeType><t:DaylightSavings>false</t:DaylightSavings><t:UTCDateTime>\
                 <t:Time><t:Hour>{}</t:Hour><t:Minute>{}</t:Minute><t:Second>{}</t:Second></t:Time>\
                 <t:Date><t:Year>{}</t:Year><t:Month>{}</t:Month><t:Day>{}</t:Day></t:Date></t:UTCDateTime></d:SystemDateAndTime>",
                state.kind,
                utc.hour(),
                utc.minute(),
                utc.second(),
                utc.year(),
                utc.month(),
                utc.day()
            ))
        }
        "GetHostname" => reply(format!(
            "<d:HostnameInformation><t:FromDHCP>false</t:FromDHCP><t:Name>{}</t:Name></d:HostnameInformation>",
            state.hostname
        )),
        "SetHostname" => {
            let name = between(text, "<tds:Name>", "<").unwrap().to_owned();
            if name.contains(' ') {
                return (fault("ter:InvalidHostname", "The requested hostname cannot be accepted"), false);
            }
            state.hostname = name;
            reply(String::new())
        }
        "GetNTP" => reply(format!(
            "<d:NTPInformation><t:FromDHCP>false</t:FromDHCP><t:NTPManual><t:Type>IPv4</t:Type>\
             <t:IPv4Address>{}</t:IPv4Address></t:NTPManual></d:NTPInformation>",
            state.ntp
        )),
        "SetNTP" => {
            state.ntp = between(text, "<tt:IPv4Address>", "<")
                .or_else(|| between(text, "<tt:DNSname>", "<"))
                .unwrap_or_default()
                .into();
            reply(String::new())
        }
        "SetSystemDateAndTime" => {
            state.kind = between(text, "<tds:DateTimeType>", "<").unwrap().into();
            state.ahead = SignedDuration::ZERO;
            reply(String::new())
        }
        "StartFirmwareUpgrade" => {
            let host = state.upload_host.clone().unwrap_or_else(|| address.to_string());
            reply(format!(
                "<d:UploadUri>http://{host}/upload</d:UploadUri><d:UploadDelay>PT0.1S</d:UploadDelay>\
                 <d:ExpectedDownTime>PT1S</d:ExpectedDownTime>"
            ))
        }
        "SystemReboot" => {
            state.version = "2.0.0".into();
            state.silent = 2;
            reply("<d:Message>Rebooting</d:Message>".into())
        }
        _ => (fault("ter:ActionNotSupported", "not implemented"), false),
    }
}

fn login(password: &str) -> Option<DeviceCredential> {
    Some(DeviceCredential { username: "kalong".into(), password: password.into() })
}

async fn timely<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("the test ends in time")
}

#[tokio::test]
async fn identity_settings_and_clock_are_read() {
    let camera = Camera::start().await;
    let mut device = camera.device(None);
    let identity = timely(device.identify()).await.unwrap();
    assert_eq!(
        (identity.serial.as_str(), identity.version.as_str(), identity.hardware_revision.as_str(), identity.digest),
        ("CAM&7", "1.0.0", "hw-2", None)
    );
    let reading = timely(device.read()).await.unwrap();
    let expected: BTreeMap<String, Value> =
        [("hostname", "cam-1"), ("ntpServer", "192.0.2.1"), ("dateTimeType", "NTP")]
            .map(|(n, v)| (n.into(), v.into()))
            .into();
    assert_eq!((reading.properties, reading.health.len()), (expected, 0));
    camera.with(|state| state.ahead = SignedDuration::from_secs(-60));
    assert!(timely(device.read()).await.unwrap().health.contains("ClockSkew"));
    assert_eq!(timely(device.self_test()).await.unwrap(), SelfTest::Passed);
}

#[tokio::test]
async fn settings_are_set_and_refusals_are_told() {
    let camera = Camera::start().await;
    let mut device = camera.device(None);
    let values = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), Value::from(*v))).collect();
    let wanted: BTreeMap<_, _> =
        values(&[("hostname", "lane-3-front"), ("ntpServer", "ntp.example.vn"), ("dateTimeType", "Manual")]);
    timely(device.set(&wanted)).await.unwrap();
    camera.with(|state| {
        assert_eq!(
            (state.hostname.as_str(), state.ntp.as_str(), state.kind.as_str()),
            ("lane-3-front", "ntp.example.vn", "Manual")
        );
        state.calls.clear();
    });
    let refusal = timely(device.set(&values(&[("hostname", "no spaces")]))).await.unwrap_err();
    assert!(matches!(&refusal, DriverError::Refused(why) if why.contains("cannot be accepted")), "{refusal}");
    for bad in [("dateTimeType", "Sundial"), ("zoom", "3")] {
        let refusal = timely(device.set(&values(&[("hostname", "x"), bad]))).await.unwrap_err();
        assert_eq!(refusal.category(), "invalid");
    }
    camera.with(|state| assert_eq!(state.calls, ["SetHostname"], "nothing is sent when one of the values is wrong"));
}

#[tokio::test]
async fn the_token_is_made_in_the_cameras_time() {
    let camera = Camera::start().await;
    camera.with(|state| {
        state.password = Some("secret".into());
        state.ahead = SignedDuration::from_hours(-24 * 365);
    });
    let mut device = camera.device(login("secret"));
    assert_eq!(timely(device.identify()).await.unwrap().version, "1.0.0");
    // Somebody sets the camera's clock: the first refusal only means that.
    camera.with(|state| state.ahead = SignedDuration::ZERO);
    assert_eq!(timely(device.identify()).await.unwrap().version, "1.0.0");
    for wrong in [login("guess"), None] {
        assert!(matches!(timely(camera.device(wrong).identify()).await, Err(DriverError::Unauthorised)));
    }
}

fn image() -> (tempfile::NamedTempFile, Digest, u64) {
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n % 241).unwrap()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    (file, Digest::of(&bytes), u64::try_from(bytes.len()).unwrap())
}

#[tokio::test]
async fn an_upgrade_is_uploaded_and_the_restart_awaited() {
    let camera = Camera::start().await;
    camera.with(|state| state.password = Some("secret".into()));
    let mut device = camera.device(login("secret"));
    let (file, digest, size) = image();
    timely(device.transfer(file.path(), &digest, size)).await.unwrap();
    timely(device.install(&digest)).await.unwrap();
    timely(device.activate()).await.unwrap();
    assert_eq!(timely(device.identify()).await.unwrap().version, "2.0.0");
    timely(device.commit()).await.unwrap();
    camera.with(|state| {
        assert_eq!(Digest::of(&state.image), digest);
        assert!(!state.calls.iter().any(|call| call == "SystemReboot"), "it restarted by itself: {:?}", state.calls);
    });
    assert!(matches!(timely(device.roll_back()).await, Err(DriverError::Unsupported(_))));
}

#[tokio::test]
async fn a_camera_that_waits_to_be_restarted_is_restarted_once() {
    let camera = Camera::start().await;
    camera.with(|state| state.restarts_itself = false);
    let mut device = camera.device(None);
    let (file, digest, size) = image();
    timely(device.transfer(file.path(), &digest, size)).await.unwrap();
    timely(device.install(&digest)).await.unwrap();
    assert_eq!(timely(device.identify()).await.unwrap().version, "2.0.0");
    camera.with(|state| assert_eq!(state.calls.iter().filter(|call| *call == "SystemReboot").count(), 1));
}

#[tokio::test]
async fn an_upload_address_elsewhere_is_not_followed() {
    let camera = Camera::start().await;
    camera.with(|state| state.upload_host = Some("192.0.2.66:80".into()));
    let (file, digest, size) = image();
    let refusal = timely(camera.device(None).transfer(file.path(), &digest, size)).await.unwrap_err();
    assert_eq!(refusal.category(), "protocol");
    camera.with(|state| assert!(state.image.is_empty()));
}
