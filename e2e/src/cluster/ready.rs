//! Waiting until the processes of a control plane work, or one of them has died.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::failure::ControlPlaneError;
use super::process::Ports;
use super::supervisor::{Child, ChildError};

/// 2 to 3 s on an idle machine; tests start while compilers run.
const START_DEADLINE: Duration = Duration::from_secs(90);
const ASK_DEADLINE: Duration = Duration::from_secs(3);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Waits until the API server says that it is ready, or one of the processes has died.
pub(super) async fn wait_ready(client: &Client, children: &[&Child], ports: Ports) -> Result<(), ControlPlaneError> {
    poll("the API server is ready", children, async || is_ready(client).await)
        .await
        .map_err(|error| port_taken(error, ports))
}

/// The controller manager makes a ServiceAccount in each namespace: when the first is there, it works.
pub(super) async fn wait_service_account(client: &Client, children: &[&Child]) -> Result<(), ControlPlaneError> {
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
