//! Where an operator lives: a namespace, the chart's rights for some sites, and the processes that run with them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kalong_e2e::cluster::{Child, ChildSpec, Exit, Signal, workspace_directory};
use kalong_e2e::scenario::{Binary, Cluster, Listens};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::OnceCell;

use super::fixture::{fixture, program};
use super::site::TestSite;
use crate::kit::{SOON, holds, until};
use kalong_e2e::scenario::plain_http;

/// Beats are frequent, so that silence is noticed soon; the grace is three of them.
const HEARTBEAT_SECONDS: &str = "2";
const STOP_GRACE: Duration = Duration::from_secs(15);
const CHART: &str = "charts/kalong";

/// Sites of the operator that tests share, one a test.
const SHARED_SITES: [&str; 15] = [
    "abandoned",
    "contradictions",
    "credentials",
    "deletion",
    "doubles",
    "downloads",
    "enrolment",
    "link",
    "metrics",
    "mong-cai",
    "moves",
    "requests",
    "station",
    "suspension",
    "vehicle",
];

/// A release of the chart: a namespace for operators, and sites that they may serve.
pub struct Home<'a> {
    cluster: &'a Cluster,
    pub namespace: String,
    sites: Vec<String>,
    kubeconfig: PathBuf,
}

impl<'a> Home<'a> {
    /// Makes the namespaces and installs the chart without its Deployment.
    pub async fn new(cluster: &'a Cluster, name: &str, sites: &[&str]) -> Self {
        let namespaces: Api<Namespace> = Api::all(cluster.client().unwrap());
        for site in sites {
            let metadata = ObjectMeta { name: Some((*site).to_owned()), ..ObjectMeta::default() };
            let namespace = Namespace { metadata, ..Namespace::default() };
            namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        }
        let namespace = format!("kalong-{name}");
        let chart = workspace_directory().join(CHART).display().to_string();
        let list = format!("sites={{{}}}", sites.join(","));
        let place = ["install", &namespace, &chart, "--namespace", &namespace, "--create-namespace"];
        let values = ["operator.deploy=false", "crds.enabled=false", "watch=Sites", &list];
        cluster.helm(place.into_iter().chain(values.iter().flat_map(|v| ["--set", v]))).await.unwrap();
        let account = format!("{namespace}-operator");
        let kubeconfig = cluster.service_account_kubeconfig(&namespace, &account).await.unwrap();
        Self { cluster, namespace, sites: sites.iter().map(|s| (*s).to_owned()).collect(), kubeconfig }
    }

    /// The kubeconfig of the operator's ServiceAccount.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// An operator that is not started yet.
    pub fn operator(&self, instance: &str) -> Operator<'a> {
        let directory = self.cluster.directory().join(&self.namespace).join(instance);
        std::fs::create_dir_all(&directory).unwrap();
        Operator {
            cluster: self.cluster,
            namespace: self.namespace.clone(),
            instance: instance.to_owned(),
            sites: self.sites.join(","),
            kubeconfig: self.kubeconfig.clone(),
            directory,
            listens: Listens::choose().unwrap(),
            flags: Vec::new(),
            child: None,
        }
    }

    /// One of its sites.
    pub fn site(&self, name: &str) -> TestSite<'a> {
        assert!(self.sites.iter().any(|site| site == name), "{name} is a site of this home");
        TestSite::new(self.cluster, name, &self.namespace)
    }

    pub fn leases(&self, client: Client) -> Api<Lease> {
        Api::namespaced(client, &self.namespace)
    }

    /// The term in the Lease.
    pub async fn term(&self) -> i32 {
        let lease = self.leases(self.cluster.client().unwrap()).get("kalong-operator").await.unwrap();
        lease.spec.unwrap().lease_transitions.unwrap()
    }
}

/// An operator process, running or not. It is killed when this is dropped.
pub struct Operator<'a> {
    cluster: &'a Cluster,
    namespace: String,
    instance: String,
    sites: String,
    pub kubeconfig: PathBuf,
    pub directory: PathBuf,
    pub listens: Listens,
    /// Flags of this one alone.
    pub flags: Vec<&'static str>,
    child: Option<Child>,
}

impl Operator<'_> {
    fn spec(&self) -> ChildSpec {
        let folder = |name: &str| self.directory.join(name).display().to_string();
        let local = |address: SocketAddr| address.to_string();
        let flags = [
            ("--kubeconfig", self.kubeconfig.display().to_string()),
            ("--namespace", self.namespace.clone()),
            ("--instance", self.instance.clone()),
            ("--state-dir", folder("state")),
            ("--namespaces", self.sites.clone()),
            ("--http-listen", local(self.listens.http)),
            ("--https-listen", local(self.listens.https)),
            ("--mqtt-listen", local(self.listens.mqtt)),
            ("--advertise-https", format!("https://{}", self.listens.https)),
            ("--advertise-gateway", local(self.listens.mqtt)),
            ("--server-names", "localhost,127.0.0.1".to_owned()),
            ("--cache-dir", folder("cache")),
            ("--cache-size", "1048576".to_owned()),
            ("--heartbeat", HEARTBEAT_SECONDS.to_owned()),
        ];
        let words = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        let program = self.cluster_program();
        ChildSpec::new(format!("kalong-operator {}", self.instance), program, self.directory.join("operator.log"))
            .arg("run")
            .args(words)
            .args(self.flags.iter().copied())
            .unset("KUBECONFIG")
            .unset("POD_UID")
            .unset("POD_NAMESPACE")
            .unset("KALONG_LOG")
    }

    fn cluster_program(&self) -> PathBuf {
        // The fixture is there: whoever has an operator has waited for it.
        PROGRAM.get().cloned().unwrap_or_default()
    }

    /// Starts the process.
    pub async fn start(&mut self) {
        let fixture = fixture().await;
        let _ = PROGRAM.set(program(fixture, Binary::Operator));
        self.child = Some(self.cluster.supervisor().spawn(self.spec()).await.unwrap());
    }

    /// Starts another process with the same flags, beside the one that runs.
    pub async fn double(&self) -> Child {
        self.cluster.supervisor().spawn(self.spec()).await.unwrap()
    }

    pub fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }

    /// Waits until it says of itself that it is this far.
    pub async fn is(&self, stage: &str, within: Duration) {
        until(&format!("{} is {stage}", self.instance), within, async || {
            if self.child().exited().is_some() {
                panic!("{} has ended:\n{}", self.instance, self.child().log_tail(20));
            }
            let answer = plain_http::get(self.listens.http, "/readyz").await;
            let there = answer.as_ref().is_some_and(|(_, body)| body.trim() == stage);
            holds(there, format!("{answer:?}\n{}", self.child().log_tail(20)))
        })
        .await;
    }

    pub async fn serves(&self) {
        self.is("serving", SOON).await;
    }

    /// SIGKILL.
    pub async fn kill(&self) {
        self.child().kill().await.unwrap();
    }

    /// SIGTERM; it has to end by itself, and well.
    pub async fn stop(&self) {
        self.child().signal(Signal::Terminate).unwrap();
        let exit = self.child().wait(STOP_GRACE).await.unwrap();
        assert_eq!(exit, Exit::Code(0), "{}", self.child().log_tail(20));
    }

    /// All that it has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("operator.log")).unwrap_or_default()
    }
}

static PROGRAM: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            let _ = child.signal(Signal::Kill);
        }
    }
}

/// The operator that tests share, which serves a site for each of them and which none of them stops.
pub async fn shared() -> &'static (Home<'static>, Operator<'static>) {
    static SHARED: OnceCell<(Home<'static>, Operator<'static>)> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let home = Home::new(&fixture().await.cluster, "shared", &SHARED_SITES).await;
            let mut operator = home.operator("shared");
            operator.start().await;
            operator.serves().await;
            (home, operator)
        })
        .await
}

/// The site of one test under the shared operator.
pub async fn shared_site(name: &str) -> TestSite<'static> {
    shared().await.0.site(name)
}
