//! Liveness and readiness of the process. Parts that must not hang beat; one that stops fails `/livez`, and the kubelet restarts the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strum::IntoStaticStr;
use tokio::time::Instant;

/// How far the process is, as `/readyz` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ProcessStage {
    /// Caches are not warm yet, so nothing is served.
    #[default]
    Starting,
    /// Caches are warm; it waits for the Lease.
    Standby,
    /// It leads, and starts the parts of a leader.
    Leading,
    /// It leads, and serves agents.
    Serving,
    Stopping,
}

impl ProcessStage {
    /// Body of `/readyz`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the Pod counts as ready. A standby does, or a rolling update would never finish.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Standby | Self::Serving)
    }
}

#[derive(Debug)]
struct PartStatus {
    beat: Instant,
    longest: Duration,
}

#[derive(Debug, Default)]
struct HealthRecord {
    stage: ProcessStage,
    parts: BTreeMap<&'static str, PartStatus>,
}

/// Shared by all parts of the process; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct ProcessHealth(Arc<Mutex<HealthRecord>>);

impl ProcessHealth {
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, read: impl FnOnce(&mut HealthRecord) -> T) -> T {
        read(&mut self.0.lock())
    }

    /// How far the process is.
    pub fn stage(&self) -> ProcessStage {
        self.with(|s| s.stage)
    }

    /// The process is this far.
    pub fn set(&self, stage: ProcessStage) {
        self.with(|s| s.stage = stage);
    }

    /// Watches a part, which must beat at least this often until its watchdog is dropped.
    pub fn watch(&self, part: &'static str, longest: Duration) -> Watchdog {
        self.with(|s| s.parts.insert(part, PartStatus { beat: Instant::now(), longest }));
        Watchdog { health: self.clone(), part }
    }

    /// One sentence for each part that hangs or has failed.
    pub fn complaints(&self) -> Vec<String> {
        let now = Instant::now();
        self.with(|s| s.parts.iter().filter_map(|(part, status)| complaint(part, status, now)).collect())
    }
}

fn complaint(part: &str, status: &PartStatus, now: Instant) -> Option<String> {
    let still = now.saturating_duration_since(status.beat);
    (still > status.longest).then(|| format!("{part}: stands still for {} s", still.as_secs()))
}

/// Sign of life of one part; dropping it ends the watch.
#[derive(Debug)]
pub struct Watchdog {
    health: ProcessHealth,
    part: &'static str,
}

impl Watchdog {
    pub fn beat(&self) {
        self.health.with(|s| {
            if let Some(status) = s.parts.get_mut(self.part) {
                status.beat = Instant::now();
            }
        });
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.health.with(|s| s.parts.remove(self.part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_that_stands_still_is_named() {
        let health = ProcessHealth::new();
        let watchdog = health.watch("router", Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(health.complaints().is_empty());
        watchdog.beat();
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(health.complaints(), ["router: stands still for 31 s"]);
        watchdog.beat();
        assert!(health.complaints().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_ended_in_order_is_not_missed() {
        let health = ProcessHealth::new();
        drop(health.watch("lease", Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(health.complaints().is_empty());
    }
}
