//! From nothing to a control plane that answers.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;

use super::credentials::Credentials;
use super::failure::ControlPlaneError;
use super::kubeconfig::{self, Proof};
use super::options::{ApiPort, StartOptions};
use super::plane::{ControlPlane, Started};
use super::process::{PlaneLayout, Ports};
use super::ready::{wait_ready, wait_service_account};
use super::supervisor::{Child, Supervisor};

const STOP_GRACE: Duration = Duration::from_secs(3);
/// Between choosing a free port and listening on it another process may take it.
const ATTEMPTS: usize = 3;

impl ControlPlane {
    /// Starts etcd, the API server and the controller manager, and waits until they work: 2 to 3 s.
    ///
    /// # Errors
    /// A process died (with the end of its log), a fixed port is taken, or the deadline of 90 s passed.
    pub async fn start(options: StartOptions) -> Result<Self, ControlPlaneError> {
        // Fails only where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let name = options.name.clone();
        let supervisor = tokio::task::spawn_blocking(move || Supervisor::start(&name))
            .await
            .map_err(|_| ControlPlaneError::Interrupted)??;
        let credentials = Credentials::create(supervisor.directory().join("pki"))?;
        let mut attempt = 1;
        loop {
            let result =
                Attempt { options: &options, supervisor: &supervisor, credentials: &credentials }.run(attempt).await;
            match result {
                Ok(parts) => return Ok(Self::assemble(options.assets, supervisor, credentials, parts)),
                Err(ControlPlaneError::PortTaken { .. }) if options.api_port == ApiPort::Free && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

struct Attempt<'a> {
    options: &'a StartOptions,
    supervisor: &'a Supervisor,
    credentials: &'a Credentials,
}

impl Attempt<'_> {
    async fn run(&self, number: usize) -> Result<Started, ControlPlaneError> {
        let directory = self.supervisor.directory().join(format!("plane-{number}"));
        std::fs::create_dir_all(&directory)?;
        let ports = Ports::choose(self.options.api_port)?;
        let layout =
            PlaneLayout { assets: &self.options.assets, credentials: self.credentials, directory: &directory, ports };
        layout.write_audit_policy()?;
        let kubeconfig = self.write_kubeconfigs(&layout)?;
        let config = kubeconfig::config(&kubeconfig.text).await?;
        let client = Client::try_from(config.clone())?;
        let etcd = self.supervisor.spawn(layout.etcd()).await?;
        let api_server = self.supervisor.spawn(layout.api_server()).await?;
        if let Err(error) = wait_ready(&client, &[&etcd, &api_server], ports).await {
            end(&[&api_server, &etcd]).await;
            return Err(error);
        }
        let controller_manager = self.supervisor.spawn(layout.controller_manager()).await?;
        wait_service_account(&client, &[&etcd, &api_server, &controller_manager]).await?;
        Ok(Started {
            kubeconfig: kubeconfig.path,
            config,
            ports,
            api_server_spec: layout.api_server(),
            audit_log: layout.audit_log(),
            etcd,
            api_server,
            controller_manager,
        })
    }

    fn write_kubeconfigs(&self, layout: &PlaneLayout<'_>) -> Result<WrittenKubeconfig, ControlPlaneError> {
        let server = layout.ports.server_url();
        let of = |user, identity| {
            kubeconfig::text(&server, &self.credentials.ca, user, "default", &Proof::Certificate(identity))
        };
        let manager = of("system:kube-controller-manager", &self.credentials.controller_manager);
        kubeconfig::write(&layout.controller_manager_kubeconfig(), &manager)?;
        let text = of("kalong-e2e-admin", &self.credentials.admin);
        let path = self.supervisor.directory().join("admin.kubeconfig");
        kubeconfig::write(&path, &text)?;
        Ok(WrittenKubeconfig { path, text })
    }
}

struct WrittenKubeconfig {
    path: PathBuf,
    text: String,
}

/// Makes room for the next attempt. What does not end now ends with the supervisor.
async fn end(children: &[&Child]) {
    for child in children {
        let _ = child.stop(STOP_GRACE).await;
    }
}
