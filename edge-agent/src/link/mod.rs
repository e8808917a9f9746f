//! Our half of the link to the other country. Without an agreement in force the order is [`LinkMode::Cut`], and then no packet leaves for the
//! peer: a cut drops a request that is in flight together with its socket, at once.
//!
//! While an agreement is in force the link asks every ten seconds whether the peer answers and how far off its clock is.

mod clock;
mod probe;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::Category;
use kalong_crds::bilateral_link::LinkProfile;
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::{LinkMode, LinkOrder};
use kalong_crds::wire::reported::{LinkReport, ReportBody};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::context::AgentContext;
use crate::store::desired::StoredItem;
use clock::Distance;
use probe::{LinkPeer, PeerAnswer, ProbeError, Prober};

/// Time between two requests to the peer.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// How often the end of the last agreement is compared with the clock, at the least.
const LOOK: Duration = Duration::from_secs(60);
/// Enough for the end to lie in the past when it is looked at.
const MOMENT: Duration = Duration::from_millis(10);
/// Requests in a row without a response after which a peer that answered counts as unreachable: one lost packet is no outage.
const MISSES: u32 = 2;

/// The links whose gateway this box is.
#[derive(Debug)]
pub struct Links {
    agent: Arc<AgentContext>,
    interval: Duration,
    orders: Mutex<BTreeMap<String, watch::Sender<Arc<StoredItem>>>>,
}

impl Links {
    /// A set without links, which asks peers every ten seconds.
    pub fn new(agent: Arc<AgentContext>) -> Self {
        Self::every(agent, PROBE_INTERVAL)
    }

    /// As [`Self::new`], with another interval between two requests to a peer.
    pub fn every(agent: Arc<AgentContext>, interval: Duration) -> Self {
        Self { agent, interval, orders: Mutex::default() }
    }

    /// Follows this order from now on.
    pub fn place(&self, stored: Arc<StoredItem>) {
        let uid = stored.item.uid.clone();
        let mut orders = self.orders.lock();
        if let Some(task) = orders.get(&uid) {
            task.send_replace(stored);
            return;
        }
        let (task, inbox) = watch::channel(stored);
        orders.insert(uid, task);
        drop(orders);
        let task = LinkTask {
            agent: self.agent.clone(),
            interval: self.interval,
            inbox,
            facts: PeerFacts::default(),
            of: None,
        };
        tokio::spawn(task.run());
    }

    /// Removes a link: its peer is not contacted any more.
    pub fn remove(&self, uid: &str) {
        self.orders.lock().remove(uid);
    }

    /// Gives a link another uid.
    pub fn rename(&self, old: &str, new: &str) {
        let mut orders = self.orders.lock();
        if let Some(task) = orders.remove(old) {
            orders.insert(new.to_owned(), task);
        }
    }
}

/// What the last requests found out about a peer.
#[derive(Debug, Default)]
struct PeerFacts {
    reachable: Option<bool>,
    misses: u32,
    distance: Option<Distance>,
}

impl PeerFacts {
    /// Takes in the outcome of a request.
    fn update(&mut self, outcome: Result<PeerAnswer, ProbeError>, ours: Clock) {
        match outcome {
            Ok(answer) => {
                (self.reachable, self.misses) = (Some(true), 0);
                // A clock of ours that cannot be believed is no measure for another.
                self.distance = match (answer.distance(), ours) {
                    (Some(now), Clock::Synced) => Some(self.distance.map_or(now, |before| before.narrowed(now))),
                    _ => None,
                };
            }
            Err(_) => {
                self.misses = self.misses.saturating_add(1);
                if self.reachable != Some(true) || self.misses >= MISSES {
                    (self.reachable, self.distance) = (Some(false), None);
                }
            }
        }
    }
}

/// The gateway of one link.
struct LinkTask {
    agent: Arc<AgentContext>,
    interval: Duration,
    inbox: watch::Receiver<Arc<StoredItem>>,
    facts: PeerFacts,
    /// The peer that the facts are about.
    of: Option<LinkPeer>,
}

impl LinkTask {
    async fn run(mut self) {
        loop {
            let stored = self.inbox.borrow_and_update().clone();
            let now = Timestamp::now();
            let peer = match peer_of(&stored, now) {
                Ok(peer) => peer,
                Err(why) => {
                    self.agent.report_order(&stored, Err(why));
                    None
                }
            };
            if self.of != peer {
                (self.of, self.facts) = (peer.clone(), PeerFacts::default());
            }
            let mut orders = self.inbox.clone();
            // Another order drops the watch with every socket that it opened, at once.
            let goes_on = tokio::select! {
                biased;
                changed = orders.changed() => changed.is_ok(),
                () = agreement_end(&stored, now) => true,
                () = self.watch(&stored, peer) => false,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Asks the peer at every interval; without a peer it only reports that.
    async fn watch(&mut self, stored: &StoredItem, peer: Option<LinkPeer>) {
        if peer_of(stored, Timestamp::now()).is_ok() {
            self.report(stored, peer.is_some());
        }
        let Some(peer) = peer else { return std::future::pending().await };
        let prober = Prober::new(&peer).await;
        loop {
            let outcome = prober.ask(&peer).await;
            if let Err(error) = &outcome {
                tracing::debug!(link = stored.item.name, category = error.category(), %error, "The peer did not answer.");
            }
            self.facts.update(outcome, self.agent.clock.judge());
            self.report(stored, true);
            sleep(self.interval).await;
        }
    }

    fn report(&self, stored: &StoredItem, contacting: bool) {
        let PeerFacts { reachable, misses: _, distance } = &self.facts;
        let clock = distance.as_ref().map(Distance::judge);
        let facts = ReportBody::Link(LinkReport { contacting, reachable: *reachable, clock });
        self.agent.report_order(stored, Ok(Some(facts)));
    }
}

/// Resolves when the last agreement of the order ends; never, if it has no end or has ended already.
async fn agreement_end(stored: &StoredItem, now: Timestamp) {
    let until = stored.item.order::<LinkOrder>().ok().and_then(|order| end_of(&order));
    let left =
        until.and_then(|until| Duration::try_from(until.duration_since(now)).ok()).filter(|left| !left.is_zero());
    match left {
        // A clock that is set meanwhile is noticed within a minute.
        Some(left) => sleep((left + MOMENT).min(LOOK)).await,
        None => std::future::pending().await,
    }
}

/// When the last agreement of an order ends. What cannot be read ended long ago: every doubt cuts.
fn end_of(order: &LinkOrder) -> Option<Timestamp> {
    order.until.as_deref().map(|until| until.parse().unwrap_or(Timestamp::UNIX_EPOCH))
}

/// The peer to ask; `None` while the link is cut, its last agreement has ended, or its profile has no peer.
fn peer_of(stored: &StoredItem, now: Timestamp) -> Result<Option<LinkPeer>, String> {
    let order: LinkOrder =
        stored.item.order().map_err(|error| format!("the order of this link cannot be read: {error}"))?;
    let ended = end_of(&order).is_some_and(|end| end <= now);
    if order.mode == LinkMode::Cut || ended || order.profile == LinkProfile::FileDrop {
        return Ok(None);
    }
    let endpoint = order.endpoint.as_deref().unwrap_or_default();
    match LinkPeer::parse(order.profile, endpoint) {
        Some(peer) => Ok(Some(peer)),
        None => Err(format!("`{endpoint}` is no host and port: set `transport.endpoint` right")),
    }
}
