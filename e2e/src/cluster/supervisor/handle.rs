//! The parent's side: starts the supervisor, asks it for processes, hears what becomes of them.
//!
//! Reading is done by a thread, not a task: a control plane that tests share must outlive the runtime of the test that made it.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::timeout;

use super::child::{Child, ChildError};
use super::failure::{BINARY, START_DEADLINE, STOP_DEADLINE, SupervisorError};
use super::pipe::{ChildState, Pipe};
use super::protocol::{ChildSpec, Exit, PROTOCOL, Report, Request};
use super::run::Making;

const STOP_POLL: Duration = Duration::from_millis(10);

/// A running supervisor. Dropping it ends every process of it and removes the folder of the run, and waits for that.
#[derive(Debug)]
pub struct Supervisor {
    pipe: Arc<Pipe>,
    process: Mutex<Option<std::process::Child>>,
    directory: PathBuf,
    pid: u32,
}

impl Supervisor {
    /// Starts a supervisor with a folder for its run, below the target folder.
    ///
    /// # Errors
    /// The binary is not built, or the folder cannot be made.
    pub fn start(name: &str) -> Result<Self, SupervisorError> {
        let path = binary()?;
        let (making, directory) = Making::begin(name).map_err(SupervisorError::Folder)?;
        let failed = |source| SupervisorError::Start { path: path.clone(), source };
        let complaints = File::create(directory.join("supervisor.log")).map_err(SupervisorError::Folder)?;
        let mut process = Command::new(&path)
            .arg("hold")
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            // Ctrl-C in the terminal is for us; the supervisor follows when our pipe closes.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pipe = Arc::new(Pipe::new(process.stdin.take()));
        let ready = listen(Arc::clone(&pipe), process.stdout.take());
        let pid = process.id();
        // From here on the drop of `supervisor` cleans up.
        let supervisor = Self { pipe, process: Mutex::new(Some(process)), directory, pid };
        match ready.recv_timeout(START_DEADLINE) {
            Ok(PROTOCOL) => {
                drop(making);
                Ok(supervisor)
            }
            _ => Err(SupervisorError::Silent { path }),
        }
    }

    /// The folder of the run: data, logs and keys that are removed at the end.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The supervisor's own process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Starts a process.
    ///
    /// # Errors
    /// It cannot be started, or the supervisor is gone. A program that ends at once is not an error here, but at
    /// [`Child::check`].
    pub async fn spawn(&self, spec: ChildSpec) -> Result<Child, ChildError> {
        let (id, mut state) = self.pipe.register();
        let (name, log) = (spec.name.clone(), spec.log.clone());
        self.pipe.send(&Request::Spawn { id, spec })?;
        let answer = timeout(START_DEADLINE, state.wait_for(|state| *state != ChildState::Asked)).await;
        let pid = match answer.map(|answer| answer.map(|state| state.clone())) {
            Ok(Ok(ChildState::Running { pid })) => pid,
            // So short-lived that its end was reported before we looked at its start.
            Ok(Ok(ChildState::Ended { exit })) if exit != Exit::Unknown => 0,
            Ok(Ok(ChildState::Failed { message })) => return Err(SupervisorError::Spawn { name, message }.into()),
            _ => return Err(SupervisorError::Gone.into()),
        };
        Ok(Child { id, name, log, pid, state, pipe: Arc::downgrade(&self.pipe) })
    }

    /// Ends every process and removes the folder of the run.
    ///
    /// # Errors
    /// [`SupervisorError::Stop`] when that took too long.
    pub async fn stop(self) -> Result<(), SupervisorError> {
        // It waits without a runtime, since a drop must be able to do the same.
        tokio::task::spawn_blocking(move || self.end()).await.unwrap_or(Err(SupervisorError::Stop))
    }

    fn end(&self) -> Result<(), SupervisorError> {
        self.pipe.close();
        let Some(mut process) = self.process.lock().take() else { return Ok(()) };
        let started = Instant::now();
        while started.elapsed() < STOP_DEADLINE {
            if !matches!(process.try_wait(), Ok(None)) {
                return Ok(());
            }
            thread::sleep(STOP_POLL);
        }
        // Its children die with it; only the folder stays, and the next run removes that.
        let _ = process.kill().and_then(|()| process.wait());
        Err(SupervisorError::Stop)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.end();
    }
}

/// Reads reports until the supervisor is gone. The receiver gets the protocol that it speaks.
fn listen(pipe: Arc<Pipe>, reports: Option<ChildStdout>) -> mpsc::Receiver<u32> {
    let (ready, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = reports.into_iter().flat_map(|reports| BufReader::new(reports).lines()).map_while(Result::ok);
        for report in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if let Report::Ready { protocol } = report {
                // Fails only when the start was given up.
                let _ = ready.send(protocol);
            }
            pipe.take(report);
        }
        pipe.lost();
    });
    receiver
}

/// Beside our own binary; tests live one folder deeper.
fn binary() -> Result<PathBuf, SupervisorError> {
    let executable = env::current_exe().unwrap_or_default();
    executable
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(BINARY))
        .find(|path| path.is_file())
        .ok_or(SupervisorError::Missing { executable })
}
