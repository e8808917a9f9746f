//! Random histories, many at once.

use std::thread;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

/// Plays so many histories, shared among the cores, and shows the smallest that breaks a promise. `KALONG_PROPERTY_CASES` asks for
/// another number.
pub(crate) fn play<S: Strategy + Sync>(cases: u32, histories: &S, story: impl Fn(S::Value) -> TestCaseResult + Sync) {
    let asked = std::env::var("KALONG_PROPERTY_CASES").ok().and_then(|text| text.parse().ok());
    let cores = thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let cases = asked.unwrap_or(cases).div_ceil(cores);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let run = || TestRunner::new(config.clone()).run(histories, &story).err().map(|failure| failure.to_string());
    let broken: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        runs.into_iter().filter_map(|run| run.join().unwrap()).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
