//! One connection after its TLS handshake: CONNECT, then frames in and messages out until something ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use kalong_controllers::kit::link::Admittance;
use kalong_crds::units::AgentId;
use kalong_crds::wire::MAX_MESSAGE;
use kalong_crds::wire::topic::{Down, OPERATOR_STATE};
use parking_lot::Mutex;
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
use super::limits::{CLOSE_DEADLINE, IN_FLIGHT, MAX_TOPIC, TokenBucket};
use super::metrics::{DeniedAction, Handshake};
use super::outbox::Outbox;
use super::registry::{Reservation, Reserve};
use super::router::{LinkEvent, RouterLink};
use super::shared::GatewayShared;
use crate::transport::{EndReason, FrameResult};

/// Largest MQTT packet, in bytes: the payload with its topic, packet identifier and header.
const FRAME: usize = MAX_MESSAGE + MAX_TOPIC + 16;
/// Packets queued for the socket. Reading pauses while the queue is full, so an agent that never reads cannot fill memory.
const WRITE_QUEUE: usize = 64;

type Wire = Framed<TlsStream<TcpStream>, Codec>;

/// Serves a connection whose client certificate named this agent.
///
/// The permit counts connections that are no session yet; it is given back once this is one.
pub(super) async fn serve(
    stream: TlsStream<TcpStream>,
    agent: AgentId,
    shared: Arc<GatewayShared>,
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
        Ok((reservation, silence)) => run(wire, agent, shared, reservation, silence).await,
        Err((result, code)) => {
            shared.metrics.handshake(result);
            tracing::info!(%agent, ?result, "A connection was turned away.");
            if let Some(code) = code {
                let refusal = Packet::ConnAck(ConnAck::new(code, false));
                let _ = timeout(shared.limits.write, wire.send(refusal)).await;
            }
            let _ = timeout(CLOSE_DEADLINE, wire.close()).await;
        }
    }
}

/// How the handshake is counted, and what CONNACK says if it is sent at all.
type TurnedAway = (Handshake, Option<ConnectReturnCode>);

const UNDECIDED: TurnedAway = (Handshake::Undecided, Some(ConnectReturnCode::ServiceUnavailable));
const REFUSED: TurnedAway = (Handshake::Refused, Some(ConnectReturnCode::NotAuthorized));

/// CONNECT, admission, and the reservation of the identity; with the time after which silence ends the session.
async fn admit(
    wire: &mut Wire,
    agent: &AgentId,
    shared: &Arc<GatewayShared>,
) -> Result<(Reservation, Duration), TurnedAway> {
    let first = timeout(shared.limits.connect, wire.next()).await.map_err(|_| (Handshake::Timeout, None))?;
    let Some(Ok(Packet::Connect(packet))) = first else {
        return Err((Handshake::Connect, None));
    };
    let silence = access::connect(agent, &packet).map_err(|denial| {
        shared.metrics.denied(DeniedAction::Connect);
        tracing::info!(%agent, "CONNECT was refused: {denial}.");
        (Handshake::Connect, Some(denial.code()))
    })?;
    admission(agent, shared).await?;
    let reservation = reserve(agent, shared).await?;
    // It may have been shut out while it waited, or by this very takeover.
    admission(agent, shared).await?;
    Ok((reservation, silence))
}

async fn admission(agent: &AgentId, shared: &GatewayShared) -> Result<(), TurnedAway> {
    match timeout(shared.limits.connect, shared.handler.admittance(agent)).await {
        Ok(Admittance::Admitted) => Ok(()),
        Ok(Admittance::Refused) => Err(REFUSED),
        Err(_) => Err(UNDECIDED),
    }
}

async fn reserve(agent: &AgentId, shared: &GatewayShared) -> Result<Reservation, TurnedAway> {
    let mut first = true;
    loop {
        match shared.registry.reserve(agent, shared.limits.sessions) {
            Reserve::Granted(reservation) => return Ok(reservation),
            Reserve::Full => return Err((Handshake::Full, Some(ConnectReturnCode::ServiceUnavailable))),
            Reserve::Occupied(mut gone) => {
                if std::mem::take(&mut first) {
                    shared.metrics.taken_over();
                    shared.handler.taken_over(agent);
                }
                // The older session was asked to end; its link says goodbye before its reservation is dropped.
                let _ = timeout(shared.limits.connect, gone.changed()).await.map_err(|_| UNDECIDED)?;
            }
        }
    }
}

/// Runs a session and reports its end, whatever ended it. The link is gone before the reservation is dropped.
async fn run(wire: Wire, agent: AgentId, shared: Arc<GatewayShared>, reservation: Reservation, silence: Duration) {
    let Ok(link) = shared.router.link(agent.as_str()).await else { return };
    let number = reservation.number;
    let outbox = Outbox::new(number, agent.clone(), reservation.kill.clone(), shared.router.clone());
    shared.metrics.handshake(Handshake::Accepted);
    shared.metrics.began();
    let mut guard = EndGuard { agent: agent.clone(), shared: Arc::clone(&shared), number, reason: EndReason::Lost };
    shared.handler.session_started(&agent, outbox.clone());
    tracing::info!(%agent, session = number, "A session began.");

    let (sink, stream) = wire.split();
    let (out, packets) = mpsc::channel(WRITE_QUEUE);
    let write_deadline = shared.limits.write;
    let connection = ActiveSession {
        buckets: (TokenBucket::new(shared.limits.agent, Instant::now()), shared.site_bucket(&agent)),
        agent,
        shared,
        outbox,
        link,
        out,
        in_flight: VecDeque::new(),
        waiting: VecDeque::new(),
        last_packet: 0,
        granted: Granted::default(),
        subscribing: VecDeque::new(),
        hint: None,
    };
    let mut killed = reservation.killed.clone();
    guard.reason = tokio::select! {
        biased;
        reason = end_of(&mut killed) => reason,
        reason = write(sink, packets, write_deadline) => reason,
        reason = connection.run(stream, silence) => reason,
    };
    // `connection` and its link were dropped by the select; the session's end is reported before the next one may begin.
    drop(guard);
    drop(reservation);
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

/// Reports the end of the session when it is dropped, even if its task is cancelled.
struct EndGuard {
    agent: AgentId,
    shared: Arc<GatewayShared>,
    number: u64,
    reason: EndReason,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.shared.metrics.ended(self.reason);
        self.shared.handler.session_ended(&self.agent, self.number, self.reason);
        tracing::info!(agent = %self.agent, session = self.number, reason = self.reason.as_str(), "A session ended.");
    }
}

/// Writes queued packets. Separate from reading, since two sides that both send much would otherwise wait for each other.
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

/// Quality of service of each granted subscription.
#[derive(Default)]
struct Granted {
    desired: Option<QoS>,
    ctl: Option<QoS>,
    hint: Option<QoS>,
}

/// The reading half of a session, and the window of what was sent and not acknowledged.
struct ActiveSession {
    agent: AgentId,
    shared: Arc<GatewayShared>,
    outbox: Arc<Outbox>,
    link: RouterLink,
    out: mpsc::Sender<Packet>,
    /// Rate limits of the agent and of its site.
    buckets: (TokenBucket, Arc<Mutex<TokenBucket>>),
    /// Packet identifiers that await PUBACK, oldest first.
    in_flight: VecDeque<(u16, Instant)>,
    /// Messages that came through the router while the window was full.
    waiting: VecDeque<Publish>,
    last_packet: u16,
    granted: Granted,
    /// Subscriptions that the router has not confirmed, in order.
    subscribing: VecDeque<Grant>,
    /// The operator's state as the agent last got it.
    hint: Option<Bytes>,
}

impl ActiveSession {
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
                    Ok(LinkEvent::Message { topic, payload }) => self.deliver(&topic, payload).await,
                    Ok(LinkEvent::Subscribed) => {
                        // Only now may anything be published to the agent.
                        if let Some(Grant::Own(down)) = self.subscribing.pop_front() {
                            self.outbox.subscribed(down);
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
            self.shared.metrics.denied(DeniedAction::Publish);
            tracing::warn!(agent = %self.agent, "A publish was refused and its session ended: {denial}.");
            EndReason::Denied
        })?;
        self.throttle().await;
        if self.shared.handler.frame(&self.agent, up, packet.payload) == FrameResult::Close {
            self.shared.metrics.denied(DeniedAction::Payload);
            return Err(EndReason::Denied);
        }
        if packet.qos == QoS::AtLeastOnce { self.send(Packet::PubAck(PubAck::new(packet.pkid))).await } else { Ok(()) }
    }

    /// Pauses reading until the agent and its site have a token. TCP carries the back pressure to the agent, so nothing is lost.
    async fn throttle(&mut self) {
        let now = Instant::now();
        let site = self.buckets.1.lock().take(now);
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
                    self.shared.metrics.denied(DeniedAction::Subscribe);
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

    /// Passes the first subscription to a topic on to the router; a repeated one only changes the quality of service.
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

    /// Agents never unsubscribe. One that does gets its UNSUBACK, and keeps getting messages.
    async fn unsubscribe(&self, packet: Unsubscribe) -> Result<(), EndReason> {
        self.send(Packet::UnsubAck(UnsubAck::new(packet.pkid))).await
    }

    async fn deliver(&mut self, topic: &[u8], payload: Bytes) -> Result<(), EndReason> {
        let Ok(topic) = String::from_utf8(topic.to_vec()) else { return Ok(()) };
        let qos = if topic == OPERATOR_STATE {
            // The watchdog publishes the hint again every few seconds; agents get it only when it changes.
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

    /// Sends waiting messages while the window has room; only then is the next one published to the router.
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
                self.outbox.arrived();
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
