//! The record of a firmware attempt, as the journal keeps it.
//!
//! Every step is committed as an intent before it acts and as done afterwards, so that a power cut at any place leaves a record from which the
//! attempt goes on.

use kalong_crds::condition::Reason;
use kalong_crds::device::Step;
use kalong_crds::units::Digest;
use serde::{Deserialize, Serialize};

/// Whether the record says what is about to be done or what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// About to act.
    Intent,
    /// Acted.
    Done,
}

/// What an attempt is to bring onto the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Name of the release.
    pub name: String,
    /// Digest of the document that the authors signed; another one is another release.
    pub document: Digest,
    /// Digest of the image.
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
    /// The documented reason.
    pub reason: String,
    /// What is wrong and what to do, as a sentence.
    pub message: String,
    /// Whether only the way to the device failed, so that another try may succeed by itself.
    pub transport: bool,
}

impl Failure {
    /// A refusal or a failure of the image: it takes a new release or a person.
    pub fn final_(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason: reason.as_str().to_owned(), message: message.into(), transport: false }
    }

    /// A failure of the way: it is tried again later.
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
    /// Where the attempt is.
    pub step: Step,
    /// Whether the step is about to act or has acted.
    pub mark: Mark,
    /// What the attempt brings.
    pub target: Target,
    /// Image that ran before, where the device could tell.
    pub previous: Option<Digest>,
    /// Version that ran before.
    pub previous_version: String,
    /// Starts of the device before it was told to switch.
    pub boot_before: Option<i64>,
    /// When the step was entered, by the wall clock.
    pub since: String,
    /// Milliseconds that the step may take, from its entry or from a restart of the box.
    pub allowed_ms: Option<u64>,
    /// Records since the attempt was last staged.
    pub guard: u32,
    /// Tries within this step.
    pub tries: u32,
    /// Whether the device was written to, so that it may no longer be as it was.
    pub written: bool,
    /// Starts of the device while it was being proven.
    pub soak_restarts: u32,
    /// Where giving the lane back leads.
    pub next: Option<Step>,
    /// Why the attempt did not succeed.
    #[serde(rename = "fault")]
    pub failure: Option<Failure>,
    /// Attempts of this release in a row that failed on the way.
    pub transport_failures: u32,
    /// When the next attempt begins by itself, by the wall clock.
    pub retry_at: Option<String>,
}
