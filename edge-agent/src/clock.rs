//! Wall clock, and whether it can be believed. Nothing that has to be right after a cold start rests on it alone.

use jiff::Timestamp;
use kalong_crds::wire::envelope::Clock;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How far a believed clock may lie behind the newest time that was seen in a signed message, in seconds.
const SLACK_SECONDS: i64 = 86_400;

/// Judges the wall clock by the certificate's life and by the newest time that the operator signed.
///
/// A box without a clock battery starts in 1970, outside of both.
#[derive(Debug)]
pub struct ClockJudge {
    not_before: Timestamp,
    newest_signed: Mutex<Timestamp>,
}

impl ClockJudge {
    /// A judge that knows from when on the box's certificate is valid.
    pub fn new(not_before: Timestamp) -> Self {
        Self { not_before, newest_signed: Mutex::new(not_before) }
    }

    /// Takes in the time of a verified message; one that cannot be parsed is ignored.
    pub fn signed(&self, at: &str) {
        if let Ok(at) = at.parse::<Timestamp>() {
            let mut newest = self.newest_signed.lock();
            *newest = (*newest).max(at);
        }
    }

    /// The newest time that the operator signed; the begin of the certificate before the first message.
    pub fn newest_signed(&self) -> Timestamp {
        *self.newest_signed.lock()
    }

    /// Whether the clock can be believed now.
    pub fn judge(&self) -> Clock {
        let now = Timestamp::now();
        let newest = self.newest_signed();
        if now >= self.not_before && now.as_second() + SLACK_SECONDS >= newest.as_second() {
            Clock::Synced
        } else {
            Clock::Unsynced
        }
    }
}

/// What time it is, by every clock that the box has.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock, where it can be believed.
    pub wall: Option<Timestamp>,
    /// The wall clock, or the newest time that the operator signed where it cannot be believed.
    pub signed: Timestamp,
    /// Time since the box started.
    pub mono: Instant,
}

impl Now {
    /// The time as this judge sees it.
    pub fn of(clock: &ClockJudge) -> Self {
        let wall = (clock.judge() == Clock::Synced).then(Timestamp::now);
        Self { wall, signed: wall.unwrap_or_else(|| clock.newest_signed()), mono: Instant::now() }
    }
}

/// The time now in RFC 3339, whole seconds.
pub fn now_text() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_before_the_certificate_or_far_behind_the_operator_is_not_believed() {
        let judge = ClockJudge::new("2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(judge.judge(), Clock::Synced);
        judge.signed("2199-01-01T00:00:00Z");
        assert_eq!(judge.judge(), Clock::Unsynced);
        assert_eq!(ClockJudge::new("2198-01-01T00:00:00Z".parse().unwrap()).judge(), Clock::Unsynced);
    }
}
