//! Failures of the supervisor, with the deadlines that they name.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub(super) const BINARY: &str = "kalong-supervisor";
pub(super) const START_DEADLINE: Duration = Duration::from_secs(10);
/// Longer than the supervisor's own bounds together.
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(25);

/// What went wrong with the supervisor.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// Its binary is not beside ours.
    #[error("{BINARY} is not beside {executable}: run `cargo build -p kalong-e2e --bins` first")]
    Missing {
        /// The program that looked for it.
        executable: PathBuf,
    },
    /// It is there and does not start.
    #[error("starting {path} failed: {source}")]
    Start { path: PathBuf, source: io::Error },
    /// It started and did not say that it is ready.
    #[error("{path} did not report for duty within {} s; run `cargo build -p kalong-e2e --bins`, it may be of another build", START_DEADLINE.as_secs())]
    Silent { path: PathBuf },
    /// The folder of the run cannot be made.
    #[error("making the folder of the run failed: {0}")]
    Folder(#[source] io::Error),
    /// It does not listen any more.
    #[error("the supervisor is gone, and all its processes with it")]
    Gone,
    /// A process could not be started.
    #[error("{name} could not be started: {message}")]
    Spawn { name: String, message: String },
    /// It did not end its processes in time, and was killed.
    #[error("the supervisor did not end its processes within {} s and was killed", STOP_DEADLINE.as_secs())]
    Stop,
}
