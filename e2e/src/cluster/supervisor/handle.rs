//! The parent's side: starts the supervisor, asks it for processes, hears what becomes of them.
//!
//! Reading is done by a thread, not a task: a control plane that tests share must outlive the runtime of the test that made it.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use super::child::{Child, ChildError, State};
use super::protocol::{ChildId, ChildSpec, Exit, PROTOCOL, Report, Request};
use super::run::Making;

const BINARY: &str = "kalong-supervisor";
const START_DEADLINE: Duration = Duration::from_secs(10);
/// Longer than the supervisor's own bounds together.
const STOP_DEADLINE: Duration = Duration::from_secs(25);
const STOP_POLL: Duration = Duration::from_millis(10);

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
    Start {
        /// The binary.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It started and did not say that it is ready.
    #[error("{path} did not report for duty within {} s; run `cargo build -p kalong-e2e --bins`, it may be of another build", START_DEADLINE.as_secs())]
    Silent {
        /// The binary.
        path: PathBuf,
    },
    /// The folder of the run cannot be made.
    #[error("making the folder of the run failed: {0}")]
    Folder(#[source] io::Error),
    /// It does not listen any more.
    #[error("the supervisor is gone, and all its processes with it")]
    Gone,
    /// A process could not be started.
    #[error("{name} could not be started: {message}")]
    Spawn {
        /// The process.
        name: String,
        /// What the system said.
        message: String,
    },
    /// It did not end its processes in time, and was killed.
    #[error("the supervisor did not end its processes within {} s and was killed", STOP_DEADLINE.as_secs())]
    Stop,
}

impl SupervisorError {
    /// One word for logs and counts.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "SupervisorMissing",
            Self::Start { .. } | Self::Silent { .. } => "SupervisorStart",
            Self::Folder(_) => "RunFolder",
            Self::Gone => "SupervisorGone",
            Self::Spawn { .. } => "SpawnFailed",
            Self::Stop => "SupervisorStop",
        }
    }
}

/// The way to the supervisor, shared with the handles of its children.
#[derive(Debug)]
pub(super) struct Line {
    down: Mutex<Option<ChildStdin>>,
    children: Mutex<BTreeMap<ChildId, watch::Sender<State>>>,
    next: AtomicU64,
}

impl Line {
    pub(super) fn send(&self, request: &Request) -> Result<(), SupervisorError> {
        let mut line = serde_json::to_vec(request).map_err(|_| SupervisorError::Gone)?;
        line.push(b'\n');
        let mut down = lock(&self.down);
        // The supervisor always reads, so this waits for no other than the scheduler.
        down.as_mut().and_then(|pipe| pipe.write_all(&line).ok()).ok_or(SupervisorError::Gone)
    }

    fn take(&self, report: Report) {
        let (id, state) = match report {
            Report::Ready { .. } => return,
            Report::Spawned { id, pid } => (id, State::Running { pid }),
            Report::SpawnFailed { id, message } => (id, State::Failed { message }),
            Report::Exited { id, exit } => (id, State::Ended { exit }),
        };
        if let Some(child) = lock(&self.children).get(&id) {
            child.send_replace(state);
        }
    }

    fn lost(&self) {
        lock(&self.down).take();
        for child in lock(&self.children).values() {
            child.send_if_modified(|state| {
                let ended = matches!(state, State::Ended { .. });
                if !ended {
                    *state = State::Ended { exit: Exit::Unknown };
                }
                !ended
            });
        }
    }
}

/// A running supervisor. Dropping it ends every process of it and removes the folder of the run, and waits for that.
#[derive(Debug)]
pub struct Supervisor {
    line: Arc<Line>,
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
        let line = Arc::new(Line {
            down: Mutex::new(process.stdin.take()),
            children: Mutex::new(BTreeMap::new()),
            next: AtomicU64::new(0),
        });
        let ready = listen(Arc::clone(&line), process.stdout.take());
        let pid = process.id();
        // From here on the drop of `supervisor` cleans up.
        let supervisor = Self { line, process: Mutex::new(Some(process)), directory, pid };
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
        let id = self.line.next.fetch_add(1, Ordering::Relaxed);
        let (sender, mut state) = watch::channel(State::Asked);
        lock(&self.line.children).insert(id, sender);
        let (name, log) = (spec.name.clone(), spec.log.clone());
        self.line.send(&Request::Spawn { id, spec })?;
        let answer = timeout(START_DEADLINE, state.wait_for(|state| *state != State::Asked)).await;
        let pid = match answer.map(|answer| answer.map(|state| state.clone())) {
            Ok(Ok(State::Running { pid })) => pid,
            // So short-lived that its end was reported before we looked at its start.
            Ok(Ok(State::Ended { exit })) if exit != Exit::Unknown => 0,
            Ok(Ok(State::Failed { message })) => return Err(SupervisorError::Spawn { name, message }.into()),
            _ => return Err(SupervisorError::Gone.into()),
        };
        Ok(Child { id, name, log, pid, state, line: Arc::downgrade(&self.line) })
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
        drop(lock(&self.line.down).take());
        let Some(mut process) = lock(&self.process).take() else { return Ok(()) };
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
fn listen(line: Arc<Line>, pipe: Option<ChildStdout>) -> mpsc::Receiver<u32> {
    let (ready, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(Result::ok);
        for report in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if let Report::Ready { protocol } = report {
                // Fails only when the start was given up.
                let _ = ready.send(protocol);
            }
            line.take(report);
        }
        line.lost();
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

/// A thread that panicked left nothing half done in these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
