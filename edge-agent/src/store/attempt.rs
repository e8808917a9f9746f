//! The record of a firmware attempt, as the journal keeps it.
//!
//! Every step is committed as an intent before it acts and as done afterwards, so that a power cut at any place leaves a record from which the
//! attempt goes on.

use kalong_crds::condition::Reason;
use kalong_crds::device::Step;
use kalong_crds::units::Digest;
use serde::{Deserialize, Serialize};

/// Whether a record was written before the action of its step or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// The step is about to perform its action.
    Intent,
    /// The step has performed its action.
    Done,
}

/// What an attempt is to bring onto the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Name of the FirmwareRelease object.
    pub name: String,
    /// Digest of the document that the authors signed; another one is another release.
    pub document: Digest,
    /// Digest of the image, as signed.
    pub digest: Digest,
    /// Length of the image in bytes.
    pub size: u64,
    /// Version as the device will report it.
    pub version: String,
    /// Security counter of the release.
    pub counter: i64,
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Documented reason, as in conditions and events.
    pub reason: String,
    /// What is wrong and what to do, as a sentence.
    pub message: String,
    /// Whether only the transport failed, so that a retry may succeed by itself.
    pub transport: bool,
}

impl Failure {
    /// A refusal, or a failure of the image: it takes a new release or a person.
    pub fn permanent(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason: reason.as_str().to_owned(), message: message.into(), transport: false }
    }

    /// A failure of the transport: it is retried later.
    pub fn transport(message: impl Into<String>) -> Self {
        Self { reason: Reason::FetchFailed.as_str().to_owned(), message: message.into(), transport: true }
    }
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Number of the record within the attempt.
    pub seq: u32,
    /// Number of the attempt, counted from 1.
    pub attempt: i64,
    /// Step that the attempt is in.
    pub step: Step,
    /// Whether the step is about to act or has acted.
    pub mark: Mark,
    /// Release that the attempt brings.
    pub target: Target,
    /// Image that ran before the attempt, where the device reported its digest.
    pub previous: Option<Digest>,
    /// Version that ran before the attempt.
    pub previous_version: String,
    /// Boot count of the device before it was ordered to switch.
    pub boot_before: Option<i64>,
    /// When the step was entered, by the wall clock.
    pub since: String,
    /// Milliseconds that the step may take, from its entry or from a restart of the box.
    pub allowed_ms: Option<u64>,
    /// Records since the attempt was last staged.
    pub guard: u32,
    /// Repetitions of the action within this step.
    pub tries: u32,
    /// Whether the device was written to, so that it may no longer be as it was.
    pub written: bool,
    /// Restarts of the device during probation.
    pub soak_restarts: u32,
    /// Step that follows once the lane is given back.
    pub next: Option<Step>,
    /// Why the attempt did not succeed.
    #[serde(rename = "fault")]
    pub failure: Option<Failure>,
    /// Attempts of this release in a row that failed on the transport.
    pub transport_failures: u32,
    /// When the next attempt begins by itself, by the wall clock.
    pub retry_at: Option<String>,
}
