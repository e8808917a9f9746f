//! Between attempts: whether one begins, ends for good, or is released from quarantine.

use std::time::Duration;

use kalong_crds::device::Step;

use super::{Outcome, Running, Transition, WhichImage};
use crate::store::attempt::{Mark, Record, Target};

/// Waiting times before a failed transport is tried again in a new attempt.
const RETRY_AFTER: [Duration; 3] =
    [Duration::from_secs(3600), Duration::from_secs(6 * 3600), Duration::from_secs(24 * 3600)];

/// Whether a new attempt begins: another release is wanted, a person asked, or a failed way is due again.
pub fn begins(last: Option<&Record>, wanted: &Target, running: &Running, retry: Option<i64>, due: bool) -> bool {
    if running.is(wanted) {
        return false;
    }
    let Some(last) = last else { return true };
    match last.step {
        Step::Idle => true,
        Step::Failed => {
            let other = last.target.document != wanted.document;
            let asked = retry == Some(last.attempt);
            let by_itself = due && last.failure.as_ref().is_some_and(|f| f.transport);
            other || asked || by_itself
        }
        Step::AwaitingRecertification => last.target.document != wanted.document,
        _ => false,
    }
}

/// A person ended the quarantine: where the attempt goes, by what runs and what the probes say.
pub fn released(record: &Record, running: &Running, probes: &Outcome) -> Transition {
    let clean = Record { failure: None, soak_restarts: 0, ..record.clone() };
    match (probes, running.image(record)) {
        (Outcome::Done, WhichImage::New) => clean.to(Step::Probation, Mark::Intent),
        (Outcome::Done, WhichImage::Old) => record.give_back(Step::Failed),
        _ => Transition::Stay,
    }
}

/// A failed attempt is over and done with: nothing is wanted any more, or what is wanted runs.
pub fn closed(record: &Record, wanted: Option<&Target>, running: Option<&Running>) -> Transition {
    let settled = match wanted {
        None => true,
        Some(wanted) => running.is_some_and(|r| r.is(wanted)),
    };
    if record.step == Step::Failed && settled { record.to(Step::Idle, Mark::Done) } else { Transition::Stay }
}

/// How long to wait before a failed way is tried again; none when it was tried often enough.
pub fn retry_delay(failures: u32) -> Option<Duration> {
    RETRY_AFTER.get(usize::try_from(failures).ok()?).copied()
}
