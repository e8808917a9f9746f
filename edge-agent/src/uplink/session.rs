//! The session with the operator's gateway: one after the other, each with its own client, so that nothing of an old one is left.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kalong_crds::wire::control::Control;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::topic::{Down, OPERATOR_STATE};
use rumqttc::mqttbytes::v4::{ConnectReturnCode, SubscribeReasonCode};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, Publish, QoS, SubscribeFilter,
    TlsConfiguration, Transport,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::publish::Publisher;
use super::renewal::{self, Asked};
use super::verify::{Checker, Heard};
use crate::backoff::Backoff;
use crate::crash_point;
use crate::https::Address;
use crate::realise::{Site, TakeError, Teller};
use crate::store::identity::{Identity, IdentityError};

/// Keep-alive of the session.
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

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the operator's gateway is not reached: {0}")]
    Lost(String),
    #[error(
        "the operator's gateway refuses this box ({0}): check that its EdgeAgent is not suspended, and enrol it again"
    )]
    Refused(String),
    #[error("a new certificate is to be used")]
    Switch,
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The uplink of the box.
pub struct Uplink {
    site: Arc<Site>,
    folder: PathBuf,
    identity: Identity,
    epoch: u64,
    seq: Arc<AtomicU64>,
    checker: Checker,
    teller: Teller,
    asked: Arc<Mutex<Option<Asked>>>,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink").field("agent", &self.site.agent).finish_non_exhaustive()
    }
}

struct Live {
    client: AsyncClient,
    acks: mpsc::UnboundedSender<Publish>,
}

impl Uplink {
    /// An uplink that goes on from the stored fence.
    pub fn new(site: Arc<Site>, folder: PathBuf, identity: Identity, epoch: u64, fence: Fence, teller: Teller) -> Self {
        let checker = Checker::new(identity.agent.clone(), identity.operator_keys.clone(), fence);
        Self { site, folder, identity, epoch, seq: Arc::new(AtomicU64::new(0)), checker, teller, asked: Arc::default() }
    }

    /// Holds a session for ever. Every wait is drawn at random below a bound that doubles.
    pub async fn run(mut self) {
        let (mut lost, mut refused) = (Backoff::new(LOST.0, LOST.1), Backoff::new(REFUSED.0, REFUSED.1));
        loop {
            let began = Instant::now();
            let candidate = Identity::candidate(&self.folder);
            let trying = candidate.clone().unwrap_or_else(|| self.identity.clone());
            let ended = self.session(&trying, candidate.is_some()).await;
            self.site.contact.down();
            if began.elapsed() >= STEADY {
                lost.reset();
                refused.reset();
            }
            // A candidate that is still there did not connect: the old certificate is as good as it was.
            if candidate.is_some() && Identity::candidate(&self.folder).is_some() {
                tracing::warn!(%ended, "the new certificate did not connect; the old one stays in use");
                if let Err(error) = Identity::discard_candidate(&self.folder) {
                    tracing::error!(category = error.category(), "{error}");
                }
                continue;
            }
            let wait = match &ended {
                Ended::Switch => Duration::ZERO,
                Ended::Refused(_) => refused.wait(),
                Ended::Lost(_) | Ended::Identity(_) => lost.wait(),
            };
            tracing::warn!(wait_ms = u64::try_from(wait.as_millis()).unwrap_or(0), "{ended}");
            tokio::time::sleep(wait).await;
        }
    }

    fn options(&self, identity: &Identity) -> Result<MqttOptions, Ended> {
        let (host, port) = identity
            .gateway
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse::<u16>().ok()?)))
            .ok_or_else(|| IdentityError::Unusable("gateway", identity.gateway.clone()))?;
        let mut options = MqttOptions::new(identity.agent.as_str(), host, port);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_clean_session(true);
        options.set_manual_acks(true);
        options.set_inflight(INFLIGHT);
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(identity.tls()?)));
        Ok(options)
    }

    async fn session(&mut self, identity: &Identity, is_candidate: bool) -> Ended {
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
        // Acks and publishes come from tasks of their own: whoever polls must never wait for the queue that polling empties.
        let (acks, mut waiting) = mpsc::unbounded_channel::<Publish>();
        let acker = client.clone();
        let ack_task = tokio::spawn(async move {
            while let Some(publish) = waiting.recv().await {
                if acker.ack(&publish).await.is_err() {
                    break;
                }
            }
        });
        let live = Live { client, acks };
        let ended = self.serve(&mut events, &live).await;
        ack_task.abort();
        ended
    }

    async fn connect(&mut self, events: &mut EventLoop, identity: &Identity, is_candidate: bool) -> Result<(), Ended> {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => break,
                Ok(_) => {}
                Err(error) => return Err(judge(&error)),
            }
        }
        if is_candidate {
            Identity::promote(&self.folder)?;
            crash_point!(CertificateSwitched);
            tracing::info!("the new certificate connected and replaces the old one");
            self.identity = identity.clone();
        }
        if let (Ok(base), Ok(tls)) = (Address::parse(&identity.artifacts), identity.tls()) {
            self.site.downloads.set_source(tls, base);
        }
        Ok(())
    }

    async fn serve(&mut self, events: &mut EventLoop, live: &Live) -> Ended {
        let agent = &self.site.agent;
        let filters = [Down::Desired.of(agent), Down::Ctl.of(agent), OPERATOR_STATE.to_owned()];
        let filters = filters.map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        if live.client.try_subscribe_many(filters).is_err() {
            return Ended::Lost("the subscription could not be queued".to_owned());
        }
        let life = match self.identity.life() {
            Ok(life) => life,
            Err(error) => return error.into(),
        };
        let mut publisher: Option<tokio::task::JoinHandle<()>> = None;
        let ended = loop {
            match events.poll().await {
                Ok(Event::Incoming(Incoming::SubAck(answer))) => {
                    if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                        break Ended::Refused("it may not subscribe its own topics".to_owned());
                    }
                    self.site.contact.up();
                    tracing::info!("the operator is reached");
                    publisher.get_or_insert_with(|| self.publish(live, life));
                }
                Ok(Event::Incoming(Incoming::Publish(publish))) => {
                    let switch = self.take(&publish).await;
                    // Acked whatever it was: what is refused now is refused again.
                    if live.acks.send(publish).is_err() {
                        break Ended::Lost("acknowledgements cannot be sent".to_owned());
                    }
                    if switch == Next::Switch {
                        break Ended::Switch;
                    }
                }
                Ok(_) => {}
                Err(error) => break judge(&error),
            }
            if publisher.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
                break Ended::Lost("publishing ended".to_owned());
            }
        };
        if let Some(publisher) = publisher {
            publisher.abort();
        }
        if matches!(ended, Ended::Switch) {
            // Two sessions of one identity would throw each other out.
            let _ = live.client.try_disconnect();
            let _ = tokio::time::timeout(Duration::from_secs(1), async { while events.poll().await.is_ok() {} }).await;
        }
        ended
    }

    fn publish(&self, live: &Live, life: crate::store::identity::Life) -> tokio::task::JoinHandle<()> {
        let publisher = Publisher {
            site: self.site.clone(),
            client: live.client.clone(),
            epoch: self.epoch,
            seq: self.seq.clone(),
            life,
            asked: self.asked.clone(),
        };
        tokio::spawn(async move {
            let error = publisher.run().await;
            tracing::warn!(%error, "publishing ended; the session is made anew");
        })
    }

    async fn take(&mut self, publish: &Publish) -> Next {
        crash_point!(DesiredReceived);
        let heard = match self.checker.hear(&publish.topic, &publish.payload) {
            Ok(heard) => heard,
            Err(refused) => {
                tracing::warn!(topic = publish.topic, category = refused.category(), "a message is dropped: {refused}");
                return Next::Go;
            }
        };
        self.site.image.verified(self.checker.verified());
        match heard {
            Heard::Hint | Heard::Part => Next::Go,
            Heard::Told(told, fence, at) => {
                self.site.clock.signed(&at);
                match self.teller.tell(told, fence).await {
                    Ok(()) => {}
                    Err(TakeError::Misfit(misfit)) => {
                        tracing::info!(%misfit, "the whole is asked for");
                        self.site.image.ask_whole();
                    }
                    Err(error) => {
                        tracing::error!(category = error.category(), "what was told is not done: {error}");
                    }
                }
                Next::Go
            }
            Heard::Control(control, fence, at) => {
                self.site.clock.signed(&at);
                self.obey(control, fence).await
            }
        }
    }

    async fn obey(&mut self, control: Control, fence: Fence) -> Next {
        let stored = match control {
            Control::Resync {} => {
                self.site.image.resync();
                self.site.store.raise(fence).await
            }
            Control::Ack { epoch, upto } => {
                let result = self.site.store.acknowledge(epoch, upto, fence).await;
                self.site.image.event_added();
                result.map(|dropped| {
                    if dropped > 0 {
                        self.site.image.outbox_is_full(false);
                    }
                })
            }
            Control::Certificate { certificate, authorities } => {
                let stored = self.site.store.raise(fence).await;
                if self.keep_candidate(certificate, authorities) == Next::Switch {
                    return Next::Switch;
                }
                stored
            }
            Control::Refused { message } => {
                tracing::warn!("the operator refused a request: {message}");
                self.site.store.raise(fence).await
            }
        };
        if let Err(error) = stored {
            tracing::error!(category = error.category(), "{error}");
        }
        Next::Go
    }

    fn keep_candidate(&mut self, certificate: String, authorities: String) -> Next {
        let asked = self.asked.lock().ok().and_then(|mut asked| asked.take());
        let next = match renewal::accept(&self.identity, asked.as_ref(), certificate, authorities) {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(category = error.category(), "a new certificate is not taken: {error}");
                return Next::Go;
            }
        };
        if let Err(error) = next.save_candidate(&self.folder) {
            tracing::error!(category = error.category(), "{error}");
            return Next::Go;
        }
        crash_point!(CertificateStored);
        Next::Switch
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    Switch,
}

fn judge(error: &ConnectionError) -> Ended {
    match error {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::BadClientId),
        ) => Ended::Refused(format!("{code:?}")),
        other => Ended::Lost(other.to_string()),
    }
}
