//! Programs that run to their end: kubectl, Helm, the plugin, the agent's enrolment, cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::failure::ScenarioError;

/// How much of a failed program's complaint an error carries.
const COMPLAINT_LINES: usize = 30;

/// A program, its arguments and what it finds around it.
pub struct Program {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    input: Option<String>,
    /// What errors call it, when the arguments hold a secret.
    title: Option<String>,
}

impl Program {
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new(), input: None, title: None }
    }

    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// The name in errors, instead of the whole command line.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// What it prints on standard output, once it has ended well.
    ///
    /// # Errors
    /// It cannot be run, says no, or does not end within the deadline; then it is killed.
    pub async fn run(self, within: Duration) -> Result<String, ScenarioError> {
        let (title, output) = self.end(within).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = last_lines(&String::from_utf8_lossy(&output.stderr));
        Err(ScenarioError::Command { command: title, code: output.status.code(), stderr })
    }

    /// Everything that it complains of: empty when it has ended well.
    ///
    /// # Errors
    /// It cannot be run, or does not end within the deadline; then it is killed.
    pub async fn complaint(self, within: Duration) -> Result<String, ScenarioError> {
        let (_, output) = self.end(within).await?;
        let complaint = if output.status.success() { Vec::new() } else { output.stderr };
        Ok(String::from_utf8_lossy(&complaint).into_owned())
    }

    async fn end(self, within: Duration) -> Result<(String, Output), ScenarioError> {
        let title = self.title.clone().unwrap_or_else(|| command_line(&self.program, &self.args));
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| ScenarioError::Program {
            program: self.program.display().to_string(),
            source,
            advice: "run `cargo build --workspace --bins` and try again",
        })?;
        let pipe = child.stdin.take();
        let write = async {
            if let (Some(mut pipe), Some(input)) = (pipe, &self.input) {
                // A program that refuses its arguments closes the pipe early, and says why on standard error.
                let _ = pipe.write_all(input.as_bytes()).await;
            }
        };
        let both = async { tokio::join!(write, child.wait_with_output()).1 };
        let output = timeout(within, both)
            .await
            .map_err(|_| ScenarioError::CommandDeadline { command: title.clone(), within })?
            .map_err(ScenarioError::file(format!("running `{title}`")))?;
        Ok((title, output))
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines.get(lines.len().saturating_sub(COMPLAINT_LINES)..).unwrap_or_default().join("\n")
}

fn command_line(program: &Path, args: &[OsString]) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    args.iter().fold(name.into_owned(), |line, arg| line + " " + &arg.to_string_lossy())
}
