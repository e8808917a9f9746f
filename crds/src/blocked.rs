//! Why something does not move: on whom it waits, since when, until when.

use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::whole_seconds;

/// What kind of thing is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum BlockCode {
    /// The agent has not been heard for longer than the grace time.
    AgentUnreachable,
    /// The agent has never enrolled.
    AgentNotEnrolled,
    /// The agent has not confirmed yet what it was told.
    AgentConfirmation,
    /// A LaneDrain has to be accepted and drained first.
    LaneDrain,
    /// A capacity floor would break.
    CapacityFloor,
    /// Another lane of the same service and direction is drained for a change.
    DrainInProgress,
    /// The lane still has to become empty.
    LaneNotEmpty,
    /// An interlock is open.
    InterlockOpen,
    /// A gate of the phase is not met.
    PhaseGate,
    /// An agreement between the two sides has to be in force.
    Agreement,
    /// A named object does not exist.
    MissingReference,
    /// Other objects still name this one.
    StillReferenced,
    /// A person has to look at the device.
    Quarantine,
    /// The next try of something that failed is due later.
    Retry,
    /// An instrument waits for the seal of the metrology authority.
    Recertification,
}

/// One reason why this object makes no progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedBy {
    /// What this object is waiting for, as a code.
    pub code: BlockCode,
    /// The object or party being waited for, as `Kind/name`.
    #[schemars(length(max = 253))]
    pub subject: String,
    /// When the wait began, in RFC 3339 with UTC.
    #[schemars(length(max = 35))]
    pub since: String,
    /// When the wait ends or is abandoned, in RFC 3339 with UTC; absent when only the subject can end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35))]
    pub until: Option<String>,
    /// What can be done to end the wait, as one sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
}

impl BlockedBy {
    /// A wait that begins now and that only its subject can end.
    pub fn new(code: BlockCode, subject: impl Into<String>, message: impl Into<String>, now: Timestamp) -> Self {
        let since = whole_seconds(now).to_string();
        Self { code, subject: subject.into(), since, until: None, message: message.into() }
    }
}

/// Keeps `since` of a wait that goes on, so that time alone never changes a status.
pub fn carry_since(previous: &[BlockedBy], mut now: Vec<BlockedBy>) -> Vec<BlockedBy> {
    for block in &mut now {
        if let Some(old) = previous.iter().find(|old| old.code == block.code && old.subject == block.subject) {
            block.since.clone_from(&old.since);
        }
    }
    now
}
