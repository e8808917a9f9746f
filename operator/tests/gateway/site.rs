//! A gateway on loopback with real mTLS, clients of every temper, and a session handler that records.

#[path = "../../src/uplink/tests/model.rs"]
pub mod model;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, SinkExt, StreamExt};
use kalong_controllers::kit::link::Admittance;
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::event::Event;
use kalong_crds::wire::signature::{PublicKey, Signer};
use kalong_crds::wire::topic::{Down, OPERATOR_STATE, Up};
use kalong_operator::broker::tls::server_config;
use kalong_operator::broker::{Gateway, GatewayConfig, GatewayMetrics, Limits};
use kalong_operator::transport::{EndReason, FrameResult, Session, SessionHandler};
use kalong_operator::uplink::events::EventSink;
use kalong_operator::uplink::{RenewalError, Renewals, SinkError, Uplink, UplinkConfig, UplinkMetrics};
use model::Model;
use parking_lot::Mutex;
use prometheus::Registry;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rumqttc::{
    AsyncClient, Codec, Connect, Incoming, MqttOptions, Packet, Publish, QoS, Subscribe, SubscribeFilter,
    TlsConfiguration, Transport,
};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Framed;

/// Where the kernel picks a free port.
pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// No wait of a test is longer.
pub const BOUND: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Waits until the condition holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(BOUND, wait).await.is_ok(), "not within {BOUND:?}: {what}");
}

pub fn id(name: &str) -> AgentId {
    format!("mong-cai.{name}").parse().unwrap()
}

/// A certificate authority.
pub struct Ca {
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self { pem: made.pem(), der: made.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// The gateway's side; it believes clients of these authorities.
    pub fn server(&self, trusted: &[&Ca]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let bundle: String = trusted.iter().map(|ca| ca.pem.as_str()).collect();
        server_config(chain.as_bytes(), key.serialize_pem().as_bytes(), bundle.as_bytes()).unwrap()
    }

    /// A client with this common name; it believes the given authority's gateway.
    pub fn client(&self, name: &str, server: &Ca) -> Arc<ClientConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(server.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![leaf], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        Arc::new(config)
    }
}

/// What a recorder saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Started(AgentId),
    Frame(AgentId, Up, Bytes),
    Ended(AgentId, EndReason),
    TakenOver(AgentId),
}

/// A session handler that remembers.
pub struct Recorder {
    pub seen: Mutex<Vec<Seen>>,
    pub sessions: Mutex<HashMap<AgentId, Arc<dyn Session>>>,
    pub refused: Mutex<HashSet<AgentId>>,
    hint: watch::Sender<Bytes>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            sessions: Mutex::default(),
            refused: Mutex::default(),
            hint: watch::channel(Bytes::from_static(b"{\"term\":1,\"online\":true}")).0,
        }
    }
}

impl Recorder {
    pub fn count(&self, matching: impl Fn(&Seen) -> bool) -> usize {
        self.seen.lock().iter().filter(|seen| matching(seen)).count()
    }

    pub fn session(&self, agent: &AgentId) -> Arc<dyn Session> {
        self.sessions.lock()[agent].clone()
    }

    fn note(&self, seen: Seen) {
        self.seen.lock().push(seen);
    }
}

impl SessionHandler for Recorder {
    fn admittance(&self, agent: &AgentId) -> BoxFuture<'static, Admittance> {
        let refused = self.refused.lock().contains(agent);
        async move { if refused { Admittance::Refused } else { Admittance::Admitted } }.boxed()
    }

    fn taken_over(&self, agent: &AgentId) {
        self.note(Seen::TakenOver(agent.clone()));
    }

    fn session_started(&self, agent: &AgentId, session: Arc<dyn Session>) {
        self.sessions.lock().insert(agent.clone(), session);
        self.note(Seen::Started(agent.clone()));
    }

    fn frame(&self, agent: &AgentId, topic: Up, payload: Bytes) -> FrameResult {
        self.note(Seen::Frame(agent.clone(), topic, payload));
        FrameResult::Continue
    }

    fn session_ended(&self, agent: &AgentId, _: u64, reason: EndReason) {
        self.note(Seen::Ended(agent.clone(), reason));
    }

    fn operator_state(&self) -> watch::Receiver<Bytes> {
        self.hint.subscribe()
    }
}

/// A gateway and what belongs to it.
pub struct Site<H> {
    pub ca: Ca,
    pub tls: watch::Sender<Arc<ServerConfig>>,
    pub gateway: Gateway,
    pub metrics: Arc<GatewayMetrics>,
    pub handler: Arc<H>,
}

impl Site<Recorder> {
    pub async fn recording(limits: Limits) -> Self {
        Self::over(Arc::new(Recorder::default()), limits, LOOPBACK).await
    }
}

impl<H: SessionHandler> Site<H> {
    pub async fn over(handler: Arc<H>, limits: Limits, listen: SocketAddr) -> Self {
        Self::under(Ca::new("ca"), handler, limits, listen).await
    }

    pub async fn under(ca: Ca, handler: Arc<H>, limits: Limits, listen: SocketAddr) -> Self {
        let (tls, watched) = watch::channel(ca.server(&[&ca]));
        let metrics = Arc::new(GatewayMetrics::register(&Registry::new()).unwrap());
        let config = GatewayConfig { listen, tls: watched, limits, metrics: Arc::clone(&metrics) };
        let gateway = Gateway::start(config, handler.clone()).await.unwrap();
        Self { ca, tls, gateway, metrics, handler }
    }

    pub async fn dial(&self, name: &str) -> Raw {
        Raw::dial(self.gateway.local_addr(), self.ca.client(name, &self.ca)).await.unwrap()
    }

    /// A raw client with a session.
    pub async fn enter(&self, agent: &AgentId) -> Raw {
        let mut raw = self.dial(agent.as_str()).await;
        raw.connect(agent.as_str()).await;
        raw
    }
}

/// A client that does exactly what the test says.
pub struct Raw {
    pub wire: Framed<TlsStream<TcpStream>, Codec>,
}

impl Raw {
    pub async fn dial(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self { wire: Framed::new(stream, Codec { max_incoming_size: 1 << 20, max_outgoing_size: 1 << 20 }) })
    }

    pub async fn send(&mut self, packet: Packet) {
        // The gateway may have hung up already; the test looks at what it says instead.
        let _ = self.wire.send(packet).await;
    }

    pub async fn connect(&mut self, client: &str) {
        self.send(Packet::Connect(Connect::new(client))).await;
        match self.next().await {
            Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, rumqttc::ConnectReturnCode::Success),
            other => panic!("no welcome: {other:?}"),
        }
    }

    /// The next packet; nothing when the gateway hung up.
    pub async fn next(&mut self) -> Option<Packet> {
        tokio::time::timeout(BOUND, self.wire.next()).await.expect("the gateway says nothing").and_then(Result::ok)
    }

    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }

    pub async fn subscribe(&mut self, filters: &[&str]) -> Vec<rumqttc::SubscribeReasonCode> {
        let filters = filters.iter().map(|path| SubscribeFilter { path: (*path).to_owned(), qos: QoS::AtLeastOnce });
        let mut packet = Subscribe::new_many(filters);
        packet.pkid = 1;
        self.send(Packet::Subscribe(packet)).await;
        loop {
            match self.next().await {
                Some(Packet::SubAck(ack)) => return ack.return_codes,
                Some(_) => {}
                None => panic!("closed before SUBACK"),
            }
        }
    }

    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        let mut packet = Publish::new(topic, QoS::AtLeastOnce, payload.into());
        packet.pkid = 7;
        self.send(Packet::Publish(packet)).await;
    }

    /// The next message on one of the agent's own topics, acknowledged.
    pub async fn message(&mut self) -> Option<Publish> {
        loop {
            let Packet::Publish(publish) = self.next().await? else { continue };
            if publish.qos == QoS::AtLeastOnce {
                self.send(Packet::PubAck(rumqttc::PubAck::new(publish.pkid))).await;
            }
            if publish.topic != OPERATOR_STATE {
                return Some(publish);
            }
        }
    }
}

/// An agent that behaves: rumqttc and the wire contract.
pub struct Agent {
    pub model: Arc<Mutex<Model>>,
    pub orders: mpsc::UnboundedSender<Vec<(Up, Vec<u8>)>>,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    pub fn start(address: SocketAddr, config: Arc<ClientConfig>, model: Model) -> Self {
        let model = Arc::new(Mutex::new(model));
        let (orders, inbox) = mpsc::unbounded_channel();
        let task = tokio::spawn(live(address, config, Arc::clone(&model), inbox));
        Self { model, orders, task }
    }

    /// Says something about an item.
    pub fn say(&self, uid: &str, text: &str) {
        let mut model = self.model.lock();
        model.said.insert(uid.to_owned(), text.to_owned());
        let report = model.report().into_iter().map(|m| (Up::Reported, m)).collect();
        self.orders.send(report).unwrap();
    }

    pub fn beat(&self) {
        let beat = self.model.lock().beat();
        self.orders.send(vec![(Up::Beat, beat)]).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn live(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    model: Arc<Mutex<Model>>,
    mut orders: mpsc::UnboundedReceiver<Vec<(Up, Vec<u8>)>>,
) {
    let id = model.lock().id.clone();
    let mut options = MqttOptions::new(id.as_str(), "127.0.0.1", address.port());
    options.set_max_packet_size(80 * 1024, 80 * 1024).set_keep_alive(Duration::from_secs(5));
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    let (client, mut events) = AsyncClient::new(options, 200);
    let publish = |(up, message): (Up, Vec<u8>)| {
        let qos = if up == Up::Beat { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        client.try_publish(up.of(&id), qos, false, message).unwrap();
    };
    loop {
        let event = tokio::select! {
            Some(messages) = orders.recv() => {
                messages.into_iter().for_each(publish);
                continue;
            }
            event = events.poll() => event,
        };
        match event {
            Ok(rumqttc::Event::Incoming(Incoming::ConnAck(_))) => {
                let topics = Down::ALL.map(|down| down.of(&id)).into_iter().chain([OPERATOR_STATE.to_owned()]);
                let filters = topics.map(|path| SubscribeFilter { path, qos: QoS::AtLeastOnce });
                client.try_subscribe_many(filters).unwrap();
                let mut model = model.lock();
                model.connected();
                model.report().into_iter().map(|m| (Up::Reported, m)).for_each(publish);
            }
            Ok(rumqttc::Event::Incoming(Incoming::Publish(message))) => {
                let Some(down) = Down::ALL.into_iter().find(|down| down.of(&id) == message.topic) else { continue };
                let mut model = model.lock();
                if model.receive(down, &message.payload) {
                    model.report().into_iter().map(|m| (Up::Reported, m)).for_each(publish);
                }
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Takes every event and does nothing with it.
pub struct NoEvents;

impl EventSink for NoEvents {
    fn deliver<'a>(&'a self, _: &'a AgentId, _: &'a Event) -> BoxFuture<'a, Result<(), SinkError>> {
        async { Ok(()) }.boxed()
    }
}

/// Answers a renewal with what was asked.
pub struct EchoRenewals;

impl Renewals for EchoRenewals {
    fn renew<'a>(&'a self, agent: &'a AgentId, request: Renewal) -> BoxFuture<'a, Result<Control, RenewalError>> {
        async move { Ok(Control::Certificate { certificate: request.csr, authorities: agent.to_string() }) }.boxed()
    }
}

/// An uplink with a key, and the public half.
pub fn uplink(term: u64, key: &[u8], grace: Duration) -> (Arc<Uplink>, Vec<PublicKey>) {
    uplink_in(&Registry::new(), term, key, grace)
}

/// The same, with its metrics where a test can scrape them.
pub fn uplink_in(registry: &Registry, term: u64, key: &[u8], grace: Duration) -> (Arc<Uplink>, Vec<PublicKey>) {
    let signer = Signer::from_pkcs8("k1", key).unwrap();
    let keys = vec![signer.public()];
    let metrics = Arc::new(UplinkMetrics::register(registry).unwrap());
    let config = UplinkConfig { term, signer, grace, metrics };
    (Uplink::new(config, Arc::new(NoEvents), Arc::new(EchoRenewals)), keys)
}

/// A message from the operator still reaches an agent.
pub async fn alive(site: &Site<Recorder>) {
    let agent = id("probe");
    let mut raw = site.enter(&agent).await;
    raw.subscribe(&[&Down::Ctl.of(&agent)]).await;
    site.handler.session(&agent).control(Bytes::from_static(b"alive"));
    assert_eq!(raw.message().await.unwrap().payload, "alive");
    raw.send(Packet::Disconnect).await;
    raw.closed().await;
}
