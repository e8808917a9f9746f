//! What becomes of one lane: its claim, what closed it, and what of that has to be told and remembered.

use kalong_crds::condition::Reason;
use kalong_crds::lane::Admission;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::EventSeverity;

use super::super::hold::{Hold, Looks, Now, Turn};
use super::{Arc, Held, Lane, MAX_WAITING, Memory, NewEvent, Shut};

impl Lane {
    pub(super) fn remembered(held: Arc<Held>, memory: &Memory, now: &Now) -> Self {
        let hold = memory.claim.as_deref().cloned().map(|claim| Hold::resumed(claim, now));
        let shut = match &hold {
            _ if !memory.open_interlocks.is_empty() => Some(Shut::ByInterlock),
            Some(hold) if hold.is_active() => Some(Shut::ByClaim),
            _ => None,
        };
        Self {
            held,
            order: None,
            seen: None,
            looks: Looks::default(),
            offline: memory.offline,
            applied: 0,
            hold,
            latched: memory.interlocks.clone(),
            open: memory.open_interlocks.clone(),
            shut,
            waiting: Vec::new(),
            unsaved: false,
        }
    }

    pub(super) fn memory(&self) -> Memory {
        Memory {
            offline: self.offline,
            claim: self.hold.as_ref().map(|h| Box::new(h.memory().clone())),
            interlocks: self.latched.clone(),
            open_interlocks: self.open.clone(),
            ..Memory::default()
        }
    }

    /// Takes over the claim of the order, or that there is none any more.
    pub(super) fn take_claim(&mut self, now: &Now) {
        // An order that cannot be read says nothing about claims.
        let Some(order) = &self.order else { return };
        let before = self.hold.as_ref().map(|h| h.memory().clone());
        match (&mut self.hold, order.hold.clone()) {
            (_, None) => self.hold = None,
            (Some(hold), Some(told)) => hold.told(told, now),
            (hold, Some(told)) => *hold = Some(Hold::new(told, now)),
        }
        self.unsaved |= self.hold.as_ref().map(|h| h.memory()) != before.as_ref();
    }

    /// Whether a claim keeps the lane closed.
    pub(super) fn is_claimed(&self) -> bool {
        self.hold.as_ref().is_some_and(Hold::is_active)
    }

    pub(super) fn happened(&mut self, reason: Reason, severity: EventSeverity, note: String) {
        tracing::info!(lane = self.held.item.name, %reason, "{note}");
        let item = &self.held.item;
        let event =
            NewEvent { kind: ItemKind::Lane, name: item.name.clone(), uid: item.uid.clone(), reason, severity, note };
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(event);
        }
        self.unsaved = true;
    }

    pub(super) fn turned(&mut self, turn: Turn) {
        self.unsaved = true;
        let name = self.held.item.name.clone();
        let drains = self.hold.as_ref().map_or_else(String::new, |h| h.drains().join(", "));
        match turn {
            Turn::Emptied => {}
            Turn::Lapsed => {
                let note = format!("the claim of {drains} on lane {name} ended by itself");
                self.happened(Reason::DrainLapsed, EventSeverity::Normal, note);
            }
            Turn::Refused(reason) => {
                let why = self.hold.as_ref().and_then(|h| h.refusal()).map_or("", |r| &r.message);
                let note = format!("lane {name} was not emptied for {drains}: {why}");
                self.shut = self.shut.filter(|shut| *shut != Shut::ByClaim);
                self.happened(reason, EventSeverity::Warning, note.chars().take(900).collect());
            }
        }
    }

    /// Remembers what keeps the lane closed although it is declared open.
    pub(super) fn follow_closing(&mut self, declared: Admission) {
        self.shut = match declared {
            Admission::Closed => None,
            Admission::Open if !self.open.is_empty() => Some(Shut::ByInterlock),
            Admission::Open if self.is_claimed() => Some(self.shut.unwrap_or(Shut::ByClaim)),
            Admission::Open => self.shut,
        };
    }

    pub(super) fn tell_reopening(&mut self) {
        let Some(shut) = self.shut.take() else { return };
        let why = match shut {
            Shut::ByInterlock => "its interlocks are safe again",
            Shut::ByClaim => "no claim holds it any more",
        };
        let note = format!("lane {} was reopened: {why}", self.held.item.name);
        self.happened(Reason::Reopened, EventSeverity::Normal, note);
    }
}
