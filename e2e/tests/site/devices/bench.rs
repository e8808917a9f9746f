//! A small site for one test, HTTP by hand, and waiting without sleeping blindly.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kalong_e2e::site::report::DeviceSnapshot;
use kalong_e2e::site::{ControlClient, DEMO_PASSWORD, DEMO_USERNAME, Layout, Preset, SiteOptions, SiteProcess};
use serde_json::Value;

/// Nothing on loopback takes longer, even beside a compiler.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub struct Bench {
    pub control: ControlClient,
    pub site: SiteProcess,
}

/// The small site, with devices that start quickly.
pub async fn bench() -> Bench {
    let binary = Some(env!("CARGO_BIN_EXE_kalong-site").into());
    let options =
        SiteOptions { preset: Preset::L0, boot: Some(Duration::from_millis(300)), binary, ..Default::default() };
    let site = SiteProcess::start_on_free_network(options).await.unwrap();
    Bench { control: site.control(), site }
}

/// What the small site is made from.
pub fn layout() -> Layout {
    Layout::read(&Preset::L0.source()).unwrap()
}

impl Bench {
    pub async fn device(&self, name: &str) -> DeviceSnapshot {
        self.control.device(name).await.unwrap()
    }

    pub async fn address(&self, name: &str) -> SocketAddr {
        self.device(name).await.endpoint.parse().unwrap()
    }

    /// The first report of the device that is as wanted.
    pub async fn until(&self, name: &str, wanted: impl Fn(&DeviceSnapshot) -> bool) -> DeviceSnapshot {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = self.device(name).await;
            if wanted(&report) {
                return report;
            }
            assert!(Instant::now() < end, "{name} never became what was wanted: {report:#?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// An answer, read by hand.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

pub fn basic() -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{DEMO_USERNAME}:{DEMO_PASSWORD}")))
}

/// One request on one connection. An answer that comes before the whole body was taken is an answer all the same.
pub fn http(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> Option<Reply> {
    let mut stream = connect(address);
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let _ = stream.write_all(body);
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(e) if e.kind() != ErrorKind::ConnectionReset => panic!("no answer to {line}: {e}"),
        _ => {}
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, head: head.to_owned(), body: body.to_owned() })
}
