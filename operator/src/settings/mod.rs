//! Command line and environment of the operator: parsed once at the edge, and trusted afterwards.
//!
//! `arguments` is what clap reads, `validate` turns it into [`Settings`].

mod arguments;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::artifacts::fetch::AllowedHost;

pub use arguments::{Arguments, Command, GenerateArguments, LogFormat, RunArguments};
pub use validate::SettingsError;

/// What identifies this process in the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instance {
    /// A Pod, identified by its UID.
    Pod {
        /// UID of the Pod, as the downward API gives it.
        uid: String,
        /// Name of the Pod, to label it while it leads.
        name: Option<String>,
    },
    /// A process outside Kubernetes, guarded by a lock file in this folder.
    Local {
        /// The value of `--instance`, unique on the machine.
        name: String,
        /// Folder of the lock file.
        state_dir: PathBuf,
    },
}

/// Namespaces that this operator serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedSites {
    /// Every namespace of the cluster.
    All,
    /// Only the namespaces of this list.
    Some(Vec<String>),
}

impl ServedSites {
    /// Whether this namespace is served.
    pub fn serves(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(|n| n == namespace),
        }
    }
}

/// Addresses to listen on, one for each server.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// Plain HTTP: health and metrics.
    pub http: SocketAddr,
    /// HTTPS: enrolment and artifacts.
    pub https: SocketAddr,
    /// MQTT over TLS: the gateway.
    pub mqtt: SocketAddr,
}

/// Addresses under which agents reach this operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Base URL of enrolment and artifacts, without a slash at its end.
    pub https: String,
    /// `host:port` of the gateway.
    pub gateway: String,
}

/// Sources and cache of artifacts.
#[derive(Clone, Debug)]
pub struct ArtifactSettings {
    /// Folder of the cache.
    pub dir: PathBuf,
    /// Bound of the cache in bytes.
    pub bytes: u64,
    /// Hosts from which artifacts may be fetched.
    pub hosts: Vec<AllowedHost>,
    /// PEM file of further authorities to trust when fetching.
    pub extra_roots: Option<PathBuf>,
}

/// Format and levels of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// Filter directives, such as `info,kalong_operator=debug`.
    pub levels: String,
}

/// Everything that `run` needs, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kubeconfig; none stands for KUBECONFIG or the service account.
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the operator's own Lease and Secrets.
    pub namespace: String,
    /// Identity of this process in the Lease.
    pub instance: Instance,
    /// ServedSites that are served.
    pub sites: ServedSites,
    /// Addresses that the servers listen on.
    pub listen: Listen,
    /// Addresses under which agents reach this operator.
    pub advertise: Advertise,
    /// Names in the server certificate, at least one.
    pub server_names: Vec<String>,
    /// Sources and cache of artifacts.
    pub artifacts: ArtifactSettings,
    /// File of the key document by which releases are judged.
    pub release_keys: Option<PathBuf>,
    /// Interval of the agents' heartbeats.
    pub heartbeat: Duration,
    /// Most requests a second to the API server.
    pub api_budget: Option<std::num::NonZeroU32>,
    /// Log format and levels.
    pub log: LogSettings,
}
