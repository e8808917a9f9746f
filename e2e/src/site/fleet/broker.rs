//! The fleet's MQTT broker: QoS 0 and 1, retained messages, last wills, keep-alive. Sessions end with their connection.
//! The codec is that of the agent's own client, so `tests/site/devices/fleet.rs` talks to it in bytes written from the standard.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use rumqttc::mqttbytes::Error;
use rumqttc::{
    Codec, ConnAck, Connect, ConnectReturnCode, LastWill, Packet, Protocol, PubAck, Publish, QoS, SubAck, Subscribe,
    SubscribeReasonCode, UnsubAck, matches,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::codec::Framed;

/// The largest message that is taken is of 256 KiB: VDA 5050 states and factsheets stay far below.
const CODEC: Codec = Codec { max_incoming_size: 256 * 1024, max_outgoing_size: usize::MAX };
/// Whoever connects says who it is within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A client that promised nothing is believed to be there for so long.
const LONG_SILENCE: Duration = Duration::from_secs(600);
/// Messages that wait for a slow client; more are dropped, as QoS 0 allows and a slow client deserves.
const WAITING: usize = 1024;
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A broker in this process. Every copy is the same broker.
#[derive(Clone, Debug, Default)]
pub struct MqttBroker {
    held: Arc<Mutex<BrokerState>>,
}

#[derive(Debug, Default)]
struct BrokerState {
    retained: BTreeMap<String, Publish>,
    clients: BTreeMap<u64, Client>,
    last: u64,
    /// What came over connections, under the client's name. Only a test's broker remembers it.
    sent: Option<Vec<(String, Packet)>>,
}

/// A client with a connection, which ends when this is dropped.
#[derive(Debug)]
struct Client {
    name: String,
    filters: BTreeMap<String, QoS>,
    out: mpsc::Sender<Packet>,
    next_id: u16,
}

/// Whether the broker keeps a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    Yes,
    No,
}

/// A message as it is published.
pub fn message(topic: String, payload: impl Into<Bytes>, qos: QoS, retain: Retain) -> Publish {
    Publish { retain: retain == Retain::Yes, ..Publish::from_bytes(topic, qos, payload.into()) }
}

impl Client {
    fn send(&mut self, message: &Publish) {
        let mut wanted = self.filters.iter().filter(|(filter, _)| fits(&message.topic, filter)).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let confirms = message.qos != QoS::AtMostOnce && wanted.any(|(_, qos)| *qos != QoS::AtMostOnce);
        let qos = if confirms { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.answer(Packet::Publish(Publish { dup: false, qos, pkid: self.next_id, ..message.clone() }));
    }

    fn answer(&self, packet: Packet) {
        let _ = self.out.try_send(packet);
    }
}

/// Whether a topic is one of those that the filter asks for. The library takes it for granted that the first character is one byte.
fn fits(topic: &str, filter: &str) -> bool {
    topic.is_char_boundary(1) && matches(topic, filter)
}

impl MqttBroker {
    fn held(&self) -> MutexGuard<'_, BrokerState> {
        self.held.lock()
    }

    /// Gives a message to everybody who asked for its topic, and keeps it if it is to be kept.
    pub fn publish(&self, message: &Publish) {
        self.held().publish(message);
    }

    /// A client within this process, as good as one with a connection.
    pub fn attach(&self, will: Publish) -> Attached {
        Attached { broker: self.clone(), will: Some(will) }
    }

    /// Serves the listener until this is dropped; every session ends with it.
    pub async fn serve(self, listener: TcpListener) {
        let mut sessions = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    while sessions.try_join_next().is_some() {}
                    let broker = self.clone();
                    sessions.spawn(async move { broker.converse(stream).await });
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    async fn converse(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut wire = Framed::new(stream, CODEC);
        let connect = match timeout(HELLO_WITHIN, wire.next()).await {
            Ok(Some(Ok(Packet::Connect(connect)))) if connect.protocol == Protocol::V4 => connect,
            Ok(Some(Ok(Packet::Connect(_)) | Err(Error::InvalidProtocol | Error::InvalidProtocolLevel(_)))) => {
                let refused = ConnAck::new(ConnectReturnCode::RefusedProtocolVersion, false);
                let _ = wire.send(Packet::ConnAck(refused)).await;
                return;
            }
            Ok(_) | Err(_) => return,
        };
        let (number, mut waiting) = self.held().enter(&connect);
        let silence = match connect.keep_alive {
            0 => LONG_SILENCE,
            // Half as long again as was promised (section 3.1.2.10).
            seconds => Duration::from_secs(u64::from(seconds)) * 3 / 2,
        };
        let (mut write, mut read) = wire.split();
        let listening = async {
            while let Ok(Some(Ok(packet))) = timeout(silence, read.next()).await {
                if let Some(parting) = self.held().answer(number, packet) {
                    return parting;
                }
            }
            Parting::Lost
        };
        let speaking = async {
            while let Some(packet) = waiting.recv().await {
                if write.send(packet).await.is_err() {
                    break;
                }
            }
        };
        let parting = tokio::select! {
            parting = listening => parting,
            () = speaking => Parting::Lost,
        };
        let mut held = self.held();
        held.clients.remove(&number);
        if let (Parting::Lost, Some(LastWill { topic, message: payload, qos, retain })) = (parting, connect.last_will) {
            held.publish(&Publish { retain, ..Publish::from_bytes(topic, qos, payload) });
        }
    }
}

impl BrokerState {
    fn publish(&mut self, message: &Publish) {
        if message.retain {
            if message.payload.is_empty() {
                self.retained.remove(&message.topic);
            } else {
                self.retained.insert(message.topic.clone(), message.clone());
            }
        }
        // Only what was kept before somebody asked comes to them as kept (section 3.3.1.3).
        let fresh = Publish { retain: false, ..message.clone() };
        for client in self.clients.values_mut() {
            client.send(&fresh);
        }
    }

    fn enter(&mut self, connect: &Connect) -> (u64, mpsc::Receiver<Packet>) {
        let (out, waiting) = mpsc::channel(WAITING);
        let name = connect.client_id.clone();
        // Whoever comes under a name that is in use takes it over (section 3.1.4).
        self.clients.retain(|_, client| client.name.is_empty() || client.name != name);
        self.last += 1;
        let client = Client { name, filters: BTreeMap::new(), out, next_id: 0 };
        client.answer(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)));
        self.clients.insert(self.last, client);
        self.note(self.last, &Packet::Connect(connect.clone()));
        (self.last, waiting)
    }

    fn note(&mut self, number: u64, packet: &Packet) {
        if let (Some(sent), Some(client)) = (&mut self.sent, self.clients.get(&number)) {
            sent.push((client.name.clone(), packet.clone()));
        }
    }

    /// Answers a packet; a client that may not stay, or has left, parts.
    fn answer(&mut self, number: u64, packet: Packet) -> Option<Parting> {
        self.note(number, &packet);
        let Some(client) = self.clients.get_mut(&number) else { return Some(Parting::Lost) };
        match packet {
            Packet::Publish(message) => {
                match message.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => client.answer(Packet::PubAck(PubAck::new(message.pkid))),
                    // No part of VDA 5050.
                    QoS::ExactlyOnce => return Some(Parting::Lost),
                }
                self.publish(&message);
            }
            Packet::Subscribe(subscribe) => self.subscribe(number, subscribe),
            Packet::Unsubscribe(unsubscribe) => {
                client.filters.retain(|filter, _| !unsubscribe.topics.contains(filter));
                client.answer(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)));
            }
            Packet::PingReq => client.answer(Packet::PingResp),
            Packet::PubAck(_) => {}
            Packet::Disconnect => return Some(Parting::Goodbye),
            _ => return Some(Parting::Lost),
        }
        None
    }

    /// Answers first and then sends what was kept: a client may take the answer for the next thing that it reads.
    fn subscribe(&mut self, number: u64, subscribe: Subscribe) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let mut granted = Vec::new();
        for filter in &subscribe.filters {
            let qos = if filter.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            granted.push(SubscribeReasonCode::Success(qos));
            client.filters.insert(filter.path.clone(), qos);
        }
        client.answer(Packet::SubAck(SubAck::new(subscribe.pkid, granted)));
        for kept in self.retained.values() {
            if subscribe.filters.iter().any(|filter| fits(&kept.topic, &filter.path)) {
                client.send(kept);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    Goodbye,
    Lost,
}

/// A client within this process. Dropped without [`Attached::goodbye`], its last will is published.
#[derive(Debug)]
pub struct Attached {
    broker: MqttBroker,
    will: Option<Publish>,
}

impl Attached {
    pub fn publish(&self, message: &Publish) {
        self.broker.publish(message);
    }

    /// Disconnects as the standard asks: the last will is forgotten.
    pub fn goodbye(mut self) {
        self.will = None;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(will) = self.will.take() {
            self.broker.publish(&will);
        }
    }
}

/// A broker for a test: it remembers what was sent, and ends with all its sessions when it is dropped.
#[derive(Debug)]
pub struct TestBroker {
    /// Where it listens.
    pub address: String,
    broker: MqttBroker,
    task: JoinHandle<()>,
}

impl TestBroker {
    /// A broker on a port of its own.
    pub async fn start() -> io::Result<Self> {
        Self::start_at("127.0.0.1:0").await
    }

    /// A broker at this address, with nothing retained.
    pub async fn start_at(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?.to_string();
        let broker = MqttBroker::default();
        broker.held().sent = Some(vec![]);
        let task = tokio::spawn(broker.clone().serve(listener));
        Ok(Self { address, broker, task })
    }

    /// What clients whose name begins like this have sent.
    pub fn sent_by(&self, name: &str) -> Vec<Packet> {
        let held = self.held();
        held.sent.iter().flatten().filter(|(n, _)| n.starts_with(name)).map(|(_, packet)| packet.clone()).collect()
    }

    /// Topics to which a client whose name begins like this listens now; none while it is not there.
    pub fn heard_by(&self, name: &str) -> Option<BTreeSet<String>> {
        let held = self.held();
        held.clients.values().find(|c| c.name.starts_with(name)).map(|c| c.filters.keys().cloned().collect())
    }
}

impl Deref for TestBroker {
    type Target = MqttBroker;

    fn deref(&self) -> &MqttBroker {
        &self.broker
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
