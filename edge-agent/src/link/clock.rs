//! The offset of the peer's clock, from an HTTP `Date` that has whole seconds only.

use jiff::Timestamp;
use kalong_crds::wire::reported::PeerClock;

/// Farthest distance of clocks that agree, in milliseconds.
const AGREES: i64 = 2_000;
/// Farthest distance at which messages would still be taken, in milliseconds.
const REFUSED: i64 = 30_000;
/// A `Date` may be this much older than the moment at which it was written, in milliseconds.
const SECOND: i64 = 1_000;

/// The distance of our clock from the peer's, in milliseconds, as the bounds between which it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distance {
    least: i64,
    most: i64,
}

impl Distance {
    /// From a `Date` that the peer wrote between our request and its response.
    pub(super) fn measured(sent: Timestamp, received: Timestamp, date: Timestamp) -> Self {
        let date = date.as_millisecond();
        Self {
            least: sent.as_millisecond().saturating_sub(date).saturating_sub(SECOND),
            most: received.as_millisecond().saturating_sub(date),
        }
    }

    /// What both measurements allow. Where they contradict each other a clock was set, and only the later one counts.
    ///
    /// Without this, a distance just beyond a bound would be judged one way and the other by turns, as the seconds happen to be cut.
    pub(super) fn narrowed(self, later: Self) -> Self {
        let both = Self { least: self.least.max(later.least), most: self.most.min(later.most) };
        if both.least <= both.most { both } else { later }
    }

    /// Judged by the smallest distance that the measurement allows, so that rounding accuses no clock.
    pub(super) fn judge(&self) -> PeerClock {
        let smallest = self.least.max(-self.most).max(0);
        match smallest {
            0..=AGREES => PeerClock::Agrees,
            ..=REFUSED => PeerClock::Differs,
            _ => PeerClock::Refused,
        }
    }
}

/// Parses the `Date` header of an HTTP response.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}
