//! How clocks are compared, and what one lost question means. No sockets.

use jiff::{SignedDuration, Timestamp};
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::reported::PeerClock;
use proptest::prelude::*;

use super::clock::{Distance, date};
use super::probe::{PeerAnswer, ProbeError};
use super::{MISSES, PeerFacts};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_000 + millis).unwrap()
}

/// A peer whose clock is this far ahead of ours, asked at this moment; its answer takes twenty milliseconds.
fn measured(ahead: i64, moment: i64) -> Distance {
    let written = at(moment + 10 + ahead);
    let date = written - SignedDuration::from_millis(written.as_millisecond().rem_euclid(1000));
    Distance::measured(at(moment), at(moment + 20), date)
}

#[test]
fn three_seconds_differ_and_thirty_one_are_refused_whichever_way_and_wherever_the_second_is_cut() {
    for moment in 0..1000 {
        for sign in [-1, 1] {
            assert_eq!(measured(0, moment).judge(), PeerClock::Agrees);
            assert_eq!(measured(sign * 2_000, moment).judge(), PeerClock::Agrees);
            assert_ne!(measured(sign * 31_020, moment).judge(), PeerClock::Agrees);
            assert_eq!(measured(sign * 3_021, moment).judge(), PeerClock::Differs);
            assert_eq!(measured(sign * 30_000, moment).judge(), PeerClock::Differs);
            assert_eq!(measured(sign * 31_021, moment).judge(), PeerClock::Refused);
        }
    }
}

#[test]
fn clock_that_was_set_is_judged_anew_at_once() {
    let wrong = measured(-60_000, 0).narrowed(measured(-60_000, 10_330));
    assert_eq!(wrong.judge(), PeerClock::Refused);
    assert_eq!(wrong.narrowed(measured(0, 20_000)).judge(), PeerClock::Agrees);
}

#[test]
fn date_of_http_is_read_and_nothing_else() {
    assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some("1994-11-06T08:49:37Z".parse().unwrap()));
    assert_eq!(date("yesterday"), None);
}

#[test]
fn one_lost_question_is_no_outage_and_two_are() {
    let answer = || Ok(PeerAnswer::at(measured(0, 0)));
    let mut facts = PeerFacts::default();
    facts.update(answer(), Clock::Synced);
    for miss in 1..=MISSES {
        facts.update(Err(ProbeError::Connect(None)), Clock::Synced);
        assert_eq!(facts.reachable, Some(miss < MISSES));
    }
    assert!(facts.distance.is_none());
    facts.update(answer(), Clock::Synced);
    assert!(facts.reachable == Some(true) && facts.distance.is_some());
}

#[test]
fn peer_that_never_answered_is_unreachable_at_once() {
    let mut facts = PeerFacts::default();
    facts.update(Err(ProbeError::Name(None)), Clock::Synced);
    assert_eq!(facts.reachable, Some(false));
}

#[test]
fn clock_that_cannot_be_believed_judges_no_other() {
    let mut facts = PeerFacts::default();
    facts.update(Ok(PeerAnswer::at(measured(0, 0))), Clock::Unsynced);
    assert!(facts.reachable == Some(true) && facts.distance.is_none());
}

proptest! {
    #[test]
    fn true_distance_is_never_overstated(ahead in -100_000_i64..100_000, moments in prop::collection::vec(0_i64..100_000, 1..20)) {
        let distances = moments.iter().map(|m| measured(ahead, *m));
        let judged = distances.reduce(Distance::narrowed).unwrap().judge();
        let most = match ahead.abs() {
            0..=2_000 => PeerClock::Agrees,
            2_001..=30_000 => PeerClock::Differs,
            _ => PeerClock::Refused,
        };
        prop_assert!(judged == most || matches!((judged, most), (PeerClock::Agrees, PeerClock::Differs) | (PeerClock::Differs, PeerClock::Refused)));
    }
}
