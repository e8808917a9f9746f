//! Which test runs beside which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use parking_lot::{Condvar, Mutex};

/// Tests of [`Round::Together`] at once. They wait for other processes most of the time.
const TOGETHER: usize = 2;
/// Every test that was asked for is waiting by then, so that the first place is the first of them.
const OPENS_AFTER: Duration = Duration::from_millis(300);
/// Tests speak to many processes and do little themselves.
const WORKERS: usize = 2;

/// Tests of one round begin in the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Round {
    /// A few at once.
    Together,
    /// One after the other, once all of the first round have ended: a whole site of 311 devices keeps two cores busy, and what is measured
    /// is disturbed by anything beside it.
    Alone,
}

/// A test by its name.
pub struct Test {
    name: String,
    body: Box<dyn FnOnce() + Send>,
}

impl Test {
    pub fn new(module: &str, name: &str, body: impl FnOnce() + Send + 'static) -> Self {
        let module = module.split_once("::").map_or(module, |(_, rest)| rest);
        Self { name: format!("{module}::{name}"), body: Box::new(body) }
    }

    /// A test on a runtime of its own.
    pub fn of(module: &str, name: &str, body: impl AsyncFnOnce() + Send + 'static) -> Self {
        Self::new(module, name, || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(WORKERS).enable_all().build().unwrap().block_on(body());
        })
    }
}

/// Lists the tests of a file. One that is not listed is unused, which the lints refuse.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => { $crate::tests![tests: $($name),+]; };
    ($list:ident: $($name:ident),+ $(,)?) => {
        pub fn $list() -> Vec<$crate::schedule::Test> {
            vec![$($crate::schedule::Test::of(module_path!(), stringify!($name), $name)),+]
        }
    };
}

/// Lets tests begin.
#[derive(Default)]
pub struct Schedule {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    opens: Option<Instant>,
    waiting: BTreeSet<(Round, usize)>,
    running: BTreeMap<Round, usize>,
}

impl State {
    fn lets(&self, round: Round, place: usize) -> bool {
        let first = self.waiting.iter().find(|(other, _)| *other == round) == Some(&(round, place));
        let running = |round: Round| self.running.get(&round).copied().unwrap_or_default();
        first
            && match round {
                Round::Together => running(round) < TOGETHER,
                Round::Alone => {
                    self.running.values().all(|count| *count == 0) && self.waiting.iter().all(|(r, _)| *r == round)
                }
            }
    }
}

impl Schedule {
    /// The test, which begins when it is its turn.
    pub fn trial(self: &Arc<Self>, round: Round, place: usize, Test { name, body }: Test) -> Trial {
        let schedule = Arc::clone(self);
        Trial::test(name, move || {
            let _turn = schedule.enter(round, place);
            body();
            Ok::<(), Failed>(())
        })
    }

    fn enter(&self, round: Round, place: usize) -> Turn<'_> {
        let mut state = self.state.lock();
        let opens = *state.opens.get_or_insert_with(|| Instant::now() + OPENS_AFTER);
        state.waiting.insert((round, place));
        loop {
            let early = opens.saturating_duration_since(Instant::now());
            if early.is_zero() && state.lets(round, place) {
                break;
            }
            if early.is_zero() {
                self.changed.wait(&mut state);
            } else {
                self.changed.wait_for(&mut state, early);
            }
        }
        state.waiting.remove(&(round, place));
        *state.running.entry(round).or_default() += 1;
        // The next of the same round may come beside this one.
        self.changed.notify_all();
        Turn { schedule: self, round }
    }
}

/// Its drop, after a panic too, lets the next one in.
struct Turn<'s> {
    schedule: &'s Schedule,
    round: Round,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.schedule.state.lock();
        if let Some(count) = state.running.get_mut(&self.round) {
            *count -= 1;
        }
        self.schedule.changed.notify_all();
    }
}
