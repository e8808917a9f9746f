//! One process that the supervisor holds for us.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use super::failure::SupervisorError;
use super::pipe::{ChildState, Pipe};
use super::protocol::{ChildId, Exit, Request, Signal};

const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// A log's end is looked for in its last part only.
const TAIL_BYTES: u64 = 64 * 1024;
/// How much of a log an error carries.
const TAIL_LINES: usize = 20;

/// What went wrong with a process.
#[derive(Debug, Error)]
pub enum ChildError {
    /// It ended when it should not have.
    #[error("{name} ended ({exit}); the end of its log {log}:\n{tail}")]
    Ended {
        name: String,
        exit: Exit,
        /// Where its output is, as long as the run lasts.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// It did not end in time.
    #[error("{name} (pid {pid}) did not end within {} s", .within.as_secs())]
    StillRunning {
        name: String,
        pid: u32,
        /// How long it was waited for.
        within: Duration,
    },
    /// The supervisor cannot be spoken to.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
}

/// A process that the supervisor holds. Dropping the handle does not end it: its supervisor does.
#[derive(Clone, Debug)]
pub struct Child {
    pub(super) id: ChildId,
    pub(super) name: String,
    pub(super) log: PathBuf,
    pub(super) pid: u32,
    pub(super) state: watch::Receiver<ChildState>,
    pub(super) pipe: Weak<Pipe>,
}

impl Child {
    /// What it is called in errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn exited(&self) -> Option<Exit> {
        match &*self.state.borrow() {
            ChildState::Ended { exit } => Some(*exit),
            ChildState::Asked | ChildState::Running { .. } | ChildState::Failed { .. } => None,
        }
    }

    /// An error with the end of the log if it has ended.
    ///
    /// # Errors
    /// [`ChildError::Ended`].
    pub fn check(&self) -> Result<(), ChildError> {
        self.exited().map_or(Ok(()), |exit| Err(self.ended(exit)))
    }

    /// Sends a signal to it and to what it started. One that has ended is not an error.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), ChildError> {
        let pipe = self.pipe.upgrade().ok_or(SupervisorError::Gone)?;
        Ok(pipe.send(&Request::Signal { id: self.id, signal })?)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`ChildError::StillRunning`] at the deadline.
    pub async fn wait(&self, within: Duration) -> Result<Exit, ChildError> {
        let mut state = self.state.clone();
        let ended = async {
            match state.wait_for(|state| matches!(state, ChildState::Ended { .. })).await.as_deref() {
                Ok(ChildState::Ended { exit }) => *exit,
                _ => Exit::Unknown,
            }
        };
        timeout(within, ended).await.map_err(|_| ChildError::StillRunning {
            name: self.name.clone(),
            pid: self.pid,
            within,
        })
    }

    /// Asks it to end, and kills it when it has not after `grace`.
    ///
    /// # Errors
    /// The supervisor is gone, or the kernel does not end it.
    pub async fn stop(&self, grace: Duration) -> Result<Exit, ChildError> {
        self.signal(Signal::Terminate)?;
        match self.wait(grace).await {
            Err(ChildError::StillRunning { .. }) => self.kill().await,
            other => other,
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// The supervisor is gone, or the kernel does not end it.
    pub async fn kill(&self) -> Result<Exit, ChildError> {
        self.signal(Signal::Kill)?;
        self.wait(KILL_DEADLINE).await
    }

    /// The last lines of its log; empty when there is none.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        log_tail(&self.log, lines)
    }

    pub(super) fn ended(&self, exit: Exit) -> ChildError {
        ChildError::Ended { name: self.name.clone(), exit, log: self.log.clone(), tail: self.log_tail(TAIL_LINES) }
    }
}

/// The last lines of a file, from its last part.
fn log_tail(path: &Path, lines: usize) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|mut file| {
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut last: Vec<_> = text.lines().rev().take(lines).collect();
    last.reverse();
    last.join("\n")
}
