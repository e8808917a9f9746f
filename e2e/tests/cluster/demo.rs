//! The promise of `cargo demo` to whoever tries it: Ctrl-C leaves nothing behind, and a cluster of one's own is as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kalong_e2e::cluster::{target_directory, workspace_directory};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::kit::own_plane;

/// Until everything of the small site is Ready; a site is up in 20 s on an idle machine.
const UP: Duration = Duration::from_secs(300);
/// Eight minutes on an idle machine.
const WHOLE: Duration = Duration::from_secs(1500);
/// From Ctrl-C to the end of the process, the removal of all objects included.
const DOWN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kalong-demo"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn demo(kubeconfig: Option<&Path>) -> Command {
    let mut command = program();
    command.args(["--preset", "l0"]);
    if let Some(kubeconfig) = kubeconfig {
        command.arg("--kubeconfig").arg(kubeconfig);
    }
    command
}

/// Runs a demo until it stays, then presses Ctrl-C. Returns the folder of its run.
async fn tried(kubeconfig: Option<&Path>) -> PathBuf {
    let mut child = demo(kubeconfig).spawn().unwrap();
    let mut complaints = child.stderr.take().unwrap();
    let heard = tokio::spawn(async move {
        let mut text = String::new();
        let _ = complaints.read_to_string(&mut text).await;
        text
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut folder = None;
    let up = timeout(UP, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(logs) = line.trim().strip_prefix("logs ") {
                folder = Some(PathBuf::from(logs.trim()));
            }
            if line.contains("Ctrl-C ends everything") {
                return true;
            }
        }
        false
    });
    if !up.await.unwrap_or(false) {
        let _ = child.kill().await;
        panic!("the demo did not come up:\n{}", heard.await.unwrap());
    }
    let folder = folder.unwrap();
    assert!(folder.is_dir() && !processes_of(&folder).is_empty());
    let status = interrupted(&mut child).await;
    let said = heard.await.unwrap();
    assert!(status.success(), "{status}:\n{said}");
    folder
}

async fn interrupted(child: &mut Child) -> std::process::ExitStatus {
    let pid = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
    assert!(sent.success());
    timeout(DOWN, child.wait()).await.unwrap().unwrap()
}

/// Processes whose command line names this folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|words| String::from_utf8_lossy(&words).replace('\0', " "))
        .filter(|line| line.contains(&folder))
        .collect()
}

async fn nothing_is_left(folder: &Path) {
    for _ in 0..50 {
        if !folder.exists() && processes_of(folder).is_empty() {
            return;
        }
        sleep(POLL).await;
    }
    panic!("{} exists: {}; processes: {:?}", folder.display(), folder.exists(), processes_of(folder));
}

/// `cargo demo -- --exit`: Mong Cai with all its expectations, as anybody runs it and with all that anybody sees.
async fn every_expectation_holds() {
    let figures = target_directory().join("kalong").join("demo.json");
    let mut run = program();
    run.arg("--exit").arg("--json").arg(figures).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let status = timeout(WHOLE, run.status()).await.expect("the demo ends").unwrap();
    assert!(status.success(), "{status}");
}

async fn interrupted_demo_leaves_no_process_and_no_file() {
    let folder = tried(None).await;
    nothing_is_left(&folder).await;
}

async fn cluster_of_the_user_is_as_it_was() {
    let plane = own_plane("users").await;
    let client = plane.client().unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let all = async || {
        let params = ListParams::default();
        let mut names: Vec<String> = Vec::new();
        names.extend(namespaces.list(&params).await.unwrap().iter().map(|n| format!("namespace {}", n.name_any())));
        names.extend(roles.list(&params).await.unwrap().iter().map(|r| format!("role {}", r.name_any())));
        names.extend(bindings.list(&params).await.unwrap().iter().map(|b| format!("binding {}", b.name_any())));
        names.extend(crds.list(&params).await.unwrap().iter().map(|c| format!("crd {}", c.name_any())));
        names.push(
            plane.kubectl(["get", "csr,validatingadmissionpolicies,validatingadmissionpolicybindings"]).await.unwrap(),
        );
        names
    };
    let before = all().await;
    let folder = tried(Some(plane.kubeconfig())).await;
    assert_eq!(all().await, before);
    nothing_is_left(&folder).await;
    plane.stop().await.unwrap();
}

async fn cluster_with_kalong_is_refused_and_left_alone() {
    let plane = own_plane("occupied").await;
    let crd = workspace_directory().join("charts/kalong-crds/templates/lane.yaml");
    plane.kubectl(["apply", "-f", &crd.display().to_string()]).await.unwrap();
    let output = timeout(UP, demo(Some(plane.kubeconfig())).output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("the cluster has the CRD lanes.kalong.dev already"), "{said}");
    let crds: Api<CustomResourceDefinition> = Api::all(plane.client().unwrap());
    assert!(crds.get_opt("lanes.kalong.dev").await.unwrap().is_some());
    plane.stop().await.unwrap();
}

crate::tests![
    interrupted_demo_leaves_no_process_and_no_file,
    cluster_of_the_user_is_as_it_was,
    cluster_with_kalong_is_refused_and_left_alone,
];

crate::tests![whole: every_expectation_holds];
