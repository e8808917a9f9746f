//! The agent's process at a lane: what it does with a claim and an interlock with nobody reached, and what it counts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::lane::{CargoClass, LaneAdmission};
use kalong_crds::wire::control::Control;
use kalong_crds::wire::desired::{Item, ItemKind, rev_of};
use kalong_crds::wire::envelope::Envelope;
use kalong_crds::wire::reported::LaneReport;
use kalong_crds::wire::telemetry::{LaneCounters, Telemetry};
use kalong_crds::wire::topic::{Down, Up};
use parking_lot::Mutex;
use rumqttc::Packet;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::post::{AGENT, DEADLINE, Post, Session, agent_item};

/// How soon a lane closes after an interlock opened, in the worst case and on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(4);

type Shown = Arc<Mutex<BTreeMap<String, Value>>>;

/// A device of the published contract that shows what it is told to show.
struct Instrument {
    address: SocketAddr,
    shown: Shown,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Instrument {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Instrument {
    async fn start(shown: &[(&str, Value)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shown: Shown = Arc::new(Mutex::new(shown.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()));
        let shared = shown.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, shown, task }
    }

    fn show(&self, name: &str, value: impl Into<Value>) {
        self.shown.lock().insert(name.to_owned(), value.into());
    }

    async fn until(&self, name: &str, value: &str, deadline: Duration) {
        let shows = || self.shown.lock()[name] == json!(value);
        let waiting = async {
            while !shows() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(deadline, waiting).await.unwrap_or_else(|_| panic!("{:?}", self.shown));
    }
}

async fn serve(mut stream: TcpStream, shown: Shown) {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if matches!(stream.read_buf(&mut held).await, Ok(0) | Err(_)) {
                return;
            }
        };
        let head = String::from_utf8(held.drain(..end).collect()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while held.len() < length {
            if matches!(stream.read_buf(&mut held).await, Ok(0) | Err(_)) {
                return;
            }
        }
        let sent: Vec<u8> = held.drain(..length).collect();
        let body = answer(&head, &sent, &shown).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

fn answer(head: &str, sent: &[u8], shown: &Shown) -> Value {
    let mut shown = shown.lock();
    if head.starts_with("put /kalong/v1/properties") {
        let wishes: BTreeMap<String, Value> = serde_json::from_slice(sent).unwrap();
        if let Some(admission) = wishes.get("admission") {
            shown.insert("admissionState".to_owned(), admission.clone());
        }
        shown.extend(wishes);
    }
    if head.starts_with("get /kalong/v1/identity") {
        return json!({ "contract": "v1", "serial": "s", "version": "1.0.0" });
    }
    let mut all = json!(*shown);
    all["healthCodes"] = json!([]);
    all
}

fn device(name: &str, class: &str, address: SocketAddr, regulatory: &Value) -> Item {
    let text = |name: &str| json!({ "name": name, "type": "Text" });
    let spec = json!({
        "class": class, "model": "m",
        "protocol": { "name": "GenericHttp", "pollIntervalMillis": if class == "EGate" { 250 } else { 600_000 } },
        "properties": [text("beam")], "update": {}, "regulatory": regulatory,
        "endpoint": address.to_string(), "admin": "Enabled"
    });
    Item::new(ItemKind::Device, "mc", name, name, 1, &spec).unwrap()
}

fn lane(more: &Value) -> Item {
    let mut spec = json!({
        "crossing": "bl1", "direction": "Outbound", "service": "Passenger", "admission": "Open", "controller": "gate",
        "members": [{ "slot": "gate", "role": "Controller", "need": "Required", "uid": "gate" }]
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Item::new(ItemKind::Lane, "mc", "lane", "lane", 1, &spec).unwrap()
}

async fn gate() -> Instrument {
    let shown = [
        ("admission", json!("Closed")),
        ("admissionState", json!("Closed")),
        ("occupancy", json!(0)),
        ("passages", json!(3)),
        ("gateTenths", json!(240)),
        ("clearanceSeconds", json!(1800)),
    ];
    Instrument::start(&shown).await
}

async fn until_lane(session: &mut Session, mut fits: impl FnMut(&LaneReport) -> bool) {
    session.reported(|r| r.items.iter().filter_map(|i| i.lane()).any(&mut fits)).await;
}

async fn counted(session: &mut Session, count: u64) -> LaneCounters {
    session
        .until(|up, payload| {
            let told = (up == Up::Telemetry)
                .then(|| Envelope::<Telemetry>::parse(payload, &AGENT.parse().unwrap()).unwrap().body)?;
            told.lanes.into_iter().find(|l| l.passages.iter().any(|p| p.count == count))
        })
        .await
}

#[tokio::test]
async fn passages_are_counted_by_their_lane_and_told_again_to_a_new_session() {
    let mut post = Post::new().await;
    let gate = gate().await;
    let agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    let items = [agent_item(500), device("gate", "EGate", gate.address, &json!({})), lane(&json!({}))];
    post.tell(&mut session, None, &items, rev_of(&items)).await;
    let told = counted(&mut session, 3).await;
    assert_eq!((told.uid.as_str(), told.passages[0].class), ("lane", CargoClass::General));
    assert_eq!((told.gate.sum_millis, told.clearance.sum_millis), (24_000, 1_800_000));
    gate.show("gateTenths", 300);
    gate.show("passages", 4);
    assert_eq!(counted(&mut session, 4).await.gate.count, 4);
    drop(session);
    let mut session = post.session().await;
    assert_eq!(counted(&mut session, 4).await.gate.sum_millis, 30_000);
    drop(agent);
}

#[tokio::test]
async fn claim_is_kept_by_a_box_that_starts_with_nobody_reached() {
    let mut post = Post::new().await;
    let gate = gate().await;
    let agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    let hold =
        json!({ "hold": { "drains": ["d"], "emptyBy": "2199-01-01T00:00:00Z", "until": "2199-01-02T00:00:00Z" } });
    let told = |more: &Value| [agent_item(500), device("gate", "EGate", gate.address, &json!({})), lane(more)];
    let open = told(&json!({}));
    post.tell(&mut session, None, &open, rev_of(&open)).await;
    until_lane(&mut session, |l| l.admission == LaneAdmission::Open).await;
    let held = told(&hold);
    post.tell(&mut session, None, &held, rev_of(&held)).await;
    until_lane(&mut session, |l| l.admission == LaneAdmission::Drained).await;
    drop(agent);
    drop(session);

    // The gate was switched off and on, and the operator is not there: nobody accepts the session.
    gate.show("admissionState", "Open");
    let _agent = post.start();
    gate.until("admissionState", "Closed", DEADLINE).await;
    let mut session = post.session().await;
    until_lane(&mut session, |l| l.admission == LaneAdmission::Drained).await;
    post.tell(&mut session, None, &open, rev_of(&open)).await;
    until_lane(&mut session, |l| l.admission == LaneAdmission::Open).await;
}

#[tokio::test]
async fn open_interlock_closes_its_lane_at_once_with_nobody_reached() {
    let mut post = Post::new().await;
    let gate = gate().await;
    let scanner = Instrument::start(&[("beam", json!("Off"))]).await;
    let _agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    let guarded = json!({ "interlocks": [{ "name": "beam", "safe": "Off" }] });
    let items = [
        agent_item(500),
        device("gate", "EGate", gate.address, &json!({})),
        device("scanner", "XRayScanner", scanner.address, &guarded),
        lane(&json!({ "interlocks": [{ "device": "scanner", "name": "beam" }] })),
    ];
    post.tell(&mut session, None, &items, rev_of(&items)).await;
    until_lane(&mut session, |l| l.admission == LaneAdmission::Open).await;
    drop(session);

    scanner.show("beam", "On");
    gate.until("admissionState", "Closed", AT_ONCE).await;
    scanner.show("beam", "Off");
    gate.until("admissionState", "Open", AT_ONCE).await;
    let mut session = post.session().await;
    let mut reasons = Vec::new();
    while reasons.len() < 2 {
        let events = session.events().await;
        let last = events.last().unwrap();
        let ack = post.seal(Down::Ctl, Control::Ack { epoch: last.origin_epoch, upto: last.origin_seq });
        session.write(Packet::Publish(ack)).await;
        reasons.extend(events.into_iter().map(|e| e.reason));
    }
    assert_eq!(reasons, ["InterlockOpen", "Reopened"]);
}
