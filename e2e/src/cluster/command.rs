//! kubectl and Helm, run as a person runs them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// `helm install --wait` and `kubectl wait` may take minutes on a busy machine.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);

#[derive(Debug, Error)]
pub enum CommandError {
    /// It could not be run.
    #[error("running `{command}` failed: {source}")]
    Run { command: String, source: io::Error },
    #[error("`{command}` ended with {code:?}: {stderr}")]
    Failed {
        command: String,
        /// Its exit code; none when a signal ended it.
        code: Option<i32>,
        /// What it printed on standard error.
        stderr: String,
    },
    #[error("`{command}` did not end within {} s and was killed", COMMAND_DEADLINE.as_secs())]
    Deadline { command: String },
}

/// A program with the kubeconfig that it is to use.
pub(super) struct Tooling<'a> {
    pub(super) program: &'a Path,
    pub(super) kubeconfig: &'a Path,
    /// Caches and settings go here, not into the user's home.
    pub(super) home: &'a Path,
}

impl Tooling<'_> {
    pub(super) async fn run<I, A>(&self, args: I, input: Option<&str>) -> Result<String, CommandError>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let line = command_line(self.program, &args);
        let output = timeout(COMMAND_DEADLINE, self.output(&args, input))
            .await
            .map_err(|_| CommandError::Deadline { command: line.clone() })?
            .map_err(|source| CommandError::Run { command: line.clone(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(CommandError::Failed { command: line, code: output.status.code(), stderr })
    }

    async fn output(&self, args: &[OsString], input: Option<&str>) -> io::Result<std::process::Output> {
        let mut command = Command::new(self.program);
        command.args(args).env("KUBECONFIG", self.kubeconfig).env("KUBECACHEDIR", self.home.join("kube-cache"));
        for (variable, folder) in
            [("HELM_CACHE_HOME", "helm-cache"), ("HELM_CONFIG_HOME", "helm-config"), ("HELM_DATA_HOME", "helm-data")]
        {
            command.env(variable, self.home.join(folder));
        }
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let pipe = child.stdin.take();
        let write = async {
            if let (Some(mut pipe), Some(input)) = (pipe, input) {
                // A command that refuses its arguments closes the pipe early, and says why on standard error.
                let _ = pipe.write_all(input.as_bytes()).await;
            }
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        output
    }
}

fn command_line(program: &Path, args: &[OsString]) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    args.iter().fold(name.into_owned(), |line, arg| line + " " + &arg.to_string_lossy())
}
