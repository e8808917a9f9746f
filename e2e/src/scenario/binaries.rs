//! The programs under proof: built once, the same for demo and tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::failure::ScenarioError;
use super::progress::ProgressLog;
use crate::cluster::{target_directory, workspace_directory};

/// A build of everything from nothing takes about 6 min on 2 cores.
const BUILD_DEADLINE: Duration = Duration::from_secs(40 * 60);
/// How many of the compiler's last lines an error carries.
const COMPLAINT_LINES: usize = 40;

/// A program of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Operator,
    /// The box at the gate.
    EdgeAgent,
    Plugin,
    Site,
}

impl Binary {
    const ALL: [Self; 4] = [Self::Operator, Self::EdgeAgent, Self::Plugin, Self::Site];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "kalong-operator",
            Self::EdgeAgent => "kalong-edge-agent",
            Self::Plugin => "kubectl-kalong",
            Self::Site => "kalong-site",
        }
    }
}

/// The folder with the built programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// The programs as they are in the source now. Cargo finds out itself whether there is something to do; the first call of a
    /// process asks it, later ones get its answer.
    ///
    /// # Errors
    /// Cargo is missing, or the build fails, with the end of what the compiler says.
    pub async fn obtain(progress: &ProgressLog) -> Result<&'static Self, ScenarioError> {
        static BUILT: OnceCell<Binaries> = OnceCell::const_new();
        BUILT.get_or_try_init(async || build(progress).await).await
    }

    /// The same programs in a folder of the run: a build that comes meanwhile must not change what runs half-way through.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn pinned(&self, run: &Path) -> Result<Self, ScenarioError> {
        let directory = run.join("bin");
        std::fs::create_dir_all(&directory).map_err(ScenarioError::file(format!("making {}", directory.display())))?;
        for binary in Binary::ALL {
            let (from, to) = (self.path(binary), directory.join(binary.name()));
            // A link costs nothing; where the run is on another file system, it is a copy.
            std::fs::hard_link(&from, &to)
                .or_else(|_| std::fs::copy(&from, &to).map(drop))
                .map_err(ScenarioError::file(format!("copying {} to {}", from.display(), to.display())))?;
        }
        Ok(Self { directory })
    }

    /// The file of a program.
    #[must_use]
    pub fn path(&self, binary: Binary) -> PathBuf {
        self.directory.join(binary.name())
    }

    /// The folder that all of them are in, for `PATH`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

async fn build(progress: &ProgressLog) -> Result<Binaries, ScenarioError> {
    let release = is_release();
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--workspace", "--bins", "--color=never"]).current_dir(workspace_directory());
    if release {
        command.arg("--release");
    }
    // Cargo says for which package it runs us; the build inside is of all packages.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| ScenarioError::Program {
        program: "cargo".into(),
        source,
        advice: "install Rust 1.89 or later from https://rustup.rs and try again",
    })?;
    let title = "cargo build --workspace --bins";
    let stderr = child.stderr.take();
    let follow = async {
        let lines = follow(stderr, progress).await;
        (lines, child.wait().await)
    };
    let (lines, status) = timeout(BUILD_DEADLINE, follow)
        .await
        .map_err(|_| ScenarioError::CommandDeadline { command: title.into(), within: BUILD_DEADLINE })?;
    let status = status.map_err(ScenarioError::file(format!("running `{title}`")))?;
    if !status.success() {
        return Err(ScenarioError::Command { command: title.into(), code: status.code(), stderr: lines.join("\n") });
    }
    let profile = if release { "release" } else { "debug" };
    Ok(Binaries { directory: target_directory().join(profile) })
}

/// Whether we ourselves are a release build; tests live one folder deeper than programs.
fn is_release() -> bool {
    let executable = env::current_exe().unwrap_or_default();
    executable.ancestors().skip(1).take(2).any(|folder| folder.file_name().is_some_and(|name| name == "release"))
}

/// Says which crates are built, and keeps the last lines.
async fn follow(pipe: Option<tokio::process::ChildStderr>, progress: &ProgressLog) -> Vec<String> {
    let mut last: Vec<String> = Vec::new();
    let Some(pipe) = pipe else { return last };
    let (mut lines, mut compiled) = (BufReader::new(pipe).lines(), 0_usize);
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(name) = line.trim().strip_prefix("Compiling ") {
            compiled += 1;
            let name = name.split(' ').next().unwrap_or_default();
            progress.now_and_then(&format!("building Kalong: {name}, crate {compiled}"));
        } else if line.contains("Blocking waiting for file lock") {
            progress.now_and_then("building Kalong: another cargo is at work, waiting for it");
        }
        if last.len() == COMPLAINT_LINES {
            last.remove(0);
        }
        last.push(line);
    }
    last
}
