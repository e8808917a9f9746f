//! The demo from its first line to its last: bring up, check or stay, take down.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Once;
use std::time::{Duration, Instant};

use kube::ResourceExt;

use super::expectation;
use super::options::Options;
use super::report::Report;
use crate::cluster::{AssetSource, Assets, Tool, target_directory};
use crate::scenario::{Binaries, Cluster, GRACE, HEARTBEAT, LiveSite, ProgressLog, ScenarioError, existing_cluster};
use crate::site::Layout;

/// Where logs are kept when something went wrong; the folder of the run itself goes.
const KEPT_LOGS: &str = "demo-logs";
/// For whoever waits for the control plane: what needs none. The first line of a build is its occasion.
const MEANWHILE: &str = "the control plane is built once, in 10 to 14 minutes on 2 cores. Meanwhile, without a cluster:
    docs/my-first-lane.md                    what you will do with it: one barrier, then a whole lane
    docs/README.md                           every kind, the drivers, security, operations
    gitops/sites/mong-cai                    the site that this demo brings up, as people declare it
    cargo run --bin kalong-site -- run       its 311 devices on loopback; curl shows /devices on the port that it prints
    cargo run --bin kubectl-kalong -- help   the plugin; `release` makes and signs firmware releases on your disk";
/// Taking everything down, the user's cluster included.
const END_DEADLINE: Duration = Duration::from_secs(240);

/// Runs the demo until it is done or asked to end.
pub(super) async fn run(options: Options, asked_to_end: impl Future<Output = ()>) -> ExitCode {
    let begun = Instant::now();
    let progress = ProgressLog::to(move |line| eprintln!("[{:6.1} s] {line}", begun.elapsed().as_secs_f64()));
    let mut ending = std::pin::pin!(asked_to_end);
    let mut figures = Figures::default();
    let layout = match Layout::read(&options.preset.source()) {
        Ok(layout) => layout,
        Err(error) => return failed(&error.into()),
    };
    let cluster = tokio::select! {
        cluster = prepare(&options, layout.site(), &progress, &mut figures) => cluster,
        () = &mut ending => return interrupted(),
    };
    let cluster = match cluster {
        Ok(cluster) => cluster,
        Err(error) => return failed(&error),
    };
    // From here on there is something to take down in a cluster that is not ours.
    let on_existing = options.kubeconfig.is_some();
    let undo = existing_cluster::Undo::of(&cluster, layout.site());
    let held = tokio::select! {
        held = perform(&options, &layout, cluster, &progress, &mut figures, begun) => held,
        () = &mut ending => {
            eprintln!("\nending");
            Ok(!options.exit)
        }
    };
    if on_existing
        && let Err(error) =
            tokio::time::timeout(END_DEADLINE, undo.run(&progress)).await.unwrap_or_else(|_| Err(late()))
    {
        eprintln!("kalong-demo: removing what was made in your cluster: {error}");
        return ExitCode::FAILURE;
    }
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn late() -> ScenarioError {
    ScenarioError::Deadline { what: "the end".into(), within: END_DEADLINE, seen: "objects are left".into() }
}

fn failed(error: &ScenarioError) -> ExitCode {
    eprintln!("kalong-demo: {error}");
    ExitCode::FAILURE
}

fn interrupted() -> ExitCode {
    eprintln!("\ninterrupted");
    ExitCode::FAILURE
}

/// Figures of the whole run.
#[derive(Default)]
struct Figures(BTreeMap<&'static str, f64>);

impl Figures {
    fn seconds(&mut self, name: &'static str, since: Instant) {
        self.0.insert(name, since.elapsed().as_secs_f64());
    }
}

/// Builds what is missing, and starts or finds the cluster.
async fn prepare(
    options: &Options,
    site: &str,
    progress: &ProgressLog,
    figures: &mut Figures,
) -> Result<Cluster, ScenarioError> {
    let begun = Instant::now();
    progress.line("building Kalong, where something is missing");
    Binaries::obtain(progress).await?;
    figures.seconds("buildKalongSeconds", begun);
    let begun = Instant::now();
    progress.line("building the control plane from its Go modules, where something is missing");
    let source = options.assets.clone().map_or_else(AssetSource::default, AssetSource::Directory);
    let (told, waits) = (progress.clone(), Once::new());
    let tell = move |line: &str| {
        waits.call_once(|| told.line(MEANWHILE));
        told.line(line);
    };
    let assets = tokio::task::spawn_blocking(move || Assets::obtain(source, &tell))
        .await
        .map_err(|e| ScenarioError::shape("the runtime", e))?
        .map_err(crate::cluster::ControlPlaneError::from)?;
    figures.seconds("buildControlPlaneSeconds", begun);
    let begun = Instant::now();
    let cluster = match &options.kubeconfig {
        Some(kubeconfig) => {
            progress.line(&format!("using the cluster of {}", kubeconfig.display()));
            let cluster = Cluster::existing(assets, kubeconfig).await?;
            existing_cluster::refuse_if_occupied(&cluster, site).await?;
            cluster
        }
        None => {
            progress.line("starting etcd, kube-apiserver and kube-controller-manager");
            Cluster::own(assets, "demo").await?
        }
    };
    figures.seconds("startControlPlaneSeconds", begun);
    Ok(cluster)
}

/// Brings the site up; then checks it, or stays. Whether everything held.
async fn perform(
    options: &Options,
    layout: &Layout,
    cluster: Cluster,
    progress: &ProgressLog,
    figures: &mut Figures,
    begun: Instant,
) -> Result<bool, ScenarioError> {
    let preset = options.preset;
    let logs = cluster.directory().to_owned();
    let soak = layout.models().map(|model| model.spec.update.soak_seconds).max().unwrap_or_default();
    progress.line(&format!(
        "heartbeat {} s instead of 30 s, so grace {} s; soak of every model {soak} s instead of 10 min",
        HEARTBEAT.as_secs(),
        GRACE.as_secs()
    ));
    let site = LiveSite::start(cluster, preset, progress).await;
    let mut site = site.inspect_err(|_| keep_logs(&logs))?;
    figures.seconds("upSeconds", begun);
    if !options.exit {
        return stay(&site).await.inspect_err(|_| keep_logs(&logs)).map(|()| true);
    }
    let verdicts = expectation::all(&mut site, |verdict| {
        for line in verdict.lines() {
            println!("{line}");
        }
    })
    .await;
    memory(&site, figures);
    figures.seconds("totalSeconds", begun);
    let report = Report::of(preset.name(), verdicts, std::mem::take(&mut figures.0));
    println!("{}", report.line());
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    if !report.held {
        keep_logs(&logs);
    }
    Ok(report.held)
}

/// Shows when all is Ready, then what to try, and stays.
async fn stay(site: &LiveSite) -> Result<(), ScenarioError> {
    expectation::all_ready(site).await?;
    let kubectl = site.cluster.tool(Tool::Kubectl).display();
    let kubeconfig = site.cluster.kubeconfig().display();
    let (namespace, http) = (site.namespace(), site.operator.order().listens.http);
    let lane = site.layout.objects.lanes.first().map(ResourceExt::name_any).unwrap_or_default();
    let device = site.layout.devices.first().map(|device| device.name.clone()).unwrap_or_default();
    let agent = site.agents.keys().next().cloned().unwrap_or_default();
    println!(
        "
Kalong runs. The kubeconfig of a cluster-admin, and a path on which kubectl finds its plugin:

  export KUBECONFIG={kubeconfig}
  export PATH={}:$PATH
  alias kubectl={kubectl}

Worth trying:

  kubectl -n {namespace} get kalong
  kubectl -n {namespace} get devices -o wide
  kubectl -n {namespace} describe device {device}
  kubectl -n {namespace} patch lane {lane} --type merge -p '{{\"spec\":{{\"admission\":\"Closed\"}}}}'
  kubectl -n {namespace} get events --watch
  kubectl kalong status -n {namespace}
  kubectl kalong drain lane/{lane} --reason \"A look at the barrier\" -n {namespace}
  kubectl kalong why lane/{lane} -n {namespace} --lang vi
  kubectl kalong doctor -n {namespace}
  kubectl kalong enrol {agent} -n {namespace}
  kubectl explain device.spec.firmware

  metrics   http://{http}/metrics
  health    http://{http}/livez  http://{http}/readyz
  devices   http://{}/devices (the simulator's own account)
  logs      {}

Ctrl-C ends everything and leaves nothing behind.",
        site.binaries.directory().display(),
        site.simulated.control().address(),
        site.cluster.directory().display(),
    );
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        site.check()?;
    }
}

/// Resident memory of operator and boxes, where the system tells.
fn memory(site: &LiveSite, figures: &mut Figures) {
    let resident = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kilobytes| kilobytes / 1024.0)
    };
    if let Some(megabytes) = resident(site.operator.child().pid()) {
        figures.0.insert("operatorMegabytes", megabytes);
    }
    let agents = site.agents.values().filter_map(|agent| resident(agent.child().pid()));
    if let Some(most) = agents.max_by(f64::total_cmp) {
        figures.0.insert("largestAgentMegabytes", most);
    }
}

/// Copies the logs of a run that failed to where they outlive it, below the target folder.
fn keep_logs(from: &Path) {
    let to = target_directory().join("kalong").join(KEPT_LOGS);
    let _ = fs::remove_dir_all(&to);
    if fs::create_dir_all(&to).is_err() {
        return;
    }
    let folders = [from.to_owned(), from.join("operator"), from.join("plane-1")];
    for file in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().filter_map(Result::ok) {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            // A log that cannot be kept is not worth a second failure.
            let _ = fs::copy(&path, to.join(file.file_name()));
        }
    }
    eprintln!("logs are kept in {}", to.display());
}
