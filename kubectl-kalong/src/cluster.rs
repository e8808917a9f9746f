//! The cluster that kubectl's flags name.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::site::Scope;
use crate::terminal::printable;

/// Longest time for a connection to the API server.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time for one answer of the API server.
const CALL_DEADLINE: Duration = Duration::from_secs(15);

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

/// kubectl's flags for verbs that can look at every namespace
#[derive(clap::Args, Debug)]
pub(crate) struct ScopeArguments {
    /// Look at every namespace
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
}

impl ScopeArguments {
    /// A client, and how far to look with it.
    pub(crate) async fn connect(self) -> Result<(Client, Scope), ClusterError> {
        let Cluster { client, namespace } = self.cluster.connect().await?;
        Ok((client, if self.all_namespaces { Scope::Everywhere } else { Scope::Site(namespace) }))
    }
}

/// Why no cluster can be reached.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum ClusterError {
    #[error("no usable kubeconfig: give --kubeconfig or --context, or set KUBECONFIG")]
    Kubeconfig(#[source] Box<KubeconfigError>),
    /// The kubeconfig names something that the client cannot use.
    #[error("the kubeconfig cannot be used: try the same context with `kubectl version`")]
    Client(#[source] Box<kube::Error>),
}

/// What the API server did not do, and what to do about it.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum CallError {
    #[error("the API server did not {0}: {1}; ask for the right if one is missing, or log in again")]
    #[strum(to_string = "api")]
    Refused(&'static str, String),
    /// It does not know the kinds.
    #[error("Kalong's kinds are not installed in this cluster: install the chart kalong, or name another --context")]
    NotInstalled,
    #[error("the API server did not {0}: try the same context with `kubectl version`")]
    Unreachable(&'static str, #[source] Box<kube::Error>),
}

impl CallError {
    /// The error of a call that was to do this.
    pub(crate) fn of(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |error| match error {
            // The library's own text repeats the whole status object.
            kube::Error::Api(status) => Self::Refused(what, printable(&status.message)),
            other => Self::Unreachable(what, Box::new(other)),
        }
    }
}

/// Whether the API server's answer is of this sort.
pub(crate) fn is(error: &kube::Error, sort: fn(&kube::core::Status) -> bool) -> bool {
    matches!(error, kube::Error::Api(status) if sort(status))
}

/// An answer within the deadline. A server that accepts and then says nothing must not hold a terminal.
pub(crate) async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(Box::new(elapsed))),
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
