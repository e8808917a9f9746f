//! What the demo promises, one file each. Everything is read from the API server, its audit log, the simulator's control port and
//! the lines between boxes and operator.

mod away;
mod cut_off;
mod drained;
mod firmware;
mod idle;
mod killed;
mod passing;
mod phased;
mod ready;
mod refused;
mod rollout;
mod settled;
mod things;
mod timeline;
mod touched;

use std::time::Instant;

use super::finding::ExpectationResult;
use crate::scenario::{LiveSite, ScenarioError};

use super::finding::Finding;

const TITLES: [&str; 10] = [
    "what is declared is in force on every device",
    "twelve cameras get new firmware",
    "bad releases are refused or rolled back",
    "operator killed and restarted",
    "one agent cut off and back",
    "an idle minute",
    "plate cameras of all open lanes, changed under the floors while traffic flows",
    "phase 2 refused, commissioned, opened",
    "control plane gone for a minute while traffic flows",
    "interlock, vehicles, link, and a mistaken delete",
];

/// Looks at all of them, and hands each verdict on as soon as it is there.
pub async fn all(site: &mut LiveSite, mut done: impl FnMut(&ExpectationResult)) -> Vec<ExpectationResult> {
    let mut verdicts = Vec::new();
    for (number, title) in (1..).zip(TITLES) {
        site.progress.line(&format!("expectation {number}: {title}"));
        let begun = Instant::now();
        let looked = look(number, site).await.and_then(|finding| {
            // Whatever was found, a process that died on the way is a failure.
            site.check()?;
            Ok(finding)
        });
        let verdict = match looked {
            Ok(finding) => ExpectationResult::of(number, title, finding, begun.elapsed()),
            Err(error) => ExpectationResult::broken(number, title, error.to_string(), begun.elapsed()),
        };
        done(&verdict);
        verdicts.push(verdict);
    }
    verdicts
}

/// Waits until everything is as declared, as for the first expectation.
///
/// # Errors
/// It never is.
pub async fn all_ready(site: &LiveSite) -> Result<(), ScenarioError> {
    settled::settled(site).await.map(drop)
}

async fn look(number: usize, site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    match number {
        1 => ready::look(site).await,
        2 => firmware::look(site).await,
        3 => refused::look(site).await,
        4 => killed::look(site).await,
        5 => cut_off::look(site).await,
        6 => idle::look(site).await,
        7 => drained::look(site).await,
        8 => phased::look(site).await,
        9 => away::look(site).await,
        _ => things::look(site).await,
    }
}
