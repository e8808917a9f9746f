//! What all tests of this program use: waits that say what is missing, control planes, and Kalong's kinds in them.

use std::fmt::Display;
use std::time::Duration;

use kalong_e2e::cluster::{ControlPlane, StartOptions, workspace_directory};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// For whatever has to come, on a machine that also compiles.
pub const SOON: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Waits until `look` is content; says what was missing last when it never was.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(missing) if Instant::now() > deadline => panic!("not within {} s: {what}: {missing}", within.as_secs()),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Waits for what is plain to see.
pub async fn eventually(what: &str, mut there: impl AsyncFnMut() -> bool) {
    until(what, SOON, async || holds(there().await, "it is not so")).await;
}

/// As a look for [`until`].
pub fn holds(it: bool, missing: impl Display) -> Result<(), String> {
    if it { Ok(()) } else { Err(missing.to_string()) }
}

/// A control plane for a test that stops it, or that fills it with what others must not see.
pub async fn own_plane(name: &str) -> ControlPlane {
    let mut options = StartOptions::new(ControlPlane::default_assets().await.unwrap());
    options.name = name.into();
    ControlPlane::start(options).await.unwrap()
}

/// Installs Kalong's kinds in the shared control plane, once, as everybody does: by their chart.
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
            eventually("the kinds are served", async || plane.kubectl(["get", "kalong", "-A"]).await.is_ok()).await;
        })
        .await;
}
