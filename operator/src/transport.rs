//! The contract between the uplink and what carries its messages: the embedded gateway (`broker`) today, a standard MQTT broker later.
//!
//! A transport authenticates agents, keeps at most one session for each of them and moves bytes; it never reads a payload. The
//! uplink, a [`SessionHandler`], decides who may talk and what is said. Both sides depend on this module, and neither on the other.
//!
//! # Order of calls
//!
//! Once the identity of a connection is proven, the transport calls the handler in this order:
//!
//! 1. [`admittance`](SessionHandler::admittance), and again right before the session begins: the agent may have been shut out while the
//!    connection waited for an older session to end.
//! 2. [`taken_over`](SessionHandler::taken_over), if a session of the same identity is alive. The transport ends that session first.
//! 3. [`session_started`](SessionHandler::session_started), exactly once, before any frame of the session.
//! 4. [`frame`](SessionHandler::frame) for each message, one at a time and in the order of arrival.
//! 5. [`session_ended`](SessionHandler::session_ended), exactly once, whatever ended the session. It comes before the next
//!    `session_started` of the same agent.
//!
//! Calls for different agents may run concurrently, and so may `taken_over` beside the frames of the session that it ends.
//!
//! # What may block
//!
//! Only the future of `admittance` waits, and the transport bounds that wait. Every other method of both traits returns at once: it is called
//! on an I/O task, and must neither await nor ask the API server. The uplink calls [`Session`] while it holds the agent's lock, so a
//! session must not call back into the handler: [`Session::end`] asks for the end, and `session_ended` follows from another task.
//!
//! # What is delivered
//!
//! A transport may lose messages in both directions, with the session or without it; it must not reorder what it delivers to one agent, not
//! even across topics, since `desired` and `ctl` share one sequence. Signatures, digests and acknowledgements are the uplink's affair.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use kalong_controllers::kit::link::Admittance;
use kalong_crds::units::AgentId;
use kalong_crds::wire::topic::Up;
use strum::IntoStaticStr;
use tokio::sync::watch;

/// What happens to the session that a frame came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameResult {
    /// The session goes on. It does not say that the frame was believed.
    Continue,
    /// The session must end with [`EndReason::Denied`]: the agent spoke for another identity.
    Close,
}

/// Why a session ended, as logs and metrics have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum EndReason {
    /// The agent sent a DISCONNECT packet.
    Closed,
    /// The connection broke without a DISCONNECT.
    Lost,
    /// A newer connection of the same identity replaced it.
    TakenOver,
    /// The agent may not talk any more.
    Refused,
    /// Nothing was received for one and a half keep-alive intervals.
    KeepAlive,
    /// The agent did not take, or did not acknowledge, what was sent.
    WriteTimeout,
    /// A topic, will or payload that this agent may not send.
    Denied,
    /// Anything that is not MQTT 3.1.1 as spoken here.
    Protocol,
    /// The transport is being stopped.
    Shutdown,
    /// The router behind the gateway died; the process ends too.
    RouterGone,
}

impl EndReason {
    /// Log field and metric label.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One session of one agent, as the uplink holds it. It outlives the connection; afterwards every call is without effect.
pub trait Session: Send + Sync + 'static {
    /// Unique for the life of the process, so that the late end of an old session is not taken for that of a newer one.
    fn number(&self) -> u64;

    /// Sends the parts of one `desired` in their order. Parts of an earlier one that are still queued are dropped: the newest wins.
    fn desired(&self, parts: Vec<Bytes>);

    /// Sends one control message. The queue is bounded, and the oldest message is dropped first.
    fn control(&self, message: Bytes);

    /// Asks for the end of the session; the first reason counts.
    fn end(&self, reason: EndReason);
}

/// Receives sessions and their frames. The module documentation has the order of calls and what may block.
pub trait SessionHandler: Send + Sync + 'static {
    /// Resolves once it is known whether this identity may open a session. That can take until the first reconcile of its EdgeAgent, or
    /// for ever: the caller bounds the wait and turns the connection away when it runs out.
    fn admittance(&self, agent: &AgentId) -> BoxFuture<'static, Admittance>;

    /// A second connection of this identity came while the first was alive.
    fn taken_over(&self, agent: &AgentId);

    /// A session began. `session` may be kept and used for as long as the process lives.
    fn session_started(&self, agent: &AgentId, session: Arc<dyn Session>);

    /// A frame on one of the agent's own topics, within the size limit of that topic.
    fn frame(&self, agent: &AgentId, topic: Up, payload: Bytes) -> FrameResult;

    /// The session with this number ended.
    fn session_ended(&self, agent: &AgentId, session: u64, reason: EndReason);

    /// The retained message for all agents, on [`OPERATOR_STATE`](kalong_crds::wire::topic::OPERATOR_STATE); to be published again whenever
    /// it changes.
    fn operator_state(&self) -> watch::Receiver<Bytes>;
}
