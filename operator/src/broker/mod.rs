//! The gateway: TLS, identity and MQTT 3.1.1 towards the edge agents, in front of an in-process router.
//!
//! This is the only folder that names rumqttd. Its router carries what goes to agents; what comes from them is handed straight to an
//! [`Intake`], so that no reader can fall behind a log. The stock network server is never started: one silent connection would
//! stop it for good (`docs/decisions/0002`).

pub mod access;
pub mod gateway;
pub mod limits;
pub mod metrics;
pub mod outbox;
pub mod tls;

mod registry;
mod router;
mod session;

use bytes::Bytes;
use futures::future::BoxFuture;
use kalong_crds::units::AgentId;
use kalong_crds::wire::topic::Up;
use tokio::sync::watch;

pub use gateway::{Gateway, GatewayConfig, GatewayError};
pub use limits::Limits;
pub use metrics::GatewayMetrics;
pub use outbox::Session;
pub use router::Fatal;

/// Whether an identity may open a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It may.
    Admitted,
    /// It may not, and knocking again soon is of no use.
    Refused,
}

/// What becomes of the connection that a frame came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Carry,
    /// It ends: the agent spoke for somebody else.
    Close,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The agent said goodbye.
    Closed,
    /// The connection broke.
    Lost,
    /// A newer connection of the same identity.
    TakenOver,
    /// The agent may not talk any more.
    Refused,
    /// Nothing was heard for one and a half keep-alive times.
    KeepAlive,
    /// The agent did not take what was sent.
    WriteTimeout,
    /// A topic, will or payload that this agent may not send.
    Denied,
    /// Something that is not MQTT 3.1.1 as spoken here.
    Protocol,
    /// The gateway stops.
    Shutdown,
    /// The router is gone; the process ends.
    RouterGone,
}

impl EndReason {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::TakenOver => "taken-over",
            Self::Refused => "refused",
            Self::KeepAlive => "keep-alive",
            Self::WriteTimeout => "write-timeout",
            Self::Denied => "denied",
            Self::Protocol => "protocol",
            Self::Shutdown => "shutdown",
            Self::RouterGone => "router-gone",
        }
    }
}

/// Where sessions and their frames go. Every method returns at once; none may wait for the API server.
pub trait Intake: Send + Sync + 'static {
    /// Whether this identity may open a session; waits while nobody can know yet. The gateway bounds the wait.
    fn entry(&self, agent: &AgentId) -> BoxFuture<'static, Entry>;

    /// A second connection of this identity came while the first was alive.
    fn taken_over(&self, agent: &AgentId);

    /// A session began. There is never more than one an agent.
    fn session_started(&self, agent: &AgentId, session: Session);

    /// A frame on one of the agent's own topics, within its size.
    fn frame(&self, agent: &AgentId, topic: Up, payload: Bytes) -> Verdict;

    /// The session with this number ended.
    fn session_ended(&self, agent: &AgentId, session: u64, reason: EndReason);

    /// The retained hint for all agents; published anew when it changes.
    fn operator_state(&self) -> watch::Receiver<Bytes>;
}
