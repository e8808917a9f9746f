//! What waits for one agent: the handle that the uplink holds on a session.
//!
//! One message an agent is in the router at a time. `desired` and `ctl` share one sequence, and the router would keep them in two logs:
//! two messages at once could change places, and the agent would refuse the lower number.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kalong_crds::units::AgentId;
use kalong_crds::wire::topic::Down;
use tokio::sync::watch;
use tokio::time::Instant;

use super::EndReason;
use super::router::Router;

/// Control messages that may wait; beyond that the oldest goes. Each is asked for again by what it concerns.
const MAX_CONTROL: usize = 64;

/// A message that takes longer through the router and the agent's window will not arrive; a new session is the cure.
const TRAVEL_DEADLINE: Duration = Duration::from_secs(60);

/// Ends a session, once, with the first reason that was given.
#[derive(Clone, Debug)]
pub(super) struct Kill(Arc<watch::Sender<Option<EndReason>>>);

impl Kill {
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

/// Handle on one session of one agent. It outlives the session without harm.
#[derive(Clone)]
pub struct Session {
    number: u64,
    kill: Kill,
    outbox: Arc<Outbox>,
}

struct Outbox {
    agent: AgentId,
    router: Option<Router>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Down, Bytes)>,
    travelling: Option<Instant>,
    desired: bool,
    ctl: bool,
}

impl Session {
    pub(super) fn new(number: u64, agent: AgentId, kill: Kill, router: Router) -> Self {
        Self::over(number, agent, kill, Some(router))
    }

    fn over(number: u64, agent: AgentId, kill: Kill, router: Option<Router>) -> Self {
        Self { number, kill, outbox: Arc::new(Outbox { agent, router, queue: Mutex::default() }) }
    }

    /// A session without a wire: what is sent waits until it is taken with [`Session::take`].
    #[cfg(test)]
    pub(crate) fn unwired(number: u64, agent: AgentId) -> Self {
        Self::over(number, agent, Kill::new().0, None)
    }

    /// Everything that waits.
    #[cfg(test)]
    pub(crate) fn take(&self) -> Vec<(Down, Bytes)> {
        self.queue().waiting.drain(..).collect()
    }

    /// Why it was ended, if it was.
    #[cfg(test)]
    pub(crate) fn ended(&self) -> Option<EndReason> {
        *self.kill.0.borrow()
    }

    /// Number of the session, unique in this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Sends the parts of one `desired`. Parts of an earlier one that still wait are dropped: the newest wins.
    pub fn desired(&self, parts: impl IntoIterator<Item = Bytes>) {
        let mut queue = self.queue();
        queue.waiting.retain(|(down, _)| *down != Down::Desired);
        queue.waiting.extend(parts.into_iter().map(|part| (Down::Desired, part)));
        self.pump(&mut queue);
    }

    /// Sends one control message.
    pub fn control(&self, message: Bytes) {
        let mut queue = self.queue();
        if queue.waiting.iter().filter(|(down, _)| *down == Down::Ctl).count() >= MAX_CONTROL
            && let Some(oldest) = queue.waiting.iter().position(|(down, _)| *down == Down::Ctl)
        {
            queue.waiting.remove(oldest);
        }
        queue.waiting.push_back((Down::Ctl, message));
        self.pump(&mut queue);
    }

    /// Ends the session.
    pub fn end(&self, reason: EndReason) {
        self.kill.end(reason);
    }

    /// The agent subscribed this topic, and its link's subscription is in force.
    pub(super) fn subscribed(&self, down: Down) {
        let mut queue = self.queue();
        match down {
            Down::Desired => queue.desired = true,
            Down::Ctl => queue.ctl = true,
        }
        self.pump(&mut queue);
    }

    /// The message that travelled through the router is on its way to the agent.
    pub(super) fn arrived(&self) {
        let mut queue = self.queue();
        queue.travelling = None;
        self.pump(&mut queue);
    }

    fn pump(&self, queue: &mut Queue) {
        let Some(router) = &self.outbox.router else { return };
        let open = match queue.waiting.front() {
            Some((Down::Desired, _)) => queue.desired,
            Some((Down::Ctl, _)) => queue.ctl,
            None => false,
        };
        if let Some(since) = queue.travelling {
            if since.elapsed() > TRAVEL_DEADLINE {
                tracing::warn!(agent = %self.outbox.agent, "a message did not come through the router; the session is ended");
                self.kill.end(EndReason::Lost);
            }
            return;
        }
        if !open {
            return;
        }
        if let Some((down, message)) = queue.waiting.pop_front() {
            match router.publish(down.of(&self.outbox.agent), message) {
                Ok(()) => queue.travelling = Some(Instant::now()),
                Err(_) => self.kill.end(EndReason::RouterGone),
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.outbox.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_desired_wins_and_control_keeps_its_place() {
        let session = Session::unwired(1, "a.b".parse().unwrap());
        session.desired([Bytes::from_static(b"old1"), Bytes::from_static(b"old2")]);
        session.control(Bytes::from_static(b"c"));
        session.desired([Bytes::from_static(b"new")]);
        let all: Vec<_> = session.take().into_iter().map(|(_, b)| b).collect();
        assert_eq!(all, ["c", "new"]);
    }

    #[test]
    fn control_messages_do_not_pile_up() {
        let session = Session::unwired(1, "a.b".parse().unwrap());
        for n in 0..200 {
            session.control(Bytes::from(n.to_string()));
        }
        let all = session.take();
        assert_eq!(all.len(), MAX_CONTROL);
        assert_eq!(all.last().unwrap().1, "199");
    }

    #[test]
    fn first_reason_of_an_end_stays() {
        let session = Session::unwired(1, "a.b".parse().unwrap());
        session.end(EndReason::Refused);
        session.end(EndReason::Shutdown);
        assert_eq!(session.ended(), Some(EndReason::Refused));
    }
}
