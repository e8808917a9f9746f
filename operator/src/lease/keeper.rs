//! Takes the Lease, keeps it, and says when it is lost.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kalong_crds::field_manager;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::LEASE;
use super::decide::{DURATION, Decision, Identity, Observed, Raise, decide, raise};
use crate::health::Watchdog;

/// How often the holder renews.
const RENEW: Duration = Duration::from_secs(10);
/// How often a standby looks, and how soon a failed renewal is tried again.
const LOOK: Duration = Duration::from_secs(2);
/// Time for one request; with kube's own retries a renewal could sit for 164 s.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// The holder gives up strictly before others may take over, counted from the start of its last successful renewal.
const GIVE_UP: Duration = Duration::from_secs(25);
/// A keeper that has not turned its loop for so long is stuck.
pub const STILL: Duration = Duration::from_secs(40);
/// Attempts to write against somebody who edits the Lease by hand.
const CONFLICTS: u32 = 5;

/// Whether this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does not yet.
    Waiting,
    /// It does, under this term.
    Leading(u64),
    /// It did, and must end now.
    Lost(String),
    /// It gave the Lease back.
    Released,
}

/// What the Lease could not be used for.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The process does not lead.
    #[error("this process does not hold the Lease")]
    NotLeading,
    /// The claim of an agent cannot be true.
    #[error(
        "term {claimed} is more than a year ahead of {current}: enrol the agent anew, its store is damaged or forged"
    )]
    Implausible {
        /// Ours.
        current: u64,
        /// The agent's.
        claimed: u64,
    },
    /// The API server did not answer.
    #[error("the API server did not answer within {} s", REQUEST_DEADLINE.as_secs())]
    Deadline,
    /// The API server refused or failed.
    #[error("the Lease could not be written: {0}")]
    Api(#[source] Box<kube::Error>),
    /// Another process holds it.
    #[error("the Lease is held by `{0}`")]
    Foreign(String),
}

impl LeaseError {
    /// The word for logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotLeading => "not-leading",
            Self::Implausible { .. } => "term-implausible",
            Self::Deadline => "deadline",
            Self::Api(_) => "api",
            Self::Foreign(_) => "foreign",
        }
    }
}

enum Order {
    RaiseAbove(u64, oneshot::Sender<Result<u64, LeaseError>>),
    Release(oneshot::Sender<()>),
}

/// The Lease, seen by the rest of the process.
#[derive(Clone, Debug)]
pub struct LeaseHandle {
    standing: watch::Receiver<Standing>,
    orders: mpsc::Sender<Order>,
}

impl LeaseHandle {
    /// Whether this process leads now.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// The term under which this process leads now.
    pub fn term(&self) -> Option<u64> {
        match *self.standing.borrow() {
            Standing::Leading(term) => Some(term),
            Standing::Waiting | Standing::Lost(_) | Standing::Released => None,
        }
    }

    /// Changes of standing; the term may rise while leading.
    pub fn changes(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits until this process leads, and says under which term.
    pub async fn acquired(&self) -> Result<u64, LeaseError> {
        let mut standing = self.standing.clone();
        let reached = standing.wait_for(|s| !matches!(s, Standing::Waiting)).await;
        match reached.as_deref() {
            Ok(Standing::Leading(term)) => Ok(*term),
            _ => Err(LeaseError::NotLeading),
        }
    }

    /// Waits until the Lease is lost, and says why. Never ends while it is held, nor after it was given back.
    pub async fn lost(&self) -> String {
        let mut standing = self.standing.clone();
        loop {
            match &*standing.borrow_and_update() {
                Standing::Lost(why) => return why.clone(),
                Standing::Released => break,
                Standing::Waiting | Standing::Leading(_) => {}
            }
            if standing.changed().await.is_err() {
                return "the keeper of the Lease ended".to_owned();
            }
        }
        std::future::pending().await
    }

    /// Raises the term above one that an agent has verified: the Lease was lost once and began too low.
    pub async fn raise_above(&self, claimed: u64) -> Result<u64, LeaseError> {
        let (answer, raised) = oneshot::channel();
        self.orders.send(Order::RaiseAbove(claimed, answer)).await.map_err(|_| LeaseError::NotLeading)?;
        raised.await.map_err(|_| LeaseError::NotLeading)?
    }

    /// Gives the Lease back so that a successor need not wait. Nothing may be sent any more.
    pub async fn release(&self) {
        let (answer, released) = oneshot::channel();
        if self.orders.send(Order::Release(answer)).await.is_ok() {
            let _ = released.await;
        }
    }
}

/// Starts to seek the Lease. The client must not retry by itself.
pub fn start(client: Client, namespace: &str, identity: Identity, watchdog: Watchdog) -> (LeaseHandle, JoinHandle<()>) {
    let (said, standing) = watch::channel(Standing::Waiting);
    let (orders, inbox) = mpsc::channel(8);
    let keeper =
        Keeper { api: Api::namespaced(client, namespace), namespace: namespace.to_owned(), identity, said, held: None };
    (LeaseHandle { standing, orders }, tokio::spawn(keeper.run(inbox, watchdog)))
}

/// What the holder knows.
struct Held {
    lease: Lease,
    term: u64,
    give_up: Instant,
}

struct Keeper {
    api: Api<Lease>,
    namespace: String,
    identity: Identity,
    said: watch::Sender<Standing>,
    held: Option<Held>,
}

/// Whether the loop goes on.
enum Next {
    At(Instant),
    End,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>, watchdog: Watchdog) {
        let mut observed = None;
        let mut at = Instant::now();
        loop {
            watchdog.beat();
            tokio::select! {
                () = sleep_until(at) => {
                    let next = if self.held.is_some() { self.keep().await } else { self.seek(&mut observed).await };
                    match next {
                        Next::At(moment) => at = moment,
                        Next::End => return,
                    }
                }
                order = inbox.recv() => match order {
                    Some(Order::RaiseAbove(claimed, answer)) => {
                        let _ = answer.send(self.raise_above(claimed).await);
                    }
                    Some(Order::Release(answer)) => {
                        self.release().await;
                        let _ = answer.send(());
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    async fn seek(&mut self, observed: &mut Option<Observed>) -> Next {
        let later = Next::At(Instant::now() + LOOK);
        let read = match self.read().await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(category = error.category(), %error, "the Lease cannot be read; it is tried again");
                return later;
            }
        };
        let now = Instant::now();
        *observed = read.map(|lease| Observed::next(observed.as_ref(), lease, now.into_std()));
        match decide(now.into_std(), observed.as_ref(), &self.identity, Timestamp::now()) {
            Decision::Wait(until) => Next::At(Instant::from_std(until).min(now + LOOK)),
            // Only a random number that came twice could bring this about; it is still ours.
            Decision::Renew => self.take(observed.take(), None).await,
            Decision::Acquire(term) => self.take(observed.take(), Some(term)).await,
        }
    }

    async fn take(&mut self, observed: Option<Observed>, term: Option<u64>) -> Next {
        let begun = Instant::now();
        let term = term.or_else(|| observed.as_ref().and_then(Observed::term)).unwrap_or_default();
        let wanted = self.wanted(observed.map(|o| o.lease), term);
        let written = if wanted.metadata.resource_version.is_some() {
            within(self.api.replace(LEASE, &parameters(), &wanted)).await
        } else {
            within(self.api.create(&parameters(), &wanted)).await
        };
        match written {
            Ok(lease) => {
                self.held = Some(Held { lease, term, give_up: begun + GIVE_UP });
                tracing::info!(term, holder = self.identity.text(), "this process leads");
                self.said.send_replace(Standing::Leading(term));
                Next::At(begun + RENEW)
            }
            // Another was faster, or wrote since: look again.
            Err(error) => {
                tracing::debug!(category = error.category(), %error, "the Lease was not to be had");
                Next::At(Instant::now() + LOOK)
            }
        }
    }

    async fn keep(&mut self) -> Next {
        let begun = Instant::now();
        let Some(held) = &self.held else { return Next::At(begun) };
        let (term, give_up) = (held.term, held.give_up);
        if begun >= give_up {
            return self.lose(format!("it could not be renewed for {} s", GIVE_UP.as_secs()));
        }
        let left = give_up - begun;
        match timeout(left, self.write(term)).await {
            Ok(Ok(())) => {
                if let Some(held) = &mut self.held {
                    held.give_up = begun + GIVE_UP;
                }
                Next::At(begun + RENEW)
            }
            Ok(Err(LeaseError::Foreign(holder))) => self.lose(format!("`{holder}` holds it")),
            Ok(Err(error)) => {
                tracing::warn!(category = error.category(), %error, "the Lease could not be renewed; it is tried again");
                Next::At((Instant::now() + LOOK).min(give_up))
            }
            Err(_) => self.lose(format!("it could not be renewed for {} s", GIVE_UP.as_secs())),
        }
    }

    fn lose(&mut self, why: String) -> Next {
        self.held = None;
        self.said.send_replace(Standing::Lost(why));
        Next::End
    }

    /// Writes the Lease that is held, with this term and a fresh renew time. Edits by hand are merged, another holder is not.
    async fn write(&mut self, term: u64) -> Result<(), LeaseError> {
        let mut base = self.held.as_ref().map(|h| h.lease.clone()).ok_or(LeaseError::NotLeading)?;
        let mut tries = CONFLICTS;
        loop {
            let wanted = self.wanted(Some(base), term);
            let error = match within(self.api.replace(LEASE, &parameters(), &wanted)).await {
                Ok(lease) => {
                    if let Some(held) = &mut self.held {
                        held.lease = lease;
                        held.term = term;
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            let gone = matches!(&error, LeaseError::Api(e) if is(e, 404));
            let stale = matches!(&error, LeaseError::Api(e) if is(e, 409));
            if !(gone || stale) || tries == 0 {
                return Err(error);
            }
            tries -= 1;
            base = match self.read().await? {
                None => return Err(LeaseError::Foreign("nobody: it was deleted".to_owned())),
                Some(lease) => lease,
            };
            let holder = base.spec.as_ref().and_then(|s| s.holder_identity.clone()).unwrap_or_default();
            if holder != self.identity.text() {
                return Err(LeaseError::Foreign(holder));
            }
        }
    }

    async fn raise_above(&mut self, claimed: u64) -> Result<u64, LeaseError> {
        let current = self.held.as_ref().map(|h| h.term).ok_or(LeaseError::NotLeading)?;
        match raise(current, claimed) {
            Raise::Unneeded => Ok(current),
            Raise::Implausible => Err(LeaseError::Implausible { current, claimed }),
            Raise::To(term) => {
                self.write(term).await?;
                tracing::warn!(
                    term,
                    claimed,
                    "an agent has verified a higher term, the Lease was lost once; the term is raised above it"
                );
                self.said.send_replace(Standing::Leading(term));
                Ok(term)
            }
        }
    }

    async fn release(&mut self) {
        if let Some(held) = self.held.take() {
            let mut free = held.lease;
            if let Some(spec) = &mut free.spec {
                spec.holder_identity = None;
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            match within(self.api.replace(LEASE, &parameters(), &free)).await {
                Ok(_) => tracing::info!(term = held.term, "the Lease is given back"),
                Err(error) => {
                    tracing::warn!(category = error.category(), %error, "the Lease could not be given back; a successor waits 30 s")
                }
            }
        }
        self.said.send_replace(Standing::Released);
    }

    async fn read(&self) -> Result<Option<Lease>, LeaseError> {
        within(self.api.get_opt(LEASE)).await
    }

    /// The Lease with us as its holder. All else in it stays as somebody may have put it.
    fn wanted(&self, base: Option<Lease>, term: u64) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = base.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let ours = lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) == Some(&self.identity.text());
        let acquired = lease.spec.as_ref().and_then(|s| s.acquire_time.clone()).filter(|_| ours);
        lease.metadata.managed_fields = None;
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.text()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: i32::try_from(term).ok(),
            ..lease.spec.unwrap_or_default()
        });
        lease
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(field_manager::OPERATOR.to_owned()), ..PostParams::default() }
}

async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    timeout(REQUEST_DEADLINE, request)
        .await
        .map_err(|_| LeaseError::Deadline)?
        .map_err(|e| LeaseError::Api(Box::new(e)))
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

#[cfg(test)]
mod tests;
