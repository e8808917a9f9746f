//! The loop around every reconcile: its queue, concurrency, deadline, backoff, status write, Events and resync.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use kalong_crds::Category;
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::wire::event::EventSeverity;
use kube_runtime::controller::{self, Action, Controller};
use kube_runtime::events::{Event, EventType};
use kube_runtime::reflector::Store;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Error;
use super::caches::Controlled;
use super::context::Context;
use super::first_pass::FirstPass;
use super::link::Wake;
use super::metrics::ReconcileOutcome;
use super::queue::ReconcileQueue;
use super::status::{WriteResult, with_status};

/// Objects of one kind that are looked at side by side. More than eight requests in flight bring no throughput, only latency.
pub const CONCURRENCY: u16 = 8;
/// When everything is looked at again although nothing woke it; with jitter.
const RESYNC: Duration = Duration::from_secs(600);
/// How long one pass may take.
const PASS_DEADLINE: Duration = Duration::from_secs(30);
/// When to look again after our own write has not come back yet, or somebody else wrote meanwhile.
const CATCH_UP: Duration = Duration::from_millis(50);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(300);

/// What a reconcile leaves behind: the status to write, when to look again, and what went wrong.
#[derive(Debug)]
pub struct ReconcileResult<S> {
    /// The status as it shall be; none leaves it as it is.
    pub status: Option<S>,
    /// When to look again at the latest, if earlier than the resync.
    pub again: Option<Duration>,
    /// What went wrong on the way; the status is written all the same.
    pub error: Option<Error>,
    /// Who found out what is wrong, and so makes the Event of it.
    pub event_source: EventSource,
    /// Decisions that the status carries. People hear of them once it is stored: what is told was done.
    pub events: Vec<EventToEmit>,
}

/// A decision that people hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventToEmit {
    /// The condition's word.
    pub reason: Reason,
    /// Whether somebody should look.
    pub severity: EventSeverity,
    /// What was decided, as a sentence; it may be empty.
    pub note: String,
}

/// Who found out what is wrong: one finding is one Event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventSource {
    /// The operator did, and says so.
    #[default]
    Operator,
    /// The agent did, and its Event comes from its outbox.
    Agent,
}

impl<S> ReconcileResult<S> {
    /// Nothing but this status.
    pub fn of(status: S) -> Self {
        Self { status: Some(status), ..Self::unchanged() }
    }

    /// No status, because of this failure.
    pub fn failed(error: Error) -> Self {
        Self { error: Some(error), ..Self::unchanged() }
    }

    /// The same, with what went wrong while it was acted on; an earlier error stays.
    pub fn after(self, acted: Result<(), Error>) -> Self {
        Self { error: self.error.or(acted.err()), ..self }
    }

    /// The same, looked at again within this time at the latest.
    pub fn sooner(self, limit: Option<Duration>) -> Self {
        Self { again: self.again.into_iter().chain(limit).min(), ..self }
    }

    /// The status stays as it is.
    pub fn unchanged() -> Self {
        Self { status: None, again: None, error: None, event_source: EventSource::Operator, events: Vec::new() }
    }
}

/// A kind and how it is reconciled.
pub trait Reconcile: Controlled<Status: Clone + PartialEq + Send> {
    /// Observes, decides and acts, and returns the status to write. Never panics and never writes the status itself.
    fn reconcile(ctx: &Context, object: Arc<Self>) -> impl Future<Output = ReconcileResult<Self::Status>> + Send;
}

/// Failures in a row of each object, with the generation that failed.
#[derive(Debug, Default)]
struct Failures {
    counts: Mutex<HashMap<Wake, (i64, u32)>>,
}

impl Failures {
    fn next(&self, object: &Wake, generation: i64) -> Duration {
        let mut counts = self.counts.lock();
        let entry = counts.entry(object.clone()).or_insert((generation, 0));
        if entry.0 != generation {
            *entry = (generation, 0);
        }
        let wait = BACKOFF_FIRST.saturating_mul(1 << entry.1.min(10)).min(BACKOFF_LAST);
        entry.1 += 1;
        jittered(wait)
    }

    fn over(&self, object: &Wake) {
        self.counts.lock().remove(object);
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}

struct LoopContext {
    ctx: Arc<Context>,
    failures: Failures,
    first: Arc<FirstPass>,
}

/// Runs the controller of one kind until shutdown; running passes are finished.
pub async fn drive<K: Reconcile>(
    ctx: Arc<Context>,
    store: Store<K>,
    queue: Arc<ReconcileQueue>,
    first: Arc<FirstPass>,
    mut shutdown: watch::Receiver<bool>,
) {
    let looped = Arc::new(LoopContext { ctx, failures: Failures::default(), first });
    let turns = queue.clone().turns::<K>(CONCURRENCY.into());
    let stop = async move {
        let _ = shutdown.wait_for(|stop| *stop).await;
    };
    Controller::for_shared_stream(futures::stream::pending::<Arc<K>>(), store)
        .reconcile_on(turns)
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.boxed().shared())
        .run(
            reconcile::<K>,
            |_, error, _| {
                let never: &std::convert::Infallible = error;
                match *never {}
            },
            looped.clone(),
        )
        .for_each(async |result| match result {
            Ok((object, _)) => queue.done(&wake(object.namespace, object.name)),
            // Gone between the wake-up and the look.
            Err(controller::Error::ObjectNotFound(object)) => {
                let object = wake(object.namespace, object.name);
                queue.done(&object);
                looped.first.visited(K::KIND, &object);
                looped.failures.over(&object);
                looped.ctx.status.forget::<K>(object);
            }
            Err(error) => {
                tracing::error!(kind = %K::kind(&()), %error, "The controller's queue failed; it goes on.");
            }
        })
        .await;
}

fn wake(namespace: Option<String>, name: String) -> Wake {
    Wake { namespace: namespace.unwrap_or_default(), name }
}

async fn reconcile<K: Reconcile>(object: Arc<K>, looped: Arc<LoopContext>) -> Result<Action, std::convert::Infallible> {
    let ctx = &looped.ctx;
    let (wake, kind) = (Wake::of(object.meta()), K::kind(&()).into_owned());
    if ctx.status.cache_is_behind(object.as_ref()) {
        return Ok(Action::requeue(CATCH_UP));
    }
    let begun = Instant::now();
    let generation = object.meta().generation.unwrap_or_default();
    let (outcome, action) = match tokio::time::timeout(PASS_DEADLINE, look_and_report(ctx, object)).await {
        Ok(Ok((WriteResult::Conflict | WriteResult::CacheBehind, _))) => {
            (ReconcileOutcome::Conflict, Action::requeue(CATCH_UP))
        }
        Ok(Ok((written, again))) => {
            looped.failures.over(&wake);
            let outcome =
                if written == WriteResult::Changed { ReconcileOutcome::Written } else { ReconcileOutcome::Unchanged };
            (outcome, Action::requeue(again.unwrap_or_else(|| jittered(RESYNC))))
        }
        Ok(Err(error)) => {
            let wait = looped.failures.next(&wake, generation);
            tracing::warn!(kind, category = error.category(), %error, ?wait, "The object could not be looked at; it is tried again.");
            ctx.metrics.failed(&kind, error.category());
            (ReconcileOutcome::Failed, Action::requeue(wait))
        }
        Err(_) => {
            ctx.metrics.failed(&kind, "deadline");
            (ReconcileOutcome::Failed, Action::requeue(looped.failures.next(&wake, generation)))
        }
    };
    ctx.metrics.passed(&kind, outcome, begun.elapsed());
    looped.first.visited(K::KIND, &wake);
    Ok(action)
}

async fn look_and_report<K: Reconcile>(
    ctx: &Context,
    object: Arc<K>,
) -> Result<(WriteResult, Option<Duration>), Error> {
    let ReconcileResult { status, again, error, event_source, events } = K::reconcile(ctx, object.clone()).await;
    let written = match status {
        Some(status) => {
            let next = with_status(object.as_ref(), status.clone());
            let written = ctx.status.write(&ctx.client, object.as_ref(), status).await?;
            if written == WriteResult::Changed {
                let stuck = stuck(object.as_ref(), &next).filter(|_| event_source == EventSource::Operator);
                for event in events.into_iter().chain(stuck) {
                    tell(ctx, &next, event).await;
                }
            }
            written
        }
        None => WriteResult::Unchanged,
    };
    match error {
        Some(error) => Err(error),
        None => Ok((written, again)),
    }
}

/// One Event when an object gets stuck, or gets stuck for another reason. The word is the condition's.
fn stuck<K: Reconcile>(before: &K, after: &K) -> Option<EventToEmit> {
    let stalled = after.condition(ConditionType::Stalled)?;
    let reason = Reason::parse(&stalled.reason).filter(|reason| *reason != Reason::InternalError)?;
    (before.reason(ConditionType::Stalled) != reason.as_str()).then(|| EventToEmit {
        reason,
        severity: EventSeverity::Warning,
        note: stalled.message.clone(),
    })
}

async fn tell<K: Reconcile>(ctx: &Context, object: &K, event: EventToEmit) {
    let EventToEmit { reason, severity, note } = event;
    let event = Event {
        type_: match severity {
            EventSeverity::Normal => EventType::Normal,
            EventSeverity::Warning => EventType::Warning,
        },
        reason: reason.to_string(),
        note: Some(note).filter(|note| !note.is_empty()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let about = object.object_ref(&());
    match tokio::time::timeout(super::API_DEADLINE, ctx.recorder.publish(&event, &about)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, %reason, "The Event could not be written; the condition says the same.");
        }
        Err(_) => {
            tracing::warn!(%reason, after = ?super::API_DEADLINE, "The Event was not written in time; the condition says the same.");
        }
    }
}
