//! A small gateway, and the agent's process as it is shipped against it.

#![allow(dead_code, reason = "each test uses its part")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt, StreamExt};
use kalong_crds::wire::desired::{Desired, Item, ItemKind};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Envelope;
use kalong_crds::wire::event::Events;
use kalong_crds::wire::parts;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::reported::Reported;
use kalong_crds::wire::signature::Signer;
use kalong_crds::wire::topic::{Down, Up};
use kalong_edge_agent::store::identity::AgentIdentity;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rumqttc::{Codec, ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::codec::Framed;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const AGENT: &str = "mc.box";
const CODEC: Codec = Codec { max_incoming_size: 256 * 1024, max_outgoing_size: 256 * 1024 };

/// A folder, an authority, an operator's key, and a listening gateway.
pub(crate) struct Post {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) authority: String,
    pub(crate) operator: Signer,
    pub(crate) listener: TcpListener,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) term: u64,
    pub(crate) seq: u64,
}

/// The agent's process; it ends with the test.
pub(crate) struct Agent(pub(crate) Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One session, seen from the gateway.
pub(crate) struct Session {
    wire: Framed<TlsStream<TcpStream>, Codec>,
    pub(crate) seen: Vec<(String, Vec<u8>)>,
}

pub(crate) fn signed(issuer: &Issuer<'static, KeyPair>, name: &str, sans: &[&str]) -> (String, String) {
    let sans: Vec<String> = sans.iter().map(|s| (*s).to_owned()).collect();
    let mut params = CertificateParams::new(sans).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

impl Post {
    pub(crate) async fn new() -> Self {
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

    pub(crate) fn identity(&self) -> AgentIdentity {
        let (certificate, key) = signed(&self.issuer, AGENT, &[]);
        AgentIdentity {
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

    pub(crate) fn start(&self) -> Agent {
        start(self.folder.path())
    }

    pub(crate) async fn session(&self) -> Session {
        timeout(DEADLINE, async {
            loop {
                let (tcp, _) = self.listener.accept().await.unwrap();
                let Ok(tls) = self.acceptor.accept(tcp).await else { continue };
                let mut session = Session { wire: Framed::new(tls, CODEC), seen: vec![] };
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

    pub(crate) fn seal<B: Serialize>(&mut self, down: Down, body: B) -> Publish {
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

    pub(crate) async fn tell(&mut self, session: &mut Session, base: Option<Rev>, items: &[Item], rev: Rev) {
        let groups = parts::groups(items.to_vec());
        let count = u32::try_from(groups.len()).unwrap();
        for (items, part) in groups.into_iter().zip(1..) {
            let body = Desired { base: base.clone(), rev: rev.clone(), part, parts: count, removed: vec![], items };
            let publish = self.seal(Down::Desired, body);
            session.write(Packet::Publish(publish)).await;
        }
    }
}

pub(crate) fn start(folder: &Path) -> Agent {
    let child = Command::new(env!("CARGO_BIN_EXE_kalong-edge-agent"))
        .args(["run", "--state"])
        .arg(folder)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Agent(child)
}

impl Session {
    pub(crate) async fn read(&mut self) -> Packet {
        self.wire.next().await.expect("the agent closed the session").unwrap()
    }

    pub(crate) async fn write(&mut self, packet: Packet) {
        self.wire.send(packet).await.unwrap();
    }

    /// Serves the session until a message fits.
    pub(crate) async fn until<T>(&mut self, mut fits: impl FnMut(Up, &[u8]) -> Option<T>) -> T {
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

    pub(crate) async fn reported(&mut self, mut fits: impl FnMut(&Reported) -> bool) -> (u64, Reported) {
        self.until(|up, payload| {
            if up != Up::Reported {
                return None;
            }
            let envelope = Envelope::<Reported>::parse(payload, &AGENT.parse().unwrap()).unwrap();
            fits(&envelope.body).then_some((envelope.epoch, envelope.body))
        })
        .await
    }

    pub(crate) async fn events(&mut self) -> Vec<kalong_crds::wire::event::Event> {
        self.until(|up, payload| {
            (up == Up::Event).then(|| Envelope::<Events>::parse(payload, &AGENT.parse().unwrap()).unwrap().body.events)
        })
        .await
    }
}

pub(crate) fn agent_item(heartbeat: i64) -> Item {
    let spec = json!({ "offlinePolicy": "SafeClose", "offlineAfterSeconds": 3600, "heartbeatMillis": heartbeat });
    Item::new(ItemKind::Agent, "mc", "box", "agent-uid", 1, &spec).unwrap()
}
