//! One connection after its handshake: CONNECT, then frames in and messages out until something ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use kalong_crds::units::AgentId;
use kalong_crds::wire::MAX_MESSAGE;
use kalong_crds::wire::topic::{Down, OPERATOR_STATE};
use rumqttc::{
    Codec, ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
    Unsubscribe,
};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::codec::Framed;

use super::access::{self, Grant};
use super::gateway::Shared;
use super::limits::{Bucket, CLOSE_DEADLINE, IN_FLIGHT, MAX_TOPIC};
use super::metrics::{Denied, Handshake};
use super::outbox::Session;
use super::registry::{Claim, Try};
use super::router::{Delivery, Link};
use super::{EndReason, Entry, Verdict};

/// Room for the topic and the numbers beside the payload.
const FRAME: usize = MAX_MESSAGE + MAX_TOPIC + 16;
/// Packets that may wait for the socket; beyond that reading pauses, so an agent that never reads cannot fill memory.
const WRITE_QUEUE: usize = 64;

type Wire = Framed<TlsStream<TcpStream>, Codec>;

/// Serves a connection whose client certificate named this agent.
///
/// The permit for what is no session yet is given back once it is one.
pub(super) async fn serve(
    stream: TlsStream<TcpStream>,
    agent: AgentId,
    shared: Arc<Shared>,
    permit: Option<OwnedSemaphorePermit>,
) {
    let codec = Codec { max_incoming_size: FRAME, max_outgoing_size: FRAME };
    let mut wire = Framed::new(stream, codec);
    let result = tokio::select! {
        () = shared.stopping.cancelled() => return,
        result = admit(&mut wire, &agent, &shared) => result,
    };
    drop(permit);
    match result {
        Ok((claim, silence)) => hold(wire, agent, shared, claim, silence).await,
        Err((result, code)) => {
            shared.metrics.handshake(result);
            tracing::info!(%agent, ?result, "a connection was turned away");
            if let Some(code) = code {
                let refusal = Packet::ConnAck(ConnAck::new(code, false));
                let _ = timeout(shared.limits.write, wire.send(refusal)).await;
            }
            let _ = timeout(CLOSE_DEADLINE, wire.close()).await;
        }
    }
}

type TurnedAway = (Handshake, Option<ConnectReturnCode>);

/// CONNECT, the question whether the agent may enter, and its place.
async fn admit(wire: &mut Wire, agent: &AgentId, shared: &Arc<Shared>) -> Result<(Claim, Duration), TurnedAway> {
    let first = timeout(shared.limits.connect, wire.next()).await.map_err(|_| (Handshake::Timeout, None))?;
    let Some(Ok(Packet::Connect(packet))) = first else {
        return Err((Handshake::Connect, None));
    };
    let silence = access::connect(agent, &packet).map_err(|denial| {
        shared.metrics.denied(Denied::Connect);
        tracing::info!(%agent, "CONNECT was refused: {denial}");
        (Handshake::Connect, Some(denial.code()))
    })?;
    let undecided = (Handshake::Undecided, Some(ConnectReturnCode::ServiceUnavailable));
    let refused = (Handshake::Refused, Some(ConnectReturnCode::NotAuthorized));
    let entry = |deadline| timeout(deadline, shared.intake.entry(agent));
    if entry(shared.limits.connect).await.map_err(|_| undecided)? == Entry::Refused {
        return Err(refused);
    }
    let mut first = true;
    let claim = loop {
        match shared.registry.claim(agent, shared.limits.sessions) {
            Try::Taken(claim) => break claim,
            Try::Full => return Err((Handshake::Full, Some(ConnectReturnCode::ServiceUnavailable))),
            Try::Held(mut gone) => {
                if std::mem::take(&mut first) {
                    shared.metrics.taken_over();
                    shared.intake.taken_over(agent);
                }
                // The holder was told to end; its link says goodbye before its place is free.
                let _ = timeout(shared.limits.connect, gone.changed()).await.map_err(|_| undecided)?;
            }
        }
    };
    // It may have been shut out while it waited, or by this very takeover.
    if entry(shared.limits.connect).await.map_err(|_| undecided)? == Entry::Refused {
        return Err(refused);
    }
    Ok((claim, silence))
}

/// Runs a session and makes its end known, whatever ended it. The link is gone before the place is free.
async fn hold(wire: Wire, agent: AgentId, shared: Arc<Shared>, claim: Claim, silence: Duration) {
    let Ok(link) = shared.router.link(agent.as_str()).await else { return };
    let session = Session::new(claim.number, agent.clone(), claim.kill.clone(), shared.router.clone());
    shared.metrics.handshake(Handshake::Accepted);
    shared.metrics.began();
    let mut standing = Standing { agent, shared, number: claim.number, reason: EndReason::Lost };
    standing.shared.intake.session_started(&standing.agent, session.clone());
    tracing::info!(agent = %standing.agent, session = claim.number, "session began");

    let (sink, stream) = wire.split();
    let (out, packets) = mpsc::channel(WRITE_QUEUE);
    let buckets = (Bucket::new(standing.shared.limits.agent, Instant::now()), standing.shared.site(&standing.agent));
    let talk = Talk {
        agent: standing.agent.clone(),
        shared: Arc::clone(&standing.shared),
        session,
        link,
        out,
        buckets,
        in_flight: VecDeque::new(),
        waiting: VecDeque::new(),
        last_packet: 0,
        granted: Granted::default(),
        subscribing: VecDeque::new(),
        hint: None,
    };
    let mut killed = claim.killed.clone();
    standing.reason = tokio::select! {
        biased;
        reason = end_of(&mut killed) => reason,
        reason = write(sink, packets, standing.shared.limits.write) => reason,
        reason = talk.run(stream, silence) => reason,
    };
    // `talk` and its link were dropped by the select; the session's end is known before the next one may begin.
    drop(standing);
    drop(claim);
}

async fn end_of(killed: &mut watch::Receiver<Option<EndReason>>) -> EndReason {
    loop {
        if let Some(reason) = *killed.borrow_and_update() {
            return reason;
        }
        if killed.changed().await.is_err() {
            return EndReason::Shutdown;
        }
    }
}

/// Tells everybody that the session is over, even when its task is dropped.
struct Standing {
    agent: AgentId,
    shared: Arc<Shared>,
    number: u64,
    reason: EndReason,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.shared.metrics.ended(self.reason);
        self.shared.intake.session_ended(&self.agent, self.number, self.reason);
        tracing::info!(agent = %self.agent, session = self.number, reason = self.reason.as_str(), "session ended");
    }
}

/// Writes what is queued. It stands apart from reading, so that two sides that both send much cannot wait for each other.
async fn write(
    mut sink: SplitSink<Wire, Packet>,
    mut packets: mpsc::Receiver<Packet>,
    deadline: Duration,
) -> EndReason {
    while let Some(packet) = packets.recv().await {
        match timeout(deadline, sink.send(packet)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return EndReason::Lost,
            Err(_) => return EndReason::WriteTimeout,
        }
    }
    // Reading has ended and says why; this only sees its queue close.
    std::future::pending().await
}

/// Which subscriptions were granted, and at which quality of service.
#[derive(Default)]
struct Granted {
    desired: Option<QoS>,
    ctl: Option<QoS>,
    hint: Option<QoS>,
}

struct Talk {
    agent: AgentId,
    shared: Arc<Shared>,
    session: Session,
    link: Link,
    out: mpsc::Sender<Packet>,
    buckets: (Bucket, Arc<std::sync::Mutex<Bucket>>),
    in_flight: VecDeque<(u16, Instant)>,
    waiting: VecDeque<Publish>,
    last_packet: u16,
    granted: Granted,
    subscribing: VecDeque<Grant>,
    hint: Option<Bytes>,
}

impl Talk {
    async fn run(mut self, mut stream: SplitStream<Wire>, silence: Duration) -> EndReason {
        let welcome = Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false));
        if self.out.send(welcome).await.is_err() {
            return EndReason::Lost;
        }
        let mut heard = Instant::now();
        loop {
            let step = tokio::select! {
                // Only what comes in counts: a broker that keeps sending to a dead agent would never notice.
                () = tokio::time::sleep_until(heard + silence) => Err(EndReason::KeepAlive),
                // Small messages vanish in socket buffers, so a client that never reads is known by what it never acknowledges.
                () = overdue(self.in_flight.front(), self.shared.limits.acknowledge) => Err(EndReason::WriteTimeout),
                frame = stream.next() => match frame {
                    Some(Ok(packet)) => {
                        heard = Instant::now();
                        self.inbound(packet).await
                    }
                    Some(Err(rumqttc::mqttbytes::Error::Io(_))) | None => Err(EndReason::Lost),
                    Some(Err(_)) => Err(EndReason::Protocol),
                },
                delivery = self.link.next() => match delivery {
                    Ok(Delivery::Message { topic, payload }) => self.deliver(&topic, payload).await,
                    Ok(Delivery::Subscribed) => {
                        // Only now may anything be published to the agent.
                        if let Some(Grant::Own(down)) = self.subscribing.pop_front() {
                            self.session.subscribed(down);
                        }
                        Ok(())
                    }
                    Err(_) => Err(EndReason::RouterGone),
                },
            };
            if let Err(reason) = step {
                return reason;
            }
        }
    }

    async fn send(&self, packet: Packet) -> Result<(), EndReason> {
        self.out.send(packet).await.map_err(|_| EndReason::Lost)
    }

    async fn inbound(&mut self, packet: Packet) -> Result<(), EndReason> {
        match packet {
            Packet::Publish(publish) => self.publish(publish).await,
            Packet::PubAck(ack) => self.acknowledged(ack.pkid).await,
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe).await,
            Packet::PingReq => self.send(Packet::PingResp).await,
            Packet::Disconnect => Err(EndReason::Closed),
            _ => Err(EndReason::Protocol),
        }
    }

    async fn publish(&mut self, packet: Publish) -> Result<(), EndReason> {
        let up = access::publish(&self.agent, &packet).map_err(|denial| {
            self.shared.metrics.denied(Denied::Publish);
            tracing::warn!(agent = %self.agent, "a publish was refused and its session ended: {denial}");
            EndReason::Denied
        })?;
        self.throttle().await;
        if self.shared.intake.frame(&self.agent, up, packet.payload) == Verdict::Close {
            self.shared.metrics.denied(Denied::Payload);
            return Err(EndReason::Denied);
        }
        if packet.qos == QoS::AtLeastOnce { self.send(Packet::PubAck(PubAck::new(packet.pkid))).await } else { Ok(()) }
    }

    /// Reading pauses until the agent and its site have a token; TCP carries the pressure to the agent and nothing is lost.
    async fn throttle(&mut self) {
        let now = Instant::now();
        let site = self.buckets.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(now);
        let pause = self.buckets.0.take(now).max(site);
        if !pause.is_zero() {
            self.shared.metrics.throttled();
            tokio::time::sleep(pause).await;
        }
    }

    async fn acknowledged(&mut self, number: u16) -> Result<(), EndReason> {
        if self.in_flight.pop_front().is_none_or(|(expected, _)| expected != number) {
            return Err(EndReason::Protocol);
        }
        self.forward().await
    }

    async fn subscribe(&mut self, packet: Subscribe) -> Result<(), EndReason> {
        let grants: Vec<_> = packet.filters.iter().map(|f| (access::subscribe(&self.agent, &f.path), f.qos)).collect();
        let codes = grants
            .iter()
            .map(|(grant, qos)| match grant {
                Some(_) => SubscribeReasonCode::Success(at_most_once_acked(*qos)),
                None => {
                    self.shared.metrics.denied(Denied::Subscribe);
                    SubscribeReasonCode::Failure
                }
            })
            .collect();
        self.send(Packet::SubAck(SubAck::new(packet.pkid, codes))).await?;
        for (grant, qos) in grants {
            if let Some(grant) = grant {
                self.granted(grant, at_most_once_acked(qos))?;
            }
        }
        Ok(())
    }

    /// Passes a first subscription on to the router; a second one only changes the quality of service.
    fn granted(&mut self, grant: Grant, qos: QoS) -> Result<(), EndReason> {
        let (slot, topic) = match grant {
            Grant::Own(Down::Desired) => (&mut self.granted.desired, Down::Desired.of(&self.agent)),
            Grant::Own(Down::Ctl) => (&mut self.granted.ctl, Down::Ctl.of(&self.agent)),
            Grant::OperatorState => (&mut self.granted.hint, OPERATOR_STATE.to_owned()),
        };
        if slot.replace(qos).is_none() {
            self.link.subscribe(&topic).map_err(|_| EndReason::RouterGone)?;
            self.subscribing.push_back(grant);
        }
        Ok(())
    }

    /// An agent never takes a subscription back; one that does is told yes and served on.
    async fn unsubscribe(&self, packet: Unsubscribe) -> Result<(), EndReason> {
        self.send(Packet::UnsubAck(UnsubAck::new(packet.pkid))).await
    }

    async fn deliver(&mut self, topic: &[u8], payload: Bytes) -> Result<(), EndReason> {
        let Ok(topic) = String::from_utf8(topic.to_vec()) else { return Ok(()) };
        let qos = if topic == OPERATOR_STATE {
            // The watchdog repeats the hint every few seconds; agents are told only when it changes.
            if self.hint.replace(payload.clone()).is_some_and(|last| last == payload) {
                return Ok(());
            }
            self.granted.hint
        } else if topic == Down::Desired.of(&self.agent) {
            self.granted.desired
        } else {
            self.granted.ctl
        };
        let publish = Publish::from_bytes(topic, qos.unwrap_or(QoS::AtMostOnce), payload);
        self.waiting.push_back(publish);
        self.forward().await
    }

    /// Sends what waits while the window has room, and only then lets the next message into the router.
    async fn forward(&mut self) -> Result<(), EndReason> {
        while self.in_flight.len() < IN_FLIGHT
            && let Some(mut publish) = self.waiting.pop_front()
        {
            if publish.qos == QoS::AtLeastOnce {
                // Far fewer are in flight than there are numbers, so none is used twice at once.
                self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
                publish.pkid = self.last_packet;
                self.in_flight.push_back((publish.pkid, Instant::now()));
            }
            let own = publish.topic != OPERATOR_STATE;
            self.send(Packet::Publish(publish)).await?;
            if own {
                self.session.arrived();
            }
        }
        Ok(())
    }
}

async fn overdue(oldest: Option<&(u16, Instant)>, deadline: Duration) {
    match oldest {
        Some((_, sent)) => tokio::time::sleep_until(*sent + deadline).await,
        None => std::future::pending().await,
    }
}

fn at_most_once_acked(qos: QoS) -> QoS {
    if qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}
