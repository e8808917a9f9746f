//! The firmware state machine, pure: from the last record and the present inputs to the next transition.

mod begin;
mod decide;
mod settle;
mod steps;

use std::time::Duration;

use kalong_crds::device_model::{Recertification, Rollback, UpdateSlots};
use kalong_crds::units::Digest;

use crate::lane::safety::Safety;
use crate::store::attempt::{Failure, Record, Target};
pub use begin::{begins, closed, released, retry_delay};
pub use decide::decide;
pub use settle::settle;

/// A staged image that got no permit is dropped after this time.
pub const STAGED_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the device shows of its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningFirmware {
    /// Version that the device reports.
    pub version: String,
    /// Digest that it reports, where it can.
    pub digest: Option<Digest>,
    /// Its number of starts, where it counts them.
    pub boots: Option<i64>,
}

/// Which image runs, as seen from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichImage {
    /// The one that the attempt brings.
    New,
    /// The one that ran before.
    Old,
    /// The new bytes under another version, or a third image.
    Foreign,
}

impl RunningFirmware {
    /// Whether this is what the target names. A digest decides where there is one; a version alone can lie.
    pub fn is(&self, target: &Target) -> bool {
        self.version == target.version && self.digest.as_ref().is_none_or(|d| *d == target.digest)
    }

    /// Whether this is the image of the attempt, the one before, or another.
    pub fn image(&self, record: &Record) -> WhichImage {
        if self.is(&record.target) {
            return WhichImage::New;
        }
        let same_bytes = match (&self.digest, &record.previous) {
            (Some(now), Some(before)) => now == before,
            _ => true,
        };
        if same_bytes && self.version == record.previous_version { WhichImage::Old } else { WhichImage::Foreign }
    }
}

/// Everything that a decision rests on, beside the record.
#[derive(Clone, Debug)]
pub struct AttemptInputs {
    /// What the order names now; none when no firmware is declared, it is withheld, or the device is not to be changed.
    pub wanted: Option<Target>,
    /// What runs; none while the device does not answer.
    pub running: Option<RunningFirmware>,
    /// How the device holds images.
    pub slots: UpdateSlots,
    /// Whether the previous image can be put back.
    pub rollback: Rollback,
    /// What the law requires after a change.
    pub recertification: Recertification,
    /// Whether there is a valid permit for this attempt, or none is needed.
    pub permitted: bool,
    /// Whether a new change may begin: clock believed, operator seen lately.
    pub may_begin: bool,
    /// Whether no other device of the lane is being changed, and the lane is held or declared closed where that is needed.
    pub lane_free: bool,
    /// Whether the lane is closed and empty and the interlocks are safe.
    pub safety: Safety,
    /// Whether the step has lasted longer than it may.
    pub overdue: bool,
    /// Whether the box restarted since the record was written.
    pub resumed: bool,
    /// Whether the device was away since it was ordered to switch.
    pub was_away: bool,
    /// Whether the new image has run for the soak time.
    pub soaked: bool,
    /// Whether a code of severity Faulty is active.
    pub faulty: bool,
    /// Whether the staged image has waited for longer than it is kept.
    pub stale: bool,
}

/// What the caller performs for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Verify the signatures and the constraints of the release.
    Verify,
    /// Check how far the download is, and start it where it has not begun.
    Download,
    /// Read the safe state once more, apart in time.
    ConfirmSafe,
    /// Send the image to the device.
    Transfer,
    /// Make the device write the image, and read back what was written.
    Install,
    /// Make the device switch to the image.
    Activate,
    /// Run the probes of the model.
    Probe,
    /// Make the running image permanent.
    Commit,
    /// Put the previous image back.
    RollBack,
}

/// How an action of an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The action is complete; the attempt moves on.
    Done,
    /// The action goes on; perform it again later.
    Pending,
    /// The action failed, and why.
    Failed(Failure),
    /// The device did not answer.
    Absent(String),
}

/// What follows from a record and its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Wait; nothing changes until the inputs do.
    Stay,
    /// Act; the outcome goes to [`settle`].
    Do(Action),
    /// Commit this record, which becomes the last one.
    Write(Box<Record>),
}
