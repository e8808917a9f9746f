//! The cluster under a scenario: our own control plane, or one that the user already has.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::failure::ScenarioError;
use super::program::Program;
use crate::cluster::{Assets, ControlPlane, StartOptions, Supervisor, Tool};

/// For one question to the API server.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(15);
/// `kubectl apply` of a site and `helm install` take seconds; a busy machine takes longer.
const COMMAND_DEADLINE: Duration = Duration::from_secs(180);
/// Longer than a demo that somebody looks at for a day; clusters may shorten it.
const TOKEN_LIFE: &str = "--duration=24h";

/// A cluster, a cluster-admin's way into it, and somebody who holds our processes.
pub struct Cluster {
    held: ProcessHolder,
    assets: Assets,
    kubeconfig: PathBuf,
    config: Config,
}

enum ProcessHolder {
    Own(Box<ControlPlane>),
    Existing(Supervisor),
}

impl Cluster {
    /// Our own control plane, started now.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn own(assets: Assets, name: &str) -> Result<Self, ScenarioError> {
        let mut options = StartOptions::new(assets.clone());
        options.name = name.to_owned();
        let plane = ControlPlane::start(options).await?;
        let kubeconfig = plane.kubeconfig().to_owned();
        let config = read_config(&kubeconfig).await?;
        Ok(Self { held: ProcessHolder::Own(Box::new(plane)), assets, kubeconfig, config })
    }

    /// The one that a kubeconfig leads to.
    ///
    /// # Errors
    /// The kubeconfig cannot be read, or no supervisor starts.
    pub async fn existing(assets: Assets, kubeconfig: &Path) -> Result<Self, ScenarioError> {
        // Fails only where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = std::path::absolute(kubeconfig)
            .map_err(ScenarioError::file(format!("finding {}", kubeconfig.display())))?;
        let config = read_config(&kubeconfig).await?;
        let supervisor = tokio::task::spawn_blocking(|| Supervisor::start("demo"))
            .await
            .map_err(|e| ScenarioError::shape("the runtime", e))??;
        Ok(Self { held: ProcessHolder::Existing(supervisor), assets, kubeconfig, config })
    }

    /// Our own control plane, with its audit log; none where the user's cluster is used.
    #[must_use]
    pub fn plane(&self) -> Option<&ControlPlane> {
        match &self.held {
            ProcessHolder::Own(plane) => Some(plane),
            ProcessHolder::Existing(_) => None,
        }
    }

    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        match &self.held {
            ProcessHolder::Own(plane) => plane.supervisor(),
            ProcessHolder::Existing(supervisor) => supervisor,
        }
    }

    /// The folder of the run, removed at its end.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.supervisor().directory()
    }

    /// The kubeconfig of a cluster-admin.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    #[must_use]
    pub fn tool(&self, tool: Tool) -> &Path {
        self.assets.path(tool)
    }

    /// A new client of the cluster-admin.
    ///
    /// # Errors
    /// The client library refuses the kubeconfig.
    pub fn client(&self) -> Result<Client, ScenarioError> {
        Client::try_from(self.config.clone()).map_err(ScenarioError::api("accept the kubeconfig"))
    }

    /// A real tool, set up as a cluster-admin has it, with its caches in the folder of the run.
    #[must_use]
    pub fn program(&self, tool: Tool) -> Program {
        let home = self.directory();
        Program::new(self.tool(tool))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", home.join("kube-cache"))
            .env("HELM_CACHE_HOME", home.join("helm-cache"))
            .env("HELM_CONFIG_HOME", home.join("helm-config"))
            .env("HELM_DATA_HOME", home.join("helm-data"))
    }

    /// Runs kubectl as a person does.
    ///
    /// # Errors
    /// It says no.
    pub async fn kubectl<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Result<String, ScenarioError> {
        self.program(Tool::Kubectl).args(args).run(COMMAND_DEADLINE).await
    }

    /// Runs kubectl as a person does, and gives all that it complains of.
    ///
    /// # Errors
    /// It cannot be run, or does not end.
    pub async fn kubectl_complaint<A: Into<OsString>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String, ScenarioError> {
        self.program(Tool::Kubectl).args(args).complaint(COMMAND_DEADLINE).await
    }

    /// As [`Cluster::kubectl`], with something on standard input.
    ///
    /// # Errors
    /// It says no.
    pub async fn kubectl_with_input<A: Into<OsString>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String, ScenarioError> {
        self.program(Tool::Kubectl).args(args).input(input).run(COMMAND_DEADLINE).await
    }

    /// Runs Helm as a person does.
    ///
    /// # Errors
    /// It says no.
    pub async fn helm<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Result<String, ScenarioError> {
        self.program(Tool::Helm).args(args).run(COMMAND_DEADLINE).await
    }

    /// Writes a kubeconfig of a ServiceAccount into the folder of the run, with a token of the API server.
    ///
    /// # Errors
    /// There is no such ServiceAccount, or the cluster gives no tokens.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf, ScenarioError> {
        let token = self.kubectl(["-n", namespace, "create", "token", name, TOKEN_LIFE]).await?;
        let view = self.kubectl(["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]).await?;
        let view: Value = serde_json::from_str(&view).map_err(|e| ScenarioError::shape("the kubeconfig", e))?;
        let cluster = view.pointer("/clusters/0/cluster").cloned().unwrap_or_default();
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "kalong",
            "clusters": [{"name": "kalong", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token.trim()}}],
            "contexts": [{"name": "kalong", "context": {"cluster": "kalong", "user": user, "namespace": namespace}}],
        });
        let path = self.directory().join(format!("{namespace}-{name}.kubeconfig"));
        write_private(&path, &kubeconfig.to_string())?;
        Ok(path)
    }

    /// Ends every process and removes the folder of the run.
    ///
    /// # Errors
    /// It took too long; then they were killed.
    pub async fn stop(self) -> Result<(), ScenarioError> {
        match self.held {
            ProcessHolder::Own(plane) => Ok((*plane).stop().await?),
            ProcessHolder::Existing(supervisor) => Ok(supervisor.stop().await?),
        }
    }
}

async fn read_config(path: &Path) -> Result<Config, ScenarioError> {
    let bad = |e: kube::config::KubeconfigError| ScenarioError::shape("the kubeconfig", e);
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(path).map_err(bad)?, &KubeConfigOptions::default())
            .await
            .map_err(bad)?;
    // Loopback is never reached through the proxy of the environment.
    if config.cluster_url.host().is_some_and(|host| host == "127.0.0.1" || host == "localhost") {
        config.proxy_url = None;
    }
    Ok(config)
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ScenarioError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(ScenarioError::file(format!("writing {}", path.display())))
}

/// One request of ours, under its deadline.
pub(crate) async fn asked<T>(
    what: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ScenarioError> {
    match timeout(REQUEST_DEADLINE, request).await {
        Ok(answer) => answer.map_err(ScenarioError::api(what)),
        Err(_) => Err(ScenarioError::Deadline {
            what: format!("the API server to {what}"),
            within: REQUEST_DEADLINE,
            seen: "no answer".to_owned(),
        }),
    }
}
