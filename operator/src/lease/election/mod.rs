//! Leader election: seeks the Lease, renews it, and reports its loss.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kalong_crds::Category;
use kalong_crds::field_manager;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::LEASE;
use super::decide::{DURATION, HolderIdentity, LeaseDecision, ObservedLease, TermRaise, decide, raise};
use super::handle::{LeaseError, LeaseHandle, LeaseRequest, LeaseState};
use crate::client::{ApiError, within};
use crate::health::Watchdog;

/// How often the holder renews.
const RENEW: Duration = Duration::from_secs(10);
/// How often a standby reads the Lease, and the pause after a failed renewal.
const LOOK: Duration = Duration::from_secs(2);
/// Bounds one request; with kube's own retries a renewal could hang for 164 s.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// The holder gives up strictly before others may take over, counted from the start of its last successful renewal.
const GIVE_UP: Duration = Duration::from_secs(25);
/// The loop is stuck if it has not turned for so long.
pub const STUCK_AFTER: Duration = Duration::from_secs(40);
/// Retries of a write that conflicts with an edit by hand.
const CONFLICTS: u32 = 5;

/// Starts to seek the Lease. The client must not retry by itself, since a late answer is worse than none.
pub fn start(
    client: Client,
    namespace: &str,
    identity: HolderIdentity,
    watchdog: Watchdog,
) -> (LeaseHandle, JoinHandle<()>) {
    let (published, state) = watch::channel(LeaseState::Waiting);
    let (requests, inbox) = mpsc::channel(8);
    let manager = LeaseManager {
        api: Api::namespaced(client, namespace),
        namespace: namespace.to_owned(),
        identity,
        published,
        held: None,
    };
    (LeaseHandle { state, requests }, tokio::spawn(manager.run(inbox, watchdog)))
}

/// The Lease as this process last wrote it.
struct HeldLease {
    lease: Lease,
    term: u64,
    give_up: Instant,
}

struct LeaseManager {
    api: Api<Lease>,
    namespace: String,
    identity: HolderIdentity,
    published: watch::Sender<LeaseState>,
    held: Option<HeldLease>,
}

/// What the loop does next.
enum NextAction {
    At(Instant),
    End,
}

impl LeaseManager {
    async fn run(mut self, mut inbox: mpsc::Receiver<LeaseRequest>, watchdog: Watchdog) {
        let mut observed = None;
        let mut at = Instant::now();
        loop {
            watchdog.beat();
            tokio::select! {
                () = sleep_until(at) => {
                    let next = if self.held.is_some() { self.keep().await } else { self.seek(&mut observed).await };
                    match next {
                        NextAction::At(moment) => at = moment,
                        NextAction::End => return,
                    }
                }
                request = inbox.recv() => match request {
                    Some(LeaseRequest::RaiseAbove(claimed, answer)) => {
                        let _ = answer.send(self.raise_above(claimed).await);
                    }
                    Some(LeaseRequest::Release(answer)) => {
                        self.release().await;
                        let _ = answer.send(());
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    async fn seek(&mut self, observed: &mut Option<ObservedLease>) -> NextAction {
        let later = NextAction::At(Instant::now() + LOOK);
        let read = match self.read().await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(category = error.category(), %error, "The Lease cannot be read; it is tried again.");
                return later;
            }
        };
        let now = Instant::now();
        *observed = read.map(|lease| ObservedLease::next(observed.as_ref(), lease, now.into_std()));
        match decide(now.into_std(), observed.as_ref(), &self.identity, Timestamp::now()) {
            LeaseDecision::Wait(until) => NextAction::At(Instant::from_std(until).min(now + LOOK)),
            // Only after two equal random numbers; it is still ours.
            LeaseDecision::Renew => self.take(observed.take(), None).await,
            LeaseDecision::Acquire(term) => self.take(observed.take(), Some(term)).await,
        }
    }

    async fn take(&mut self, observed: Option<ObservedLease>, term: Option<u64>) -> NextAction {
        let begun = Instant::now();
        let term = term.or_else(|| observed.as_ref().and_then(ObservedLease::term)).unwrap_or_default();
        let wanted = self.wanted(observed.map(|o| o.lease), term);
        let written = if wanted.metadata.resource_version.is_some() {
            self.replace(&wanted).await
        } else {
            within(REQUEST_DEADLINE, "create the Lease", self.api.create(&parameters(), &wanted)).await
        };
        match written {
            Ok(lease) => {
                self.held = Some(HeldLease { lease, term, give_up: begun + GIVE_UP });
                tracing::info!(term, holder = self.identity.text(), "This process leads.");
                self.published.send_replace(LeaseState::Leading(term));
                NextAction::At(begun + RENEW)
            }
            // Another process was faster, or the Lease was edited: read it again.
            Err(error) => {
                tracing::debug!(category = error.category(), %error, "The Lease could not be taken.");
                NextAction::At(Instant::now() + LOOK)
            }
        }
    }

    async fn keep(&mut self) -> NextAction {
        let begun = Instant::now();
        let Some(held) = &self.held else { return NextAction::At(begun) };
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
                NextAction::At(begun + RENEW)
            }
            Ok(Err(LeaseError::Foreign(holder))) => self.lose(format!("`{holder}` holds it")),
            Ok(Err(error)) => {
                tracing::warn!(category = error.category(), %error, "The Lease could not be renewed; it is tried again.");
                NextAction::At((Instant::now() + LOOK).min(give_up))
            }
            Err(_) => self.lose(format!("it could not be renewed for {} s", GIVE_UP.as_secs())),
        }
    }

    fn lose(&mut self, why: String) -> NextAction {
        self.held = None;
        self.published.send_replace(LeaseState::Lost(why));
        NextAction::End
    }

    /// Writes the held Lease with this term and a fresh renew time. Edits by hand are kept; another holder is an error.
    async fn write(&mut self, term: u64) -> Result<(), LeaseError> {
        let mut base = self.held.as_ref().map(|h| h.lease.clone()).ok_or(LeaseError::NotLeading)?;
        let mut tries = CONFLICTS;
        loop {
            let wanted = self.wanted(Some(base), term);
            let error = match self.replace(&wanted).await {
                Ok(lease) => {
                    if let Some(held) = &mut self.held {
                        held.lease = lease;
                        held.term = term;
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            if !(error.is_not_found() || error.is_conflict()) || tries == 0 {
                return Err(error.into());
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
            TermRaise::Unneeded => Ok(current),
            TermRaise::Implausible => Err(LeaseError::Implausible { current, claimed }),
            TermRaise::To(term) => {
                self.write(term).await?;
                tracing::warn!(
                    term,
                    claimed,
                    "An agent has verified a higher term, since the Lease was lost once; the term is raised above it."
                );
                self.published.send_replace(LeaseState::Leading(term));
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
            match self.replace(&free).await {
                Ok(_) => tracing::info!(term = held.term, "The Lease was given back."),
                Err(error) => {
                    tracing::warn!(category = error.category(), %error, "The Lease could not be given back; a successor waits 30 s.")
                }
            }
        }
        self.published.send_replace(LeaseState::Released);
    }

    async fn read(&self) -> Result<Option<Lease>, ApiError> {
        within(REQUEST_DEADLINE, "read the Lease", self.api.get_opt(LEASE)).await
    }

    /// Compare-and-swap: fails with a conflict if anybody wrote since `lease` was read.
    async fn replace(&self, lease: &Lease) -> Result<Lease, ApiError> {
        let parameters = parameters();
        within(REQUEST_DEADLINE, "write the Lease", self.api.replace(LEASE, &parameters, lease)).await
    }

    /// The Lease with this process as its holder. All other fields keep the values of `base`.
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

#[cfg(test)]
mod tests;
