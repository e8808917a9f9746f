//! The command line as it is typed. The doc comments are the texts of `--help`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::artifacts::fetch::AllowedHost;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "kalong-operator", version, about = "The control plane of Kalong")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArguments>),
    /// Write the CRDs and the policy that guards deletion, one YAML file each.
    Crds(GenerateArguments),
    /// Write the JSON Schemas of what operator and agent say to each other.
    Schema(GenerateArguments),
}

/// Where generated files go, and whether to write or to compare them.
#[derive(Args, Clone, Debug)]
pub struct GenerateArguments {
    /// Folder of the files; the default is the place in the repository, relative to its root.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write nothing; end with 1 and name the file if one differs.
    #[arg(long)]
    pub check: bool,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// Flags of `run`, as typed.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Kubeconfig to use; without it KUBECONFIG, or the Pod's service account.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Namespace of the operator's own Lease and Secrets.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kalong-system")]
    pub(super) namespace: String,
    /// UID of the Pod: who holds the Lease.
    #[arg(long, env = "POD_UID", conflicts_with = "instance")]
    pub(super) pod_uid: Option<String>,
    /// Name of the Pod, which is labelled while it leads so that the Services for agents find it.
    #[arg(long, env = "POD_NAME", requires = "pod_uid")]
    pub(super) pod_name: Option<String>,
    /// Name of this operator outside Kubernetes: who holds the Lease. Needs --state-dir.
    #[arg(long, requires = "state_dir")]
    pub(super) instance: Option<String>,
    /// Folder with the file lock that keeps two processes of one --instance apart.
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// Sites (namespaces) to serve; empty serves all.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) namespaces: Vec<String>,
    /// Address of /livez, /readyz and /metrics, without TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub(super) http_listen: SocketAddr,
    /// Address of /enrol and /artifacts, with TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub(super) https_listen: SocketAddr,
    /// Address of the gateway for agents.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8883")]
    pub(super) mqtt_listen: SocketAddr,
    /// How agents reach /enrol and /artifacts; without it the first server name.
    #[arg(long, value_name = "URL")]
    pub(super) advertise_https: Option<String>,
    /// How agents reach the gateway; without it the first server name.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) advertise_gateway: Option<String>,
    /// Names and addresses in the server certificate; without it the Service's name.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) server_names: Vec<String>,
    /// Folder of cached artifacts.
    #[arg(long, value_name = "DIR", default_value = "/var/cache/kalong")]
    pub(super) cache_dir: PathBuf,
    /// Bound of that folder in bytes; an artifact that is larger is refused.
    #[arg(long, value_name = "BYTES", default_value_t = 8 * 1024 * 1024 * 1024)]
    pub(super) cache_size: u64,
    /// Hosts from which artifacts may be fetched, as host or host:port; none means that nothing is fetched.
    #[arg(long, value_name = "H1,H2", value_delimiter = ',')]
    pub(super) artifact_hosts: Vec<AllowedHost>,
    /// Further authorities to trust when fetching, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(super) artifact_ca: Option<PathBuf>,
    /// Key document by which releases are judged, in JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) release_keys: Option<PathBuf>,
    /// How often an agent beats; it counts as silent after three of these.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) heartbeat: u64,
    /// Most requests a second to the API server; without it only its own fairness limits them.
    #[arg(long, value_name = "N")]
    pub(super) api_budget: Option<std::num::NonZeroU32>,
    /// How a line of the log looks.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// Levels of the log, such as `info` or `info,kalong_operator=debug`.
    #[arg(long, value_name = "LEVELS", env = "KALONG_LOG", default_value = "info")]
    pub(super) log: String,
}
