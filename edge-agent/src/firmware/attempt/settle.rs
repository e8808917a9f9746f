//! The next transition of an attempt after an action, by its outcome.

use kalong_crds::condition::Reason;
use kalong_crds::device::Step;
use kalong_crds::device_model::UpdateSlots;

use super::{Action, AttemptInputs, Outcome, Transition};
use crate::store::attempt::{Failure, Mark, Record};

/// Tries of a transfer before the attempt ends.
const TRANSFER_TRIES: u32 = 3;
/// Tries of making the image permanent before a person is needed.
const COMMIT_TRIES: u32 = 5;
/// Tries of putting the previous image back before a person is needed.
const ROLLBACK_TRIES: u32 = 2;

/// The next transition after an action.
pub fn settle(record: &Record, action: Action, outcome: Outcome, inputs: &AttemptInputs) -> Transition {
    use Step::*;
    match (action, outcome) {
        (Action::Probe, Outcome::Pending) if inputs.overdue => {
            record.roll_back(Failure::permanent(Reason::ProbeFailed, "the device's own test did not end in time"))
        }
        (_, Outcome::Pending) => Transition::Stay,
        (Action::Verify, Outcome::Done) if inputs.slots == UpdateSlots::External => record.to(Staged, Mark::Done),
        (Action::Verify, Outcome::Done) => record.to(Downloading, Mark::Intent),
        (Action::Download, Outcome::Done) => record.to(Staged, Mark::Done),
        (Action::Verify | Action::Download, Outcome::Failed(failure)) => record.fail(failure),
        (Action::Verify | Action::Download, Outcome::Absent(_)) => Transition::Stay,
        (Action::ConfirmSafe, Outcome::Done) => record.to(Drained, Mark::Done),
        (Action::ConfirmSafe, _) => record.give_back(Staged),
        (Action::Transfer, Outcome::Done) => record.to(Transferring, Mark::Done),
        (Action::Transfer, Outcome::Failed(failure)) => transfer_failed(record, failure),
        (Action::Transfer, Outcome::Absent(message)) => transfer_failed(record, Failure::transport(message)),
        (Action::Install, Outcome::Done) => record.to(Installing, Mark::Done),
        (Action::Install, Outcome::Failed(failure)) => record.roll_back(failure),
        (Action::Install, Outcome::Absent(message)) => {
            record.roll_back(Failure::permanent(Reason::DeviceUnreachable, message))
        }
        (Action::Activate, Outcome::Done) => record.to(Activating, Mark::Done),
        (Action::Activate, Outcome::Failed(failure)) => record.roll_back(failure),
        // The answer was lost: whether it was taken shows when the device comes back or the time is over.
        (Action::Activate, Outcome::Absent(_)) => Transition::Stay,
        (Action::Probe, Outcome::Done) => {
            let boots = inputs.running.as_ref().and_then(|r| r.boots);
            Record { boot_before: boots, ..record.clone() }.to(Probation, Mark::Done)
        }
        (Action::Probe, Outcome::Failed(failure)) => record.roll_back(failure),
        (Action::Probe, Outcome::Absent(message)) if inputs.overdue => {
            record.roll_back(Failure::permanent(Reason::ProbeFailed, message))
        }
        (Action::Probe, Outcome::Absent(_)) => Transition::Stay,
        (Action::Commit, Outcome::Done) => {
            Record { failure: None, transport_failures: 0, ..record.clone() }.to(Committing, Mark::Done)
        }
        // Commit is the point of no return: it is tried again, never undone.
        (Action::Commit, Outcome::Failed(Failure { message, .. }) | Outcome::Absent(message)) => {
            if record.tries + 1 < COMMIT_TRIES {
                record.again()
            } else {
                record.quarantine(Failure::permanent(
                    Reason::Quarantined,
                    format!("the new image runs and could not be made permanent ({message}): visit the device"),
                ))
            }
        }
        (Action::RollBack, Outcome::Done) => record.to(RollingBack, Mark::Done),
        (Action::RollBack, Outcome::Failed(_)) => retry_roll_back(record),
        (Action::RollBack, Outcome::Absent(_)) => Transition::Stay,
    }
}

fn transfer_failed(record: &Record, failure: Failure) -> Transition {
    if record.tries + 1 < TRANSFER_TRIES {
        record.again()
    } else if record.written {
        record.roll_back(failure)
    } else {
        record.fail(failure)
    }
}

pub(super) fn retry_roll_back(record: &Record) -> Transition {
    if record.tries + 1 < ROLLBACK_TRIES { record.again() } else { lost(record) }
}

pub(super) fn lost(record: &Record) -> Transition {
    let why = record.failure.as_ref().map_or("", |f| f.message.as_str());
    record.quarantine(Failure::permanent(
        Reason::Quarantined,
        format!("{why}; the previous image could not be put back: visit the device, then end the quarantine by hand"),
    ))
}
