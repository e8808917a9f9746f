//! Days of the calendar, which begin and end in the time zone of a crossing.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kalong_crds::Crossing;

/// The periodic resync covers anything later than this.
const HORIZON: Duration = Duration::from_secs(700);
/// Added to a wait, so that the moment lies in the past when it is over.
const MARGIN: Duration = Duration::from_millis(100);

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

/// How long until just after the next of these moments; none if that is later than the periodic resync.
pub fn until_next(moments: impl IntoIterator<Item = Timestamp>, now: Timestamp) -> Option<Duration> {
    let next = moments.into_iter().filter(|moment| *moment > now).min()?;
    let left = Duration::try_from(next.duration_since(now)).ok()?;
    (left <= HORIZON).then_some(left + MARGIN)
}
