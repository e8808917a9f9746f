//! The firmware state machine, pure: from the last record and what is seen now to the next move.

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

/// A staged image that nobody gave leave for is dropped after this time.
pub const STAGED_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the device shows of its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Version that it reports.
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

impl Running {
    /// Whether this is what the target names. A digest decides where there is one; a version alone can lie.
    pub fn is(&self, target: &Target) -> bool {
        self.version == target.version && self.digest.as_ref().is_none_or(|d| *d == target.digest)
    }

    /// Which image this is.
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
    pub running: Option<Running>,
    /// How the device holds images.
    pub slots: UpdateSlots,
    /// Whether the previous image can be put back.
    pub rollback: Rollback,
    /// What the law asks afterwards.
    pub recertification: Recertification,
    /// Whether leave is there: a valid permit for this attempt, or none is needed.
    pub permitted: bool,
    /// Whether a new change may begin: clock believed, operator seen lately.
    pub may_begin: bool,
    /// Whether no other device of the lane is in work, and the lane is claimed or declared closed where that is needed.
    pub lane_free: bool,
    /// Whether the lane is closed and empty and the interlocks are safe.
    pub safety: Safety,
    /// Whether the step has lasted longer than it may.
    pub overdue: bool,
    /// Whether the box restarted since the record was written.
    pub resumed: bool,
    /// Whether the device was away since it was told to switch.
    pub was_away: bool,
    /// Whether the new image has run for the soak time.
    pub soaked: bool,
    /// Whether a code of severity Faulty is active.
    pub faulty: bool,
    /// Whether the staged image has waited for longer than it is kept.
    pub stale: bool,
}

/// What the caller does for the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Judge the release.
    Verify,
    /// Look how far the download is.
    Download,
    /// Read the safe state once more, apart in time.
    ConfirmSafe,
    /// Send the image.
    Transfer,
    /// Have it written, and read back what was written.
    Install,
    /// Have the device switch.
    Activate,
    /// Run the probes.
    Probe,
    /// Make it permanent.
    Commit,
    /// Put the previous image back.
    RollBack,
}

/// How a action went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It goes on; ask again.
    Pending,
    /// It did not work.
    Failed(Failure),
    /// The device did not answer.
    Absent(String),
}

/// The next move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing now.
    Stay,
    /// Act; the outcome goes to [`settle`].
    Do(Action),
    /// Commit this record.
    Write(Box<Record>),
}
