//! The promise of the control plane: it is real, it counts what is written, and it leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kalong_e2e::cluster::{
    ApiPort, ChildError, ChildSpec, CommandError, ControlPlane, ControlPlaneError, StartOptions, Supervisor,
    TestNamespace, Tool,
};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use tokio::time::{sleep, timeout};

use crate::kit::{SOON, eventually, own_plane};

fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        data: Some(data.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect::<BTreeMap<_, _>>()),
        ..ConfigMap::default()
    }
}

/// Whether a process is there; one that is over and only not yet waited for by its new parent is not.
fn is_running(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])),
        Err(_) if Path::new("/proc/self/stat").exists() => false,
        Err(_) => Command::new("kill").args(["-0", &pid.to_string()]).status().unwrap().success(),
    }
}

async fn programs_answer_with_the_pinned_versions() {
    let plane = ControlPlane::shared().await.unwrap();
    let versions: serde_json::Value =
        serde_json::from_str(&plane.kubectl(["version", "-o", "json"]).await.unwrap()).unwrap();
    assert_eq!(versions["serverVersion"]["gitVersion"], Tool::KubeApiServer.version());
    assert_eq!(versions["serverVersion"]["minor"], "37");
    assert_eq!(versions["clientVersion"]["gitVersion"], Tool::Kubectl.version());
    let helm = plane.helm(["version", "--template", "{{.Version}}"]).await.unwrap();
    assert_eq!(helm.trim(), Tool::Helm.version());
    let etcd = Command::new(plane.assets().path(Tool::Etcd)).arg("--version").output().unwrap();
    let etcd = String::from_utf8(etcd.stdout).unwrap();
    assert!(etcd.contains(Tool::Etcd.version().trim_start_matches('v')), "{etcd}");
}

async fn helm_installs_a_chart_that_asks_for_this_kubernetes() {
    let namespace = TestNamespace::new("helm").await.unwrap();
    let plane = namespace.plane();
    let chart = plane.supervisor().directory().join("chart");
    fs::create_dir_all(chart.join("templates")).unwrap();
    let about = "apiVersion: v2\nname: small\nversion: 0.1.0\nkubeVersion: '>=1.37.0'\n";
    fs::write(chart.join("Chart.yaml"), about).unwrap();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n";
    fs::write(chart.join("templates/map.yaml"), template).unwrap();
    let chart = chart.display().to_string();
    plane.helm(["install", "small", &chart, "--namespace", namespace.name(), "--wait"]).await.unwrap();
    Api::<ConfigMap>::namespaced(namespace.client(), namespace.name()).get("small").await.unwrap();
}

async fn service_account_may_do_what_it_was_given_and_nothing_else() {
    let namespace = TestNamespace::new("rights").await.unwrap();
    let (plane, name) = (namespace.plane(), namespace.name());
    plane.kubectl(["-n", name, "create", "serviceaccount", "guest"]).await.unwrap();
    let directory = plane.supervisor().directory();
    let kubeconfig = plane.service_account_kubeconfig(name, "guest", directory).await.unwrap();
    assert_eq!(fs::metadata(&kubeconfig).unwrap().permissions().mode() & 0o777, 0o600);

    let who = plane.kubectl_as(&kubeconfig, ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
    assert_eq!(who.await.unwrap(), format!("system:serviceaccount:{name}:guest"));
    let denied = plane.kubectl_as(&kubeconfig, ["get", "configmaps"]).await.unwrap_err();
    assert!(matches!(&denied, CommandError::Failed { stderr, .. } if stderr.contains("Forbidden")), "{denied}");

    plane.kubectl(["-n", name, "create", "role", "reader", "--verb=list", "--resource=configmaps"]).await.unwrap();
    let account = format!("--serviceaccount={name}:guest");
    plane.kubectl(["-n", name, "create", "rolebinding", "reader", "--role=reader", &account]).await.unwrap();
    eventually("the right is in force", async || plane.kubectl_as(&kubeconfig, ["get", "configmaps"]).await.is_ok())
        .await;
    assert!(plane.kubectl_as(&kubeconfig, ["get", "secrets"]).await.is_err());
}

async fn admission_policy_in_cel_refuses_an_object() {
    let namespace = TestNamespace::new("policy").await.unwrap();
    let (plane, name) = (namespace.plane(), namespace.name());
    let policy = format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}
    resourceRules:
    - {{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}
  validations:
  - expression: "!('barrier' in object.data) || object.data.barrier != 'open'"
    message: a barrier is never declared open
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [Deny]}}
"#
    );
    plane.kubectl_with_input(["apply", "-f", "-"], &policy).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(namespace.client(), name);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the policy refuses", async || {
        match maps.create(&dry, &config_map("map", &[("barrier", "open")])).await {
            Err(kube::Error::Api(status)) => status.message.contains("a barrier is never declared open"),
            _ => false,
        }
    })
    .await;
    maps.create(&PostParams::default(), &config_map("map", &[("barrier", "closed")])).await.unwrap();
}

async fn dependants_of_a_deleted_object_are_collected() {
    let namespace = TestNamespace::new("garbage").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(namespace.client(), namespace.name());
    let owner = maps.create(&PostParams::default(), &config_map("owner", &[])).await.unwrap();
    let mut dependant = config_map("dependant", &[]);
    dependant.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: owner.name_any(),
        uid: owner.uid().unwrap(),
        ..OwnerReference::default()
    }]);
    maps.create(&PostParams::default(), &dependant).await.unwrap();
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    eventually("the dependant is gone", async || maps.get_opt("dependant").await.unwrap().is_none()).await;
}

async fn deleted_namespace_goes_with_all_that_it_holds() {
    let namespace = TestNamespace::new("doomed").await.unwrap();
    let client = namespace.client();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace.name());
    maps.create(&PostParams::default(), &config_map("inside", &[])).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(namespace.name(), &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || namespaces.get_opt(namespace.name()).await.unwrap().is_none()).await;
    assert!(maps.get_opt("inside").await.unwrap().is_none());
}

async fn nobody_but_the_operator_signs_or_approves_certificate_requests() {
    let [_, _, manager] = ControlPlane::shared().await.unwrap().processes().await;
    for controller in ["signing", "approving"] {
        let disabled =
            format!("controller is disabled\" controller=\"certificatesigningrequest-{controller}-controller\"");
        eventually(&disabled, async || manager.log_tail(20_000).contains(&disabled)).await;
    }
}

async fn audit_log_counts_each_write_once_and_no_read() {
    let namespace = TestNamespace::new("audit").await.unwrap();
    let (plane, name) = (namespace.plane(), namespace.name());
    let maps: Api<ConfigMap> = Api::namespaced(namespace.client(), name);
    let mark = plane.audit_fence().await.unwrap();
    let revision = plane.etcd_revision().await.unwrap();
    let mut map = maps.create(&PostParams::default(), &config_map("counted", &[])).await.unwrap();
    map.data = Some(BTreeMap::from([("a".into(), "b".into())]));
    maps.replace("counted", &PostParams::default(), &map).await.unwrap();
    maps.get("counted").await.unwrap();
    plane.audit_fence().await.unwrap();

    let writes = plane.audit().writes_by("kalong-e2e-admin", mark).unwrap();
    let ours: Vec<_> =
        writes.iter().filter(|entry| entry.namespace == name && entry.resource == "configmaps").collect();
    let seen: Vec<_> = ours.iter().map(|entry| (entry.verb.as_str(), entry.name.as_str(), entry.code)).collect();
    assert_eq!(seen, [("create", "counted", 201), ("update", "counted", 200)]);
    assert!(ours.iter().all(|entry| !entry.user_agent.contains("kubectl") && entry.subresource.is_empty()));
    assert!(plane.etcd_revision().await.unwrap() >= revision + 2);
}

async fn api_server_comes_back_on_its_port_with_its_data() {
    let plane = own_plane("restart").await;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().unwrap(), "default");
    maps.create(&PostParams::default(), &config_map("kept", &[])).await.unwrap();
    let [_, before, _] = plane.processes().await;

    plane.stop_api_server().await.unwrap();
    assert!(!is_running(before.pid()));
    assert!(matches!(plane.check().await, Err(ControlPlaneError::Child(ChildError::Ended { .. }))));
    plane.start_api_server().await.unwrap();
    maps.get("kept").await.unwrap();

    plane.kill_api_server().await.unwrap();
    plane.start_api_server().await.unwrap();
    maps.get("kept").await.unwrap();
    let [_, after, _] = plane.processes().await;
    assert_ne!(before.pid(), after.pid());

    plane.pause_api_server().await.unwrap();
    assert!(timeout(Duration::from_millis(300), maps.get("kept")).await.is_err(), "a paused server answers nothing");
    plane.resume_api_server().await.unwrap();
    maps.get("kept").await.unwrap();
    plane.check().await.unwrap();
    plane.stop().await.unwrap();
}

async fn stopped_plane_leaves_no_process_and_no_file() {
    let plane = own_plane("stop").await;
    let directory = plane.supervisor().directory().to_owned();
    let processes = plane.processes().await;
    plane.stop().await.unwrap();
    assert!(processes.iter().all(|child| !is_running(child.pid())));
    assert!(!directory.exists());
}

async fn dropped_plane_leaves_no_process_and_no_file() {
    let plane = own_plane("drop").await;
    let directory = plane.supervisor().directory().to_owned();
    let processes = plane.processes().await;
    drop(plane);
    assert!(processes.iter().all(|child| !is_running(child.pid())));
    assert!(!directory.exists());
}

async fn taken_port_is_an_error_that_names_process_and_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut options = StartOptions::new(ControlPlane::default_assets().await.unwrap());
    options.api_port = ApiPort::Fixed(port);
    let Err(error) = ControlPlane::start(options).await else { panic!("started on a port that is taken") };
    let ControlPlaneError::PortTaken { name, ports, tail } = &error else { panic!("another error: {error}") };
    assert_eq!((name.as_str(), ports.as_slice()), ("kube-apiserver", &[port][..]));
    assert!(tail.contains("address already in use"), "{tail}");
}

async fn process_that_dies_is_named_with_the_end_of_its_log() {
    let supervisor = Supervisor::start("dies").unwrap();
    let log = supervisor.directory().join("dies.log");
    let spec = ChildSpec::new("weighbridge", "/bin/sh", &log).args(["-c", "echo no scale; exit 3"]);
    let child = supervisor.spawn(spec).await.unwrap();
    child.wait(SOON).await.unwrap();
    let error = child.check().unwrap_err().to_string();
    assert!(error.contains("weighbridge ended (exit code 3)") && error.contains("no scale"), "{error}");

    let spec = ChildSpec::new("nowhere", "/nonexistent/program", supervisor.directory().join("nowhere.log"));
    let child = supervisor.spawn(spec).await.unwrap();
    child.wait(SOON).await.unwrap();
    let error = child.check().unwrap_err().to_string();
    assert!(error.contains("cannot run /nonexistent/program"), "{error}");
}

async fn process_that_ignores_sigterm_is_killed_with_its_children() {
    let supervisor = Supervisor::start("stubborn").unwrap();
    let log = supervisor.directory().join("stubborn.log");
    let script = "trap '' TERM; sleep 600 & echo child $!; while :; do wait; done";
    let child = supervisor.spawn(ChildSpec::new("stubborn", "/bin/sh", &log).args(["-c", script])).await.unwrap();
    eventually("it says which child it has", async || child.log_tail(1).starts_with("child ")).await;
    let grandchild: u32 = child.log_tail(1).trim_start_matches("child ").trim().parse().unwrap();
    supervisor.stop().await.unwrap();
    assert!(!is_running(child.pid()));
    eventually("the grandchild is gone", async || !is_running(grandchild)).await;
}

/// Set for the process that the next test kills.
const VICTIM: &str = "KALONG_TEST_VICTIM";

/// No promise by itself: the body of the process that is killed below.
async fn victim_starts_a_plane_and_waits() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let plane = own_plane("victim").await;
    let pids = plane.processes().await.map(|child| child.pid().to_string()).join(" ");
    println!("\nvictim {} {pids} {}", plane.supervisor().pid(), plane.supervisor().directory().display());
    sleep(SOON).await;
}

struct Victim {
    process: std::process::Child,
    pids: Vec<u32>,
    directory: PathBuf,
}

/// Starts this very test binary again, as a process that has a control plane, and reads what it has.
fn victim() -> Victim {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "control_plane::victim_starts_a_plane_and_waits", "--test-threads=1"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("victim ")).unwrap();
    let mut words = line.splitn(6, ' ').skip(1);
    let pids: Vec<u32> = words.by_ref().take(4).map(|pid| pid.parse().unwrap()).collect();
    let directory = PathBuf::from(words.next().unwrap());
    assert!(directory.is_dir() && pids.iter().all(|pid| is_running(*pid)));
    Victim { process, pids, directory }
}

async fn killed_parent_leaves_no_process_and_no_file() {
    ControlPlane::default_assets().await.unwrap();
    let Victim { mut process, pids, directory } = tokio::task::spawn_blocking(victim).await.unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    eventually("every process is gone", async || !pids.iter().any(|pid| is_running(*pid))).await;
    assert!(!directory.exists());
}

async fn killed_supervisor_takes_its_processes_with_it_and_the_next_run_removes_the_files() {
    ControlPlane::default_assets().await.unwrap();
    let Victim { mut process, pids, directory } = tokio::task::spawn_blocking(victim).await.unwrap();
    let killed = Command::new("kill").args(["-9", &pids[0].to_string()]).status().unwrap();
    assert!(killed.success());
    eventually("every process is gone", async || !pids.iter().any(|pid| is_running(*pid))).await;
    process.kill().unwrap();
    process.wait().unwrap();
    let next = Supervisor::start("next").unwrap();
    assert!(next.directory().exists() && !directory.exists());
}

crate::tests![
    programs_answer_with_the_pinned_versions,
    helm_installs_a_chart_that_asks_for_this_kubernetes,
    service_account_may_do_what_it_was_given_and_nothing_else,
    admission_policy_in_cel_refuses_an_object,
    dependants_of_a_deleted_object_are_collected,
    deleted_namespace_goes_with_all_that_it_holds,
    nobody_but_the_operator_signs_or_approves_certificate_requests,
    audit_log_counts_each_write_once_and_no_read,
    api_server_comes_back_on_its_port_with_its_data,
    stopped_plane_leaves_no_process_and_no_file,
    dropped_plane_leaves_no_process_and_no_file,
    taken_port_is_an_error_that_names_process_and_port,
    process_that_dies_is_named_with_the_end_of_its_log,
    process_that_ignores_sigterm_is_killed_with_its_children,
    victim_starts_a_plane_and_waits,
    killed_parent_leaves_no_process_and_no_file,
    killed_supervisor_takes_its_processes_with_it_and_the_next_run_removes_the_files,
];
