//! The in-process router, and the only code that touches its links. It carries what goes to agents and nothing else.
//!
//! What makes rumqttd 0.20 panic or stall cannot be reached through this module: settings are checked before the start, topics come
//! from a fixed list, every `Unschedule` is answered at once, and a link is dropped with its Disconnect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use kalong_crds::Category;
use kalong_crds::wire::MAX_MESSAGE;
use kalong_crds::wire::topic::OPERATOR_STATE;
use parking_lot::Mutex;
use rumqttd::local::{LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, Publish};
use rumqttd::{Broker, Config, Notification, RouterConfig};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::limits::WATCHDOG_MISSES;

/// Id of the operator's own link; an agent's identity never begins with an underscore.
const OWN_LINK: &str = "_op";
/// Links that do not belong to agents.
const OWN_LINKS: usize = 1;

/// Why the process has to end: a router cannot be restarted within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum RouterFailure {
    /// The router's thread has ended.
    #[error("the message router has stopped: the process must be started anew")]
    RouterGone,
    /// The router's thread does not answer.
    #[error("the message router does not answer: the process must be started anew")]
    RouterSilent,
}

/// Why the router did not start.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// A setting that would make its thread panic or refuse links.
    #[error("router setting {0} is {1}, and must be at least {2}")]
    Setting(&'static str, usize, usize),
    /// It failed while it started.
    #[error(transparent)]
    Failed(#[from] RouterFailure),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RouterSettings {
    pub links: usize,
    /// Messages in one replay of retained ones.
    pub replay: usize,
    /// Bytes of a log segment, for each filter.
    pub segment_bytes: usize,
    pub segments: usize,
}

impl RouterSettings {
    /// Bounds for this many sessions. Each agent has one message in the router at a time, so two segments of one message are plenty.
    pub fn for_sessions(sessions: usize) -> Self {
        Self { links: sessions * 4 + 64, replay: 20_000, segment_bytes: MAX_MESSAGE, segments: 2 }
    }

    fn check(self, sessions: usize) -> Result<Self, RouterError> {
        for (name, found, least) in [
            // The router does not answer a link that it refuses, so it must have room for more links than there can be sessions.
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

/// Handle on the router; clones are the same.
#[derive(Clone)]
pub(super) struct Router {
    shared: Arc<RouterShared>,
}

struct RouterShared {
    broker: Arc<Broker>,
    publisher: Mutex<LinkTx>,
    failure: watch::Sender<Option<RouterFailure>>,
}

impl Router {
    /// Starts the router's thread and its watchdog, which also keeps the retained `hint` for agents current.
    pub async fn start(
        settings: RouterSettings,
        sessions: usize,
        period: Duration,
        hint: watch::Receiver<Bytes>,
    ) -> Result<Self, RouterError> {
        let settings = settings.check(sessions)?;
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
        let (failure, _) = watch::channel(None);
        let router = Self { shared: Arc::new(RouterShared { broker, publisher: Mutex::new(tx), failure }) };
        tokio::spawn(watchdog(router.clone(), rx, period, hint));
        Ok(router)
    }

    /// Resolves with the first failure of the router.
    pub fn fatal(&self) -> impl Future<Output = RouterFailure> + Send + use<> {
        let mut seen = self.shared.failure.subscribe();
        async move {
            loop {
                if let Some(fatal) = *seen.borrow_and_update() {
                    return fatal;
                }
                if seen.changed().await.is_err() {
                    return RouterFailure::RouterGone;
                }
            }
        }
    }

    /// Records a failure, unless there was one before.
    fn fail(&self, failure: RouterFailure) {
        self.shared.failure.send_if_modified(|seen| {
            let first = seen.is_none();
            if first {
                *seen = Some(failure);
                tracing::error!(category = failure.category(), error = %failure, "The message router failed.");
            }
            first
        });
    }

    /// Opens a link. `id` is the agent's identity: the router never forgets an id, so there must not be many.
    pub async fn link(&self, id: &str) -> Result<RouterLink, RouterFailure> {
        let made = tokio::select! {
            made = connect(&self.shared.broker, id) => made,
            fatal = self.fatal() => Err(fatal),
        };
        match made {
            Ok((tx, rx)) => Ok(RouterLink { tx, rx, router: self.clone() }),
            Err(fatal) => {
                self.fail(fatal);
                Err(fatal)
            }
        }
    }

    /// Publishes a message that is not retained.
    pub fn publish(&self, topic: String, payload: Bytes) -> Result<(), RouterFailure> {
        self.send(Publish::new(Bytes::from(topic), payload, false))
    }

    fn retain(&self, topic: &'static str, payload: Bytes) -> Result<(), RouterFailure> {
        self.send(Publish::new(Bytes::from_static(topic.as_bytes()), payload, true))
    }

    fn send(&self, publish: Publish) -> Result<(), RouterFailure> {
        let mut tx = self.shared.publisher.lock();
        // `send` is async by name only: it never waits.
        match tx.send(Packet::Publish(publish, None)).now_or_never() {
            Some(Ok(_)) => Ok(()),
            _ => {
                self.fail(RouterFailure::RouterGone);
                Err(RouterFailure::RouterGone)
            }
        }
    }

    fn subscribe_own(&self, filter: &str) -> Result<(), RouterFailure> {
        let mut tx = self.shared.publisher.lock();
        tx.subscribe(filter).map(drop).map_err(|_| RouterFailure::RouterGone)
    }
}

pub(super) enum LinkEvent {
    /// A message for the agent.
    Message { topic: Bytes, payload: Bytes },
    /// The oldest unconfirmed subscription is in force. Messages that were published before this may be lost.
    Subscribed,
}

/// The link of one agent; dropping it disconnects it from the router.
pub(super) struct RouterLink {
    tx: LinkTx,
    rx: LinkRx,
    router: Router,
}

impl RouterLink {
    /// Subscribes one exact topic. It is in force when `Subscribed` comes: the router swaps whole buffers, so that a message of another
    /// link can overtake a subscription that was sent before it.
    pub fn subscribe(&mut self, topic: &str) -> Result<(), RouterFailure> {
        self.tx.subscribe(topic).map(drop).map_err(|_| self.gone())
    }

    pub async fn next(&mut self) -> Result<LinkEvent, RouterFailure> {
        match next(&mut self.rx).await {
            Ok(delivery) => Ok(delivery),
            Err(_) => Err(self.gone()),
        }
    }

    fn gone(&self) -> RouterFailure {
        self.router.fail(RouterFailure::RouterGone);
        RouterFailure::RouterGone
    }
}

impl Drop for RouterLink {
    fn drop(&mut self) {
        // A dead router needs no Disconnect.
        let _ = self.tx.send(goodbye()).now_or_never();
    }
}

/// Opens a link, which blocks until the router answers. On a thread of its own and not one of the runtime's: a dead router never answers,
/// and a runtime waits for its threads before the process can end.
async fn connect(broker: &Arc<Broker>, id: &str) -> Result<(LinkTx, LinkRx), RouterFailure> {
    let (broker, id) = (Arc::clone(broker), id.to_owned());
    let (done, made) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("link".to_owned()).spawn(move || {
        // The caller is gone: close the link.
        if let Err(Ok((mut tx, _))) = done.send(broker.link(&id)) {
            let _ = tx.send(goodbye()).now_or_never();
        }
    });
    match (thread, made.await) {
        (Ok(_), Ok(Ok(link))) => Ok(link),
        _ => Err(RouterFailure::RouterGone),
    }
}

fn goodbye() -> Packet {
    Packet::Disconnect(Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection }, None)
}

async fn next(rx: &mut LinkRx) -> Result<LinkEvent, RouterFailure> {
    loop {
        match rx.next().await {
            Ok(Some(Notification::Forward(f))) => {
                return Ok(LinkEvent::Message { topic: f.publish.topic, payload: f.publish.payload });
            }
            // Links publish nothing that is acknowledged, so every acknowledgement is one of a subscription, in order.
            Ok(Some(Notification::DeviceAck(_))) => return Ok(LinkEvent::Subscribed),
            // Unanswered, the link would stop for ever. In one step with its reception, so that no cancellation comes between.
            Ok(Some(Notification::Unschedule)) => rx.ready().map_err(|_| RouterFailure::RouterGone)?,
            Ok(Some(Notification::Disconnect(..))) | Err(_) => return Err(RouterFailure::RouterGone),
            Ok(_) => {}
        }
    }
}

/// Publishes the hint periodically and waits for it to come back: an open port does not prove that the router works.
async fn watchdog(router: Router, mut rx: LinkRx, period: Duration, mut hint: watch::Receiver<Bytes>) {
    let fatal = tokio::select! {
        fatal = router.fatal() => fatal,
        fatal = rounds(&router, &mut rx, period, &mut hint) => fatal,
    };
    router.fail(fatal);
}

async fn rounds(
    router: &Router,
    rx: &mut LinkRx,
    period: Duration,
    hint: &mut watch::Receiver<Bytes>,
) -> RouterFailure {
    if let Err(fatal) = router.subscribe_own(OPERATOR_STATE) {
        return fatal;
    }
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut misses, mut awaiting, mut watched) = (0, false, true);
    loop {
        tokio::select! {
            seen = next(rx) => match seen {
                Ok(LinkEvent::Message { .. }) => (misses, awaiting) = (0, false),
                Ok(LinkEvent::Subscribed) => {}
                Err(fatal) => return fatal,
            },
            _ = ticks.tick() => {
                misses += u32::from(awaiting);
                if misses >= WATCHDOG_MISSES {
                    return RouterFailure::RouterSilent;
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
mod tests;
