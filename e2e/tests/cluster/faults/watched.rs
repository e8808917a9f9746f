//! A look at the devices themselves, three times a second: which numbers their settings held, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kalong_e2e::scenario::FaultActor;
use kalong_e2e::site::ControlClient;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const EVERY: Duration = Duration::from_millis(350);

/// What was seen so far.
pub struct Watched {
    seen: Arc<Mutex<BTreeMap<String, Vec<i64>>>>,
    task: JoinHandle<()>,
}

impl Watched {
    pub fn start(control: ControlClient, actors: &[FaultActor]) -> Self {
        let actors: BTreeMap<_, _> = actors.iter().map(|actor| (actor.name.clone(), actor.clone())).collect();
        let seen: Arc<Mutex<BTreeMap<String, Vec<i64>>>> = Arc::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                for report in control.devices().await.unwrap_or_default() {
                    let Some(number) = actors.get(&report.name).and_then(|actor| actor.number(&report.settings)) else {
                        continue;
                    };
                    let mut seen = shared.lock();
                    let numbers = seen.entry(report.name).or_default();
                    if numbers.last() != Some(&number) {
                        numbers.push(number);
                    }
                }
                sleep(EVERY).await;
            }
        });
        Self { seen, task }
    }

    /// The numbers of each device; they must never have fallen.
    pub fn never_fell(self) {
        self.task.abort();
        for (name, numbers) in self.seen.lock().iter() {
            assert!(numbers.is_sorted(), "{name} held {numbers:?}");
        }
    }
}
