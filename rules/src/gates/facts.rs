//! What the gates of a phase are judged by.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kalong_crds::Phase;
use kalong_crds::phase::PhaseState;

use super::members::Member;

/// What the gates of one phase are judged by.
#[derive(Clone, Copy, Debug)]
pub struct GateFacts<'a> {
    /// The phase, with its gates as declared.
    pub phase: &'a Phase,
    /// The moment of the judgement.
    pub now: Timestamp,
    /// The phases that have to come first, in the order of the spec.
    pub before: &'a [(String, Predecessor)],
    /// The zones of the crossings that the spec names; none where the crossing does not exist.
    pub zones: &'a BTreeMap<String, Option<TimeZone>>,
    /// The objects that belong to the phase.
    pub members: &'a [Member],
}

/// A phase that has to come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// No Phase of that name exists.
    Absent,
    /// It has this state in force.
    InForce(PhaseState),
}

impl GateFacts<'_> {
    /// The zone in which days of the whole phase are meant: that of its first crossing.
    pub fn zone(&self) -> TimeZone {
        let first = self.phase.spec.crossings.first();
        first.map_or(TimeZone::UTC, |crossing| self.zone_of(crossing.as_str()))
    }

    /// The zone of a crossing; UTC while it does not exist.
    pub fn zone_of(&self, crossing: &str) -> TimeZone {
        self.zones.get(crossing).cloned().flatten().unwrap_or(TimeZone::UTC)
    }
}
