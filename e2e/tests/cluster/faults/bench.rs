//! The one site that the tests under faults share: brought up by the first that needs it, taken down at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use kalong_e2e::cluster::ControlPlane;
use kalong_e2e::scenario::{Cluster, LiveSite, ProgressLog, ScenarioError};
use kalong_e2e::site::Preset;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Runtime;

use super::first;

/// The site, once somebody needs it.
#[derive(Default)]
pub struct Bench {
    state: Mutex<Option<Result<(Runtime, LiveSite), String>>>,
}

impl Bench {
    /// Runs a test on the site.
    pub fn run(&self, test: impl AsyncFnOnce(&mut LiveSite)) {
        let mut state = self.lock();
        let (runtime, site) = match state.get_or_insert_with(start) {
            Ok((runtime, site)) => (runtime, site),
            Err(why) => panic!("the site did not come up: {why}"),
        };
        // Caught here, so that the site stays for the next test.
        let done = catch_unwind(AssertUnwindSafe(|| runtime.block_on(test(site))));
        if let Err(panic) = done {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            panic!("{words}\n\nthe end of the operator's log:\n{}", site.operator.child().log_tail(15));
        }
    }

    /// Takes the site down.
    pub fn end(&self) {
        if let Some(Ok((runtime, site))) = self.lock().take() {
            let _ = runtime.block_on(site.stop());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<(Runtime, LiveSite), String>>> {
        self.state.lock()
    }
}

fn start() -> Result<(Runtime, LiveSite), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    let site = runtime.block_on(bring_up()).map_err(|e| e.to_string())?;
    Ok((runtime, site))
}

async fn bring_up() -> Result<LiveSite, ScenarioError> {
    let begun = Instant::now();
    let progress = ProgressLog::to(move |line| eprintln!("[{:6.1} s] {line}", begun.elapsed().as_secs_f64()));
    let assets = ControlPlane::default_assets().await?;
    let cluster = Cluster::own(assets, "faults").await?;
    let site = LiveSite::prepare(cluster, Preset::L1, &progress).await?;
    // Before any box runs: what is wrong from the start is in the first report and in no other.
    site.simulated.health(&first::ailing(&site)).await?;
    site.with_agents().await
}
