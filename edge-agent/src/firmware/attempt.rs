//! The firmware state machine, pure: from the last record and what is seen now to the next move.
//!
//! Every step is committed as an intent before it acts and as done afterwards, so that a power cut at any place leaves a
//! record from which the same function goes on.

use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::device::Step;
use kalong_crds::device_model::{Recertification, Rollback, UpdateSlots};
use kalong_crds::units::Digest;
use serde::{Deserialize, Serialize};

/// Tries of a transfer before the attempt ends.
const TRANSFER_TRIES: u32 = 3;
/// Tries of making the image permanent before a person is needed.
const COMMIT_TRIES: u32 = 5;
/// Tries of putting the previous image back before a person is needed.
const ROLLBACK_TRIES: u32 = 2;
/// Records since the attempt was last staged, after which something goes in circles.
pub const GUARD: u32 = 40;
/// Waiting times before a failed transport is tried again in a new attempt.
pub const RETRY_AFTER: [Duration; 3] =
    [Duration::from_secs(3600), Duration::from_secs(6 * 3600), Duration::from_secs(24 * 3600)];
/// A staged image that nobody gave leave for is dropped after this time.
pub const STAGED_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

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
pub struct Fault {
    /// The documented reason.
    pub reason: String,
    /// What is wrong and what to do, as a sentence.
    pub message: String,
    /// Whether only the way to the device failed, so that another try may succeed by itself.
    pub transport: bool,
}

impl Fault {
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
    pub fault: Option<Fault>,
    /// Attempts of this release in a row that failed on the way.
    pub transport_failures: u32,
    /// When the next attempt begins by itself, by the wall clock.
    pub retry_at: Option<String>,
}

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
pub enum Image {
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
    pub fn image(&self, record: &Record) -> Image {
        if self.is(&record.target) {
            return Image::New;
        }
        let same_bytes = match (&self.digest, &record.previous) {
            (Some(now), Some(before)) => now == before,
            _ => true,
        };
        if same_bytes && self.version == record.previous_version { Image::Old } else { Image::Foreign }
    }
}

/// Whether the lane and the interlocks allow the device to be touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// They do.
    Safe,
    /// They do not, and why.
    No(String),
}

/// Everything that a decision rests on, beside the record.
#[derive(Clone, Debug)]
pub struct View {
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
    pub leave: bool,
    /// Whether a new change may begin: clock believed, operator seen lately.
    pub may_begin: bool,
    /// Whether no other device of the lane is in work, and the lane is claimed or declared closed where that is needed.
    pub turn: bool,
    /// Whether the lane is closed and empty and the interlocks are safe.
    pub quiet: Quiet,
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
pub enum Deed {
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

/// How a deed went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It goes on; ask again.
    Pending,
    /// It did not work.
    Failed(Fault),
    /// The device did not answer.
    Absent(String),
}

/// The next move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing now.
    Stay,
    /// Act; the outcome goes to [`settle`].
    Do(Deed),
    /// Commit this record.
    Write(Box<Record>),
}

impl Record {
    /// The first record of a new attempt.
    pub fn begin(last: Option<&Self>, target: Target, running: &Running, since: String) -> Self {
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
            fault: None,
            transport_failures: again.map_or(0, |l| l.transport_failures),
            retry_at: None,
        }
    }

    fn counting_boots(&self, view: &View) -> Self {
        let now = view.running.as_ref().and_then(|r| r.boots);
        Self { boot_before: now.or(self.boot_before), ..self.clone() }
    }

    fn to(&self, step: Step, mark: Mark) -> Move {
        let entered = step != self.step;
        let mut next = Self { seq: self.seq + 1, step, mark, guard: self.guard + 1, ..self.clone() };
        if entered {
            // The caller stamps the time of entry; an empty text says that it has to.
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
            let fault = Fault::final_(
                Reason::AttemptFailed,
                "the attempt went in circles: look at the device, then ask for another try with kalong.dev/retry",
            );
            next.fault = Some(fault);
            next.mark = Mark::Done;
            next.step = if self.step.touches_device() { Step::Quarantined } else { Step::Failed };
            next.since = String::new();
        }
        Move::Write(Box::new(next))
    }

    fn again(&self) -> Move {
        match self.to(self.step, Mark::Intent) {
            Move::Write(next) => Move::Write(Box::new(Self { tries: self.tries + 1, ..*next })),
            other => other,
        }
    }

    fn faulted(&self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self.clone() }
    }

    /// Ends the attempt without success; the device is as it was.
    fn fail(&self, fault: Fault) -> Move {
        let record = self.faulted(fault);
        if matches!(self.step, Step::Draining | Step::Drained | Step::Transferring) {
            record.give_back(Step::Failed)
        } else {
            record.to(Step::Failed, Mark::Done)
        }
    }

    fn give_back(&self, next: Step) -> Move {
        let record = Self { next: Some(next), ..self.clone() };
        record.to(Step::Undraining, Mark::Intent)
    }

    fn roll_back(&self, fault: Fault) -> Move {
        self.faulted(fault).to(Step::RollingBack, Mark::Intent)
    }

    fn quarantine(&self, fault: Fault) -> Move {
        self.faulted(fault).to(Step::Quarantined, Mark::Done)
    }
}

/// Steps in which a machine that goes in circles is already at rest, or about to be.
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

/// The next move. `record.mark` says whether the step's own action is still to be done.
pub fn decide(record: &Record, view: &View) -> Move {
    use Step::*;
    let wanted = view.wanted.as_ref().is_some_and(|w| w.document == record.target.document);
    if !wanted {
        match record.step {
            Verifying | Downloading | Staged | AwaitingDrain => return record.to(Cancelled, Mark::Done),
            Draining | Drained => return record.give_back(Cancelled),
            _ => {}
        }
    }
    match record.step {
        Idle | Failed | AwaitingRecertification | Quarantined => Move::Stay,
        Verifying => Move::Do(Deed::Verify),
        Downloading => Move::Do(Deed::Download),
        Staged if view.stale => record.to(Cancelled, Mark::Done),
        Staged if view.may_begin => record.to(AwaitingDrain, Mark::Intent),
        Staged => Move::Stay,
        AwaitingDrain => await_leave(record, view),
        Draining => drain(record, view),
        Drained if view.overdue || !view.leave => record.give_back(Staged),
        Drained => match (&view.quiet, record.mark) {
            (Quiet::No(_), _) => record.give_back(Staged),
            (Quiet::Safe, Mark::Intent) => Move::Do(Deed::ConfirmSafe),
            (Quiet::Safe, Mark::Done) if view.slots == UpdateSlots::External => record.to(Activating, Mark::Done),
            (Quiet::Safe, Mark::Done) => record.counting_boots(view).to(Transferring, Mark::Intent),
        },
        Transferring if record.mark == Mark::Done => record.to(Installing, Mark::Intent),
        Transferring => Move::Do(Deed::Transfer),
        Installing => install(record, view),
        Activating => activate(record, view),
        Probation => prove(record, view),
        Committing if record.mark == Mark::Intent => Move::Do(Deed::Commit),
        Committing if view.recertification == Recertification::Verified => {
            record.to(AwaitingRecertification, Mark::Done)
        }
        Committing => record.give_back(Idle),
        RollingBack => rolling_back(record, view),
        RolledBack => record.give_back(Failed),
        Undraining => record.to(record.next.unwrap_or(Failed), Mark::Done),
        Cancelled => record.to(Idle, Mark::Done),
    }
}

fn await_leave(record: &Record, view: &View) -> Move {
    let there = view.running.as_ref().is_some_and(|r| r.is(&record.target));
    if view.slots == UpdateSlots::External && there {
        return record.to(Step::Probation, Mark::Intent);
    }
    if !view.may_begin {
        return record.to(Step::Staged, Mark::Done);
    }
    if view.leave && view.turn && view.running.is_some() { record.to(Step::Draining, Mark::Intent) } else { Move::Stay }
}

fn drain(record: &Record, view: &View) -> Move {
    match &view.quiet {
        Quiet::Safe if view.leave => record.to(Step::Drained, Mark::Intent),
        // Leave that cannot be proved, as after a cold start without a clock, is no leave.
        _ if view.overdue || !view.leave => record.give_back(Step::Staged),
        _ => Move::Stay,
    }
}

fn install(record: &Record, view: &View) -> Move {
    if record.mark == Mark::Done {
        return record.counting_boots(view).to(Step::Activating, Mark::Intent);
    }
    if !view.resumed {
        return Move::Do(Deed::Install);
    }
    // A cut in the middle of writing: what was sent may be gone, so it is sent again. A device that shows nothing is rolled back.
    match &view.running {
        Some(running) if running.is(&record.target) => record.to(Step::Activating, Mark::Done),
        Some(_) => record.to(Step::Transferring, Mark::Intent),
        None if view.overdue => record.roll_back(Fault::final_(
            Reason::DeviceUnreachable,
            "the device did not answer after its installation was interrupted",
        )),
        None => Move::Stay,
    }
}

fn activate(record: &Record, view: &View) -> Move {
    let Some(running) = &view.running else {
        return match (view.overdue, view.slots) {
            (false, _) => Move::Stay,
            (true, UpdateSlots::External) => no_tool(record),
            (true, _) => record.roll_back(Fault::final_(
                Reason::DeviceUnreachable,
                format!("the device did not come back with version {}", record.target.version),
            )),
        };
    };
    let restarted = match (record.boot_before, running.boots) {
        (Some(before), Some(now)) => now != before,
        _ => view.was_away,
    };
    match running.image(record) {
        Image::New => record.to(Step::Probation, Mark::Intent),
        _ if view.slots == UpdateSlots::External => {
            if view.overdue {
                no_tool(record)
            } else {
                Move::Stay
            }
        }
        Image::Foreign => record.roll_back(wrong_version(record, running)),
        Image::Old if record.mark == Mark::Intent && !(view.resumed && restarted) => Move::Do(Deed::Activate),
        Image::Old if restarted || view.overdue => record
            .faulted(Fault::final_(
                Reason::WrongVersion,
                format!("the device started version {} again instead of {}", running.version, record.target.version),
            ))
            .to(Step::RolledBack, Mark::Done),
        Image::Old => Move::Stay,
    }
}

fn no_tool(record: &Record) -> Move {
    record
        .faulted(Fault::final_(
            Reason::AttemptFailed,
            format!(
                "the vendor's tool did not bring version {} in time: install it, then ask for another try",
                record.target.version
            ),
        ))
        .give_back(Step::Failed)
}

fn wrong_version(record: &Record, running: &Running) -> Fault {
    Fault::final_(
        Reason::WrongVersion,
        format!("the device reports version `{}` after {} was installed", running.version, record.target.version),
    )
}

fn prove(record: &Record, view: &View) -> Move {
    let Some(running) = &view.running else {
        let gone = Fault::final_(Reason::ProbeFailed, "the device fell silent while it was being proven");
        return if view.overdue { record.roll_back(gone) } else { Move::Stay };
    };
    if !running.is(&record.target) {
        return record.roll_back(wrong_version(record, running));
    }
    if record.mark == Mark::Intent {
        return Move::Do(Deed::Probe);
    }
    if view.faulty {
        return record
            .roll_back(Fault::final_(Reason::ProbeFailed, "the device reported a fault while it was being proven"));
    }
    let restarted = matches!((record.boot_before, running.boots), (Some(before), Some(now)) if before != now);
    if restarted && record.soak_restarts > 0 {
        return record
            .roll_back(Fault::final_(Reason::ProbeFailed, "the device restarted twice while it was being proven"));
    }
    if restarted {
        let again = Record { soak_restarts: record.soak_restarts + 1, ..record.clone() };
        return again.to(Step::Probation, Mark::Intent);
    }
    if view.soaked { record.to(Step::Committing, Mark::Intent) } else { Move::Stay }
}

fn rolling_back(record: &Record, view: &View) -> Move {
    let running_old = view.running.as_ref().is_some_and(|r| r.image(record) == Image::Old);
    if running_old && !view.faulty {
        return record.to(Step::RolledBack, Mark::Done);
    }
    if view.rollback == Rollback::None || view.slots == UpdateSlots::External {
        return if view.overdue { lost(record) } else { Move::Stay };
    }
    if record.mark == Mark::Intent {
        return if view.overdue { retry_roll_back(record) } else { Move::Do(Deed::RollBack) };
    }
    if view.overdue { retry_roll_back(record) } else { Move::Stay }
}

fn retry_roll_back(record: &Record) -> Move {
    if record.tries + 1 < ROLLBACK_TRIES { record.again() } else { lost(record) }
}

fn lost(record: &Record) -> Move {
    let why = record.fault.as_ref().map_or("", |f| f.message.as_str());
    record.quarantine(Fault::final_(
        Reason::Quarantined,
        format!("{why}; the previous image could not be put back: visit the device, then end the quarantine by hand"),
    ))
}

/// The next move after a deed.
pub fn settle(record: &Record, deed: Deed, outcome: Outcome, view: &View) -> Move {
    use Step::*;
    match (deed, outcome) {
        (Deed::Probe, Outcome::Pending) if view.overdue => {
            record.roll_back(Fault::final_(Reason::ProbeFailed, "the device's own test did not end in time"))
        }
        (_, Outcome::Pending) => Move::Stay,
        (Deed::Verify, Outcome::Done) if view.slots == UpdateSlots::External => record.to(Staged, Mark::Done),
        (Deed::Verify, Outcome::Done) => record.to(Downloading, Mark::Intent),
        (Deed::Download, Outcome::Done) => record.to(Staged, Mark::Done),
        (Deed::Verify | Deed::Download, Outcome::Failed(fault)) => record.fail(fault),
        (Deed::Verify | Deed::Download, Outcome::Absent(_)) => Move::Stay,
        (Deed::ConfirmSafe, Outcome::Done) => record.to(Drained, Mark::Done),
        (Deed::ConfirmSafe, _) => record.give_back(Staged),
        (Deed::Transfer, Outcome::Done) => record.to(Transferring, Mark::Done),
        (Deed::Transfer, Outcome::Failed(fault)) => transfer_failed(record, fault),
        (Deed::Transfer, Outcome::Absent(message)) => transfer_failed(record, Fault::transport(message)),
        (Deed::Install, Outcome::Done) => record.to(Installing, Mark::Done),
        (Deed::Install, Outcome::Failed(fault)) => record.roll_back(fault),
        (Deed::Install, Outcome::Absent(message)) => {
            record.roll_back(Fault::final_(Reason::DeviceUnreachable, message))
        }
        (Deed::Activate, Outcome::Done) => record.to(Activating, Mark::Done),
        (Deed::Activate, Outcome::Failed(fault)) => record.roll_back(fault),
        // The answer was lost: whether it was taken shows when the device comes back or the time is over.
        (Deed::Activate, Outcome::Absent(_)) => Move::Stay,
        (Deed::Probe, Outcome::Done) => {
            let boots = view.running.as_ref().and_then(|r| r.boots);
            Record { boot_before: boots, ..record.clone() }.to(Probation, Mark::Done)
        }
        (Deed::Probe, Outcome::Failed(fault)) => record.roll_back(fault),
        (Deed::Probe, Outcome::Absent(message)) if view.overdue => {
            record.roll_back(Fault::final_(Reason::ProbeFailed, message))
        }
        (Deed::Probe, Outcome::Absent(_)) => Move::Stay,
        (Deed::Commit, Outcome::Done) => {
            Record { fault: None, transport_failures: 0, ..record.clone() }.to(Committing, Mark::Done)
        }
        // Commit is the point of no return: it is tried again, never undone.
        (Deed::Commit, Outcome::Failed(Fault { message, .. }) | Outcome::Absent(message)) => {
            if record.tries + 1 < COMMIT_TRIES {
                record.again()
            } else {
                record.quarantine(Fault::final_(
                    Reason::Quarantined,
                    format!("the new image runs and could not be made permanent ({message}): visit the device"),
                ))
            }
        }
        (Deed::RollBack, Outcome::Done) => record.to(RollingBack, Mark::Done),
        (Deed::RollBack, Outcome::Failed(_)) => retry_roll_back(record),
        (Deed::RollBack, Outcome::Absent(_)) => Move::Stay,
    }
}

fn transfer_failed(record: &Record, fault: Fault) -> Move {
    if record.tries + 1 < TRANSFER_TRIES {
        record.again()
    } else if record.written {
        record.roll_back(fault)
    } else {
        record.fail(fault)
    }
}

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
            let by_itself = due && last.fault.as_ref().is_some_and(|f| f.transport);
            other || asked || by_itself
        }
        Step::AwaitingRecertification => last.target.document != wanted.document,
        _ => false,
    }
}

/// A person ended the quarantine: where the attempt goes, by what runs and what the probes say.
pub fn released(record: &Record, running: &Running, probes: &Outcome) -> Move {
    let clean = Record { fault: None, soak_restarts: 0, ..record.clone() };
    match (probes, running.image(record)) {
        (Outcome::Done, Image::New) => clean.to(Step::Probation, Mark::Intent),
        (Outcome::Done, Image::Old) => record.give_back(Step::Failed),
        _ => Move::Stay,
    }
}

/// A failed attempt is over and done with: nothing is wanted any more, or what is wanted runs.
pub fn closed(record: &Record, wanted: Option<&Target>, running: Option<&Running>) -> Move {
    let settled = match wanted {
        None => true,
        Some(wanted) => running.is_some_and(|r| r.is(wanted)),
    };
    if record.step == Step::Failed && settled { record.to(Step::Idle, Mark::Done) } else { Move::Stay }
}

/// How long to wait before a failed way is tried again; none when it was tried often enough.
pub fn retry_delay(failures: u32) -> Option<Duration> {
    RETRY_AFTER.get(usize::try_from(failures).ok()?).copied()
}
