//! The real API server takes every manifest of the presets as it stands.

use std::fs;
use std::time::{Duration, Instant};

use kalong_e2e::cluster::ControlPlane;
use kalong_e2e::site::{Render, manifests, preset};

use crate::kit::crds;

/// New kinds are served a moment after they were made.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

async fn api_server_takes_every_manifest_through_kustomize() {
    let plane = ControlPlane::shared().await.unwrap();
    crds(plane).await;
    for (plan, objects) in [(preset::l0(), 44), (preset::l1(), 319)] {
        let folder = plane.audit_log().with_file_name(format!("site-{}", plan.site));
        for file in manifests(&plan, &Render::default()).unwrap() {
            let path = folder.join(&file.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file.yaml).unwrap();
        }
        let folder_name = folder.to_str().unwrap();
        let end = Instant::now() + SERVED_WITHIN;
        // Strict: a field that the API does not know is an error, not a warning.
        while let Err(error) = plane.kubectl(["apply", "--server-side", "--validate=strict", "-k", folder_name]).await {
            assert!(Instant::now() < end, "{error}");
        }
        let devices = plane.kubectl(["get", "devices", "-n", &plan.site, "-o", "name"]).await.unwrap();
        assert_eq!(devices.lines().count(), objects);
    }
}

crate::tests![api_server_takes_every_manifest_through_kustomize,];
