//! Everything that is proven on a control plane, in one program: they share control planes and two cores, and most of them wait most of
//! the time, so they wait side by side. [`schedule`] says who runs beside whom; a test is listed with `tests!` at the end of its file.
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
use schedule::{Lane, Schedule};

fn main() {
    let mut arguments = Arguments::from_args();
    let bench = Arc::new(Bench::default());
    let lanes = [
        // The longest first, so that none of them begins when the others have ended.
        (Lane::Demo, demo::whole()),
        #[cfg(target_os = "linux")]
        (Lane::Beside, footprint::built()),
        (Lane::Site, faults::tests(&bench)),
        (Lane::Beside, operator::tests()),
        (Lane::Beside, gate_model::tests()),
        (Lane::Beside, demo::tests()),
        (Lane::Beside, control_plane::tests()),
        (Lane::Beside, charts::tests()),
        (Lane::Beside, api_corpus::tests()),
        (Lane::Beside, site_api::tests()),
        #[cfg(target_os = "linux")]
        (Lane::Alone, footprint::tests(&bench)),
    ];
    let schedule = Arc::new(Schedule::default());
    let tests = lanes.into_iter().flat_map(|(lane, tests)| tests.into_iter().map(move |test| (lane, test)));
    let trials: Vec<Trial> = tests.enumerate().map(|(place, (lane, test))| schedule.trial(lane, place, test)).collect();
    // Whoever waits for its turn has a thread of its own.
    arguments.test_threads.get_or_insert(trials.len());
    let conclusion = libtest_mimic::run(&arguments, trials);
    bench.end();
    conclusion.exit();
}
