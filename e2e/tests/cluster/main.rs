//! Everything that is proven on a control plane, in one program: tests share control planes, and most of them wait most of the time, so
//! they wait side by side. Whole sites come after them, one at a time. A test is listed with `tests!` at the end of its file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod api_corpus;
mod charts;
mod control_plane;
mod demo;
mod faults;
#[cfg(target_os = "linux")]
mod footprint;
mod gate_model;
mod kit;
mod operator;
mod schedule;
mod site_api;

use std::sync::Arc;

use faults::bench::Bench;
use libtest_mimic::{Arguments, Trial};
use schedule::{Round, Schedule};

fn main() {
    let mut arguments = Arguments::from_args();
    let bench = Arc::new(Bench::default());
    let rounds = [
        #[cfg(target_os = "linux")]
        (Round::Together, footprint::built()),
        (Round::Together, operator::tests()),
        (Round::Together, gate_model::tests()),
        (Round::Together, demo::tests()),
        (Round::Together, control_plane::tests()),
        (Round::Together, charts::tests()),
        (Round::Together, api_corpus::tests()),
        (Round::Together, site_api::tests()),
        (Round::Alone, demo::whole()),
        (Round::Alone, faults::tests(&bench)),
        #[cfg(target_os = "linux")]
        (Round::Alone, footprint::tests(&bench)),
    ];
    let schedule = Arc::new(Schedule::default());
    let tests = rounds.into_iter().flat_map(|(round, tests)| tests.into_iter().map(move |test| (round, test)));
    let trials: Vec<Trial> =
        tests.enumerate().map(|(place, (round, test))| schedule.trial(round, place, test)).collect();
    // A test that waits for its turn has a thread of its own.
    arguments.test_threads.get_or_insert(trials.len());
    let conclusion = libtest_mimic::run(&arguments, trials);
    bench.end();
    conclusion.exit();
}
