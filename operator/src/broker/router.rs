//! The in-process router, and the only code that touches its links. It carries what goes to agents and nothing else.
//!
//! What makes rumqttd 0.20 panic or stall is not reachable through this module: settings are judged before the start, topics come from
//! our own list, every `Unschedule` is answered at once, and a link that said Disconnect is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use kalong_crds::wire::MAX_MESSAGE;
use kalong_crds::wire::topic::OPERATOR_STATE;
use parking_lot::Mutex;
use rumqttd::local::{LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, Publish};
use rumqttd::{Broker, Config, Notification, RouterConfig};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::limits::WATCHDOG_MISSES;

/// Id of the operator's own link; no agent's identity begins with an underscore.
const OWN_LINK: &str = "_op";
/// Links beside those of agents.
const OWN_LINKS: usize = 1;

/// Why the process has to end: the router cannot be started anew within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// Its thread is gone.
    #[error("the message router has stopped: the process must be started anew")]
    RouterGone,
    /// Its thread is there and does not answer.
    #[error("the message router does not answer: the process must be started anew")]
    RouterSilent,
}

impl Fatal {
    /// The word for logs and metrics.
    pub fn category(self) -> &'static str {
        match self {
            Self::RouterGone => "router-gone",
            Self::RouterSilent => "router-silent",
        }
    }
}

/// Why the router is not started.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// A setting that would make its thread panic or refuse links.
    #[error("router setting {0} is {1}, and must be at least {2}")]
    Setting(&'static str, usize, usize),
    /// It ended.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Settings of the router.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouterSettings {
    /// Links at once.
    pub links: usize,
    /// Messages that one replay of retained ones may have.
    pub replay: usize,
    /// Bytes of a log segment, for each filter.
    pub segment_bytes: usize,
    /// Segments, for each filter.
    pub segments: usize,
}

impl RouterSettings {
    /// What is right for this many sessions. There is one message an agent in the router at a time, so two segments of one message are plenty.
    pub fn for_sessions(sessions: usize) -> Self {
        Self { links: sessions * 4 + 64, replay: 20_000, segment_bytes: MAX_MESSAGE, segments: 2 }
    }

    fn judge(self, sessions: usize) -> Result<Self, RouterError> {
        for (name, found, least) in [
            // A refused link never hears of its refusal, so the router must have more room than the gateway.
            ("links", self.links, sessions + OWN_LINKS + 1),
            ("replay", self.replay, 1),
            ("segment_bytes", self.segment_bytes, 1024),
            ("segments", self.segments, 1),
        ] {
            if found < least {
                return Err(RouterError::Setting(name, found, least));
            }
        }
        Ok(self)
    }
}

/// Handle on the router.
#[derive(Clone)]
pub(super) struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Arc<Broker>,
    publisher: Mutex<LinkTx>,
    fatal: watch::Sender<Option<Fatal>>,
}

impl Router {
    /// Starts the router's thread and its watchdog. The watchdog also keeps the retained hint for agents current.
    pub async fn start(
        settings: RouterSettings,
        sessions: usize,
        period: Duration,
        hint: watch::Receiver<Bytes>,
    ) -> Result<Self, RouterError> {
        let settings = settings.judge(sessions)?;
        let router = RouterConfig {
            max_connections: settings.links,
            max_outgoing_packet_count: u64::try_from(settings.replay).unwrap_or(u64::MAX),
            max_segment_size: settings.segment_bytes,
            max_segment_count: settings.segments,
            ..RouterConfig::default()
        };
        let broker = Broker::new(Config { id: 0, router, ..Config::default() });
        let broker = Arc::new(broker);
        let (tx, rx) = connect(&broker, OWN_LINK).await?;
        let (fatal, _) = watch::channel(None);
        let router = Self { inner: Arc::new(Inner { broker, publisher: Mutex::new(tx), fatal }) };
        tokio::spawn(watchdog(router.clone(), rx, period, hint));
        Ok(router)
    }

    /// Resolves when the router is dead.
    pub fn fatal(&self) -> impl Future<Output = Fatal> + Send + use<> {
        let mut seen = self.inner.fatal.subscribe();
        async move {
            loop {
                if let Some(fatal) = *seen.borrow_and_update() {
                    return fatal;
                }
                if seen.changed().await.is_err() {
                    return Fatal::RouterGone;
                }
            }
        }
    }

    /// Remembers the first cause; `fatal` resolves with it.
    fn fail(&self, fatal: Fatal) {
        self.inner.fatal.send_if_modified(|seen| {
            let first = seen.is_none();
            if first {
                *seen = Some(fatal);
                tracing::error!(category = fatal.category(), "{fatal}");
            }
            first
        });
    }

    /// A link under this id. Ids are the agents' identities: the router never forgets an id, so there must be few.
    pub async fn link(&self, id: &str) -> Result<Link, Fatal> {
        let made = tokio::select! {
            made = connect(&self.inner.broker, id) => made,
            fatal = self.fatal() => Err(fatal),
        };
        match made {
            Ok((tx, rx)) => Ok(Link { tx, rx, router: self.clone() }),
            Err(fatal) => {
                self.fail(fatal);
                Err(fatal)
            }
        }
    }

    /// Publishes as the operator, not retained.
    pub fn publish(&self, topic: String, payload: Bytes) -> Result<(), Fatal> {
        self.send(Publish::new(Bytes::from(topic), payload, false))
    }

    fn retain(&self, topic: &'static str, payload: Bytes) -> Result<(), Fatal> {
        self.send(Publish::new(Bytes::from_static(topic.as_bytes()), payload, true))
    }

    fn send(&self, publish: Publish) -> Result<(), Fatal> {
        let mut tx = self.inner.publisher.lock();
        // `send` is async by name only: it never waits.
        match tx.send(Packet::Publish(publish, None)).now_or_never() {
            Some(Ok(_)) => Ok(()),
            _ => {
                self.fail(Fatal::RouterGone);
                Err(Fatal::RouterGone)
            }
        }
    }

    fn subscribe_own(&self, filter: &str) -> Result<(), Fatal> {
        let mut tx = self.inner.publisher.lock();
        tx.subscribe(filter).map(drop).map_err(|_| Fatal::RouterGone)
    }
}

/// What comes on a link.
pub(super) enum Delivery {
    /// A message for the agent.
    Message {
        /// Its topic.
        topic: Bytes,
        /// Its bytes.
        payload: Bytes,
    },
    /// The oldest subscription that was not confirmed yet is in force. What was published before this is lost.
    Subscribed,
}

/// An agent's link. Dropping it tells the router so; nothing can be said on it afterwards.
pub(super) struct Link {
    tx: LinkTx,
    rx: LinkRx,
    router: Router,
}

impl Link {
    /// Subscribes one exact topic. It is in force when `Subscribed` comes: the router swaps whole buffers, so that a message of another
    /// link can overtake a subscription that was sent before it.
    pub fn subscribe(&mut self, topic: &str) -> Result<(), Fatal> {
        self.tx.subscribe(topic).map(drop).map_err(|_| self.gone())
    }

    /// The next message. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Result<Delivery, Fatal> {
        match next(&mut self.rx).await {
            Ok(delivery) => Ok(delivery),
            Err(_) => Err(self.gone()),
        }
    }

    fn gone(&self) -> Fatal {
        self.router.fail(Fatal::RouterGone);
        Fatal::RouterGone
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // A dead router takes no goodbye, and needs none.
        let _ = self.tx.send(goodbye()).now_or_never();
    }
}

/// Makes a link, which blocks until the router answers. A thread of its own, not one of the runtime's: a dead router never answers,
/// and a runtime waits for its own threads before the process may end.
async fn connect(broker: &Arc<Broker>, id: &str) -> Result<(LinkTx, LinkRx), Fatal> {
    let (broker, id) = (Arc::clone(broker), id.to_owned());
    let (done, made) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("link".to_owned()).spawn(move || {
        // Nobody waits any more: the link says goodbye by itself.
        if let Err(Ok((mut tx, _))) = done.send(broker.link(&id)) {
            let _ = tx.send(goodbye()).now_or_never();
        }
    });
    match (thread, made.await) {
        (Ok(_), Ok(Ok(link))) => Ok(link),
        _ => Err(Fatal::RouterGone),
    }
}

fn goodbye() -> Packet {
    Packet::Disconnect(Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection }, None)
}

async fn next(rx: &mut LinkRx) -> Result<Delivery, Fatal> {
    loop {
        match rx.next().await {
            Ok(Some(Notification::Forward(f))) => {
                return Ok(Delivery::Message { topic: f.publish.topic, payload: f.publish.payload });
            }
            // Links publish nothing that is acknowledged, so every acknowledgement is one of a subscription, in order.
            Ok(Some(Notification::DeviceAck(_))) => return Ok(Delivery::Subscribed),
            // Unanswered, the link would stop for ever. In one step with its reception, so that no cancellation comes between.
            Ok(Some(Notification::Unschedule)) => rx.ready().map_err(|_| Fatal::RouterGone)?,
            Ok(Some(Notification::Disconnect(..))) | Err(_) => return Err(Fatal::RouterGone),
            Ok(_) => {}
        }
    }
}

/// Sends the hint through the router again and again and waits for it to come back: an open port proves nothing.
async fn watchdog(router: Router, mut rx: LinkRx, period: Duration, mut hint: watch::Receiver<Bytes>) {
    let fatal = tokio::select! {
        fatal = router.fatal() => fatal,
        fatal = rounds(&router, &mut rx, period, &mut hint) => fatal,
    };
    router.fail(fatal);
}

async fn rounds(router: &Router, rx: &mut LinkRx, period: Duration, hint: &mut watch::Receiver<Bytes>) -> Fatal {
    if let Err(fatal) = router.subscribe_own(OPERATOR_STATE) {
        return fatal;
    }
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut misses, mut awaiting, mut watched) = (0, false, true);
    loop {
        tokio::select! {
            seen = next(rx) => match seen {
                Ok(Delivery::Message { .. }) => (misses, awaiting) = (0, false),
                Ok(Delivery::Subscribed) => {}
                Err(fatal) => return fatal,
            },
            _ = ticks.tick() => {
                misses += u32::from(awaiting);
                if misses >= WATCHDOG_MISSES {
                    return Fatal::RouterSilent;
                }
                awaiting = true;
                if let Err(fatal) = router.retain(OPERATOR_STATE, hint.borrow_and_update().clone()) {
                    return fatal;
                }
            }
            changed = hint.changed(), if watched => {
                watched = changed.is_ok();
                if let Err(fatal) = router.retain(OPERATOR_STATE, hint.borrow_and_update().clone()) {
                    return fatal;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(20);

    /// The next message, the link's subscription being in force.
    async fn message(link: &mut Link) -> Bytes {
        loop {
            match tokio::time::timeout(BOUND, link.next()).await.unwrap().unwrap() {
                Delivery::Message { payload, .. } => return payload,
                Delivery::Subscribed => {}
            }
        }
    }

    async fn subscribed(router: &Router, id: &str, topic: &str) -> Link {
        let mut link = router.link(id).await.unwrap();
        link.subscribe(topic).unwrap();
        let first = tokio::time::timeout(BOUND, link.next()).await.unwrap().unwrap();
        assert!(matches!(first, Delivery::Subscribed));
        link
    }

    async fn router(period: Duration) -> Router {
        let (_, hint) = watch::channel(Bytes::from_static(b"{}"));
        Router::start(RouterSettings::for_sessions(8), 8, period, hint).await.unwrap()
    }

    #[tokio::test]
    async fn settings_that_would_kill_the_router_are_refused_by_name() {
        let good = RouterSettings::for_sessions(8);
        for (bad, name) in [
            (RouterSettings { segment_bytes: 1023, ..good }, "segment_bytes"),
            (RouterSettings { segments: 0, ..good }, "segments"),
            (RouterSettings { links: 8, ..good }, "links"),
            (RouterSettings { replay: 0, ..good }, "replay"),
        ] {
            let (_, hint) = watch::channel(Bytes::from_static(b"{}"));
            match Router::start(bad, 8, Duration::from_secs(1), hint).await {
                Err(RouterError::Setting(found, ..)) => assert_eq!(found, name),
                _ => panic!("{name} was accepted"),
            }
        }
    }

    #[tokio::test]
    async fn link_still_receives_after_ten_thousand_messages() {
        let router = router(Duration::from_secs(10)).await;
        let mut link = subscribed(&router, "a.b", "t").await;
        for round in 0..50_u32 {
            for n in 0..200_u32 {
                router.publish("t".into(), Bytes::from((round * 200 + n).to_string())).unwrap();
            }
            for n in 0..200_u32 {
                assert_eq!(message(&mut link).await, (round * 200 + n).to_string());
            }
        }
    }

    #[tokio::test]
    async fn flooded_links_that_vanish_do_not_hurt_the_router() {
        let router = router(Duration::from_secs(10)).await;
        for round in 0..60 {
            let mut link = subscribed(&router, "a.b", "t").await;
            for _ in 0..300 {
                router.publish("t".into(), Bytes::from_static(b"flood")).unwrap();
            }
            if round % 2 == 0 {
                message(&mut link).await;
            }
        }
        let mut link = subscribed(&router, "a.b", "u").await;
        router.publish("u".into(), Bytes::from_static(b"alive")).unwrap();
        assert_eq!(message(&mut link).await, "alive");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_overtakes_a_subscription_that_is_in_force() {
        let router = router(Duration::from_secs(10)).await;
        let noise = router.clone();
        let (stop, stopped) =
            (Arc::new(std::sync::atomic::AtomicBool::new(false)), std::sync::atomic::Ordering::SeqCst);
        let stopping = Arc::clone(&stop);
        // The publisher is busy all the time, as in a storm of agents.
        let noisy = std::thread::spawn(move || {
            while !stopping.load(stopped) {
                noise.publish("noise".into(), Bytes::from_static(b"x")).unwrap();
            }
        });
        for n in 0..200 {
            let topic = format!("t{n}");
            let mut link = subscribed(&router, "a.b", &topic).await;
            router.publish(topic, Bytes::from_static(b"first")).unwrap();
            assert_eq!(message(&mut link).await, "first");
        }
        stop.store(true, stopped);
        noisy.join().unwrap();
    }

    #[tokio::test]
    async fn death_of_the_router_is_fatal_within_the_watchdog_time() {
        let router = router(Duration::from_millis(50)).await;
        let fatal = router.fatal();
        // The router panics on a topic that begins with a multi-byte character; no agent's packet can bring it one.
        let mut link = subscribed(&router, "a.b", "t").await;
        let _ = router.publish("đ/1".into(), Bytes::from_static(b"x"));
        // Silent while its thread still prints what happened, gone afterwards.
        let fatal = tokio::time::timeout(BOUND, fatal).await.unwrap();
        assert!(matches!(fatal, Fatal::RouterGone | Fatal::RouterSilent));
        let end = async { while link.next().await.is_ok() {} };
        tokio::time::timeout(BOUND, end).await.unwrap();
        assert!(router.link("a.c").await.is_err());
    }
}
