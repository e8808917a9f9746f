//! The session with the operator's gateway: one after the other, each with its own client, so that nothing of an old one is left.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kalong_crds::Category;
use kalong_crds::wire::control::Control;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::topic::{Down, OPERATOR_STATE};
use parking_lot::Mutex;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, SubscribeReasonCode};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, Publish, QoS, SubscribeFilter,
    TlsConfiguration, Transport,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::publish::Publisher;
use super::renewal::{self, RenewalRequest};
use super::verify::{Inbound, Verifier};
use crate::backoff::Backoff;
use crate::context::AgentContext;
use crate::crash_point;
use crate::firmware::download::Downloads;
use crate::https::Address;
use crate::realise::inbox::{ApplyError, DesiredSink};
use crate::store::identity::{AgentIdentity, AgentIdentityError, Validity};

/// MQTT keep-alive of the session.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Longest time for name, TCP, TLS and CONNACK.
const CONNECT_SECONDS: u64 = 10;
/// Largest packet in either direction.
const MAX_PACKET: usize = 256 * 1024;
/// Requests that may wait for the connection.
const REQUESTS: usize = 32;
/// Publishes that may wait for their acknowledgement.
const INFLIGHT: u16 = 32;
/// First and longest wait after a lost session.
const LOST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// First and longest wait after a refusal.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A session that lasted this long makes the next wait short again.
const STEADY: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("the operator's gateway is not reached: {0}")]
    Lost(String),
    #[error(
        "the operator's gateway refuses this box ({0}): check that its EdgeAgent is not suspended, and enrol it again"
    )]
    Refused(String),
    #[error("a new certificate is to be used")]
    Switch,
    #[error(transparent)]
    Identity(#[from] AgentIdentityError),
}

/// What the uplink goes on from.
#[derive(Debug)]
pub struct UplinkStart {
    /// The folder in which the identity and its candidate are kept.
    pub folder: PathBuf,
    /// The identity that connected last.
    pub identity: AgentIdentity,
    /// Number of this start of the agent.
    pub epoch: u64,
    /// The highest place in the operator's order that was verified.
    pub fence: Fence,
}

/// The uplink of the box.
pub struct Uplink {
    agent: Arc<AgentContext>,
    downloads: Arc<Downloads>,
    folder: PathBuf,
    identity: AgentIdentity,
    epoch: u64,
    seq: Arc<AtomicU64>,
    verifier: Verifier,
    sink: DesiredSink,
    asked: Arc<Mutex<Option<RenewalRequest>>>,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink").field("agent", &self.agent.id).finish_non_exhaustive()
    }
}

struct LiveSession {
    client: AsyncClient,
    acks: mpsc::UnboundedSender<Publish>,
}

impl Uplink {
    /// An uplink that goes on from the stored fence.
    pub fn new(start: UplinkStart, agent: Arc<AgentContext>, downloads: Arc<Downloads>, sink: DesiredSink) -> Self {
        let UplinkStart { folder, identity, epoch, fence } = start;
        let verifier = Verifier::new(identity.agent.clone(), identity.operator_keys.clone(), fence);
        Self {
            agent,
            downloads,
            folder,
            identity,
            epoch,
            seq: Arc::new(AtomicU64::new(0)),
            verifier,
            sink,
            asked: Arc::default(),
        }
    }

    /// Keeps a session open for as long as the agent runs. Every wait is drawn at random below a bound that doubles.
    pub async fn run(mut self) {
        let (mut lost, mut refused) = (Backoff::new(LOST.0, LOST.1), Backoff::new(REFUSED.0, REFUSED.1));
        loop {
            let began = Instant::now();
            let candidate = AgentIdentity::candidate(&self.folder);
            let trying = candidate.clone().unwrap_or_else(|| self.identity.clone());
            let ended = self.session(&trying, candidate.is_some()).await;
            self.agent.presence.down();
            if began.elapsed() >= STEADY {
                lost.reset();
                refused.reset();
            }
            // A candidate that is still there did not connect: the old certificate is as good as it was.
            if candidate.is_some() && AgentIdentity::candidate(&self.folder).is_some() {
                tracing::warn!(error = %ended, "The new certificate did not connect; the old one stays in use.");
                if let Err(error) = AgentIdentity::discard_candidate(&self.folder) {
                    tracing::error!(category = error.category(), %error, "The new certificate could not be discarded.");
                }
                continue;
            }
            let wait = match &ended {
                SessionEnd::Switch => Duration::ZERO,
                SessionEnd::Refused(_) => refused.wait(),
                SessionEnd::Lost(_) | SessionEnd::Identity(_) => lost.wait(),
            };
            tracing::warn!(wait_ms = u64::try_from(wait.as_millis()).unwrap_or(0), error = %ended, "The session ended.");
            tokio::time::sleep(wait).await;
        }
    }

    fn options(&self, identity: &AgentIdentity) -> Result<MqttOptions, SessionEnd> {
        let (host, port) = identity
            .gateway
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse::<u16>().ok()?)))
            .ok_or_else(|| AgentIdentityError::Unusable("gateway", identity.gateway.clone()))?;
        let mut options = MqttOptions::new(identity.agent.as_str(), host, port);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_clean_session(true);
        options.set_manual_acks(true);
        options.set_inflight(INFLIGHT);
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(identity.tls()?)));
        Ok(options)
    }

    async fn session(&mut self, identity: &AgentIdentity, is_candidate: bool) -> SessionEnd {
        let options = match self.options(identity) {
            Ok(options) => options,
            Err(ended) => return ended,
        };
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        let mut network = events.network_options();
        network.set_connection_timeout(CONNECT_SECONDS);
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        if let Err(ended) = self.connect(&mut events, identity, is_candidate).await {
            return ended;
        }
        // Acks and publishes come from tasks of their own: the poller must never wait for the queue that polling empties.
        let (acks, mut waiting) = mpsc::unbounded_channel::<Publish>();
        let acker = client.clone();
        let ack_task = tokio::spawn(async move {
            while let Some(publish) = waiting.recv().await {
                if acker.ack(&publish).await.is_err() {
                    break;
                }
            }
        });
        let live = LiveSession { client, acks };
        let ended = self.serve(&mut events, &live).await;
        ack_task.abort();
        ended
    }

    async fn connect(
        &mut self,
        events: &mut EventLoop,
        identity: &AgentIdentity,
        is_candidate: bool,
    ) -> Result<(), SessionEnd> {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => break,
                Ok(_) => {}
                Err(error) => return Err(judge(&error)),
            }
        }
        if is_candidate {
            AgentIdentity::promote(&self.folder)?;
            crash_point!(CertificateSwitched);
            tracing::info!("The new certificate connected and replaces the old one.");
            self.identity = identity.clone();
        }
        if let (Ok(base), Ok(tls)) = (Address::parse(&identity.artifacts), identity.tls()) {
            self.downloads.set_source(tls, base);
        }
        Ok(())
    }

    async fn serve(&mut self, events: &mut EventLoop, live: &LiveSession) -> SessionEnd {
        let agent = &self.agent.id;
        let filters = [Down::Desired.of(agent), Down::Ctl.of(agent), OPERATOR_STATE.to_owned()];
        let filters = filters.map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        if live.client.try_subscribe_many(filters).is_err() {
            return SessionEnd::Lost("the subscription could not be queued".to_owned());
        }
        let validity = match self.identity.validity() {
            Ok(validity) => validity,
            Err(error) => return error.into(),
        };
        let mut publisher: Option<tokio::task::JoinHandle<()>> = None;
        let ended = loop {
            match events.poll().await {
                Ok(Event::Incoming(Incoming::SubAck(answer))) => {
                    if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                        break SessionEnd::Refused("it may not subscribe its own topics".to_owned());
                    }
                    self.agent.presence.up();
                    tracing::info!("The operator is reached.");
                    publisher.get_or_insert_with(|| self.publish(live, validity));
                }
                Ok(Event::Incoming(Incoming::Publish(publish))) => {
                    let switch = self.take(&publish).await;
                    // Acked whatever it was: what is refused now is refused again.
                    if live.acks.send(publish).is_err() {
                        break SessionEnd::Lost("acknowledgements cannot be sent".to_owned());
                    }
                    if switch == AfterMessage::SwitchIdentity {
                        break SessionEnd::Switch;
                    }
                }
                Ok(_) => {}
                Err(error) => break judge(&error),
            }
            if publisher.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
                break SessionEnd::Lost("publishing ended".to_owned());
            }
        };
        if let Some(publisher) = publisher {
            publisher.abort();
        }
        if matches!(ended, SessionEnd::Switch) {
            // Two sessions of one identity would throw each other out.
            let _ = live.client.try_disconnect();
            let _ = tokio::time::timeout(Duration::from_secs(1), async { while events.poll().await.is_ok() {} }).await;
        }
        ended
    }

    fn publish(&self, live: &LiveSession, validity: Validity) -> tokio::task::JoinHandle<()> {
        let publisher = Publisher {
            agent: self.agent.clone(),
            client: live.client.clone(),
            epoch: self.epoch,
            seq: self.seq.clone(),
            validity,
            asked: self.asked.clone(),
        };
        tokio::spawn(async move {
            let error = publisher.run().await;
            tracing::warn!(%error, "Publishing ended; the session is re-established.");
        })
    }

    async fn take(&mut self, publish: &Publish) -> AfterMessage {
        crash_point!(DesiredReceived);
        let inbound = match self.verifier.open(&publish.topic, &publish.payload) {
            Ok(inbound) => inbound,
            Err(refused) => {
                tracing::warn!(topic = publish.topic, category = refused.category(), error = %refused, "A message is dropped.");
                return AfterMessage::Continue;
            }
        };
        self.agent.reported.verified(self.verifier.verified());
        match inbound {
            Inbound::Hint | Inbound::Part => AfterMessage::Continue,
            Inbound::Desired(update, fence, at) => {
                self.agent.clock.signed(&at);
                match self.sink.apply(update, fence).await {
                    Ok(()) => {}
                    Err(ApplyError::Mismatch(mismatch)) => {
                        tracing::info!(error = %mismatch, "The whole desired set is requested.");
                        self.agent.reported.ask_whole();
                    }
                    Err(error) => {
                        tracing::error!(category = error.category(), %error, "An update of the desired set was not applied.");
                    }
                }
                AfterMessage::Continue
            }
            Inbound::Control(control, fence, at) => {
                self.agent.clock.signed(&at);
                self.handle(control, fence).await
            }
        }
    }

    async fn handle(&mut self, control: Control, fence: Fence) -> AfterMessage {
        let stored = match control {
            Control::Resync {} => {
                self.agent.reported.resync();
                self.agent.store.raise_fence(fence).await
            }
            Control::Ack { epoch, upto } => {
                let result = self.agent.store.acknowledge(epoch, upto, fence).await;
                self.agent.reported.event_added();
                result.map(|dropped| {
                    if dropped > 0 {
                        self.agent.reported.outbox_is_full(false);
                    }
                })
            }
            Control::Certificate { certificate, authorities } => {
                let stored = self.agent.store.raise_fence(fence).await;
                if self.keep_candidate(certificate, authorities) == AfterMessage::SwitchIdentity {
                    return AfterMessage::SwitchIdentity;
                }
                stored
            }
            Control::Refused { message } => {
                tracing::warn!(reason = message, "The operator refused a request.");
                self.agent.store.raise_fence(fence).await
            }
        };
        if let Err(error) = stored {
            tracing::error!(category = error.category(), %error, "A control message could not be stored.");
        }
        AfterMessage::Continue
    }

    fn keep_candidate(&mut self, certificate: String, authorities: String) -> AfterMessage {
        let asked = self.asked.lock().take();
        let next = match renewal::accept(&self.identity, asked.as_ref(), certificate, authorities) {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(category = error.category(), %error, "A new certificate is not accepted.");
                return AfterMessage::Continue;
            }
        };
        if let Err(error) = next.save_candidate(&self.folder) {
            tracing::error!(category = error.category(), %error, "The new certificate could not be stored.");
            return AfterMessage::Continue;
        }
        crash_point!(CertificateStored);
        AfterMessage::SwitchIdentity
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterMessage {
    Continue,
    SwitchIdentity,
}

fn judge(error: &ConnectionError) -> SessionEnd {
    match error {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::BadClientId),
        ) => SessionEnd::Refused(format!("{code:?}")),
        other => SessionEnd::Lost(other.to_string()),
    }
}
