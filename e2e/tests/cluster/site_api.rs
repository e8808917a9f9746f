//! The real API server takes every manifest of the example sites as it stands.

use std::time::{Duration, Instant};

use kalong_e2e::cluster::ControlPlane;
use kalong_e2e::site::{Layout, Preset};

use crate::kit::crds;

/// New kinds are served a moment after they were made.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

async fn api_server_takes_every_manifest_through_kustomize() {
    let plane = ControlPlane::shared().await.unwrap();
    crds(plane).await;
    for (preset, objects) in [(Preset::L0, 44), (Preset::L1, 319)] {
        let source = preset.source();
        let folder = source.gitops.to_str().unwrap();
        let end = Instant::now() + SERVED_WITHIN;
        // Strict: a field that the API does not know is an error, not a warning.
        while let Err(error) = plane.kubectl(["apply", "--server-side", "--validate=strict", "-k", folder]).await {
            assert!(Instant::now() < end, "{error}");
        }
        let site = Layout::read(&source).unwrap().site().to_owned();
        let devices = plane.kubectl(["get", "devices", "-n", &site, "-o", "name"]).await.unwrap();
        assert_eq!(devices.lines().count(), objects);
    }
}

crate::tests![api_server_takes_every_manifest_through_kustomize,];
