//! `cargo demo`: Kalong on a simulated border gate, to look at or to be checked unattended.
//!
//! [`options`] is the command line, [`stage`](self::stage) brings the site up and takes it down, [`expectation`] is what the demo promises,
//! [`finding`] what came of it, [`report`](self::report) what is printed and written.

mod expectation;
mod finding;
mod options;
mod report;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use options::Options;
use tokio::signal::unix::{SignalKind, signal};

pub use finding::{ExpectationOutcome, ExpectationResult, Finding};

/// After everything was taken down nothing is worth waiting for.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[must_use]
pub fn main() -> ExitCode {
    // Fails only where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options::read();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kalong-demo: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(stage::run(options, asked_to_end()));
    runtime.shutdown_timeout(LAST_WORDS);
    code
}

/// Ctrl-C, or a polite kill.
async fn asked_to_end() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
