//! What a lane's own controller writes down: its turns, and when a device of the lane was touched with how many inside.

use std::collections::VecDeque;

use jiff::Timestamp;
use kalong_crds::lane::LaneAdmission;
use parking_lot::{Mutex, MutexGuard};

use crate::site::traffic::{AdmissionChange, Touch, TouchKind};

/// As many of each are kept: more than a day of changes.
const KEPT: usize = 4096;

/// The notes of one lane, shared by its devices.
#[derive(Debug)]
pub(super) struct LaneLog {
    notes: Mutex<LogEntries>,
}

#[derive(Debug)]
struct LogEntries {
    state: LaneAdmission,
    inside: i64,
    turns: VecDeque<AdmissionChange>,
    touched: VecDeque<Touch>,
}

pub(super) fn now_millis() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

impl LaneLog {
    /// Of a lane that is closed and empty.
    pub fn new() -> Self {
        let state = LaneAdmission::Closed;
        let turns = VecDeque::from([AdmissionChange { at_millis: now_millis(), state }]);
        Self { notes: Mutex::new(LogEntries { state, inside: 0, turns, touched: VecDeque::new() }) }
    }

    fn notes(&self) -> MutexGuard<'_, LogEntries> {
        self.notes.lock()
    }

    /// The lane does this now, with so many inside.
    pub fn show(&self, word: &str, inside: i64) {
        let state = match word {
            "Open" => LaneAdmission::Open,
            "Draining" => LaneAdmission::Draining,
            _ => LaneAdmission::Closed,
        };
        let mut notes = self.notes();
        notes.inside = inside;
        if notes.state != state {
            notes.state = state;
            push(&mut notes.turns, AdmissionChange { at_millis: now_millis(), state });
        }
    }

    /// A device of the lane was touched now.
    pub fn touch(&self, device: &str, kind: TouchKind) {
        let mut notes = self.notes();
        let touch = Touch {
            at_millis: now_millis(),
            device: device.to_owned(),
            kind,
            inside: u64::try_from(notes.inside).unwrap_or_default(),
            state: notes.state,
        };
        push(&mut notes.touched, touch);
    }

    pub fn read(&self) -> (Vec<AdmissionChange>, Vec<Touch>) {
        let notes = self.notes();
        (notes.turns.iter().copied().collect(), notes.touched.iter().cloned().collect())
    }
}

fn push<T>(list: &mut VecDeque<T>, entry: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(entry);
}
