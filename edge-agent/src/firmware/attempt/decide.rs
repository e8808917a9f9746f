//! The next transition of an attempt that runs, before its action is performed.

use kalong_crds::condition::Reason;
use kalong_crds::device::Step;
use kalong_crds::device_model::{Recertification, Rollback, UpdateSlots};

use super::settle::{lost, retry_roll_back};
use super::{Action, AttemptInputs, RunningFirmware, Transition, WhichImage};
use crate::lane::safety::Safety;
use crate::store::attempt::{Failure, Mark, Record};

/// The next transition. `record.mark` tells whether the step's own action is still to be done.
pub fn decide(record: &Record, inputs: &AttemptInputs) -> Transition {
    use Step::*;
    let wanted = inputs.wanted.as_ref().is_some_and(|w| w.document == record.target.document);
    if !wanted {
        match record.step {
            Verifying | Downloading | Staged | AwaitingDrain => return record.to(Cancelled, Mark::Done),
            Draining | Drained => return record.give_back(Cancelled),
            _ => {}
        }
    }
    match record.step {
        Idle | Failed | AwaitingRecertification | Quarantined => Transition::Stay,
        Verifying => Transition::Do(Action::Verify),
        Downloading => Transition::Do(Action::Download),
        Staged if inputs.stale => record.to(Cancelled, Mark::Done),
        Staged if inputs.may_begin => record.to(AwaitingDrain, Mark::Intent),
        Staged => Transition::Stay,
        AwaitingDrain => await_leave(record, inputs),
        Draining => drain(record, inputs),
        Drained if inputs.overdue || !inputs.permitted => record.give_back(Staged),
        Drained => match (&inputs.safety, record.mark) {
            (Safety::Unsafe(_), _) => record.give_back(Staged),
            (Safety::Safe, Mark::Intent) => Transition::Do(Action::ConfirmSafe),
            (Safety::Safe, Mark::Done) if inputs.slots == UpdateSlots::External => record.to(Activating, Mark::Done),
            (Safety::Safe, Mark::Done) => record.counting_boots(inputs).to(Transferring, Mark::Intent),
        },
        Transferring if record.mark == Mark::Done => record.to(Installing, Mark::Intent),
        Transferring => Transition::Do(Action::Transfer),
        Installing => install(record, inputs),
        Activating => activate(record, inputs),
        Probation => probation(record, inputs),
        Committing if record.mark == Mark::Intent => Transition::Do(Action::Commit),
        Committing if inputs.recertification == Recertification::Verified => {
            record.to(AwaitingRecertification, Mark::Done)
        }
        Committing => record.give_back(Idle),
        RollingBack => rolling_back(record, inputs),
        RolledBack => record.give_back(Failed),
        Undraining => record.to(record.next.unwrap_or(Failed), Mark::Done),
        Cancelled => record.to(Idle, Mark::Done),
    }
}

fn await_leave(record: &Record, inputs: &AttemptInputs) -> Transition {
    let there = inputs.running.as_ref().is_some_and(|r| r.is(&record.target));
    if inputs.slots == UpdateSlots::External && there {
        return record.to(Step::Probation, Mark::Intent);
    }
    if !inputs.may_begin {
        return record.to(Step::Staged, Mark::Done);
    }
    if inputs.permitted && inputs.lane_free && inputs.running.is_some() {
        record.to(Step::Draining, Mark::Intent)
    } else {
        Transition::Stay
    }
}

fn drain(record: &Record, inputs: &AttemptInputs) -> Transition {
    match &inputs.safety {
        Safety::Safe if inputs.permitted => record.to(Step::Drained, Mark::Intent),
        // Leave that cannot be proved, as after a cold start without a clock, is no leave.
        _ if inputs.overdue || !inputs.permitted => record.give_back(Step::Staged),
        _ => Transition::Stay,
    }
}

fn install(record: &Record, inputs: &AttemptInputs) -> Transition {
    if record.mark == Mark::Done {
        return record.counting_boots(inputs).to(Step::Activating, Mark::Intent);
    }
    if !inputs.resumed {
        return Transition::Do(Action::Install);
    }
    // A cut in the middle of writing: what was sent may be gone, so it is sent again. A device that shows nothing is rolled back.
    match &inputs.running {
        Some(running) if running.is(&record.target) => record.to(Step::Activating, Mark::Done),
        Some(_) => record.to(Step::Transferring, Mark::Intent),
        None if inputs.overdue => record.roll_back(Failure::permanent(
            Reason::DeviceUnreachable,
            "the device did not answer after its installation was interrupted",
        )),
        None => Transition::Stay,
    }
}

fn activate(record: &Record, inputs: &AttemptInputs) -> Transition {
    let Some(running) = &inputs.running else {
        return match (inputs.overdue, inputs.slots) {
            (false, _) => Transition::Stay,
            (true, UpdateSlots::External) => no_tool(record),
            (true, _) => record.roll_back(Failure::permanent(
                Reason::DeviceUnreachable,
                format!("the device did not come back with version {}", record.target.version),
            )),
        };
    };
    let restarted = match (record.boot_before, running.boots) {
        (Some(before), Some(now)) => now != before,
        _ => inputs.was_away,
    };
    match running.image(record) {
        WhichImage::New => record.to(Step::Probation, Mark::Intent),
        _ if inputs.slots == UpdateSlots::External => {
            if inputs.overdue {
                no_tool(record)
            } else {
                Transition::Stay
            }
        }
        WhichImage::Foreign => record.roll_back(wrong_version(record, running)),
        WhichImage::Old if record.mark == Mark::Intent && !(inputs.resumed && restarted) => {
            Transition::Do(Action::Activate)
        }
        WhichImage::Old if restarted || inputs.overdue => record
            .with_failure(Failure::permanent(
                Reason::WrongVersion,
                format!("the device started version {} again instead of {}", running.version, record.target.version),
            ))
            .to(Step::RolledBack, Mark::Done),
        WhichImage::Old => Transition::Stay,
    }
}

fn no_tool(record: &Record) -> Transition {
    record
        .with_failure(Failure::permanent(
            Reason::AttemptFailed,
            format!(
                "the vendor's tool did not bring version {} in time: install it, then ask for another try",
                record.target.version
            ),
        ))
        .give_back(Step::Failed)
}

fn wrong_version(record: &Record, running: &RunningFirmware) -> Failure {
    Failure::permanent(
        Reason::WrongVersion,
        format!("the device reports version `{}` after {} was installed", running.version, record.target.version),
    )
}

fn probation(record: &Record, inputs: &AttemptInputs) -> Transition {
    let Some(running) = &inputs.running else {
        let gone = Failure::permanent(Reason::ProbeFailed, "the device fell silent while it was being proven");
        return if inputs.overdue { record.roll_back(gone) } else { Transition::Stay };
    };
    if !running.is(&record.target) {
        return record.roll_back(wrong_version(record, running));
    }
    if record.mark == Mark::Intent {
        return Transition::Do(Action::Probe);
    }
    if inputs.faulty {
        return record.roll_back(Failure::permanent(
            Reason::ProbeFailed,
            "the device reported a fault while it was being proven",
        ));
    }
    let restarted = matches!((record.boot_before, running.boots), (Some(before), Some(now)) if before != now);
    if restarted && record.soak_restarts > 0 {
        return record.roll_back(Failure::permanent(
            Reason::ProbeFailed,
            "the device restarted twice while it was being proven",
        ));
    }
    if restarted {
        let again = Record { soak_restarts: record.soak_restarts + 1, ..record.clone() };
        return again.to(Step::Probation, Mark::Intent);
    }
    if inputs.soaked { record.to(Step::Committing, Mark::Intent) } else { Transition::Stay }
}

fn rolling_back(record: &Record, inputs: &AttemptInputs) -> Transition {
    let running_old = inputs.running.as_ref().is_some_and(|r| r.image(record) == WhichImage::Old);
    if running_old && !inputs.faulty {
        return record.to(Step::RolledBack, Mark::Done);
    }
    if inputs.rollback == Rollback::None || inputs.slots == UpdateSlots::External {
        return if inputs.overdue { lost(record) } else { Transition::Stay };
    }
    if record.mark == Mark::Intent {
        return if inputs.overdue { retry_roll_back(record) } else { Transition::Do(Action::RollBack) };
    }
    if inputs.overdue { retry_roll_back(record) } else { Transition::Stay }
}
