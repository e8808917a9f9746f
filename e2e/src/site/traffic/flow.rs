//! One lane under its own controller, as a pure machine of the traffic's clock.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::time::Duration;

use kalong_crds::lane::Service;

use super::{Arrivals, LaneDemand, Passage};

/// Two vehicles follow each other by at least so much.
const GAP: Duration = Duration::from_secs(3);
/// As finely as a lane looks when it is asked late.
const STEP: Duration = Duration::from_millis(500);
/// Vehicles that find room between the two barriers, one behind the other.
const VEHICLES_INSIDE: usize = 3;
/// An e-gate lets in one person at a time.
const PEOPLE_INSIDE: usize = 1;

/// Whether the lane's controller lets anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEntry {
    Open,
    /// It is not; who is inside goes on.
    Shut,
    /// The controller is not there: nothing moves.
    Still,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub passage: Passage,
    /// Time from arrival at the crossing to release: all that was before, the wait at the lane and the transaction.
    pub clearance: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Inside {
    passage: Passage,
    leaves: Duration,
}

/// A lane with those who wait before it and those who are in it.
#[derive(Clone, Debug)]
pub struct Flow {
    arrivals: Peekable<Arrivals>,
    waiting: VecDeque<Passage>,
    inside: VecDeque<Inside>,
    room: usize,
    now: Duration,
    entered: Option<Duration>,
    left: Option<Duration>,
}

impl Flow {
    /// Empty, at zero of the clock.
    #[must_use]
    pub fn new(seed: u64, lane: &LaneDemand) -> Self {
        Self {
            arrivals: Arrivals::new(seed, lane).peekable(),
            waiting: VecDeque::new(),
            inside: VecDeque::new(),
            room: if lane.service == Service::Passenger { PEOPLE_INSIDE } else { VEHICLES_INSIDE },
            now: Duration::ZERO,
            entered: None,
            left: None,
        }
    }

    /// Goes on to this moment; those who came up to `last` are let in as far as the entry allows. Answers who left meanwhile.
    pub fn advance(&mut self, to: Duration, last: Duration, entry: LaneEntry) -> Vec<Left> {
        let mut left = Vec::new();
        while self.now < to {
            self.now = to.min(self.now + STEP);
            self.step(last, entry, &mut left);
        }
        left
    }

    fn step(&mut self, last: Duration, entry: LaneEntry, left: &mut Vec<Left>) {
        let now = self.now;
        while let Some(passage) = self.arrivals.next_if(|p| p.at <= now && p.at <= last) {
            self.waiting.push_back(passage);
        }
        if entry == LaneEntry::Still {
            return;
        }
        while let Some(first) = self.inside.front().filter(|i| i.leaves <= now).copied() {
            self.inside.pop_front();
            self.left = Some(now);
            let clearance = first.passage.before + now.saturating_sub(first.passage.at);
            left.push(Left { passage: first.passage, clearance });
        }
        let follows = self.entered.is_none_or(|entered| now >= entered + GAP);
        let may_enter = entry == LaneEntry::Open && follows && self.inside.len() < self.room;
        if let Some(passage) = may_enter.then(|| self.waiting.pop_front()).flatten() {
            let ahead = self.inside.back().map_or(Duration::ZERO, |ahead| ahead.leaves + GAP);
            self.inside.push_back(Inside { passage, leaves: ahead.max(now + passage.gate) });
            self.entered = Some(now);
        }
    }

    /// How many wait before the lane.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside.len()
    }

    /// Whether somebody is just driving in.
    #[must_use]
    pub fn is_entering(&self) -> bool {
        self.entered.is_some_and(|entered| self.now < entered + GAP)
    }

    /// Whether somebody is just driving out.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.left.is_some_and(|left| self.now < left + GAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::traffic::due;
    use crate::site::{Layout, Preset};

    const HOUR: Duration = Duration::from_secs(3600);
    const LONG: Duration = Duration::from_secs(24 * 3600);

    fn lanes() -> Vec<LaneDemand> {
        Layout::read(&Preset::L1.source()).unwrap().demands()
    }

    #[test]
    fn everybody_who_is_due_passes_an_open_lane_once() {
        for lane in lanes() {
            let mut flow = Flow::new(5, &lane);
            let mut passed = flow.advance(HOUR, HOUR, LaneEntry::Open);
            assert!(flow.waiting() <= 3, "{}: {} wait, the lane is too slow", lane.name, flow.waiting());
            passed.extend(flow.advance(LONG, HOUR, LaneEntry::Open));
            let passed: Vec<Passage> = passed.into_iter().map(|l| l.passage).collect();
            assert_eq!(passed, due(5, &lane, Duration::ZERO, HOUR));
        }
    }

    #[test]
    fn nobody_enters_a_shut_lane_and_nobody_is_lost_by_it() {
        for lane in lanes() {
            let mut flow = Flow::new(5, &lane);
            let mut passed = Vec::new();
            let mut shut = false;
            for minute in 1..=120_u32 {
                let entry = if shut { LaneEntry::Shut } else { LaneEntry::Open };
                let before = (flow.inside(), passed.len());
                passed.extend(flow.advance(Duration::from_secs(60) * minute, HOUR * 2, entry));
                if shut {
                    assert_eq!(flow.inside() + passed.len(), before.0 + before.1, "{}", lane.name);
                }
                if minute % 10 == 7 {
                    assert!(!shut || flow.inside() == 0, "{}: a lane empties within minutes", lane.name);
                }
                shut = minute % 10 >= 4 && minute % 10 <= 6;
                let due = due(5, &lane, Duration::ZERO, Duration::from_secs(60) * minute).len();
                assert_eq!(passed.len() + flow.waiting() + flow.inside(), due, "{}", lane.name);
            }
            passed.extend(flow.advance(LONG, HOUR * 2, LaneEntry::Open));
            assert_eq!(passed.len(), due(5, &lane, Duration::ZERO, HOUR * 2).len(), "{}", lane.name);
        }
    }

    #[test]
    fn lane_whose_controller_is_away_keeps_who_is_inside() {
        let lane = &lanes()[0];
        let mut flow = Flow::new(5, lane);
        flow.advance(HOUR, HOUR, LaneEntry::Open);
        let inside = flow.inside();
        assert!(flow.advance(HOUR * 2, HOUR * 2, LaneEntry::Still).is_empty());
        assert_eq!(flow.inside(), inside);
    }

    #[test]
    fn how_often_it_is_asked_does_not_matter_to_the_list() {
        let lane = &lanes()[0];
        let (mut often, mut seldom) = (Flow::new(9, lane), Flow::new(9, lane));
        let one = seldom.advance(HOUR, HOUR, LaneEntry::Open);
        let many: Vec<Left> =
            (1..=7200).flat_map(|n| often.advance(Duration::from_millis(500) * n, HOUR, LaneEntry::Open)).collect();
        assert_eq!(one, many);
    }
}
