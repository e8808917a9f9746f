//! Between attempts: whether one begins, ends for good, or is released from quarantine.

use std::time::Duration;

use kalong_crds::device::Step;

use super::{Outcome, RunningFirmware, Transition, WhichImage};
use crate::store::attempt::{Mark, Record, Target};

/// Waiting times before a failed transport is tried again in a new attempt.
const RETRY_AFTER: [Duration; 3] =
    [Duration::from_secs(3600), Duration::from_secs(6 * 3600), Duration::from_secs(24 * 3600)];

/// Whether a new attempt begins: another release is wanted, a person asked for a retry, or one is due by itself.
pub fn begins(
    last: Option<&Record>,
    wanted: &Target,
    running: &RunningFirmware,
    retry: Option<i64>,
    due: bool,
) -> bool {
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

/// Where an attempt goes once a person ended its quarantine, by what runs and by the outcome of the probes.
pub fn released(record: &Record, running: &RunningFirmware, probes: &Outcome) -> Transition {
    let clean = Record { failure: None, soak_restarts: 0, ..record.clone() };
    match (probes, running.image(record)) {
        (Outcome::Done, WhichImage::New) => clean.to(Step::Probation, Mark::Intent),
        (Outcome::Done, WhichImage::Old) => record.give_back(Step::Failed),
        _ => Transition::Stay,
    }
}

/// Whether a failed attempt is over: nothing is wanted any more, or what is wanted runs.
pub fn closed(record: &Record, wanted: Option<&Target>, running: Option<&RunningFirmware>) -> Transition {
    let settled = match wanted {
        None => true,
        Some(wanted) => running.is_some_and(|r| r.is(wanted)),
    };
    if record.step == Step::Failed && settled { record.to(Step::Idle, Mark::Done) } else { Transition::Stay }
}

/// How long to wait before a failed transport is retried; `None` once it was retried often enough.
pub fn retry_delay(failures: u32) -> Option<Duration> {
    RETRY_AFTER.get(usize::try_from(failures).ok()?).copied()
}
