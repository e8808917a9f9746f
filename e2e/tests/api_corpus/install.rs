//! The API gets into the cluster as it gets into everybody's: by its chart.

use std::time::Duration;

use kalong_e2e::cluster::{ControlPlane, workspace_directory};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

const IN_FORCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Installs the chart once for all tests of this binary, and waits until the kinds are served.
pub async fn crds(plane: &ControlPlane) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(async || {
            let chart = workspace_directory().join("charts/kalong-crds").display().to_string();
            plane.helm(["install", "kalong-crds", &chart, "--wait"]).await.unwrap();
            // What the code says now: a chart that is behind fails its own test, and only that one.
            let now =
                json!({"apiVersion": "v1", "kind": "List", "items": kalong_crds::schema::crd_documents().unwrap()});
            let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
            plane.kubectl_with_input(apply, &now.to_string()).await.unwrap();
            for crd in kalong_crds::schema::crds().unwrap() {
                let name = format!("crd/{}", crd.metadata.name.unwrap());
                plane.kubectl(["wait", "--for=condition=Established", "--timeout=60s", &name]).await.unwrap();
            }
            let served = async || plane.kubectl(["get", "kalong", "-A"]).await.is_ok();
            eventually("the kinds are served", served).await;
        })
        .await;
}

/// Waits for a condition, and names it when it does not come.
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let waited = timeout(IN_FORCE, async {
        while !holds().await {
            sleep(POLL).await;
        }
    });
    assert!(waited.await.is_ok(), "not within {} s: {what}", IN_FORCE.as_secs());
}
