//! A claim that a lane be empty, as the box itself judges it: begun, empty, given up, refused or lapsed. Pure.
//!
//! The box needs nobody to reopen a lane: it gives up at the hour that the claim names, and a claim ends by itself. Both are counted on the
//! wall clock where that can be believed, and else in monotonic time from when the claim came.

use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::condition::Reason;
use kalong_crds::lane::LaneAdmission;
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::LaneHold;
use kalong_crds::wire::reported::DrainRefusal;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::lane::Seen;
use crate::clock::ClockJudge;

/// Visits in a row without a readable occupancy after which the box refuses: it cannot tell whether anybody is inside.
const BLIND_LOOKS: u8 = 2;
/// Visits in a row that must show the lane closed and empty.
const EMPTY_LOOKS: u8 = 2;
/// Least time between two visits that count as two: a visit that somebody woke proves nothing new.
const LOOKS_APART: Duration = Duration::from_millis(200);

/// What time it is, as far as anybody here knows.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock, where it can be believed.
    pub wall: Option<Timestamp>,
    /// The best guess otherwise: the newest time that the operator signed.
    pub told: Timestamp,
    /// Time since the box started.
    pub mono: Instant,
}

impl Now {
    /// The time by this judge.
    pub fn of(clock: &ClockJudge) -> Self {
        let wall = (clock.judge() == Clock::Synced).then(Timestamp::now);
        Self { wall, told: wall.unwrap_or_else(|| clock.newest_signed()), mono: Instant::now() }
    }
}

/// What survives a restart of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The claim as it was told.
    pub hold: LaneHold,
    /// When it came, in RFC 3339, by the best clock that there was.
    pub since: String,
    /// Whether the lane was empty under it.
    #[serde(default)]
    pub emptied: bool,
    /// Whether it ended by itself.
    #[serde(default)]
    pub lapsed: bool,
    /// Why the box does not follow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<DrainRefusal>,
}

/// Something that became of a claim at a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The lane is empty and held.
    Emptied,
    /// The box does not follow the claim, or no longer; the reason stands in the refusal.
    Refused(Reason),
    /// The claim ended by itself.
    Lapsed,
}

/// Whether a device of the lane is being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// None is.
    None,
    /// One is, and the lane stays closed for it whatever becomes of the claim.
    UnderWay,
}

/// How often in a row a lane was seen closed and empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    count: u8,
    last: Option<Instant>,
}

impl Looks {
    /// Counts a visit.
    pub fn count(&mut self, seen: Option<Seen>, now: Instant) {
        let empty = seen.is_some_and(|s| s.admission == LaneAdmission::Closed && s.occupancy == Some(0));
        if !empty {
            *self = Self::default();
        } else if self.last.is_none_or(|last| now.duration_since(last) >= LOOKS_APART) {
            self.count = self.count.saturating_add(1);
            self.last = Some(now);
        }
    }

    /// Whether the lane was seen closed and empty twice in a row.
    pub fn is_empty(self) -> bool {
        self.count >= EMPTY_LOOKS
    }
}

/// A claim, and what the box makes of it.
#[derive(Clone, Debug)]
pub struct Hold {
    memory: Remembered,
    came: Instant,
    /// Whether occupancy could be read once: before, the lane is not even begun to be closed.
    begun: bool,
    blind: u8,
}

impl Hold {
    /// A claim that just came.
    pub fn new(hold: LaneHold, now: &Now) -> Self {
        let memory = Remembered { hold, since: now.told.to_string(), emptied: false, lapsed: false, refusal: None };
        Self { memory, came: now.mono, begun: false, blind: 0 }
    }

    /// A claim that was there before the restart.
    pub fn resumed(memory: Remembered, now: &Now) -> Self {
        Self { memory, came: now.mono, begun: true, blind: 0 }
    }

    /// The claim was told again. Another set of drains or another hour is another question; the same one was answered.
    pub fn told(&mut self, hold: LaneHold, now: &Now) {
        let before = &self.memory;
        if before.hold == hold {
            return;
        }
        let asked_before = before.hold.drains == hold.drains && before.hold.empty_by == hold.empty_by;
        let emptied = before.emptied && self.is_active();
        let refusal = before.refusal.clone().filter(|_| asked_before);
        // Only a later end wakes a claim that lapsed.
        let lapsed = before.lapsed && before.hold.until == hold.until && asked_before;
        self.memory = Remembered { hold, since: now.told.to_string(), emptied, lapsed, refusal };
        self.came = now.mono;
        self.blind = 0;
    }

    /// What is to survive a restart.
    pub fn memory(&self) -> &Remembered {
        &self.memory
    }

    /// Names of those who claim.
    pub fn drains(&self) -> &[String] {
        &self.memory.hold.drains
    }

    /// Why the box does not follow it.
    pub fn refusal(&self) -> Option<&DrainRefusal> {
        self.memory.refusal.as_ref()
    }

    /// Whether it keeps the lane closed.
    pub fn is_active(&self) -> bool {
        self.begun && self.memory.refusal.is_none() && !self.memory.lapsed
    }

    /// Takes a visit in. `looks` has counted it already.
    pub fn look(&mut self, seen: Option<Seen>, looks: Looks, work: Work, now: &Now) -> Option<Turn> {
        if self.memory.refusal.is_some() || self.memory.lapsed {
            return None;
        }
        if work == Work::None && self.is_over(&self.memory.hold.until, now) {
            self.memory.lapsed = true;
            return Some(Turn::Lapsed);
        }
        let seen = seen?;
        if seen.occupancy.is_some() {
            (self.begun, self.blind) = (true, 0);
        } else {
            self.blind = self.blind.saturating_add(1);
        }
        if self.memory.emptied || work == Work::UnderWay {
            return None;
        }
        if looks.is_empty() {
            self.memory.emptied = true;
            return Some(Turn::Emptied);
        }
        if self.blind >= BLIND_LOOKS {
            let message = "the lane's controller does not tell how many are inside, so nobody knows when it is empty: \
                           give its model the property `occupancy`, or mend the controller";
            return Some(self.refuse(Reason::DrainRefused, message.to_owned()));
        }
        let empties = seen.admission == LaneAdmission::Closed && seen.occupancy == Some(0);
        if !empties && self.is_over(&self.memory.hold.empty_by, now) {
            let inside = seen.occupancy.unwrap_or(0);
            let message = format!(
                "the lane was not empty by {} ({inside} inside) and serves again: clear the lane, or give it more time in `drain.timeoutSeconds`",
                self.memory.hold.empty_by
            );
            return Some(self.refuse(Reason::DrainTimedOut, message));
        }
        None
    }

    fn refuse(&mut self, reason: Reason, message: String) -> Turn {
        let drains = self.memory.hold.drains.clone();
        self.memory.refusal = Some(DrainRefusal { drains, reason: reason.as_str().to_owned(), message });
        Turn::Refused(reason)
    }

    /// Whether this hour has come. One that cannot be read has: a lane is never held for a time that nobody knows.
    fn is_over(&self, hour: &str, now: &Now) -> bool {
        let Ok(hour) = hour.parse::<Timestamp>() else { return true };
        if let Some(wall) = now.wall {
            return wall >= hour;
        }
        let Ok(since) = self.memory.since.parse::<Timestamp>() else { return true };
        let granted = Duration::try_from(hour.duration_since(since)).unwrap_or(Duration::ZERO);
        now.mono.duration_since(self.came) >= granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COME: &str = "2026-11-01T08:00:00Z";

    fn at(minute: u64, start: Instant) -> Now {
        let come: Timestamp = COME.parse().unwrap();
        let wall = come + jiff::SignedDuration::from_mins(i64::try_from(minute).unwrap());
        Now { wall: Some(wall), told: wall, mono: start + Duration::from_secs(60 * minute) }
    }

    /// As [`at`], by a box that has only its monotonic clock.
    fn blindly(minute: u64, start: Instant) -> Now {
        Now { wall: None, told: COME.parse().unwrap(), ..at(minute, start) }
    }

    fn claim(drains: &[&str], empty_by: &str, until: &str) -> LaneHold {
        LaneHold {
            drains: drains.iter().map(|d| (*d).to_owned()).collect(),
            divert_to: None,
            empty_by: format!("2026-11-01T08:{empty_by}:00Z"),
            until: format!("2026-11-01T08:{until}:00Z"),
        }
    }

    fn seen(admission: LaneAdmission, occupancy: Option<i64>) -> Option<Seen> {
        Some(Seen { admission, occupancy })
    }

    fn empty() -> Looks {
        Looks { count: EMPTY_LOOKS, last: None }
    }

    fn busy(hold: &mut Hold, now: &Now) -> Option<Turn> {
        hold.look(seen(LaneAdmission::Draining, Some(2)), Looks::default(), Work::None, now)
    }

    #[tokio::test]
    async fn lane_counts_as_empty_after_two_visits_that_are_apart() {
        let start = Instant::now();
        let mut looks = Looks::default();
        let closed = seen(LaneAdmission::Closed, Some(0));
        looks.count(closed, start);
        looks.count(closed, start + Duration::from_millis(10));
        assert!(!looks.is_empty());
        looks.count(closed, start + LOOKS_APART);
        assert!(looks.is_empty());
        for no in [seen(LaneAdmission::Closed, Some(1)), seen(LaneAdmission::Closed, None), None] {
            let mut looks = looks;
            looks.count(no, start + LOOKS_APART * 2);
            assert!(!looks.is_empty());
        }
    }

    #[tokio::test]
    async fn box_gives_up_at_the_hour_and_not_a_second_time_for_the_same_claim() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        assert!(!hold.is_active(), "nothing is closed before occupancy was read");
        assert_eq!(busy(&mut hold, &at(14, start)), None);
        assert!(hold.is_active());
        assert_eq!(busy(&mut hold, &at(15, start)), Some(Turn::Refused(Reason::DrainTimedOut)));
        assert!(!hold.is_active() && hold.refusal().unwrap().message.contains("2 inside"));
        assert_eq!(busy(&mut hold, &at(16, start)), None, "said once");
        let mut again = Hold::resumed(hold.memory().clone(), &at(16, start));
        again.told(claim(&["a"], "15", "55"), &at(17, start));
        assert!(!again.is_active(), "the same question, after a restart");
        again.told(claim(&["a"], "40", "55"), &at(25, start));
        assert!(again.is_active(), "asked anew with another hour");
    }

    #[tokio::test]
    async fn empty_lane_is_held_to_the_end_of_the_claim_whatever_the_hour() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        let closed = seen(LaneAdmission::Closed, Some(0));
        assert_eq!(hold.look(closed, empty(), Work::None, &at(3, start)), Some(Turn::Emptied));
        assert_eq!(busy(&mut hold, &at(20, start)), None);
        assert!(hold.is_active());
        hold.told(claim(&["a", "b"], "10", "50"), &at(21, start));
        assert_eq!(busy(&mut hold, &at(22, start)), None, "who joins an empty lane finds it empty");
        assert_eq!(hold.look(closed, empty(), Work::UnderWay, &at(51, start)), None, "a device is in work");
        assert!(hold.is_active());
        assert_eq!(hold.look(closed, empty(), Work::None, &at(51, start)), Some(Turn::Lapsed));
        assert!(!hold.is_active());
        hold.told(claim(&["a", "b"], "10", "59"), &at(52, start));
        assert!(hold.is_active(), "a later end was granted");
    }

    #[tokio::test]
    async fn lane_that_closes_empty_at_the_last_moment_is_not_given_up() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        let closed = seen(LaneAdmission::Closed, Some(0));
        assert_eq!(hold.look(closed, Looks::default(), Work::None, &at(16, start)), None);
        assert_eq!(hold.look(closed, empty(), Work::None, &at(16, start)), Some(Turn::Emptied));
    }

    #[tokio::test]
    async fn unreadable_occupancy_is_refused_before_anything_is_closed() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        let blind = seen(LaneAdmission::Open, None);
        assert_eq!(hold.look(blind, Looks::default(), Work::None, &at(1, start)), None);
        assert!(!hold.is_active());
        let refused = hold.look(blind, Looks::default(), Work::None, &at(1, start));
        assert_eq!(refused, Some(Turn::Refused(Reason::DrainRefused)));
    }

    #[tokio::test]
    async fn silent_controller_is_no_answer_and_the_claim_still_ends() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        assert_eq!(hold.look(None, Looks::default(), Work::None, &at(20, start)), None);
        assert_eq!(hold.look(None, Looks::default(), Work::None, &at(50, start)), Some(Turn::Lapsed));
    }

    #[tokio::test]
    async fn box_without_a_clock_counts_from_when_the_claim_came() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &blindly(0, start));
        assert_eq!(busy(&mut hold, &blindly(14, start)), None);
        assert_eq!(busy(&mut hold, &blindly(15, start)), Some(Turn::Refused(Reason::DrainTimedOut)));
        let mut held = Hold::new(claim(&["a"], "15", "50"), &blindly(0, start));
        held.look(seen(LaneAdmission::Closed, Some(0)), empty(), Work::None, &blindly(1, start));
        // After a restart the whole time is granted once more, and not for ever.
        let mut resumed = Hold::resumed(held.memory().clone(), &blindly(40, start));
        assert_eq!(busy(&mut resumed, &blindly(60, start)), None);
        assert!(resumed.is_active());
        assert_eq!(busy(&mut resumed, &blindly(90, start)), Some(Turn::Lapsed));
    }

    #[tokio::test]
    async fn hour_that_cannot_be_read_holds_nothing() {
        let start = Instant::now();
        let unreadable = LaneHold { until: "soon".into(), ..claim(&["a"], "15", "50") };
        let mut hold = Hold::new(unreadable, &at(0, start));
        assert_eq!(busy(&mut hold, &at(1, start)), Some(Turn::Lapsed));
    }
}
