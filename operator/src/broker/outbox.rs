//! What is queued for one agent: the [`Session`] that the uplink holds.
//!
//! One message an agent is in the router at a time. `desired` and `ctl` share one sequence, and the router would keep them in two logs:
//! two messages at once could change places, and the agent would refuse the lower number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kalong_crds::units::AgentId;
use kalong_crds::wire::topic::Down;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::router::Router;
use crate::transport::{EndReason, Session};

/// Control messages in the queue of one agent; the oldest is dropped beyond that. Whatever each concerns is sent again when it is needed.
const MAX_CONTROL: usize = 64;

/// A message that takes longer through the router and the agent's window will not arrive; a new session is the cure.
const TRAVEL_DEADLINE: Duration = Duration::from_secs(60);

/// Ends a session, once, with the first reason that was given.
#[derive(Clone, Debug)]
pub(super) struct SessionKill(Arc<watch::Sender<Option<EndReason>>>);

impl SessionKill {
    pub fn new() -> (Self, watch::Receiver<Option<EndReason>>) {
        let (tx, rx) = watch::channel(None);
        (Self(Arc::new(tx)), rx)
    }

    pub fn end(&self, reason: EndReason) {
        self.0.send_if_modified(|seen| {
            let first = seen.is_none();
            if first {
                *seen = Some(reason);
            }
            first
        });
    }
}

/// The queue of one session, and its way through the router.
pub(super) struct Outbox {
    number: u64,
    agent: AgentId,
    kill: SessionKill,
    router: Router,
    queue: Mutex<Queue>,
}

impl Outbox {
    pub fn new(number: u64, agent: AgentId, kill: SessionKill, router: Router) -> Arc<Self> {
        Arc::new(Self { number, agent, kill, router, queue: Mutex::default() })
    }

    /// The agent subscribed to this topic, and its link's subscription is in force.
    pub fn subscribed(&self, down: Down) {
        let mut queue = self.queue.lock();
        queue.open(down);
        self.pump(&mut queue);
    }

    /// The message that travelled through the router was written to the agent's connection.
    pub fn arrived(&self) {
        let mut queue = self.queue.lock();
        queue.travelling = None;
        self.pump(&mut queue);
    }

    fn pump(&self, queue: &mut Queue) {
        if let Some(since) = queue.travelling {
            if since.elapsed() > TRAVEL_DEADLINE {
                tracing::warn!(agent = %self.agent, "A message was lost in the router; the session is ended.");
                self.kill.end(EndReason::Lost);
            }
            return;
        }
        if let Some((down, message)) = queue.next() {
            match self.router.publish(down.of(&self.agent), message) {
                Ok(()) => queue.travelling = Some(Instant::now()),
                Err(_) => self.kill.end(EndReason::RouterGone),
            }
        }
    }
}

impl Session for Outbox {
    fn number(&self) -> u64 {
        self.number
    }

    fn desired(&self, parts: Vec<Bytes>) {
        let mut queue = self.queue.lock();
        queue.desired(parts);
        self.pump(&mut queue);
    }

    fn control(&self, message: Bytes) {
        let mut queue = self.queue.lock();
        queue.control(message);
        self.pump(&mut queue);
    }

    fn end(&self, reason: EndReason) {
        self.kill.end(reason);
    }
}

/// Messages in the order in which they will be sent.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Down, Bytes)>,
    /// Since when a message is in the router.
    travelling: Option<Instant>,
    desired_open: bool,
    ctl_open: bool,
}

impl Queue {
    fn desired(&mut self, parts: Vec<Bytes>) {
        self.waiting.retain(|(down, _)| *down != Down::Desired);
        self.waiting.extend(parts.into_iter().map(|part| (Down::Desired, part)));
    }

    fn control(&mut self, message: Bytes) {
        if self.waiting.iter().filter(|(down, _)| *down == Down::Ctl).count() >= MAX_CONTROL
            && let Some(oldest) = self.waiting.iter().position(|(down, _)| *down == Down::Ctl)
        {
            self.waiting.remove(oldest);
        }
        self.waiting.push_back((Down::Ctl, message));
    }

    fn open(&mut self, down: Down) {
        match down {
            Down::Desired => self.desired_open = true,
            Down::Ctl => self.ctl_open = true,
        }
    }

    /// The oldest message, if the agent has subscribed to its topic. A later message never overtakes it.
    fn next(&mut self) -> Option<(Down, Bytes)> {
        let open = match self.waiting.front()?.0 {
            Down::Desired => self.desired_open,
            Down::Ctl => self.ctl_open,
        };
        if open { self.waiting.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribed() -> Queue {
        Queue { desired_open: true, ctl_open: true, ..Queue::default() }
    }

    fn drain(mut queue: Queue) -> Vec<Bytes> {
        std::iter::from_fn(|| queue.next()).map(|(_, message)| message).collect()
    }

    #[test]
    fn newest_desired_wins_and_control_keeps_its_place() {
        let mut queue = subscribed();
        queue.desired(vec![Bytes::from_static(b"old1"), Bytes::from_static(b"old2")]);
        queue.control(Bytes::from_static(b"c"));
        queue.desired(vec![Bytes::from_static(b"new")]);
        assert_eq!(drain(queue), ["c", "new"]);
    }

    #[test]
    fn control_messages_do_not_pile_up() {
        let mut queue = subscribed();
        for n in 0..200 {
            queue.control(Bytes::from(n.to_string()));
        }
        let all = drain(queue);
        assert_eq!(all.len(), MAX_CONTROL);
        assert_eq!(all.last().unwrap(), "199");
    }

    #[test]
    fn nothing_overtakes_a_message_whose_topic_is_not_subscribed_yet() {
        let mut queue = Queue { ctl_open: true, ..Queue::default() };
        queue.desired(vec![Bytes::from_static(b"d")]);
        queue.control(Bytes::from_static(b"c"));
        assert_eq!(queue.next(), None);
        queue.open(Down::Desired);
        assert_eq!(drain(queue), ["d", "c"]);
    }

    #[test]
    fn first_reason_of_an_end_stays() {
        let (kill, killed) = SessionKill::new();
        kill.end(EndReason::Refused);
        kill.end(EndReason::Shutdown);
        assert_eq!(*killed.borrow(), Some(EndReason::Refused));
    }
}
