//! From nothing to a control plane that answers.

use std::path::PathBuf;
use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::assets::Assets;
use super::credentials::Credentials;
use super::failure::ControlPlaneError;
use super::kubeconfig::{self, Proof};
use super::plane::{ControlPlane, Parts};
use super::process::{Layout, Ports};
use super::supervisor::{Child, ChildError, Supervisor};

/// 2 to 3 s on an idle machine; tests start while compilers run.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// For one question whether it is ready.
const ASK_DEADLINE: Duration = Duration::from_secs(3);
const ASK_EVERY: Duration = Duration::from_millis(50);
const STOP_GRACE: Duration = Duration::from_secs(3);
/// Between choosing a free port and listening on it another process may take it.
const ATTEMPTS: usize = 3;

/// Which port the API server listens on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiPort {
    /// Any that is free; another one is taken when it is lost in between.
    #[default]
    Free,
    /// This one, or an error.
    Fixed(u16),
}

/// How to start a control plane.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The programs.
    pub assets: Assets,
    /// The API server's port.
    pub api_port: ApiPort,
    /// The beginning of the name of the run's folder.
    pub name: String,
}

impl StartOptions {
    /// These programs, any free port.
    #[must_use]
    pub fn new(assets: Assets) -> Self {
        Self { assets, api_port: ApiPort::Free, name: "plane".into() }
    }
}

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
    async fn run(&self, number: usize) -> Result<Parts, ControlPlaneError> {
        let directory = self.supervisor.directory().join(format!("plane-{number}"));
        std::fs::create_dir_all(&directory)?;
        let ports = Ports::choose(self.options.api_port)?;
        let layout =
            Layout { assets: &self.options.assets, credentials: self.credentials, directory: &directory, ports };
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
        Ok(Parts {
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

    fn write_kubeconfigs(&self, layout: &Layout<'_>) -> Result<WrittenKubeconfig, ControlPlaneError> {
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

impl Ports {
    pub(super) fn server_url(self) -> String {
        format!("https://127.0.0.1:{}", self.api)
    }
}

/// Waits until the API server says that it is ready, or one of the processes has died.
pub(super) async fn wait_ready(client: &Client, children: &[&Child], ports: Ports) -> Result<(), ControlPlaneError> {
    poll("the API server is ready", children, async || is_ready(client).await)
        .await
        .map_err(|error| port_taken(error, ports))
}

/// The controller manager makes a ServiceAccount in each namespace: when the first is there, it works.
async fn wait_service_account(client: &Client, children: &[&Child]) -> Result<(), ControlPlaneError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    poll("the controller manager made the first ServiceAccount", children, async || {
        matches!(timeout(ASK_DEADLINE, accounts.get_opt("default")).await, Ok(Ok(Some(_))))
    })
    .await
}

async fn poll(what: &'static str, children: &[&Child], holds: impl AsyncFn() -> bool) -> Result<(), ControlPlaneError> {
    let deadline = Instant::now() + START_DEADLINE;
    while !holds().await {
        for child in children {
            child.check()?;
        }
        if Instant::now() > deadline {
            let logs = children.iter().map(|child| format!("{}:\n{}", child.name(), child.log_tail(8)));
            return Err(ControlPlaneError::NotReady {
                what,
                within: START_DEADLINE,
                logs: Vec::from_iter(logs).join("\n"),
            });
        }
        sleep(ASK_EVERY).await;
    }
    Ok(())
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = Request::get("/readyz").body(Vec::new()) else { return false };
    matches!(timeout(ASK_DEADLINE, client.request_text(request)).await, Ok(Ok(answer)) if answer == "ok")
}

/// A process that died for want of its port, told apart from one that died otherwise.
fn port_taken(error: ControlPlaneError, ports: Ports) -> ControlPlaneError {
    match error {
        ControlPlaneError::Child(ChildError::Ended { name, tail, .. }) if tail.contains("address already in use") => {
            let of_it = if name == "etcd" { vec![ports.etcd, ports.etcd_peer] } else { vec![ports.api] };
            ControlPlaneError::PortTaken { name, ports: of_it, tail }
        }
        other => other,
    }
}

/// Makes room for the next attempt. What does not end now ends with the supervisor.
async fn end(children: &[&Child]) {
    for child in children {
        let _ = child.stop(STOP_GRACE).await;
    }
}
