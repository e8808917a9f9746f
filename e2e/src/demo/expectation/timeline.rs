//! What the simulated devices really ran, moment by moment: what any statement about a version is held against.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::site::ControlClient;

const EVERY: Duration = Duration::from_millis(250);

/// Versions of some devices over time.
pub(super) struct Timeline {
    seen: Arc<Mutex<BTreeMap<String, Vec<VersionSpan>>>>,
    task: JoinHandle<()>,
}

/// A version from when to when we saw it run.
#[derive(Clone, Debug)]
struct VersionSpan {
    version: String,
    from: Instant,
    to: Instant,
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Timeline {
    /// Looks four times a second from now on.
    pub(super) fn start(control: ControlClient, devices: Vec<String>) -> Self {
        let seen: Arc<Mutex<BTreeMap<String, Vec<VersionSpan>>>> = Arc::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                for device in &devices {
                    let asked = Instant::now();
                    if let Ok(report) = control.device(device).await {
                        note(shared.lock().entry(report.name).or_default(), report.version, asked);
                    }
                }
                sleep(EVERY).await;
            }
        });
        Self { seen, task }
    }

    /// Whether the device ran this version at some moment between these two.
    pub(super) fn ran(&self, device: &str, version: &str, from: Instant, to: Instant) -> bool {
        let slack = EVERY * 2;
        let seen = self.seen.lock();
        let spans = seen.get(device).map_or(&[][..], Vec::as_slice);
        spans.iter().any(|span| span.version == version && span.from <= to + slack && span.to + slack >= from)
    }

    /// When the device was first seen to run this version.
    pub(super) fn since(&self, device: &str, version: &str) -> Option<Instant> {
        self.seen.lock().get(device)?.iter().find(|span| span.version == version).map(|span| span.from)
    }
}

fn note(spans: &mut Vec<VersionSpan>, version: String, at: Instant) {
    match spans.last_mut() {
        Some(last) if last.version == version => last.to = Instant::now(),
        _ => spans.push(VersionSpan { version, from: at, to: Instant::now() }),
    }
}
