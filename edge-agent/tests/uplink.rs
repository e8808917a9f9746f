//! The agent's process against a small gateway: what is said first, what is obeyed, what survives a kill.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end loudly"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::{Desired, Item, ItemKind, rev_of};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::{Beat, Envelope};
use kalong_crds::wire::event::Events;
use kalong_crds::wire::parts;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::reported::{ItemState, Reported};
use kalong_crds::wire::signature::Signer;
use kalong_crds::wire::topic::{Down, Up};
use kalong_edge_agent::store::identity::Identity;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rumqttc::{ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};

const DEADLINE: Duration = Duration::from_secs(30);
const AGENT: &str = "mc.box";
const MAX: usize = 256 * 1024;

/// A folder, an authority, an operator's key, and a listening gateway.
struct Post {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    authority: String,
    operator: Signer,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    term: u64,
    seq: u64,
}

/// The agent's process; it ends with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One session, seen from the gateway.
struct Session {
    tls: TlsStream<TcpStream>,
    buffer: BytesMut,
    seen: Vec<(String, Vec<u8>)>,
}

fn signed(issuer: &Issuer<'static, KeyPair>, name: &str, sans: &[&str]) -> (String, String) {
    let sans: Vec<String> = sans.iter().map(|s| (*s).to_owned()).collect();
    let mut params = CertificateParams::new(sans).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

impl Post {
    async fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let (certificate, private) = signed(&issuer, "gateway", &["127.0.0.1"]);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(private.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let operator = Signer::from_pkcs8("op", &Signer::generate().unwrap()).unwrap();
        let post = Self {
            folder: tempfile::tempdir().unwrap(),
            issuer,
            authority,
            operator,
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            term: 1,
            seq: 0,
        };
        post.identity().save(post.folder.path()).unwrap();
        post
    }

    fn identity(&self) -> Identity {
        let (certificate, key) = signed(&self.issuer, AGENT, &[]);
        Identity {
            agent: AGENT.parse().unwrap(),
            certificate,
            key,
            authorities: self.authority.clone(),
            operator_keys: vec![self.operator.public()],
            release_keys: ReleaseKeys::default(),
            gateway: format!("127.0.0.1:{}", self.listener.local_addr().unwrap().port()),
            artifacts: "https://127.0.0.1:1/artifacts".into(),
            sealing_key: STANDARD.encode([7_u8; 32]),
        }
    }

    fn start(&self) -> Agent {
        start(self.folder.path())
    }

    async fn session(&self) -> Session {
        timeout(DEADLINE, async {
            loop {
                let (tcp, _) = self.listener.accept().await.unwrap();
                let Ok(tls) = self.acceptor.accept(tcp).await else { continue };
                let mut session = Session { tls, buffer: BytesMut::new(), seen: vec![] };
                match session.read().await {
                    Packet::Connect(connect) => {
                        assert_eq!((connect.client_id.as_str(), connect.clean_session), (AGENT, true))
                    }
                    other => panic!("{other:?}"),
                }
                session.write(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await;
                return session;
            }
        })
        .await
        .unwrap()
    }

    fn seal<B: Serialize>(&mut self, down: Down, body: B) -> Publish {
        self.seq += 1;
        let topic = down.of(&AGENT.parse().unwrap());
        let envelope = Envelope {
            v: 1,
            agent: AGENT.parse().unwrap(),
            epoch: self.term,
            seq: self.seq,
            ts: "2026-01-01T00:00:00Z".into(),
            body,
        };
        let mut publish =
            Publish::new(&topic, QoS::AtLeastOnce, self.operator.seal(&topic, &serde_json::to_vec(&envelope).unwrap()));
        publish.pkid = u16::try_from(self.seq % 60_000 + 1).unwrap();
        publish
    }

    async fn tell(&mut self, session: &mut Session, base: Option<Rev>, items: &[Item], rev: Rev) {
        let groups = parts::groups(items.to_vec());
        let count = u32::try_from(groups.len()).unwrap();
        for (items, part) in groups.into_iter().zip(1..) {
            let body = Desired { base: base.clone(), rev: rev.clone(), part, parts: count, removed: vec![], items };
            let publish = self.seal(Down::Desired, body);
            session.write(Packet::Publish(publish)).await;
        }
    }
}

fn start(folder: &Path) -> Agent {
    let child = Command::new(env!("CARGO_BIN_EXE_kalong-edge-agent"))
        .args(["run", "--state"])
        .arg(folder)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Agent(child)
}

impl Session {
    async fn read(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.buffer, MAX) {
                Ok(packet) => return packet,
                Err(_) => {
                    if self.tls.read_buf(&mut self.buffer).await.unwrap() == 0 {
                        panic!("the agent closed the session");
                    }
                }
            }
        }
    }

    async fn write(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, MAX).unwrap();
        self.tls.write_all(&out).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    /// Serves the session until a message fits.
    async fn until<T>(&mut self, mut fits: impl FnMut(Up, &[u8]) -> Option<T>) -> T {
        let agent = AGENT.parse().unwrap();
        timeout(DEADLINE, async {
            loop {
                match self.read().await {
                    Packet::Subscribe(subscribe) => {
                        let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
                        self.write(Packet::SubAck(SubAck::new(subscribe.pkid, codes))).await;
                    }
                    Packet::Publish(publish) => {
                        if publish.qos == QoS::AtLeastOnce {
                            self.write(Packet::PubAck(PubAck::new(publish.pkid))).await;
                        }
                        let up = Up::parse(&agent, &publish.topic).expect("only the four topics");
                        self.seen.push((publish.topic.clone(), publish.payload.to_vec()));
                        if let Some(found) = fits(up, &publish.payload) {
                            return found;
                        }
                    }
                    Packet::PingReq => self.write(Packet::PingResp).await,
                    _ => {}
                }
            }
        })
        .await
        .unwrap()
    }

    async fn reported(&mut self, mut fits: impl FnMut(&Reported) -> bool) -> (u64, Reported) {
        self.until(|up, payload| {
            if up != Up::Reported {
                return None;
            }
            let envelope = Envelope::<Reported>::parse(payload, &AGENT.parse().unwrap()).unwrap();
            fits(&envelope.body).then_some((envelope.epoch, envelope.body))
        })
        .await
    }

    async fn events(&mut self) -> Vec<kalong_crds::wire::event::Event> {
        self.until(|up, payload| {
            (up == Up::Event).then(|| Envelope::<Events>::parse(payload, &AGENT.parse().unwrap()).unwrap().body.events)
        })
        .await
    }
}

fn agent_item(heartbeat: i64) -> Item {
    let spec = json!({ "offlinePolicy": "SafeClose", "offlineAfterSeconds": 3600, "heartbeatMillis": heartbeat });
    Item::new(ItemKind::Agent, "mc", "box", "agent-uid", 1, &spec).unwrap()
}

fn device_item(n: u32, generation: i64) -> Item {
    // Nothing listens there: the agent reports that honestly.
    let spec = json!({
        "class": "LanePlc", "model": "plc-x",
        "protocol": { "name": "ModbusTcp", "pollIntervalMillis": 1000, "registers": [
            { "name": "serialNumber", "table": "InputRegister", "address": 0, "words": 8, "encoding": "Ascii" } ] },
        "properties": [ { "name": "serialNumber", "type": "Text" } ],
        "update": {}, "regulatory": {}, "endpoint": "127.0.0.1:9", "admin": "Enabled"
    });
    Item::new(ItemKind::Device, "mc", &format!("plc-{n}"), &format!("uid-{n}"), generation, &spec).unwrap()
}

#[tokio::test]
async fn whole_comes_first_and_what_is_told_is_held_confirmed_and_survives_a_kill() {
    let mut post = Post::new().await;
    let agent = post.start();
    let mut session = post.session().await;
    let (epoch, first) = session.reported(|_| true).await;
    assert_eq!(session.seen.len(), 1, "nothing before the whole");
    assert!(first.base.is_none() && first.items.is_empty() && first.about.is_some());
    assert_eq!(first.desired_rev, Rev::empty());

    let items = [agent_item(200), device_item(1, 1)];
    post.tell(&mut session, None, &items, rev_of(&items)).await;
    let mut device = None;
    let mut fence = None;
    session
        .reported(|r| {
            if r.desired_rev == rev_of(&items) {
                fence.get_or_insert((r.term, r.term_seq));
            }
            let unreachable = r.items.iter().find(|i| i.uid == "uid-1" && i.reason == "DeviceUnreachable");
            device = device.take().or_else(|| unreachable.cloned());
            fence.is_some() && device.is_some()
        })
        .await;
    assert_eq!(fence, Some((1, 1)));
    let device = device.unwrap();
    assert_eq!((device.state, device.applied), (ItemState::Applying, 0));
    assert!(device.device.as_ref().is_some_and(|d| !d.connected && d.health.is_none()));
    let beat = session.until(|up, payload| (up == Up::Beat).then(|| Beat::parse(payload).unwrap())).await;
    assert_eq!((beat.epoch, beat.desired), (epoch, rev_of(&items)));

    // A difference on a base that the agent does not hold: it asks for the whole and changes nothing.
    let wrong = Rev::over([("x", 1, &items[0].hash)]);
    post.tell(&mut session, Some(wrong), &[device_item(2, 1)], Rev::empty()).await;
    let (_, asking) = session.reported(|r| r.want_whole).await;
    assert_eq!(asking.desired_rev, rev_of(&items));

    drop(agent);
    drop(session);
    let _agent = post.start();
    let mut session = post.session().await;
    let (again, whole) = session.reported(|_| true).await;
    assert_eq!((again, whole.desired_rev.clone()), (epoch + 1, rev_of(&items)));
    assert!(whole.base.is_none() && whole.items.len() == 2);

    // What an earlier or deposed operator says is not heard.
    (post.term, post.seq) = (1, 0);
    let other = [agent_item(900)];
    post.tell(&mut session, None, &other, rev_of(&other)).await;
    (post.term, post.seq) = (2, 0);
    let more = [agent_item(200), device_item(1, 1), device_item(2, 1)];
    post.tell(&mut session, Some(rev_of(&items)), &more[2..], rev_of(&more)).await;
    let (_, now) = session.reported(|r| r.desired_rev == rev_of(&more)).await;
    assert_eq!(now.term, 2);
}

#[tokio::test]
async fn events_come_again_until_they_are_acked() {
    let mut post = Post::new().await;
    // An event from before: the agent has to bring it up by itself.
    let opened = kalong_edge_agent::store::Store::open(post.folder.path()).unwrap();
    let event = kalong_edge_agent::store::outbox::NewEvent {
        kind: ItemKind::Device,
        name: "plc-1".into(),
        uid: "uid-1".into(),
        reason: kalong_crds::Reason::DeviceFaulty,
        severity: kalong_crds::wire::event::EventSeverity::Warning,
        note: "the device reports MotorFault".into(),
    };
    let note = kalong_edge_agent::store::Note { uid: "uid-1".into(), events: vec![event; 3], ..Default::default() };
    opened.store.note(note).await.unwrap();
    let epoch = opened.epoch;
    drop(opened);

    let _agent = post.start();
    let mut session = post.session().await;
    let sent = session.events().await;
    let order: Vec<_> = sent.iter().map(|e| (e.origin_epoch, e.origin_seq)).collect();
    assert_eq!(order, [(epoch, 1), (epoch, 2), (epoch, 3)]);
    assert!(session.seen[0].0.ends_with("/reported"), "the whole comes before the outbox");
    let ack = post.seal(Down::Ctl, Control::Ack { epoch, upto: 2 });
    session.write(Packet::Publish(ack)).await;
    let rest = session.events().await;
    assert_eq!(rest.iter().map(|e| e.origin_seq).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn new_certificate_is_used_and_one_that_does_not_connect_is_given_up() {
    let mut post = Post::new().await;
    // Two thirds of this certificate's life are over.
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, AGENT);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &post.issuer).unwrap().pem();
    params.not_after = rcgen::date_time_ymd(2027, 6, 1);
    let short = params.signed_by(&key, &post.issuer).unwrap().pem();
    assert_ne!(certificate, short);
    let old = Identity { certificate: short, key: key.serialize_pem(), ..post.identity() };
    old.save(post.folder.path()).unwrap();

    let _agent = post.start();
    let mut session = post.session().await;
    let csr = session
        .until(|up, payload| {
            (up == Up::Csr).then(|| Envelope::<Renewal>::parse(payload, &AGENT.parse().unwrap()).unwrap().body.csr)
        })
        .await;
    assert!(csr.contains("BEGIN CERTIFICATE REQUEST"));
    // A certificate for another key is not taken: the session goes on.
    let (foreign, _) = signed(&post.issuer, AGENT, &[]);
    let authorities = post.authority.clone();
    let offer = post.seal(Down::Ctl, Control::Certificate { certificate: foreign, authorities });
    session.write(Packet::Publish(offer)).await;
    let resync = post.seal(Down::Ctl, Control::Resync {});
    session.write(Packet::Publish(resync)).await;
    session.reported(|r| r.base.is_none()).await;
    drop(session);
    drop(_agent);

    // A candidate that the gateway does not accept: the old one connects after it.
    let stranger = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let (certificate, key) = signed(&stranger, AGENT, &[]);
    Identity { certificate, key, ..old.clone() }.save_candidate(post.folder.path()).unwrap();
    let _agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    assert!(Identity::candidate(post.folder.path()).is_none());
    assert_eq!(Identity::load(post.folder.path()).unwrap().certificate, old.certificate);
    drop(session);
    drop(_agent);

    // One that connects replaces the old one.
    let next = post.identity();
    next.save_candidate(post.folder.path()).unwrap();
    let _agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    assert_eq!(Identity::load(post.folder.path()).unwrap().certificate, next.certificate);
}

/// Memory of its own in kilobytes, without the pages of the program file; none where the system does not tell.
fn resident(agent: &Agent) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.0.id())).ok()?;
    status.lines().find_map(|l| l.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[tokio::test]
async fn sixty_devices_are_held_in_bounded_memory() {
    let mut post = Post::new().await;
    let agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    let mut items = vec![agent_item(500)];
    items.extend((0..60).map(|n| device_item(n, 1)));
    post.tell(&mut session, None, &items, rev_of(&items)).await;
    let mut reported = std::collections::BTreeSet::new();
    session
        .reported(|r| {
            reported.extend(r.items.iter().map(|i| i.uid.clone()));
            reported.len() == items.len()
        })
        .await;
    if let Some(kilobytes) = resident(&agent) {
        println!("resident with sixty devices: {kilobytes} kB");
        // The whole of a shipped build is to stay below 12 MB; a build for tests has larger code and larger frames.
        assert!(kilobytes < 12_000, "{kilobytes} kB");
    }
}
