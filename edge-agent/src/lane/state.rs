//! One lane: its hold, what closed it, and what of that has to be reported and remembered.

use std::sync::Arc;

use kalong_crds::condition::Reason;
use kalong_crds::lane::Admission;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::EventSeverity;
use kalong_crds::wire::order::{LaneInterlock, LaneOrder};
use tokio::time::Instant;

use super::hold::{EmptyCount, Hold, HoldOutcome};
use super::reading::LaneReading;
use crate::clock::Now;
use crate::store::desired::StoredItem;
use crate::store::durable::DurableState;
use crate::store::outbox::NewEvent;

/// Events of one lane that wait for room in the outbox; an interlock that flutters meanwhile is not news every time.
const MAX_WAITING: usize = 16;

/// What closed a lane that is declared open, so that its reopening becomes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseCause {
    Interlock,
    Hold,
}

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) stored: Arc<StoredItem>,
    /// `None` where the order cannot be read.
    pub(super) order: Option<LaneOrder>,
    pub(super) reading: Option<(LaneReading, Instant)>,
    pub(super) empty: EmptyCount,
    /// Whether the offline policy holds the lane closed.
    pub(super) offline: bool,
    pub(super) applied: i64,
    pub(super) hold: Option<Hold>,
    /// Interlocks read by this box that were last seen open.
    pub(super) latched: Vec<LaneInterlock>,
    /// Names of all interlocks that keep the lane closed.
    pub(super) open: Vec<String>,
    pub(super) close_cause: Option<CloseCause>,
    /// Events that are not in the outbox yet.
    pub(super) waiting: Vec<NewEvent>,
    pub(super) unsaved: bool,
}

impl LaneState {
    pub(super) fn restored(stored: Arc<StoredItem>, durable: &DurableState, now: &Now) -> Self {
        let hold = durable.hold.as_deref().cloned().map(|hold| Hold::resumed(hold, now));
        let close_cause = match &hold {
            _ if !durable.open_interlocks.is_empty() => Some(CloseCause::Interlock),
            Some(hold) if hold.is_active() => Some(CloseCause::Hold),
            _ => None,
        };
        Self {
            stored,
            order: None,
            reading: None,
            empty: EmptyCount::default(),
            offline: durable.offline,
            applied: 0,
            hold,
            latched: durable.interlocks.clone(),
            open: durable.open_interlocks.clone(),
            close_cause,
            waiting: Vec::new(),
            unsaved: false,
        }
    }

    pub(super) fn durable(&self) -> DurableState {
        DurableState {
            offline: self.offline,
            hold: self.hold.as_ref().map(|h| Box::new(h.durable().clone())),
            interlocks: self.latched.clone(),
            open_interlocks: self.open.clone(),
            ..DurableState::default()
        }
    }

    /// Takes over the hold of the order, or that there is none any more.
    pub(super) fn take_hold(&mut self, now: &Now) {
        // An order that cannot be read says nothing about holds.
        let Some(order) = &self.order else { return };
        let before = self.hold.as_ref().map(|h| h.durable().clone());
        match (&mut self.hold, order.hold.clone()) {
            (_, None) => self.hold = None,
            (Some(hold), Some(ordered)) => hold.update(ordered, now),
            (hold, Some(ordered)) => *hold = Some(Hold::new(ordered, now)),
        }
        self.unsaved |= self.hold.as_ref().map(|h| h.durable()) != before.as_ref();
    }

    /// Whether a hold keeps the lane closed.
    pub(super) fn is_held(&self) -> bool {
        self.hold.as_ref().is_some_and(Hold::is_active)
    }

    pub(super) fn add_event(&mut self, reason: Reason, severity: EventSeverity, note: String) {
        tracing::info!(lane = self.stored.item.name, %reason, note, "An event of a lane.");
        let item = &self.stored.item;
        let event =
            NewEvent { kind: ItemKind::Lane, name: item.name.clone(), uid: item.uid.clone(), reason, severity, note };
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(event);
        }
        self.unsaved = true;
    }

    /// Takes back events that could not be committed, in front of those that came meanwhile.
    pub(super) fn put_back(&mut self, events: Vec<NewEvent>) {
        self.unsaved = true;
        let later = std::mem::replace(&mut self.waiting, events);
        self.waiting.extend(later);
        self.waiting.truncate(MAX_WAITING);
    }

    pub(super) fn note_hold(&mut self, outcome: HoldOutcome) {
        self.unsaved = true;
        let name = self.stored.item.name.clone();
        let drains = self.hold.as_ref().map_or_else(String::new, |h| h.drains().join(", "));
        match outcome {
            HoldOutcome::Emptied => {}
            HoldOutcome::Lapsed => {
                let note = format!("the claim of {drains} on lane {name} ended by itself");
                self.add_event(Reason::DrainLapsed, EventSeverity::Normal, note);
            }
            HoldOutcome::Refused(reason) => {
                let why = self.hold.as_ref().and_then(|h| h.refusal()).map_or("", |r| &r.message);
                let note = format!("lane {name} was not emptied for {drains}: {why}");
                self.close_cause = self.close_cause.filter(|cause| *cause != CloseCause::Hold);
                self.add_event(reason, EventSeverity::Warning, note.chars().take(900).collect());
            }
        }
    }

    /// Remembers what keeps the lane closed although it is declared open.
    pub(super) fn track_close_cause(&mut self, declared: Admission) {
        self.close_cause = match declared {
            Admission::Closed => None,
            Admission::Open if !self.open.is_empty() => Some(CloseCause::Interlock),
            Admission::Open if self.is_held() => Some(self.close_cause.unwrap_or(CloseCause::Hold)),
            Admission::Open => self.close_cause,
        };
    }

    pub(super) fn note_reopened(&mut self) {
        let Some(cause) = self.close_cause.take() else { return };
        let why = match cause {
            CloseCause::Interlock => "its interlocks are safe again",
            CloseCause::Hold => "no claim holds it any more",
        };
        let note = format!("lane {} was reopened: {why}", self.stored.item.name);
        self.add_event(Reason::Reopened, EventSeverity::Normal, note);
    }
}
