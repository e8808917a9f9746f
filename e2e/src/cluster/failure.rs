//! What can go wrong with a control plane, in words that say which part it was.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::assets::AssetsError;
use super::audit::AuditError;
use super::credentials::CredentialError;
use super::kubeconfig::KubeconfigError;
use super::port::PortError;
use super::supervisor::{ChildError, SupervisorError};

/// For one request of ours.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(15);

/// Why there is no control plane, or why it did not do what was asked.
#[derive(Debug, Error)]
pub enum ControlPlaneError {
    #[error(transparent)]
    Assets(#[from] AssetsError),
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    Port(#[from] PortError),
    /// Somebody listens where we should.
    #[error(
        "{name} found its port taken (127.0.0.1, {ports:?}): end what listens there or choose another; the end of its log:\n{tail}"
    )]
    PortTaken {
        name: String,
        /// The ports that it wanted.
        ports: Vec<u16>,
        /// The last lines of its log.
        tail: String,
    },
    /// It runs and does not work.
    #[error("waited {} s until {what}, in vain; the ends of the logs:\n{logs}", .within.as_secs())]
    NotReady {
        what: &'static str,
        within: Duration,
        /// The last lines of each log.
        logs: String,
    },
    /// A request of our own failed.
    #[error("asking the control plane for {what} failed: {source}")]
    Request { what: &'static str, source: Box<kube::Error> },
    /// A request of our own was not answered.
    #[error("the control plane did not answer within {} s when asked for {what}", REQUEST_DEADLINE.as_secs())]
    RequestDeadline { what: &'static str },
    /// An answer without what it must hold.
    #[error("the control plane's answer to {what} lacks what it must hold")]
    Answer { what: &'static str },
    /// No client for the kubeconfig.
    #[error("no client can be made: {0}")]
    Client(#[source] Box<kube::Error>),
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A file of the run.
    #[error("a file of the run failed: {0}")]
    File(#[from] io::Error),
    /// The runtime ended under us.
    #[error("the runtime ended while the control plane was starting")]
    Interrupted,
}

impl From<kube::Error> for ControlPlaneError {
    fn from(error: kube::Error) -> Self {
        Self::Client(Box::new(error))
    }
}
