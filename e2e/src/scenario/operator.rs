//! The operator as a process: as the ServiceAccount that Helm made, with the flags of a demo.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::{Child, ChildSpec, Supervisor, free_loopback_port};

use super::failure::ScenarioError;

const STOP_GRACE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub struct Listens {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub mqtt: SocketAddr,
}

impl Listens {
    /// Three free ports of loopback.
    ///
    /// # Errors
    /// None is free.
    pub fn choose() -> Result<Self, ScenarioError> {
        let free = || Ok::<_, ScenarioError>(SocketAddr::from((Ipv4Addr::LOCALHOST, free_loopback_port()?)));
        Ok(Self { http: free()?, https: free()?, mqtt: free()? })
    }
}

/// What an operator is told.
#[derive(Clone, Debug)]
pub struct OperatorOrder {
    pub program: PathBuf,
    /// The kubeconfig of its ServiceAccount.
    pub kubeconfig: PathBuf,
    pub namespace: String,
    /// Folder of its lock, its cache and its log.
    pub directory: PathBuf,
    pub listens: Listens,
    /// How agents reach enrolment and artifacts: host and port.
    pub advertise_https: SocketAddr,
    /// How agents reach the gateway.
    pub advertise_gateway: SocketAddr,
    /// Host and port that firmware may come from.
    pub artifact_host: String,
    /// The authority of that host.
    pub artifact_ca: PathBuf,
    pub release_keys: PathBuf,
    /// Heartbeat of agents, in whole seconds.
    pub heartbeat: Duration,
}

impl OperatorOrder {
    fn spec(&self) -> ChildSpec {
        let folder = |name: &str| self.directory.join(name).display().to_string();
        ChildSpec::new("kalong-operator", &self.program, self.directory.join("operator.log"))
            .arg("run")
            .args(["--kubeconfig".to_owned(), self.kubeconfig.display().to_string()])
            .args(["--namespace", &self.namespace, "--instance", "kalong-demo"])
            .args(["--state-dir".to_owned(), folder("state")])
            .args(["--http-listen".to_owned(), self.listens.http.to_string()])
            .args(["--https-listen".to_owned(), self.listens.https.to_string()])
            .args(["--mqtt-listen".to_owned(), self.listens.mqtt.to_string()])
            .args(["--advertise-https".to_owned(), format!("https://{}", self.advertise_https)])
            .args(["--advertise-gateway".to_owned(), self.advertise_gateway.to_string()])
            .args(["--server-names", "localhost,127.0.0.1"])
            .args(["--cache-dir".to_owned(), folder("cache")])
            .args(["--cache-size", "268435456"])
            .args(["--artifact-hosts", &self.artifact_host])
            .args(["--artifact-ca".to_owned(), self.artifact_ca.display().to_string()])
            .args(["--release-keys".to_owned(), self.release_keys.display().to_string()])
            .args(["--heartbeat".to_owned(), self.heartbeat.as_secs().to_string()])
            .args(["--log-format", "text", "--log", "info,rumqttd=warn"])
            .unset("KUBECONFIG")
            .unset("POD_UID")
            .unset("POD_NAMESPACE")
            .env("NO_COLOR", "1")
    }
}

/// The operator, running or not.
pub struct Operator {
    order: OperatorOrder,
    /// Replaced by each restart, with the time of its start.
    child: Mutex<(Child, Instant)>,
}

impl Operator {
    /// Starts it. Whether it leads is seen in the cluster.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(supervisor: &Supervisor, order: OperatorOrder) -> Result<Self, ScenarioError> {
        for folder in ["state", "cache"] {
            let path = order.directory.join(folder);
            std::fs::create_dir_all(&path).map_err(ScenarioError::file(format!("making {}", path.display())))?;
        }
        let started = Instant::now();
        let child = supervisor.spawn(order.spec()).await?;
        Ok(Self { order, child: Mutex::new((child, started)) })
    }

    /// Its process, the newest one.
    #[must_use]
    pub fn child(&self) -> Child {
        self.child.lock().0.clone()
    }

    /// When the newest process was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.child.lock().1
    }

    #[must_use]
    pub fn order(&self) -> &OperatorOrder {
        &self.order
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// The kernel does not end it.
    pub async fn kill(&self) -> Result<(), ScenarioError> {
        self.child().kill().await?;
        Ok(())
    }

    /// SIGTERM, and SIGKILL when it does not end.
    ///
    /// # Errors
    /// The kernel does not end it.
    pub async fn stop(&self) -> Result<(), ScenarioError> {
        self.child().stop(STOP_GRACE).await?;
        Ok(())
    }

    /// Starts it again after its end, with the same flags.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn restart(&self, supervisor: &Supervisor) -> Result<(), ScenarioError> {
        let started = Instant::now();
        let child = supervisor.spawn(self.order.spec()).await?;
        *self.child.lock() = (child, started);
        Ok(())
    }
}
