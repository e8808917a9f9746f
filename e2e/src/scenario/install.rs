//! Kalong gets into a cluster as everywhere: Helm for the charts, kubectl for the site's manifests.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::artifact_shelf::ArtifactShelf;
use super::cluster::Cluster;
use super::failure::ScenarioError;
use crate::cluster::workspace_directory;
use crate::site::gitops::{self, KEY_DOCUMENT};
use crate::site::layout::LayoutError;
use crate::site::{DEMO_PASSWORD, DEMO_USERNAME, LOGIN_SECRET, Layout, SiteSource};

pub const OPERATOR_NAMESPACE: &str = "kalong-system";
/// Helm release, and stem of the chart's names.
pub const RELEASE: &str = "kalong";
/// The ServiceAccount that the chart makes for the operator.
pub const SERVICE_ACCOUNT: &str = "kalong-operator";

/// Installs the charts, puts the factory images on the shelf and declares the site. Returns the file of the release keys.
///
/// # Errors
/// Helm or kubectl says no.
pub(super) async fn install(
    cluster: &Cluster,
    source: &SiteSource,
    layout: &Layout,
    network: u8,
    shelf: &ArtifactShelf,
) -> Result<PathBuf, ScenarioError> {
    let folder = cluster.directory().join("site");
    let files = gitops::read(&source.gitops).map_err(LayoutError::from)?;
    for file in layout.facts.for_run(files, network, &shelf.base()) {
        let path = folder.join(&file.path);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(ScenarioError::file(format!("making {}", parent.display())))?;
        fs::write(&path, &file.yaml).map_err(ScenarioError::file(format!("writing {}", path.display())))?;
    }
    for model in layout.models() {
        if let Some(firmware) = &model.firmware {
            shelf.put(firmware.digest.hex(), model.factory_image());
        }
    }
    let site = layout.site();
    // The chart gives rights in the site's namespace, so that comes first.
    cluster.kubectl(["apply".into(), "-f".into(), folder.join("namespace.yaml").into_os_string()]).await?;
    helm(cluster, site).await?;
    cluster.kubectl_with_input(["apply", "-f", "-"], &login(site)).await?;
    cluster.kubectl(["apply".into(), "-k".into(), folder.clone().into_os_string()]).await?;
    Ok(source.gitops.join(KEY_DOCUMENT))
}

/// One command, as the README says it. The operator runs as a process beside the cluster: there is no node for a Pod.
async fn helm(cluster: &Cluster, site: &str) -> Result<(), ScenarioError> {
    let chart = workspace_directory().join("charts").join("kalong");
    let sites = format!("sites={{{site}}}");
    let args = ["install", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--create-namespace"];
    let values = ["--set", &sites, "--set", "operator.deploy=false"];
    let chart = [chart.into_os_string()];
    let all = args.into_iter().chain(values).map(Into::into).chain(chart);
    cluster.helm::<std::ffi::OsString>(all).await.map(drop)
}

/// The login of the simulated devices that want one.
fn login(site: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "immutable": true,
        "metadata": {"name": LOGIN_SECRET, "namespace": site},
        "stringData": {"username": DEMO_USERNAME, "password": DEMO_PASSWORD},
    })
    .to_string()
}
