//! What the simulated devices really ran, moment by moment: what any statement about a version is held against.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::scenario::ScenarioError;
use crate::site::ControlClient;

const EVERY: Duration = Duration::from_millis(250);
/// A look at all devices takes a moment on an idle machine.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);

/// Versions of some devices over time.
pub(super) struct Timeline {
    seen: Arc<Mutex<BTreeMap<String, Vec<VersionSpan>>>>,
    /// When the newest look at all devices began.
    looked: watch::Receiver<Instant>,
    task: JoinHandle<()>,
}

/// A version, seen by one or more looks in a row. A look is asked and answered; what it saw was true at some moment between.
#[derive(Clone, Debug)]
struct VersionSpan {
    version: String,
    first_answered: Instant,
    last_asked: Instant,
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
        let (done, looked) = watch::channel(Instant::now());
        let task = tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                for device in &devices {
                    let asked = Instant::now();
                    if let Ok(report) = control.device(device).await {
                        note(shared.lock().entry(report.name).or_default(), report.version, asked, Instant::now());
                    }
                }
                done.send_replace(begun);
                sleep(EVERY).await;
            }
        });
        Self { seen, looked, task }
    }

    /// Waits until every device was looked at after this moment: only then can be said what ran at it.
    pub(super) async fn covers(&self, moment: Instant) -> Result<(), ScenarioError> {
        let mut looked = self.looked.clone();
        let covered = timeout(LOOK_DEADLINE, looked.wait_for(|begun| *begun >= moment)).await;
        match covered {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ScenarioError::Deadline {
                what: "a look at the cameras themselves".into(),
                within: LOOK_DEADLINE,
                seen: "the simulator does not answer".into(),
            }),
        }
    }

    /// Whether the device may have run this version at some moment between these two: it ran it when a look saw it, and may have
    /// from the look before, which saw another one, to the look after.
    pub(super) fn ran(&self, device: &str, version: &str, from: Instant, to: Instant) -> bool {
        let seen = self.seen.lock();
        let spans = seen.get(device).map_or(&[][..], Vec::as_slice);
        may_have_run(spans, version, from, to)
    }

    /// Whether the device was ever seen to run this version.
    pub(super) fn ever_ran(&self, device: &str, version: &str) -> bool {
        self.seen.lock().get(device).is_some_and(|spans| spans.iter().any(|span| span.version == version))
    }
}

fn may_have_run(spans: &[VersionSpan], version: &str, from: Instant, to: Instant) -> bool {
    spans.iter().enumerate().filter(|(_, span)| span.version == version).any(|(index, _)| {
        let before = index.checked_sub(1).and_then(|before| spans.get(before)).map(|span| span.last_asked);
        let after = spans.get(index + 1).map(|span| span.first_answered);
        before.is_none_or(|before| before <= to) && after.is_none_or(|after| after >= from)
    })
}

fn note(spans: &mut Vec<VersionSpan>, version: String, asked: Instant, answered: Instant) {
    match spans.last_mut() {
        Some(last) if last.version == version => last.last_asked = asked,
        _ => spans.push(VersionSpan { version, first_answered: answered, last_asked: asked }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_may_have_run_between_the_looks_that_saw_others() {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let mut spans = Vec::new();
        for (version, asked, answered) in
            [("1", 0, 10), ("1", 250, 260), ("2", 500, 900), ("2", 1150, 1160), ("3", 1400, 1410)]
        {
            note(&mut spans, version.to_owned(), at(asked), at(answered));
        }
        let ran = |version: &str, from: u64, to: u64| may_have_run(&spans, version, at(from), at(to));
        assert!(ran("2", 251, 251), "the look at 250 ms was the last to see another one");
        assert!(!ran("2", 100, 249));
        assert!(ran("2", 1410, 2000) && !ran("2", 1411, 2000));
        assert!(ran("1", 0, 1) && ran("1", 900, 900) && !ran("1", 901, 2000));
        assert!(ran("3", 5000, 5000), "nothing was seen after it");
    }
}
