//! Drivers and the fleet against peers that were not written in this language, or not written here at all. Where what one of them needs
//! cannot be had, its tests count as ignored and say why; `.ci/run` installs what it may, and fails then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod driver;
#[path = "../agent/driver_order/mod.rs"]
mod driver_order;
mod fleet;
#[path = "../agent/lone_box/mod.rs"]
mod lone_box;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Whether tests are only listed, for which nothing has to be fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Only,
    AndRun,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let listed = if arguments.list { Listed::Only } else { Listed::AndRun };
    let trials = driver::trials(listed).into_iter().chain(fleet::trials(listed)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test with what it needs, or one that is ignored for this reason.
fn trial<N: Send + 'static>(name: &str, needs: Result<N, String>, test: impl FnOnce(N) + Send + 'static) -> Trial {
    match needs {
        Ok(needs) => Trial::test(name, move || {
            test(needs);
            Ok::<(), Failed>(())
        }),
        Err(why) => Trial::test(name, || Ok(())).with_kind(why).with_ignored_flag(true),
    }
}
