//! The cluster that kubectl's flags name.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

/// Longest time for a connection to the API server.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time for one answer of the API server.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(15);

/// kubectl's flags, by their names
#[derive(clap::Args, Debug)]
pub(crate) struct ClusterArguments {
    /// Namespace, which is the site; the context's own without this flag
    #[arg(short, long)]
    namespace: Option<String>,
    /// Context of the kubeconfig to use
    #[arg(long)]
    context: Option<String>,
    /// Kubeconfig file to use instead of KUBECONFIG and ~/.kube/config
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// Why no cluster can be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// No usable kubeconfig.
    #[error("no usable kubeconfig: give --kubeconfig or --context, or set KUBECONFIG")]
    Kubeconfig(#[source] Box<KubeconfigError>),
    /// The kubeconfig names something that the client cannot use.
    #[error("the kubeconfig cannot be used: try the same context with `kubectl version`")]
    Client(#[source] Box<kube::Error>),
}

impl ClusterError {
    /// The word for scripts.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Kubeconfig(_) => "kubeconfig",
            Self::Client(_) => "client",
        }
    }
}

/// A client and the namespace that it works in.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl ClusterArguments {
    /// Reads the kubeconfig as kubectl does. Nothing is sent yet.
    pub(crate) async fn connect(self) -> Result<Cluster, ClusterError> {
        let options = KubeConfigOptions { context: self.context, ..KubeConfigOptions::default() };
        let unusable = |e| ClusterError::Kubeconfig(Box::new(e));
        let mut config = match self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(unusable)?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(unusable)?
            }
            None => Config::from_kubeconfig(&options).await.map_err(unusable)?,
        };
        config.connect_timeout = Some(CONNECT_DEADLINE);
        config.read_timeout = Some(CALL_DEADLINE);
        config.write_timeout = Some(CALL_DEADLINE);
        let namespace = self.namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|e| ClusterError::Client(Box::new(e)))?;
        Ok(Cluster { client, namespace })
    }
}
