//! The session with a fleet's broker: it connects, subscribes and listens for as long as vehicles are declared on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::igv::FleetBroker;
use parking_lot::Mutex;
use rumqttc::mqttbytes::v4::SubscribeReasonCode;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS, SubscribeFilter};
use tokio::time::{Instant, sleep, sleep_until};

use super::Fleet;
use super::message::{MAX_PAYLOAD, Topic};
use super::vehicle::FRESH;
use crate::backoff::Backoff;

/// Keep-alive of the session; a dead broker is noticed after twice this time.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Longest time for name, TCP and CONNACK.
const CONNECT_SECONDS: u64 = 10;
/// Largest packet that ends no session. One that only exceeds what is read is dropped alone: a vehicle must not silence the others.
const MAX_INCOMING: usize = 4 * MAX_PAYLOAD;
/// Largest packet that is sent: the subscription of the whole fleet.
const MAX_OUTGOING: usize = MAX_PAYLOAD;
/// Subscriptions that may wait for the connection.
const REQUESTS: usize = 64;
/// First and longest wait after a lost session.
const LOST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A session that lasted this long makes the next wait short again.
const STEADY: Duration = Duration::from_secs(10);

/// Host and port of a broker.
pub(super) struct BrokerAddress<'a> {
    host: &'a str,
    port: u16,
}

impl<'a> BrokerAddress<'a> {
    /// The address of this broker, if it is one.
    pub(super) fn of(broker: &'a FleetBroker) -> Option<Self> {
        let (host, port) = broker.endpoint.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then_some(Self { host, port })
    }
}

/// The only handle on a session. It can change subscriptions and nothing else, so that no vehicle is ever commanded.
#[derive(Debug)]
pub(super) struct Listener {
    client: AsyncClient,
    subscribed: Mutex<BTreeSet<String>>,
}

impl Listener {
    fn new(client: AsyncClient) -> Self {
        Self { client, subscribed: Mutex::default() }
    }

    /// Subscribes these topics and no others. What cannot be queued now is queued by the next call.
    pub(super) fn subscribe(&self, wanted: BTreeSet<(String, Topic)>) {
        let mut subscribed = self.subscribed.lock();
        subscribed.retain(|topic| {
            let is_wanted = wanted.range((topic.clone(), Topic::Connection)..).next().is_some_and(|(t, _)| t == topic);
            is_wanted || self.client.try_unsubscribe(topic).is_err()
        });
        let missing: Vec<_> = wanted.into_iter().filter(|(topic, _)| !subscribed.contains(topic)).collect();
        if missing.is_empty() {
            return;
        }
        let filters = missing.iter().map(|(topic, kind)| SubscribeFilter::new(topic.clone(), kind.quality()));
        match self.client.try_subscribe_many(filters) {
            Ok(()) => subscribed.extend(missing.into_iter().map(|(topic, _)| topic)),
            Err(_) => tracing::warn!(topics = missing.len(), "Subscriptions wait for room in the session."),
        }
    }
}

impl Topic {
    /// The quality of service that the standard gives the topic.
    fn quality(self) -> QoS {
        match self {
            Self::Connection => QoS::AtLeastOnce,
            Self::State | Self::Factsheet => QoS::AtMostOnce,
        }
    }
}

/// Listens to the vehicles of a broker until the task is aborted.
pub(super) async fn listen(fleet: Arc<Fleet>, broker: FleetBroker) {
    tokio::join!(sessions(&fleet, &broker), refresh(&fleet, &broker));
}

/// One session after the other, each with its own client, so that nothing of an old one is left.
async fn sessions(fleet: &Fleet, broker: &FleetBroker) {
    let mut backoff = Backoff::new(LOST.0, LOST.1);
    loop {
        let began = Instant::now();
        let why = session(fleet, broker).await;
        fleet.lost(broker);
        if began.elapsed() >= STEADY {
            backoff.reset();
        }
        let wait = backoff.wait();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(0);
        tracing::warn!(broker = broker.endpoint, wait_ms, error = why, "The fleet's broker is not reached.");
        sleep(wait).await;
    }
}

async fn session(fleet: &Fleet, broker: &FleetBroker) -> String {
    let Some(BrokerAddress { host, port }) = BrokerAddress::of(broker) else {
        return "its address is no host and port".to_owned();
    };
    // One session for each interface: two of one name on one broker would throw each other out.
    let mut options = MqttOptions::new(format!("kalong-{}-{}", fleet.agent.id, broker.interface_name), host, port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_clean_session(true);
    options.set_max_packet_size(MAX_INCOMING, MAX_OUTGOING);
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    let mut network = events.network_options();
    network.set_connection_timeout(CONNECT_SECONDS);
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                tracing::info!(broker = broker.endpoint, "The fleet's broker is reached.");
                fleet.reached(broker, Listener::new(client.clone()));
            }
            Ok(Event::Incoming(Incoming::Publish(publish))) => {
                fleet.receive(broker, &publish);
            }
            Ok(Event::Incoming(Incoming::SubAck(answer))) => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    tracing::warn!(
                        broker = broker.endpoint,
                        "The fleet's broker refuses topics of declared vehicles: grant this box read access there."
                    );
                }
            }
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}

/// Reports vehicles again when a state stops being fresh. It sleeps until the earliest can: a state that comes later ages later.
async fn refresh(fleet: &Fleet, broker: &FleetBroker) {
    loop {
        let earliest = fleet.report_again(broker);
        sleep_until(earliest.unwrap_or_else(|| Instant::now() + FRESH)).await;
    }
}
