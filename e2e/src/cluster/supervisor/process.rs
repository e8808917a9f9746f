//! The supervisor itself: one thread, one task a child, and one rule. When its standard input closes, everything ends.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::protocol::{ChildId, ChildSpec, Exit, PROTOCOL, Report, Request, Signal};
use super::run::lock_path;

/// From the polite signal to the hard one, for each child in turn.
const TERMINATE_GRACE: Duration = Duration::from_secs(3);
/// For all children together; what is left then is killed at once.
const SHUTDOWN_BOUND: Duration = Duration::from_secs(12);
/// A killed process is gone as soon as the kernel has time.
const KILL_GRACE: Duration = Duration::from_secs(5);
const REMOVE_ATTEMPTS: usize = 5;
/// What a shell says when it cannot run a program.
const CANNOT_RUN: u8 = 127;

/// The supervisor's `main`: `hold DIRECTORY` serves the parent on standard input and output and removes the folder at the end;
/// `exec PARENT-PID PROGRAM ARGS...` is how it starts a child.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let verb = args.next();
    match verb.as_ref().and_then(|verb| verb.to_str()) {
        Some("hold") => args.next().map_or_else(usage, |directory| hold(&PathBuf::from(directory))),
        Some("exec") => match (args.next(), args.next()) {
            (Some(parent), Some(program)) => replace_by(&parent, &program, args),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    complain("kalong-supervisor is started by the tests and the demo; it has no use by hand");
    ExitCode::from(2)
}

/// Becomes the program, after asking the kernel to kill it with its parent: so even a killed supervisor leaves nothing.
fn replace_by(parent: &OsStr, program: &OsStr, args: impl Iterator<Item = OsString>) -> ExitCode {
    #[cfg(target_os = "linux")]
    {
        let bound = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        let still_ours = rustix::process::getppid().is_some_and(|pid| parent == pid.to_string().as_str());
        if bound.is_err() || !still_ours {
            complain("the supervisor is gone; nothing is started");
            return ExitCode::from(CANNOT_RUN);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    let error = Command::new(program).args(args).exec();
    complain(&format!("cannot run {}: {error}", program.display()));
    ExitCode::from(CANNOT_RUN)
}

fn hold(directory: &Path) -> ExitCode {
    let _alive = match File::create(lock_path(directory)).and_then(|file| file.lock().map(|()| file)) {
        Ok(file) => file,
        Err(error) => {
            complain(&format!("cannot lock {}: {error}", directory.display()));
            return ExitCode::FAILURE;
        }
    };
    // One thread: the signal that binds a child to its parent is sent when the thread that made it ends.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let served = runtime.block_on(serve());
    // The thread that reads standard input may never return; it must not hold us.
    runtime.shutdown_background();
    let removed = remove(directory);
    if let Err(error) = served.and(removed) {
        complain(&error.to_string());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn serve() -> io::Result<()> {
    // Taken and dropped: a terminal's signals are for the parent, whose end closes the pipe.
    let _interrupt = signal(SignalKind::interrupt())?;
    let _hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut requests = BufReader::new(tokio::io::stdin()).lines();
    let (exits, mut exited) = mpsc::unbounded_channel();
    let mut children = Children { held: BTreeMap::new(), exits };
    report(&Report::Ready { protocol: PROTOCOL });
    loop {
        tokio::select! {
            line = requests.next_line() => match line {
                Ok(Some(line)) => children.obey(&line),
                Ok(None) | Err(_) => break,
            },
            Some((id, exit)) = exited.recv() => children.forget(id, exit),
            _ = terminate.recv() => break,
        }
    }
    children.end_all(&mut exited).await;
    Ok(())
}

struct Children {
    held: BTreeMap<ChildId, mpsc::UnboundedSender<Signal>>,
    exits: mpsc::UnboundedSender<(ChildId, Exit)>,
}

impl Children {
    fn obey(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Request::Spawn { id, spec }) => match self.spawn(id, &spec) {
                Ok(pid) => report(&Report::Spawned { id, pid }),
                Err(error) => report(&Report::SpawnFailed { id, message: error.to_string() }),
            },
            // A child that has just ended needs no signal any more.
            Ok(Request::Signal { id, signal }) => drop(self.held.get(&id).map(|child| child.send(signal))),
            Err(error) => complain(&format!("a request that is not understood: {error}")),
        }
    }

    fn spawn(&mut self, id: ChildId, spec: &ChildSpec) -> io::Result<u32> {
        let mut child = tokio::process::Command::from(command(spec)?).spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let (signals, mut wanted) = mpsc::unbounded_channel();
        self.held.insert(id, signals);
        let exits = self.exits.clone();
        tokio::spawn(async move {
            // The same task waits and signals: after the wait the pid may be another's.
            let exit = loop {
                tokio::select! {
                    biased;
                    status = child.wait() => break status.map_or(Exit::Unknown, exit_of),
                    Some(signal) = wanted.recv() => if let Some(group) = group {
                        // It may have ended in this moment; the wait says so.
                        let _ = kill_process_group(group, number(signal));
                    },
                }
            };
            // The receiver lives as long as the supervisor.
            let _ = exits.send((id, exit));
        });
        Ok(pid)
    }

    fn forget(&mut self, id: ChildId, exit: Exit) {
        self.held.remove(&id);
        report(&Report::Exited { id, exit });
    }

    /// Newest first, since the newer ones use the older ones.
    async fn end_all(&mut self, exited: &mut mpsc::UnboundedReceiver<(ChildId, Exit)>) {
        let bound = Instant::now() + SHUTDOWN_BOUND;
        while let Some((id, child)) = self.held.last_key_value().map(|(id, child)| (*id, child.clone())) {
            // A send fails only for a child that has ended. A paused one hears nothing before it goes on.
            let _ = child.send(Signal::Terminate);
            let _ = child.send(Signal::Resume);
            let polite = bound.min(Instant::now() + TERMINATE_GRACE);
            if timeout_at(polite, self.wait_for(id, exited)).await.is_err() {
                let _ = child.send(Signal::Kill);
                if timeout(KILL_GRACE, self.wait_for(id, exited)).await.is_err() {
                    complain("a killed process does not go away; left to the kernel");
                    self.held.remove(&id);
                }
            }
        }
    }

    async fn wait_for(&mut self, id: ChildId, exited: &mut mpsc::UnboundedReceiver<(ChildId, Exit)>) {
        while self.held.contains_key(&id) {
            match exited.recv().await {
                Some((ended, exit)) => self.forget(ended, exit),
                None => return,
            }
        }
    }
}

fn command(spec: &ChildSpec) -> io::Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
    let mut command = Command::new(ourselves()?);
    command.arg("exec").arg(std::process::id().to_string()).arg(&spec.program).args(&spec.args);
    for name in &spec.unset {
        command.env_remove(name);
    }
    command.envs(&spec.env);
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    // A group of its own, so that a signal reaches what it starts itself as well.
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    Ok(command)
}

/// Our own program, even when a build has put another file in its place since we started.
fn ourselves() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { env::current_exe() }
}

fn number(signal: Signal) -> rustix::process::Signal {
    match signal {
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
        Signal::Pause => rustix::process::Signal::STOP,
        Signal::Resume => rustix::process::Signal::CONT,
        Signal::Interrupt => rustix::process::Signal::INT,
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

/// Says a line to the parent. A parent that is gone is no failure: its end is what we wait for.
fn report(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

/// Standard error is a file of the run, or closed: `eprintln!` would panic there.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "kalong-supervisor: {message}");
}

/// A process that was killed this moment may still be writing: a few tries.
fn remove(directory: &Path) -> io::Result<()> {
    let mut result = Ok(());
    for _ in 0..REMOVE_ATTEMPTS {
        result = fs::remove_dir_all(directory);
        if result.is_ok() || !directory.exists() {
            return Ok(());
        }
    }
    result
}
