//! The boxes: enrolled as a person does it, with the command that `kubectl kalong enrol` prints, then run as processes.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::binaries::{Binaries, Binary};
use super::cluster::Cluster;
use super::failure::ScenarioError;
use super::program::Program;
use crate::cluster::{Child, ChildSpec, Supervisor, Tool};

/// The token, the certificate request, its approval and its signature.
const ENROL_DEADLINE: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(10);

pub struct Agent {
    name: String,
    program: PathBuf,
    state: PathBuf,
    log: PathBuf,
    child: Child,
}

/// What `kubectl kalong enrol -o json` prints.
#[derive(Deserialize)]
struct EnrolOutput {
    command: String,
}

/// Makes a token for an EdgeAgent that is declared, and runs the command that the plugin prints for the box.
///
/// # Errors
/// The plugin or the box's enrolment says no.
pub async fn enrol(cluster: &Cluster, binaries: &Binaries, namespace: &str, agent: &str) -> Result<(), ScenarioError> {
    let state = state_directory(cluster, agent);
    std::fs::create_dir_all(&state).map_err(ScenarioError::file(format!("making {}", state.display())))?;
    let path = search_path(binaries);
    // The real kubectl finds the plugin on the path, as it does for a person.
    let text = cluster
        .program(Tool::Kubectl)
        .env("PATH", &path)
        .args(["kalong", "enrol", agent, "-n", namespace, "-o", "json", "--state"])
        .args([state.as_os_str()])
        .run(ENROL_DEADLINE)
        .await?;
    let enrolment: EnrolOutput =
        serde_json::from_str(&text).map_err(|e| ScenarioError::shape("what `kubectl kalong enrol` printed", e))?;
    // The very line, in a shell. It holds the token, so errors do not quote it.
    Program::new("/bin/sh")
        .args(["-c", &enrolment.command])
        .env("PATH", &path)
        .titled(format!("kalong-edge-agent enrol --agent {namespace}.{agent} ..."))
        .run(ENROL_DEADLINE)
        .await?;
    Ok(())
}

/// With our programs in front.
pub(super) fn search_path(binaries: &Binaries) -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(binaries.directory().to_owned()).chain(std::env::split_paths(&rest));
    std::env::join_paths(folders).unwrap_or(rest)
}

fn state_directory(cluster: &Cluster, agent: &str) -> PathBuf {
    cluster.directory().join("agents").join(agent)
}

impl Agent {
    /// Runs a box that has enrolled.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(cluster: &Cluster, binaries: &Binaries, name: &str) -> Result<Self, ScenarioError> {
        let state = state_directory(cluster, name);
        let log = cluster.directory().join(format!("agent-{name}.log"));
        let program = binaries.path(Binary::EdgeAgent);
        let child = cluster.supervisor().spawn(spec(name, &program, &state, &log)).await?;
        Ok(Self { name: name.to_owned(), program, state, log, child })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Ends it as an orderly shutdown of the box does.
    ///
    /// # Errors
    /// The kernel does not end it.
    pub async fn stop(&self) -> Result<(), ScenarioError> {
        self.child.stop(STOP_GRACE).await?;
        Ok(())
    }

    /// Ends it as a power cut does.
    ///
    /// # Errors
    /// The kernel does not end it.
    pub async fn kill(&self) -> Result<(), ScenarioError> {
        self.child.kill().await?;
        Ok(())
    }

    /// Starts it again on what it has stored.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn restart(&mut self, supervisor: &Supervisor) -> Result<(), ScenarioError> {
        self.child = supervisor.spawn(spec(&self.name, &self.program, &self.state, &self.log)).await?;
        Ok(())
    }
}

fn spec(name: &str, program: &std::path::Path, state: &std::path::Path, log: &std::path::Path) -> ChildSpec {
    ChildSpec::new(format!("kalong-edge-agent {name}"), program, log)
        .arg("run")
        .args(["--state".to_owned(), state.display().to_string()])
        .args(["--log-format", "text"])
        .unset("KUBECONFIG")
        .env("NO_COLOR", "1")
}
