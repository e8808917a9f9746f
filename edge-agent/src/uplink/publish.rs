//! What goes up during one session: the whole, differences, events until they are acked, beats, and a request for renewal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::wire::control::Renewal;
use kalong_crds::wire::envelope::{ENVELOPE_VERSION, Envelope};
use kalong_crds::wire::event::{Event, Events};
use kalong_crds::wire::topic::Up;
use kalong_crds::wire::{MAX_MESSAGE, PART_BUDGET};
use parking_lot::Mutex;
use rumqttc::{AsyncClient, ClientError, QoS};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::renewal::{RenewalError, RenewalRequest, ask, due};
use crate::clock::now_text;
use crate::context::AgentContext;
use crate::counters::CounterScope;
use crate::crash_point;
use crate::store::StoreError;
use crate::store::identity::Validity;

/// Least time between two reports: changes above ten a second travel together.
const REPORT_GAP: Duration = Duration::from_millis(100);
/// Least time between two messages of counters.
const TELEMETRY_GAP: Duration = Duration::from_secs(1);
/// Longest time that a publish waits for room in the connection.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(10);
/// Time after scope events that were not acked are sent again.
const ACK_DEADLINE: Duration = Duration::from_secs(10);
/// Least time between two requests for a new certificate.
const RENEWAL_GAP: Duration = Duration::from_secs(60);
/// Longest sleep towards a renewal: the wall clock may step meanwhile.
const RENEWAL_LOOK: Duration = Duration::from_secs(600);
/// The shortest sleep towards a renewal that is due.
const RENEWAL_SOON: Duration = Duration::from_secs(1);

/// Why the publishing task ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("the connection took no message")]
    Stuck,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a message cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Renewal(#[from] RenewalError),
}

/// Sends everything of one session.
pub(super) struct Publisher {
    pub(super) agent: Arc<AgentContext>,
    pub(super) client: AsyncClient,
    pub(super) epoch: u64,
    pub(super) seq: Arc<AtomicU64>,
    pub(super) validity: Validity,
    pub(super) asked: Arc<Mutex<Option<RenewalRequest>>>,
}

struct Unacked {
    epoch: u64,
    seq: u64,
    at: Instant,
}

impl Publisher {
    /// The whole first, then the outbox, then changes as they come.
    pub(super) async fn run(self) -> PublishError {
        match self.publish_all().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn publish_all(&self) -> Result<std::convert::Infallible, PublishError> {
        let began = now_text();
        self.agent.reported.resync();
        self.report().await?;
        let mut reported = Instant::now();
        let mut unacked: Option<Unacked> = None;
        self.events(&began, &mut unacked).await?;
        let mut settings = self.agent.settings_changes();
        // The first beat at once: before it the operator does not know whether this clock can be believed.
        let mut beat_at = Instant::now();
        let mut asked_at: Option<Instant> = None;
        self.telemetry(CounterScope::All).await?;
        let mut sent_at = Instant::now();
        let mut telemetry_at: Option<Instant> = None;
        loop {
            let resend =
                unacked.as_ref().map_or(Duration::from_secs(3600), |u| ACK_DEADLINE.saturating_sub(u.at.elapsed()));
            tokio::select! {
                () = self.agent.reported.changed() => {
                    tokio::time::sleep_until(reported + REPORT_GAP).await;
                    self.report().await?;
                    reported = Instant::now();
                }
                () = self.agent.counters.changed() => {
                    telemetry_at.get_or_insert(sent_at + TELEMETRY_GAP);
                }
                () = reached(telemetry_at) => {
                    telemetry_at = None;
                    self.telemetry(CounterScope::Changed).await?;
                    sent_at = Instant::now();
                }
                () = self.agent.reported.event() => self.events(&began, &mut unacked).await?,
                () = tokio::time::sleep(resend) => self.events(&began, &mut unacked).await?,
                () = tokio::time::sleep_until(beat_at) => {
                    self.beat().await?;
                    beat_at = Instant::now() + self.agent.heartbeat();
                }
                changed = settings.changed() => {
                    if changed.is_err() {
                        return Err(PublishError::Stuck);
                    }
                    beat_at = beat_at.min(Instant::now() + self.agent.heartbeat());
                }
                () = tokio::time::sleep(self.until_renewal(asked_at)) => {
                    if Timestamp::now() >= due(self.validity) {
                        self.renew().await?;
                        asked_at = Some(Instant::now());
                    }
                }
            }
        }
    }

    async fn publish<B: Serialize>(&self, up: Up, qos: QoS, body: B) -> Result<(), PublishError> {
        let envelope = Envelope {
            v: ENVELOPE_VERSION,
            agent: self.agent.id.clone(),
            epoch: self.epoch,
            seq: self.seq.fetch_add(1, Ordering::Relaxed) + 1,
            ts: now_text(),
            body,
        };
        let bytes = serde_json::to_vec(&envelope)?;
        if bytes.len() > MAX_MESSAGE {
            // Sending it would end the session again and again.
            tracing::error!(topic = ?up, bytes = bytes.len(), "A message is too long and is not sent: report this as a bug.");
            return Ok(());
        }
        self.send(up, qos, bytes).await
    }

    async fn send(&self, up: Up, qos: QoS, bytes: Vec<u8>) -> Result<(), PublishError> {
        let publish = self.client.publish(up.of(&self.agent.id), qos, false, bytes);
        timeout(PUBLISH_DEADLINE, publish).await.map_err(|_| PublishError::Stuck)??;
        Ok(())
    }

    async fn report(&self) -> Result<(), PublishError> {
        for part in self.agent.reported.take().unwrap_or_default() {
            self.publish(Up::Reported, QoS::AtLeastOnce, part).await?;
        }
        Ok(())
    }

    /// A lost message costs nothing: the next one carries the same counters.
    async fn telemetry(&self, scope: CounterScope) -> Result<(), PublishError> {
        for part in self.agent.counters.take(scope) {
            self.publish(Up::Telemetry, QoS::AtMostOnce, part).await?;
        }
        Ok(())
    }

    async fn beat(&self) -> Result<(), PublishError> {
        let seq = self.seq.load(Ordering::Relaxed);
        let beat = self.agent.reported.beat(self.epoch, seq, self.agent.clock.judge());
        self.send(Up::Beat, QoS::AtMostOnce, beat.encode().into_bytes()).await
    }

    /// Sends the oldest events, unless they were sent lately and may still be acked.
    async fn events(&self, began: &str, unacked: &mut Option<Unacked>) -> Result<(), PublishError> {
        let oldest = self.agent.store.oldest_events(PART_BUDGET).await?;
        let Some(first) = oldest.first() else {
            *unacked = None;
            return Ok(());
        };
        let waits = unacked.as_ref().is_some_and(|u| {
            (first.origin_epoch, first.origin_seq) <= (u.epoch, u.seq) && u.at.elapsed() < ACK_DEADLINE
        });
        if waits {
            return Ok(());
        }
        let is_old = |e: &Event| e.origin_epoch != self.epoch || e.at.as_str() < began;
        let historical = is_old(first);
        let events: Vec<_> = oldest.into_iter().take_while(|e| is_old(e) == historical).collect();
        *unacked = events.last().map(|e| Unacked { epoch: e.origin_epoch, seq: e.origin_seq, at: Instant::now() });
        self.publish(Up::Event, QoS::AtLeastOnce, Events { historical, events }).await?;
        crash_point!(OutboxPublished);
        Ok(())
    }

    fn until_renewal(&self, asked_at: Option<Instant>) -> Duration {
        let left = due(self.validity).duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
        let gap = asked_at.map_or(Duration::ZERO, |at| RENEWAL_GAP.saturating_sub(at.elapsed()));
        left.max(gap).clamp(RENEWAL_SOON, RENEWAL_LOOK)
    }

    async fn renew(&self) -> Result<(), PublishError> {
        let asked = ask(&self.agent.id)?;
        let csr = asked.csr.clone();
        *self.asked.lock() = Some(asked);
        tracing::info!("Two thirds of the certificate's validity are over; a new one is requested.");
        self.publish(Up::Csr, QoS::AtLeastOnce, Renewal { csr }).await
    }
}

/// Resolves at this time, or never.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
