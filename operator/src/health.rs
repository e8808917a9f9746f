//! Whether the process lives and what it is ready for. A part that must not stand still beats; one that stands still ends us.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How far the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It starts; nothing is served yet.
    #[default]
    Starting,
    /// It waits for the Lease, and could take over.
    Standby,
    /// It leads and brings its parts up.
    Leading,
    /// It leads and serves agents.
    Serving,
    /// It ends.
    Stopping,
}

impl Stage {
    /// The word that `/readyz` answers with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Leading => "leading",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
        }
    }

    /// Whether the Pod counts as ready: a standby does, or a rolling update would never end.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Standby | Self::Serving)
    }
}

#[derive(Debug)]
struct Sign {
    beat: Instant,
    longest: Duration,
    failure: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    signs: BTreeMap<&'static str, Sign>,
}

/// Shared by all parts; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

impl Health {
    /// Nothing is watched yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.0.lock())
    }

    /// How far the process is.
    pub fn stage(&self) -> Stage {
        self.with(|s| s.stage)
    }

    /// The process is this far.
    pub fn set(&self, stage: Stage) {
        self.with(|s| s.stage = stage);
    }

    /// A part that must beat at least this often from now on, until its watchdog is dropped.
    pub fn watch(&self, part: &'static str, longest: Duration) -> Watchdog {
        self.with(|s| s.signs.insert(part, Sign { beat: Instant::now(), longest, failure: None }));
        Watchdog { health: self.clone(), part }
    }

    /// What is wrong, one sentence a part; empty while all live.
    pub fn complaints(&self) -> Vec<String> {
        let now = Instant::now();
        self.with(|s| s.signs.iter().filter_map(|(part, sign)| complaint(part, sign, now)).collect())
    }
}

fn complaint(part: &str, sign: &Sign, now: Instant) -> Option<String> {
    if let Some(failure) = &sign.failure {
        return Some(format!("{part}: {failure}"));
    }
    let still = now.saturating_duration_since(sign.beat);
    (still > sign.longest).then(|| format!("{part}: stands still for {} s", still.as_secs()))
}

/// The sign of life of one part.
#[derive(Debug)]
pub struct Watchdog {
    health: Health,
    part: &'static str,
}

impl Watchdog {
    /// It lives.
    pub fn beat(&self) {
        self.health.with(|s| {
            if let Some(sign) = s.signs.get_mut(self.part) {
                sign.beat = Instant::now();
            }
        });
    }

    /// It is broken for good: the process has to be started again.
    pub fn fail(&self, why: &str) {
        self.health.with(|s| {
            if let Some(sign) = s.signs.get_mut(self.part) {
                sign.failure = Some(why.to_owned());
            }
        });
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // A failure stays: a part that was dropped because it broke must not look healthy.
        self.health.with(|s| {
            if s.signs.get(self.part).is_some_and(|sign| sign.failure.is_none()) {
                s.signs.remove(self.part);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_that_stands_still_is_named() {
        let health = Health::new();
        let watchdog = health.watch("router", Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(health.complaints().is_empty());
        watchdog.beat();
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(health.complaints(), ["router: stands still for 31 s"]);
        watchdog.beat();
        assert!(health.complaints().is_empty());
    }

    #[tokio::test]
    async fn a_failure_outlives_its_part_and_an_ordered_end_does_not() {
        let health = Health::new();
        drop(health.watch("lease", Duration::from_secs(1)));
        assert!(health.complaints().is_empty());
        let watchdog = health.watch("router", Duration::from_secs(1));
        watchdog.fail("its thread ended");
        drop(watchdog);
        assert_eq!(health.complaints(), ["router: its thread ended"]);
    }
}
