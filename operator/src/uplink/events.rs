//! The ordered event stream of each agent: each event is recorded once, in order, and acknowledged only after that.
//!
//! One task for each agent, with a bounded queue: what does not fit is not acknowledged, and the agent sends it again.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kalong_crds::Category;
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::{Event, EventSeverity, Events};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Uplink, sanitize};

/// Queued messages of one agent.
const QUEUE: usize = 16;
/// Bounds one delivery to the sink.
const DELIVER_DEADLINE: Duration = Duration::from_secs(15);
/// Pause after a failed delivery; it doubles up to [`RETRY_MOST`].
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// An agent that still has the same gap after so many messages has lost those events for good.
const MAX_GAP_REPORTS: u32 = 3;
/// Longest note of a Kubernetes Event, in bytes.
const MAX_NOTE: usize = 1024;

/// Why an event was not delivered.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum SinkError {
    /// A retry may succeed: the event stays unacknowledged.
    #[error("the event could not be recorded and is tried again: {0}")]
    Later(String),
    /// The API server will never accept it.
    #[error("the event cannot be recorded: {0}")]
    #[strum(to_string = "refused")]
    Never(String),
}

/// Where events are recorded. Must be idempotent: delivering an event again is a success.
pub trait EventSink: Send + Sync + 'static {
    /// Records the event so that it survives this process.
    fn deliver<'a>(&'a self, agent: &'a AgentId, event: &'a Event) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// Where an event stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventPosition {
    Next,
    /// Handled before: acknowledged without effect.
    Old,
    /// Events before it are missing.
    Gap,
}

/// Position of one agent's stream. The first event after a start of the operator is the baseline.
#[derive(Debug, Default)]
struct EventSequencer {
    last: Option<(u64, u64)>,
    gap: Option<((u64, u64), u32)>,
}

impl EventSequencer {
    fn position(&mut self, epoch: u64, seq: u64) -> EventPosition {
        let Some((last_epoch, last)) = self.last else { return EventPosition::Next };
        if (epoch, seq) <= (last_epoch, last) {
            return EventPosition::Old;
        }
        let next = if epoch == last_epoch { last.saturating_add(1) } else { 1 };
        if seq == next {
            return EventPosition::Next;
        }
        let seen = match self.gap {
            Some((at, seen)) if at == (epoch, seq) => seen + 1,
            _ => 1,
        };
        self.gap = Some(((epoch, seq), seen));
        if seen < MAX_GAP_REPORTS { EventPosition::Gap } else { EventPosition::Next }
    }

    fn done(&mut self, epoch: u64, seq: u64) {
        self.last = Some((epoch, seq));
        self.gap = None;
    }
}

enum EventJob {
    Take(Events),
    Reset,
}

/// The queue of each agent; dropping it ends the agent's task.
#[derive(Default)]
pub(super) struct EventQueues {
    of: BTreeMap<AgentId, mpsc::Sender<EventJob>>,
}

impl EventQueues {
    /// Queues a message; says whether there was room. The first message of an agent starts its task.
    pub fn take(&mut self, uplink: &Weak<Uplink>, agent: &AgentId, events: Events) -> bool {
        let queue = self.of.entry(agent.clone()).or_insert_with(|| {
            let (tx, rx) = mpsc::channel(QUEUE);
            tokio::spawn(work(Weak::clone(uplink), agent.clone(), rx));
            tx
        });
        queue.try_send(EventJob::Take(events)).is_ok()
    }

    /// The agent was enrolled again: its numbers start over.
    pub fn reset(&mut self, agent: &AgentId) {
        if let Some(queue) = self.of.get(agent)
            && queue.try_send(EventJob::Reset).is_err()
        {
            self.of.remove(agent);
        }
    }

    /// Ends the agent's task after the message that it works on.
    pub fn forget(&mut self, agent: &AgentId) {
        self.of.remove(agent);
    }
}

async fn work(uplink: Weak<Uplink>, agent: AgentId, mut jobs: mpsc::Receiver<EventJob>) {
    let mut sequencer = EventSequencer::default();
    while let Some(job) = jobs.recv().await {
        let Some(uplink) = uplink.upgrade() else { return };
        // Which agent realises an object is known only once every object was reconciled.
        uplink.until_open().await;
        match job {
            EventJob::Reset => sequencer = EventSequencer::default(),
            EventJob::Take(events) => {
                for event in &events.events {
                    match sequencer.position(event.origin_epoch, event.origin_seq) {
                        EventPosition::Old => uplink.metrics().event("repeated"),
                        EventPosition::Gap => {
                            uplink.metrics().event("gap");
                            tracing::warn!(%agent, seq = event.origin_seq, "Events are missing before this one; it is not acknowledged.");
                            break;
                        }
                        EventPosition::Next => {
                            handle(&uplink, &agent, event, events.historical).await;
                            sequencer.done(event.origin_epoch, event.origin_seq);
                        }
                    }
                }
                if let Some((epoch, upto)) = sequencer.last {
                    uplink.acknowledge(&agent, epoch, upto);
                }
            }
        }
    }
}

/// One log line and, for documented kinds about this agent's own objects, one Kubernetes Event.
async fn handle(uplink: &Uplink, agent: &AgentId, event: &Event, historical: bool) {
    let mut event = event.clone();
    event.note = sanitize::text(&event.note, sanitize::MAX_TEXT);
    let (reason, name) = (sanitize::text(&event.reason, 63), sanitize::text(&event.name, 253));
    tracing::info!(%agent, kind = ?event.kind, %name, %reason, historical, at = %sanitize::text(&event.at, 35), "{}", event.note);
    if !(sanitize::is_recordable(agent, &event) && uplink.concerns(agent, &event)) {
        uplink.metrics().event("logged");
        uplink.metrics().refused("event");
        return;
    }
    let mut pause = RETRY_FIRST;
    loop {
        let result = match timeout(DELIVER_DEADLINE, uplink.sink().deliver(agent, &event)).await {
            Ok(result) => result,
            Err(_) => Err(SinkError::Later(format!("no answer within {} s", DELIVER_DEADLINE.as_secs()))),
        };
        match result {
            Ok(()) => return uplink.metrics().event("delivered"),
            Err(error @ SinkError::Never(_)) => {
                tracing::error!(%agent, category = error.category(), %error, "An event is not recorded.");
                return uplink.metrics().event("refused");
            }
            Err(error @ SinkError::Later(_)) => {
                tracing::warn!(%agent, category = error.category(), %error, "An event could not be recorded yet.");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(RETRY_MOST);
            }
        }
    }
}

/// Writes `events.k8s.io/v1` Events, each under a name made of agent, epoch and number. Not through kube's Recorder, which folds
/// similar events into one.
pub struct KubeEvents {
    client: Client,
    instance: String,
}

impl KubeEvents {
    /// `instance` becomes `reportingInstance`: the identity of this process.
    pub fn new(client: Client, instance: impl Into<String>) -> Self {
        Self { client, instance: instance.into() }
    }
}

impl EventSink for KubeEvents {
    fn deliver<'a>(&'a self, agent: &'a AgentId, event: &'a Event) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let api: Api<KubeEvent> = Api::namespaced(self.client.clone(), agent.namespace());
            let made = kube_event(agent, event, &self.instance, Timestamp::now());
            match api.create(&PostParams::default(), &made).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) => match status.code {
                    // Written by an earlier try, or by the previous leader.
                    409 if status.reason == "AlreadyExists" => Ok(()),
                    400 | 404 | 422 => Err(SinkError::Never(status.message.clone())),
                    _ => Err(SinkError::Later(status.message.clone())),
                },
                Err(error) => Err(SinkError::Later(error.to_string())),
            }
        })
    }
}

fn kube_event(agent: &AgentId, event: &Event, instance: &str, now: Timestamp) -> KubeEvent {
    let kind = match event.kind {
        ItemKind::Agent => "EdgeAgent",
        ItemKind::Device => "Device",
        ItemKind::Lane => "Lane",
        ItemKind::Igv => "IGV",
        ItemKind::Link => "BilateralLink",
    };
    let namespace = Some(agent.namespace().to_owned());
    KubeEvent {
        metadata: ObjectMeta {
            name: Some(format!("{agent}.{}.{}", event.origin_epoch, event.origin_seq)),
            namespace: namespace.clone(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(event.at.parse().unwrap_or(now))),
        reporting_controller: Some("kalong.dev/operator".to_owned()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        action: Some(event.reason.clone()),
        reason: Some(event.reason.clone()),
        regarding: Some(ObjectReference {
            api_version: Some("kalong.dev/v1alpha1".to_owned()),
            kind: Some(kind.to_owned()),
            namespace,
            name: Some(event.name.clone()),
            uid: Some(event.uid.clone()),
            ..ObjectReference::default()
        }),
        note: Some(cut(&event.note)),
        type_: Some(
            match event.severity {
                EventSeverity::Normal => "Normal",
                EventSeverity::Warning => "Warning",
            }
            .to_owned(),
        ),
        ..KubeEvent::default()
    }
}

fn cut(note: &str) -> String {
    let mut end = note.len().min(MAX_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_has_no_gap_and_nothing_twice() {
        let mut sequencer = EventSequencer::default();
        assert_eq!(sequencer.position(4, 17), EventPosition::Next);
        sequencer.done(4, 17);
        assert_eq!((sequencer.position(4, 17), sequencer.position(3, 99)), (EventPosition::Old, EventPosition::Old));
        assert_eq!((sequencer.position(4, 18), sequencer.position(4, 19)), (EventPosition::Next, EventPosition::Gap));
        assert_eq!((sequencer.position(6, 1), sequencer.position(6, 2)), (EventPosition::Next, EventPosition::Gap));
    }

    #[test]
    fn gap_that_stays_is_passed_over_in_the_end() {
        let mut sequencer = EventSequencer::default();
        sequencer.done(1, 1);
        assert_eq!(
            [sequencer.position(1, 5), sequencer.position(1, 5), sequencer.position(1, 5)],
            [EventPosition::Gap, EventPosition::Gap, EventPosition::Next]
        );
    }

    #[test]
    fn kubernetes_event_carries_the_objects_name_and_a_unique_one_of_its_own() {
        let agent: AgentId = "mong-cai.a1".parse().unwrap();
        let event = Event {
            origin_epoch: 3,
            origin_seq: 9,
            at: "2026-11-21T10:00:00.5Z".into(),
            kind: ItemKind::Device,
            name: "cam-1".into(),
            uid: "u1".into(),
            reason: "FirmwareProven".into(),
            severity: EventSeverity::Normal,
            note: "ü".repeat(1000),
        };
        let made = kube_event(&agent, &event, "operator-0", Timestamp::UNIX_EPOCH);
        assert_eq!(made.metadata.name.as_deref(), Some("mong-cai.a1.3.9"));
        assert_eq!(made.event_time.unwrap().0.to_string(), "2026-11-21T10:00:00.5Z");
        assert_eq!(made.note.unwrap().len(), 1024);
        assert_eq!(made.regarding.unwrap().name.as_deref(), Some("cam-1"));
    }
}
