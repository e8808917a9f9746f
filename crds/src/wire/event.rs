//! Up: the ordered stream of what happened, from a durable outbox.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::desired::ItemKind;

/// Something that happened at the gate. Its place in the order is the (epoch, seq) of `origin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Boot counter of the agent when it happened.
    pub origin_epoch: u64,
    /// Number within that boot, counted from 1 without a gap.
    pub origin_seq: u64,
    /// When it happened by the agent's clock, in RFC 3339.
    pub at: String,
    /// What kind of thing it concerns.
    pub kind: ItemKind,
    /// Name of the object.
    pub name: String,
    /// UID of the object.
    pub uid: String,
    /// One of the documented reasons.
    pub reason: String,
    /// Whether somebody should look at it.
    pub severity: EventSeverity,
    /// What happened, as a sentence.
    pub note: String,
}

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventSeverity {
    /// For the record.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Events in order, oldest first. Several fit into one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// Whether they were kept back while the agent was cut off; they never overwrite what is live.
    #[serde(default)]
    pub historical: bool,
    /// The events.
    pub events: Vec<Event>,
}
