//! A fleet's broker, as small as a test needs it: retained messages, last wills, QoS 0 and 1. It keeps what each client sent.

#![allow(dead_code, reason = "each test that uses it needs another part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rumqttc::matches;
use rumqttc::{
    ConnAck, ConnectReturnCode, LastWill, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode, UnsubAck,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

const MAX: usize = 4 * 1024 * 1024;

#[derive(Default)]
struct Inner {
    retained: BTreeMap<String, Publish>,
    clients: BTreeMap<u64, Client>,
    seen: Vec<(String, Packet)>,
}

struct Client {
    name: String,
    filters: BTreeSet<String>,
    out: UnboundedSender<Packet>,
    task: AbortHandle,
}

/// The broker; it ends with the test.
pub struct Broker {
    /// Where it listens.
    pub address: String,
    inner: Arc<Mutex<Inner>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Broker {
    /// A broker on a port of its own.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    /// A broker at this address, with nothing retained.
    pub async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let inner = Arc::<Mutex<Inner>>::default();
        let state = inner.clone();
        let task = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                let state = state.clone();
                let (tell, told) = oneshot::channel::<AbortHandle>();
                let handle = sessions.spawn(async move {
                    let own = told.await.unwrap();
                    serve(number, tcp, &state, own).await;
                });
                let _ = tell.send(handle);
            }
        });
        Self { address, inner, task }
    }

    /// Ends every session without a goodbye. Wills are not published.
    pub fn cut(&self) {
        for (_, client) in std::mem::take(&mut self.inner.lock().unwrap().clients) {
            client.task.abort();
        }
    }

    /// Publishes as if a vehicle had.
    pub fn publish(&self, topic: &str, payload: Vec<u8>, retained: Retained) {
        let mut publish = Publish::new(topic, QoS::AtMostOnce, payload);
        publish.retain = retained == Retained::Yes;
        self.inner.lock().unwrap().route(publish);
    }

    /// What clients whose name begins like this have sent.
    pub fn sent_by(&self, name: &str) -> Vec<Packet> {
        self.inner.lock().unwrap().seen.iter().filter(|(n, _)| n.starts_with(name)).map(|(_, p)| p.clone()).collect()
    }

    /// Topics to which a client whose name begins like this listens now; none while it is not there.
    pub fn heard_by(&self, name: &str) -> Option<BTreeSet<String>> {
        let inner = self.inner.lock().unwrap();
        inner.clients.values().find(|c| c.name.starts_with(name)).map(|c| c.filters.clone())
    }
}

/// Whether a message is kept for those who come later.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl Inner {
    fn route(&mut self, mut publish: Publish) {
        if publish.retain {
            self.retained.insert(publish.topic.clone(), publish.clone());
        }
        publish.retain = false;
        publish.qos = QoS::AtMostOnce;
        for client in self.clients.values().filter(|c| c.filters.iter().any(|f| matches(&publish.topic, f))) {
            let _ = client.out.send(Packet::Publish(publish.clone()));
        }
    }

    fn will(&mut self, will: LastWill) {
        let mut publish = Publish::new(will.topic, will.qos, will.message);
        publish.retain = will.retain;
        self.route(publish);
    }
}

async fn serve(number: u64, tcp: TcpStream, state: &Mutex<Inner>, own: AbortHandle) {
    let (mut reading, mut writing) = tcp.into_split();
    let (out, mut queue) = mpsc::unbounded_channel::<Packet>();
    let writer = async move {
        while let Some(packet) = queue.recv().await {
            let mut bytes = BytesMut::new();
            packet.write(&mut bytes, MAX).unwrap();
            if writing.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    let reader = async {
        let mut buffer = BytesMut::new();
        let Some(Packet::Connect(connect)) = read(&mut reading, &mut buffer).await else { return };
        let name = connect.client_id.clone();
        let _ = out.send(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)));
        let client = Client { name: name.clone(), filters: BTreeSet::new(), out: out.clone(), task: own };
        state.lock().unwrap().clients.insert(number, client);
        let mut will = connect.last_will.clone();
        let mut packet = Some(Packet::Connect(connect));
        while let Some(next) = packet {
            if matches!(next, Packet::Disconnect) {
                will = None;
            }
            {
                let mut inner = state.lock().unwrap();
                inner.seen.push((name.clone(), next.clone()));
                answer(&mut inner, number, &out, next);
            }
            packet = read(&mut reading, &mut buffer).await;
        }
        let mut inner = state.lock().unwrap();
        inner.clients.remove(&number);
        if let Some(will) = will {
            inner.will(will);
        }
    };
    tokio::select! {
        () = writer => {}
        () = reader => {}
    }
}

fn answer(inner: &mut Inner, number: u64, out: &UnboundedSender<Packet>, packet: Packet) {
    match packet {
        Packet::Subscribe(subscribe) => {
            let codes = vec![SubscribeReasonCode::Success(QoS::AtMostOnce); subscribe.filters.len()];
            let _ = out.send(Packet::SubAck(SubAck::new(subscribe.pkid, codes)));
            for filter in subscribe.filters {
                for kept in inner.retained.values().filter(|p| matches(&p.topic, &filter.path)) {
                    let _ = out.send(Packet::Publish(Publish { qos: QoS::AtMostOnce, ..kept.clone() }));
                }
                inner.clients.get_mut(&number).unwrap().filters.insert(filter.path);
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            for topic in &unsubscribe.topics {
                inner.clients.get_mut(&number).unwrap().filters.remove(topic);
            }
            let _ = out.send(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)));
        }
        Packet::Publish(publish) => {
            if publish.qos == QoS::AtLeastOnce {
                let _ = out.send(Packet::PubAck(PubAck::new(publish.pkid)));
            }
            inner.route(publish);
        }
        Packet::PingReq => {
            let _ = out.send(Packet::PingResp);
        }
        _ => {}
    }
}

async fn read(from: &mut OwnedReadHalf, buffer: &mut BytesMut) -> Option<Packet> {
    loop {
        match Packet::read(buffer, MAX) {
            Ok(packet) => return Some(packet),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {
                if from.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
}
