//! The records that follow a record: what is copied, counted and forgotten when an attempt moves.

use kalong_crds::condition::Reason;
use kalong_crds::device::Step;

use super::{AttemptInputs, RunningFirmware, Transition};
use crate::store::attempt::{Failure, Mark, Record, Target};

/// Records since the attempt was last staged, above which it counts as going in circles.
const GUARD: u32 = 40;

impl Record {
    /// The first record of a new attempt.
    pub fn begin(last: Option<&Self>, target: Target, running: &RunningFirmware, since: String) -> Self {
        let again = last.filter(|l| l.target.document == target.document);
        Self {
            seq: 1,
            attempt: last.map_or(0, |l| l.attempt) + 1,
            step: Step::Verifying,
            mark: Mark::Intent,
            target,
            previous: running.digest.clone(),
            previous_version: running.version.clone(),
            boot_before: None,
            since,
            allowed_ms: None,
            guard: 0,
            tries: 0,
            written: false,
            soak_restarts: 0,
            next: None,
            failure: None,
            transport_failures: again.map_or(0, |l| l.transport_failures),
            retry_at: None,
        }
    }

    pub(super) fn counting_boots(&self, inputs: &AttemptInputs) -> Self {
        let now = inputs.running.as_ref().and_then(|r| r.boots);
        Self { boot_before: now.or(self.boot_before), ..self.clone() }
    }

    pub(super) fn to(&self, step: Step, mark: Mark) -> Transition {
        let entered = step != self.step;
        let mut next = Self { seq: self.seq + 1, step, mark, guard: self.guard + 1, ..self.clone() };
        if entered {
            // The caller stamps the time of entry; an empty text asks for that.
            next.since = String::new();
            next.tries = 0;
        }
        if step == Step::Staged {
            next.guard = 0;
        }
        if step == Step::Installing {
            next.written = true;
        }
        if next.guard > GUARD && !is_end(step) {
            let failure = Failure::permanent(
                Reason::AttemptFailed,
                "the attempt went in circles: look at the device, then ask for another try with kalong.dev/retry",
            );
            next.failure = Some(failure);
            next.mark = Mark::Done;
            next.step = if self.step.touches_device() { Step::Quarantined } else { Step::Failed };
            next.since = String::new();
        }
        Transition::Write(Box::new(next))
    }

    pub(super) fn again(&self) -> Transition {
        match self.to(self.step, Mark::Intent) {
            Transition::Write(next) => Transition::Write(Box::new(Self { tries: self.tries + 1, ..*next })),
            other => other,
        }
    }

    pub(super) fn with_failure(&self, failure: Failure) -> Self {
        Self { failure: Some(failure), ..self.clone() }
    }

    /// Ends the attempt without success; the device is as it was.
    pub(super) fn fail(&self, failure: Failure) -> Transition {
        let record = self.with_failure(failure);
        if matches!(self.step, Step::Draining | Step::Drained | Step::Transferring) {
            record.give_back(Step::Failed)
        } else {
            record.to(Step::Failed, Mark::Done)
        }
    }

    pub(super) fn give_back(&self, next: Step) -> Transition {
        let record = Self { next: Some(next), ..self.clone() };
        record.to(Step::Undraining, Mark::Intent)
    }

    pub(super) fn roll_back(&self, failure: Failure) -> Transition {
        self.with_failure(failure).to(Step::RollingBack, Mark::Intent)
    }

    pub(super) fn quarantine(&self, failure: Failure) -> Transition {
        self.with_failure(failure).to(Step::Quarantined, Mark::Done)
    }
}

/// Steps in which an attempt that goes in circles is at rest, or about to be.
fn is_end(step: Step) -> bool {
    matches!(
        step,
        Step::Idle
            | Step::Failed
            | Step::Cancelled
            | Step::Quarantined
            | Step::AwaitingRecertification
            | Step::Undraining
    )
}
