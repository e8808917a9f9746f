//! Time, as far as a decision depends on it. Moved by hand in tests.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kalong_crds::Crossing;

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A turn that is further away than this is met by the ordinary looks at everything.
const SOON: Duration = Duration::from_secs(700);
/// Enough for the turn to lie in the past when it is looked at.
const MOMENT: Duration = Duration::from_millis(100);

/// The zone in which the days of a crossing are meant; none while the crossing or its zone does not exist.
pub fn zone_of(crossing: Option<&Crossing>) -> Option<TimeZone> {
    TimeZone::get(&crossing?.spec.time_zone).ok()
}

/// The moment at which a day begins in this zone.
pub fn beginning(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    Some(day.to_zoned(zone.clone()).ok()?.timestamp())
}

/// The first moment after a day in this zone.
pub fn ending(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    beginning(day.tomorrow().ok()?, zone)
}

/// How long until just after the next of these moments, if that is soon.
pub fn until_next(turns: impl IntoIterator<Item = Timestamp>, now: Timestamp) -> Option<Duration> {
    let next = turns.into_iter().filter(|turn| *turn > now).min()?;
    let left = Duration::try_from(next.duration_since(now)).ok()?;
    (left <= SOON).then_some(left + MOMENT)
}
