//! The licence of a station: until when it is in force, in the zone of its crossing. Its end is announced 30 days ahead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use kalong_crds::{Crossing, InspectionStation};
use kalong_rules::day::{beginning, ending, until_next, zone_of};
use kube::ResourceExt;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use crate::kit::caches::{self, Caches};
use crate::kit::clock::Clock;

/// From how many days before its end a licence is reported as ending.
pub(super) const NOTICE_DAYS: i64 = 30;

/// What can be said of a licence today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LicenceState {
    /// The spec declares no licence.
    NotDeclared,
    /// In force for longer than the notice.
    InForce,
    /// In force, with less than the notice left; its last day.
    Ending(Date),
    /// Not in force since this last day.
    Ended(Date),
    /// Its last day is no day of the calendar.
    NoDay,
    /// The crossing or its zone is not known.
    NoZone,
}

pub(super) fn licence_state(station: &InspectionStation, crossing: Option<&Crossing>, now: Timestamp) -> LicenceState {
    let Some(licence) = &station.spec.licence else { return LicenceState::NotDeclared };
    let Ok(last) = licence.valid_until.parse::<Date>() else { return LicenceState::NoDay };
    let Some(zone) = zone_of(crossing) else { return LicenceState::NoZone };
    let today = now.to_zoned(zone).date();
    if today > last {
        LicenceState::Ended(last)
    } else if last.checked_sub(NOTICE_DAYS.days()).is_ok_and(|notice| today >= notice) {
        LicenceState::Ending(last)
    } else {
        LicenceState::InForce
    }
}

/// When what can be said of the licence changes, if that is soon.
pub(super) fn turns_in(station: &InspectionStation, crossing: Option<&Crossing>, now: Timestamp) -> Option<Duration> {
    let last = station.spec.licence.as_ref()?.valid_until.parse::<Date>().ok()?;
    let zone = zone_of(crossing)?;
    let notice = last.checked_sub(NOTICE_DAYS.days()).ok().and_then(|day| beginning(day, &zone));
    until_next([notice, ending(last, &zone)].into_iter().flatten(), now)
}

const NAME: &str = "station_licence_seconds";
const HELP: &str = "Time until the licence of a station ends; negative after its end.";
const LABELS: [&str; 2] = ["namespace", "station"];

/// Time until each licence ends, made at scrape time from the caches.
pub struct LicenceCollector {
    caches: Caches,
    clock: Arc<dyn Clock>,
    description: Desc,
}

impl LicenceCollector {
    /// A collector over these caches.
    pub fn new(caches: Caches, clock: Arc<dyn Clock>) -> Result<Self, prometheus::Error> {
        let labels = LABELS.iter().map(|label| (*label).to_owned()).collect();
        let description = Desc::new(NAME.to_owned(), HELP.to_owned(), labels, HashMap::new())?;
        Ok(Self { caches, clock, description })
    }
}

impl Collector for LicenceCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauge) = GaugeVec::new(Opts::new(NAME, HELP), &LABELS) else { return Vec::new() };
        let now = self.clock.now();
        for station in self.caches.stations.state() {
            let namespace = station.namespace().unwrap_or_default();
            let crossing = caches::get(&self.caches.crossings, &namespace, station.spec.crossing_ref.as_str());
            if let Some(left) = seconds_left(&station, crossing.as_deref(), now) {
                gauge.with_label_values(&[namespace.as_str(), station.name_any().as_str()]).set(left);
            }
        }
        gauge.collect()
    }
}

fn seconds_left(station: &InspectionStation, crossing: Option<&Crossing>, now: Timestamp) -> Option<f64> {
    let last = station.spec.licence.as_ref()?.valid_until.parse::<Date>().ok()?;
    Some(ending(last, &zone_of(crossing)?)?.duration_since(now).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn station(until: &str) -> InspectionStation {
        serde_json::from_value(json!({
            "apiVersion": "kalong.dev/v1alpha1", "kind": "InspectionStation", "metadata": {"name": "x"},
            "spec": {"crossingRef": "c", "type": "XRay", "slots": [], "capacityPerHour": 10,
                     "licence": {"number": "L-7", "validUntil": until}},
        }))
        .unwrap()
    }

    fn crossing() -> Crossing {
        serde_json::from_value(json!({
            "apiVersion": "kalong.dev/v1alpha1", "kind": "Crossing", "metadata": {"name": "c"},
            "spec": {"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh"},
        }))
        .unwrap()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn licence_turns_at_midnight_of_the_crossings_zone() {
        let (x, c) = (station("2026-12-31"), crossing());
        let licence_state = |time: &str| licence_state(&x, Some(&c), at(time));
        let last: Date = "2026-12-31".parse().unwrap();
        // 17:00 UTC is midnight in Hanoi.
        assert_eq!(licence_state("2026-11-30T16:59:59Z"), LicenceState::InForce);
        assert_eq!(licence_state("2026-11-30T17:00:00Z"), LicenceState::Ending(last));
        assert_eq!(licence_state("2026-12-31T16:59:59Z"), LicenceState::Ending(last));
        assert_eq!(licence_state("2026-12-31T17:00:00Z"), LicenceState::Ended(last));
    }

    #[test]
    fn station_is_looked_at_just_after_a_turn_and_not_years_ahead_of_it() {
        let (x, c) = (station("2026-12-31"), crossing());
        let turns = |time: &str| turns_in(&x, Some(&c), at(time));
        let just_after = |seconds: u64, left: Option<Duration>| {
            let late = left.and_then(|left| left.checked_sub(Duration::from_secs(seconds)));
            late.is_some_and(|late| !late.is_zero() && late < Duration::from_secs(1))
        };
        assert!(just_after(60, turns("2026-12-31T16:59:00Z")) && just_after(1, turns("2026-11-30T16:59:59Z")));
        assert_eq!((turns("2026-12-30T16:59:00Z"), turns("2027-01-01T00:00:00Z")), (None, None));
    }

    #[test]
    fn impossible_day_and_unknown_zone_are_told_apart() {
        let now = at("2026-11-22T07:00:00Z");
        assert_eq!(licence_state(&station("2026-02-31"), Some(&crossing()), now), LicenceState::NoDay);
        assert_eq!(licence_state(&station("2026-12-31"), None, now), LicenceState::NoZone);
    }

    #[test]
    fn seconds_left_count_down_to_the_end_and_below() {
        let left = |time: &str| seconds_left(&station("2026-12-31"), Some(&crossing()), at(time)).unwrap();
        assert!((left("2026-12-31T16:59:50Z") - 10.0).abs() < 0.001);
        assert!((left("2026-12-31T17:00:10Z") + 10.0).abs() < 0.001);
    }
}
