//! A hold that asks for an empty lane, as the box itself judges it: begun, emptied, given up, refused or lapsed. Pure.
//!
//! The box reopens a lane without the operator: it gives up at the time that the hold names, and a hold ends by itself. Both are counted on
//! the wall clock where that can be believed, and otherwise in monotonic time from when the hold came.

use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::condition::Reason;
use kalong_crds::wire::order::LaneHold;
use kalong_crds::wire::reported::DrainRefusal;
use tokio::time::Instant;

use super::reading::LaneReading;
use crate::clock::Now;
use crate::store::durable::HoldState;

/// Visits in a row without a readable occupancy after which the box refuses: it cannot tell whether the lane is empty.
const BLIND_VISITS: u8 = 2;
/// Visits in a row that must show the lane closed and empty.
const EMPTY_VISITS: u8 = 2;
/// Least time between two visits that count as two: a visit that was woken right after another proves nothing new.
const VISITS_APART: Duration = Duration::from_millis(200);

/// What became of a hold at a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldOutcome {
    /// The lane is empty and held.
    Emptied,
    /// The box does not follow the hold, or no longer; the message is in the refusal.
    Refused(Reason),
    /// The hold ended by itself.
    Lapsed,
}

/// Whether a device of the lane is being changed, which keeps the lane closed whatever becomes of the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderChange {
    /// No device of the lane is being changed.
    No,
    /// At least one device of the lane is being changed.
    Yes,
}

/// How often in a row a lane was seen closed and empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyCount {
    count: u8,
    last: Option<Instant>,
}

impl EmptyCount {
    /// Counts a visit. Anything but closed and empty starts over.
    pub fn count(&mut self, reading: Option<LaneReading>, now: Instant) {
        if !reading.is_some_and(LaneReading::is_closed_and_empty) {
            *self = Self::default();
        } else if self.last.is_none_or(|last| now.duration_since(last) >= VISITS_APART) {
            self.count = self.count.saturating_add(1);
            self.last = Some(now);
        }
    }

    /// Whether the lane was seen closed and empty twice in a row.
    pub fn is_proven(self) -> bool {
        self.count >= EMPTY_VISITS
    }
}

/// A hold that is ordered, and what the box makes of it.
#[derive(Clone, Debug)]
pub struct Hold {
    state: HoldState,
    came: Instant,
    /// Whether occupancy could be read once; the lane does not begin to close before.
    begun: bool,
    blind: u8,
}

impl Hold {
    /// A hold that is ordered for the first time.
    pub fn new(hold: LaneHold, now: &Now) -> Self {
        let state = HoldState { hold, since: now.signed.to_string(), emptied: false, lapsed: false, refusal: None };
        Self { state, came: now.mono, begun: false, blind: 0 }
    }

    /// A hold from before a restart.
    pub fn resumed(state: HoldState, now: &Now) -> Self {
        Self { state, came: now.mono, begun: true, blind: 0 }
    }

    /// Takes in the hold as it is ordered now. Other drains or another time make a new request; a refusal answers the same one only.
    pub fn update(&mut self, hold: LaneHold, now: &Now) {
        let before = &self.state;
        if before.hold == hold {
            return;
        }
        let same_request = before.hold.drains == hold.drains && before.hold.empty_by == hold.empty_by;
        let emptied = before.emptied && self.is_active();
        let refusal = before.refusal.clone().filter(|_| same_request);
        // Only a later end revives a hold that lapsed.
        let lapsed = before.lapsed && before.hold.until == hold.until && same_request;
        self.state = HoldState { hold, since: now.signed.to_string(), emptied, lapsed, refusal };
        self.came = now.mono;
        self.blind = 0;
    }

    /// What has to survive a restart.
    pub fn durable(&self) -> &HoldState {
        &self.state
    }

    /// Names of the LaneDrains behind it.
    pub fn drains(&self) -> &[String] {
        &self.state.hold.drains
    }

    /// Why the box does not follow it, where it does not.
    pub fn refusal(&self) -> Option<&DrainRefusal> {
        self.state.refusal.as_ref()
    }

    /// Whether it keeps the lane closed.
    pub fn is_active(&self) -> bool {
        self.begun && self.state.refusal.is_none() && !self.state.lapsed
    }

    /// Takes in a visit of the lane's controller, which `empty` has counted already.
    pub fn visit(
        &mut self,
        reading: Option<LaneReading>,
        empty: EmptyCount,
        under_change: UnderChange,
        now: &Now,
    ) -> Option<HoldOutcome> {
        if self.state.refusal.is_some() || self.state.lapsed {
            return None;
        }
        if under_change == UnderChange::No && self.has_come(&self.state.hold.until, now) {
            self.state.lapsed = true;
            return Some(HoldOutcome::Lapsed);
        }
        let reading = reading?;
        if reading.occupancy.is_some() {
            (self.begun, self.blind) = (true, 0);
        } else {
            self.blind = self.blind.saturating_add(1);
        }
        if self.state.emptied || under_change == UnderChange::Yes {
            return None;
        }
        if empty.is_proven() {
            self.state.emptied = true;
            return Some(HoldOutcome::Emptied);
        }
        if self.blind >= BLIND_VISITS {
            let message = "the lane's controller does not tell how many are inside, so nobody knows when it is empty: \
                           give its model the property `occupancy`, or mend the controller";
            return Some(self.refuse(Reason::DrainRefused, message.to_owned()));
        }
        if !reading.is_closed_and_empty() && self.has_come(&self.state.hold.empty_by, now) {
            let inside = reading.occupancy.unwrap_or(0);
            let message = format!(
                "the lane was not empty by {} ({inside} inside) and serves again: clear the lane, or give it more time in `drain.timeoutSeconds`",
                self.state.hold.empty_by
            );
            return Some(self.refuse(Reason::DrainTimedOut, message));
        }
        None
    }

    fn refuse(&mut self, reason: Reason, message: String) -> HoldOutcome {
        let drains = self.state.hold.drains.clone();
        self.state.refusal = Some(DrainRefusal { drains, reason: reason.as_str().to_owned(), message });
        HoldOutcome::Refused(reason)
    }

    /// Whether this time has come. One that cannot be parsed has: no lane is held without an end.
    fn has_come(&self, time: &str, now: &Now) -> bool {
        let Ok(time) = time.parse::<Timestamp>() else { return true };
        if let Some(wall) = now.wall {
            return wall >= time;
        }
        let Ok(since) = self.state.since.parse::<Timestamp>() else { return true };
        let granted = Duration::try_from(time.duration_since(since)).unwrap_or(Duration::ZERO);
        now.mono.duration_since(self.came) >= granted
    }
}

#[cfg(test)]
mod tests {
    use kalong_crds::lane::LaneAdmission;

    use super::*;

    const COME: &str = "2026-11-01T08:00:00Z";

    fn at(minute: u64, start: Instant) -> Now {
        let come: Timestamp = COME.parse().unwrap();
        let wall = come + jiff::SignedDuration::from_mins(i64::try_from(minute).unwrap());
        Now { wall: Some(wall), signed: wall, mono: start + Duration::from_secs(60 * minute) }
    }

    /// As [`at`], by a box that has only its monotonic clock.
    fn blindly(minute: u64, start: Instant) -> Now {
        Now { wall: None, signed: COME.parse().unwrap(), ..at(minute, start) }
    }

    fn claim(drains: &[&str], empty_by: &str, until: &str) -> LaneHold {
        LaneHold {
            drains: drains.iter().map(|d| (*d).to_owned()).collect(),
            divert_to: None,
            empty_by: format!("2026-11-01T08:{empty_by}:00Z"),
            until: format!("2026-11-01T08:{until}:00Z"),
        }
    }

    fn seen(admission: LaneAdmission, occupancy: Option<i64>) -> Option<LaneReading> {
        Some(LaneReading { admission, occupancy })
    }

    fn empty() -> EmptyCount {
        EmptyCount { count: EMPTY_VISITS, last: None }
    }

    fn busy(hold: &mut Hold, now: &Now) -> Option<HoldOutcome> {
        hold.visit(seen(LaneAdmission::Draining, Some(2)), EmptyCount::default(), UnderChange::No, now)
    }

    #[tokio::test]
    async fn lane_counts_as_empty_after_two_visits_that_are_apart() {
        let start = Instant::now();
        let mut looks = EmptyCount::default();
        let closed = seen(LaneAdmission::Closed, Some(0));
        looks.count(closed, start);
        looks.count(closed, start + Duration::from_millis(10));
        assert!(!looks.is_proven());
        looks.count(closed, start + VISITS_APART);
        assert!(looks.is_proven());
        for no in [seen(LaneAdmission::Closed, Some(1)), seen(LaneAdmission::Closed, None), None] {
            let mut looks = looks;
            looks.count(no, start + VISITS_APART * 2);
            assert!(!looks.is_proven());
        }
    }

    #[tokio::test]
    async fn box_gives_up_at_the_hour_and_not_a_second_time_for_the_same_claim() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        assert!(!hold.is_active(), "nothing is closed before occupancy was read");
        assert_eq!(busy(&mut hold, &at(14, start)), None);
        assert!(hold.is_active());
        assert_eq!(busy(&mut hold, &at(15, start)), Some(HoldOutcome::Refused(Reason::DrainTimedOut)));
        assert!(!hold.is_active() && hold.refusal().unwrap().message.contains("2 inside"));
        assert_eq!(busy(&mut hold, &at(16, start)), None, "said once");
        let mut again = Hold::resumed(hold.durable().clone(), &at(16, start));
        again.update(claim(&["a"], "15", "55"), &at(17, start));
        assert!(!again.is_active(), "the same question, after a restart");
        again.update(claim(&["a"], "40", "55"), &at(25, start));
        assert!(again.is_active(), "asked anew with another hour");
    }

    #[tokio::test]
    async fn empty_lane_is_held_to_the_end_of_the_claim_whatever_the_hour() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        let closed = seen(LaneAdmission::Closed, Some(0));
        assert_eq!(hold.visit(closed, empty(), UnderChange::No, &at(3, start)), Some(HoldOutcome::Emptied));
        assert_eq!(busy(&mut hold, &at(20, start)), None);
        assert!(hold.is_active());
        hold.update(claim(&["a", "b"], "10", "50"), &at(21, start));
        assert_eq!(busy(&mut hold, &at(22, start)), None, "who joins an empty lane finds it empty");
        assert_eq!(hold.visit(closed, empty(), UnderChange::Yes, &at(51, start)), None, "a device is in work");
        assert!(hold.is_active());
        assert_eq!(hold.visit(closed, empty(), UnderChange::No, &at(51, start)), Some(HoldOutcome::Lapsed));
        assert!(!hold.is_active());
        hold.update(claim(&["a", "b"], "10", "59"), &at(52, start));
        assert!(hold.is_active(), "a later end was granted");
    }

    #[tokio::test]
    async fn lane_that_closes_empty_at_the_last_moment_is_not_given_up() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        let closed = seen(LaneAdmission::Closed, Some(0));
        assert_eq!(hold.visit(closed, EmptyCount::default(), UnderChange::No, &at(16, start)), None);
        assert_eq!(hold.visit(closed, empty(), UnderChange::No, &at(16, start)), Some(HoldOutcome::Emptied));
    }

    #[tokio::test]
    async fn unreadable_occupancy_is_refused_before_anything_is_closed() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        let blind = seen(LaneAdmission::Open, None);
        assert_eq!(hold.visit(blind, EmptyCount::default(), UnderChange::No, &at(1, start)), None);
        assert!(!hold.is_active());
        let refused = hold.visit(blind, EmptyCount::default(), UnderChange::No, &at(1, start));
        assert_eq!(refused, Some(HoldOutcome::Refused(Reason::DrainRefused)));
    }

    #[tokio::test]
    async fn silent_controller_is_no_answer_and_the_claim_still_ends() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &at(0, start));
        assert_eq!(hold.visit(None, EmptyCount::default(), UnderChange::No, &at(20, start)), None);
        assert_eq!(hold.visit(None, EmptyCount::default(), UnderChange::No, &at(50, start)), Some(HoldOutcome::Lapsed));
    }

    #[tokio::test]
    async fn box_without_a_clock_counts_from_when_the_claim_came() {
        let start = Instant::now();
        let mut hold = Hold::new(claim(&["a"], "15", "50"), &blindly(0, start));
        assert_eq!(busy(&mut hold, &blindly(14, start)), None);
        assert_eq!(busy(&mut hold, &blindly(15, start)), Some(HoldOutcome::Refused(Reason::DrainTimedOut)));
        let mut held = Hold::new(claim(&["a"], "15", "50"), &blindly(0, start));
        held.visit(seen(LaneAdmission::Closed, Some(0)), empty(), UnderChange::No, &blindly(1, start));
        // After a restart the whole time is granted once more, and not for ever.
        let mut resumed = Hold::resumed(held.durable().clone(), &blindly(40, start));
        assert_eq!(busy(&mut resumed, &blindly(60, start)), None);
        assert!(resumed.is_active());
        assert_eq!(busy(&mut resumed, &blindly(90, start)), Some(HoldOutcome::Lapsed));
    }

    #[tokio::test]
    async fn hour_that_cannot_be_read_holds_nothing() {
        let start = Instant::now();
        let unreadable = LaneHold { until: "soon".into(), ..claim(&["a"], "15", "50") };
        let mut hold = Hold::new(unreadable, &at(0, start));
        assert_eq!(busy(&mut hold, &at(1, start)), Some(HoldOutcome::Lapsed));
    }
}
