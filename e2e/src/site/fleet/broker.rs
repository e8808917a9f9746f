//! The fleet's MQTT broker: QoS 0 and 1, retained messages, last wills, keep-alive. Sessions end with their connection.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::packet::{self, ConnectPacket, MqttMessage, Packet, Welcome};

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
    retained: BTreeMap<String, MqttMessage>,
    clients: BTreeMap<u64, Client>,
    last: u64,
}

#[derive(Debug)]
struct Client {
    name: String,
    filters: BTreeMap<String, u8>,
    out: mpsc::Sender<Vec<u8>>,
    next_id: u16,
    end: Arc<Notify>,
}

impl Client {
    fn send(&mut self, message: &MqttMessage) {
        let wanted = self.filters.iter().filter(|(f, _)| packet::matches(f, &message.topic)).map(|(_, qos)| *qos).max();
        let Some(qos) = wanted else { return };
        let message = MqttMessage { qos: qos.min(message.qos), ..message.clone() };
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        let _ = self.out.try_send(packet::published(&message, self.next_id));
    }
}

impl MqttBroker {
    fn held(&self) -> MutexGuard<'_, BrokerState> {
        self.held.lock()
    }

    /// Gives a message to everybody who asked for its topic, and keeps it if it is to be kept.
    pub fn publish(&self, message: &MqttMessage) {
        let mut held = self.held();
        if message.retain {
            if message.payload.is_empty() {
                held.retained.remove(&message.topic);
            } else {
                held.retained.insert(message.topic.clone(), message.clone());
            }
        }
        // Only what was kept before somebody asked comes to them as kept (section 3.3.1.3).
        let fresh = MqttMessage { retain: false, ..message.clone() };
        for client in held.clients.values_mut() {
            client.send(&fresh);
        }
    }

    /// A client within this process, as good as one with a connection.
    pub fn attach(&self, will: MqttMessage) -> Attached {
        Attached { broker: self.clone(), will: Some(will) }
    }

    /// Serves the listener for as long as the process runs.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let broker = self.clone();
                    tokio::spawn(async move { broker.converse(stream).await });
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    async fn converse(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let Ok(Ok(Packet::Connect(connect))) = timeout(HELLO_WITHIN, packet::read(&mut read)).await else {
            return;
        };
        if !connect.is_understood() {
            let _ = write.write_all(&packet::connected(Welcome::WrongVersion)).await;
            return;
        }
        let (number, out, end) = self.enter(&connect, write);
        let silence = match connect.keep_alive {
            0 => LONG_SILENCE,
            // Half as long again as was promised (section 3.1.2.10).
            seconds => Duration::from_secs(u64::from(seconds)) * 3 / 2,
        };
        let listening = async {
            loop {
                match timeout(silence, packet::read(&mut read)).await {
                    Ok(Ok(packet)) => {
                        if let Some(parting) = self.answer(number, packet, &out) {
                            return parting;
                        }
                    }
                    Ok(Err(_)) | Err(_) => return Parting::Lost,
                }
            }
        };
        let parting = tokio::select! {
            parting = listening => parting,
            () = end.notified() => Parting::Lost,
        };
        self.held().clients.remove(&number);
        if let (Parting::Lost, Some(will)) = (parting, &connect.will) {
            self.publish(will);
        }
    }

    fn enter(&self, connect: &ConnectPacket, write: OwnedWriteHalf) -> (u64, mpsc::Sender<Vec<u8>>, Arc<Notify>) {
        let (out, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write_all(write, waiting));
        let _ = out.try_send(packet::connected(Welcome::Accepted));
        let end = Arc::new(Notify::new());
        let mut held = self.held();
        // Whoever comes under a name that is in use takes it over (section 3.1.4).
        for client in held.clients.values().filter(|c| !c.name.is_empty() && c.name == connect.client) {
            client.end.notify_one();
        }
        held.last += 1;
        let number = held.last;
        let client = Client {
            name: connect.client.clone(),
            filters: BTreeMap::new(),
            out: out.clone(),
            next_id: 0,
            end: Arc::clone(&end),
        };
        held.clients.insert(number, client);
        (number, out, end)
    }

    fn answer(&self, number: u64, packet: Packet, out: &mpsc::Sender<Vec<u8>>) -> Option<Parting> {
        let answer = match packet {
            Packet::Publish { message, id } => {
                self.publish(&message);
                id.map(packet::confirmed)
            }
            Packet::Subscribe { id, filters } => {
                self.subscribe(number, id, filters, out);
                None
            }
            Packet::Unsubscribe { id, filters } => {
                if let Some(client) = self.held().clients.get_mut(&number) {
                    client.filters.retain(|filter, _| !filters.contains(filter));
                }
                Some(packet::unsubscribed(id))
            }
            Packet::Ping => Some(packet::pong()),
            Packet::Confirmed => None,
            Packet::Disconnect => return Some(Parting::Goodbye),
            Packet::Connect(_) | Packet::Broken => return Some(Parting::Lost),
        };
        if let Some(answer) = answer {
            let _ = out.try_send(answer);
        }
        None
    }

    /// Answers first and then sends what was kept: a client may take the answer for the next thing that it reads.
    fn subscribe(&self, number: u64, id: u16, filters: Vec<(String, u8)>, out: &mpsc::Sender<Vec<u8>>) {
        let granted: Vec<u8> = filters.iter().map(|(_, qos)| *qos).collect();
        let mut held = self.held();
        let _ = out.try_send(packet::subscribed(id, &granted));
        let wanted = |m: &&MqttMessage| filters.iter().any(|(f, _)| packet::matches(f, &m.topic));
        let kept: Vec<MqttMessage> = held.retained.values().filter(wanted).cloned().collect();
        if let Some(client) = held.clients.get_mut(&number) {
            client.filters.extend(filters);
            for message in &kept {
                client.send(message);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    Goodbye,
    Lost,
}

async fn write_all(mut write: OwnedWriteHalf, mut waiting: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(bytes) = waiting.recv().await {
        write.write_all(&bytes).await?;
    }
    write.shutdown().await
}

/// A client within this process. Dropped without [`Attached::goodbye`], its last will is published.
#[derive(Debug)]
pub struct Attached {
    broker: MqttBroker,
    will: Option<MqttMessage>,
}

impl Attached {
    pub fn publish(&self, message: &MqttMessage) {
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
