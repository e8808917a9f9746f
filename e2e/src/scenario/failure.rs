//! What can go wrong while a whole site is brought up or driven, in words that say which part it was.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::cluster::{AuditError, ChildError, ControlPlaneError, PortError, SupervisorError};
use crate::site::layout::LayoutError;
use crate::site::{ControlError, SiteError};

/// Why a scenario did not get further.
#[derive(Debug, Error)]
pub enum ScenarioError {
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The site as it stands in Git.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A command line ended badly.
    #[error("`{command}` ended with {code:?}:\n{stderr}")]
    Command {
        /// The command line, without secrets.
        command: String,
        /// Its exit code; none when a signal ended it.
        code: Option<i32>,
        /// The end of what it printed on standard error.
        stderr: String,
    },
    /// A command line did not end.
    #[error("`{command}` did not end within {} s and was killed", .within.as_secs())]
    CommandDeadline {
        /// The command line, without secrets.
        command: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// A program is not there.
    #[error("`{program}` cannot be run ({source}); {advice}")]
    Program { program: String, source: std::io::Error, advice: &'static str },
    /// A file or a socket of the scenario.
    #[error("{what} failed: {source}")]
    File { what: String, source: std::io::Error },
    /// The API server said no, or nothing.
    #[error("the API server did not {what}: {source}")]
    Api { what: String, source: Box<kube::Error> },
    /// What was waited for did not come.
    #[error("waited {} s for {what}, in vain: {seen}", .within.as_secs())]
    Deadline { what: String, within: Duration, seen: String },
    /// Something has another shape than it must have.
    #[error("{what} is not as it must be: {why}")]
    Shape { what: &'static str, why: String },
    /// A certificate of the scenario.
    #[error("making a certificate failed: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The user's cluster has Kalong already.
    #[error(
        "the cluster has {0} already: the demo only installs into a cluster without Kalong, and removes what it made"
    )]
    Occupied(String),
    /// A folder that the shell would take apart.
    #[error(
        "{0} has a space or another special character in it, which `kubectl kalong enrol` refuses: move the checkout"
    )]
    AwkwardFolder(PathBuf),
}

impl ScenarioError {
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::File { what, source }
    }

    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    pub(crate) fn shape(what: &'static str, why: impl ToString) -> Self {
        Self::Shape { what, why: why.to_string() }
    }
}
