//! A site of its own on the shared control plane, with a release of the chart and operators as processes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kalong_e2e::cluster::{Child, ChildSpec, ControlPlane, free_loopback_port, workspace_directory};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

const EVENTUALLY: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(100);
const GET: Duration = Duration::from_secs(5);

/// One site, one release.
pub struct Site {
    plane: &'static ControlPlane,
    /// Namespace of the operator.
    pub system: String,
    /// Namespace of the site.
    pub site: String,
    kubeconfig: PathBuf,
    folder: TempDir,
}

async fn plane() -> &'static ControlPlane {
    static CRDS: OnceCell<()> = OnceCell::const_new();
    let plane = ControlPlane::shared().await.unwrap();
    CRDS.get_or_init(async || {
        let chart = workspace_directory().join("charts/kalong-crds").display().to_string();
        plane.helm(["install", "kalong-crds", &chart]).await.unwrap();
    })
    .await;
    plane
}

impl Site {
    /// Namespaces and rights of a site.
    pub async fn new(name: &str) -> Self {
        let plane = plane().await;
        let (system, site) = (format!("{name}-system"), format!("{name}-site"));
        for namespace in [&system, &site] {
            plane.kubectl(["create", "namespace", namespace]).await.unwrap();
        }
        let chart = workspace_directory().join("charts/kalong").display().to_string();
        let sites = format!("sites={{{site}}}");
        let release = format!("kalong-{name}");
        let values = ["crds.enabled=false", "operator.deploy=false", "watch=Sites", sites.as_str()];
        let mut args = vec!["install", release.as_str(), chart.as_str(), "--namespace", system.as_str()];
        args.extend(values.iter().flat_map(|v| ["--set", v]));
        plane.helm(args).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let account = format!("{release}-operator");
        let kubeconfig = plane.service_account_kubeconfig(&system, &account, folder.path()).await.unwrap();
        Self { plane, system, site, kubeconfig, folder }
    }

    pub fn operator(&self, instance: &str) -> Order<'_> {
        Order { site: self, instance: instance.to_owned() }
    }

    pub async fn kubectl(&self, args: &[&str]) -> String {
        let all = [&["--namespace", self.system.as_str()][..], args].concat();
        self.plane.kubectl(all).await.unwrap()
    }

    pub async fn apply(&self, object: &Value) {
        self.plane.kubectl_with_input(["apply", "-f", "-"], &object.to_string()).await.unwrap();
    }

    pub async fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"]).await).unwrap()
    }

    pub async fn get_in_site(&self, kind: &str, name: &str) -> Value {
        let text = self.plane.kubectl(["--namespace", &self.site, "get", kind, name, "-o", "json"]).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub async fn list(&self, kind: &str) -> Vec<Value> {
        items(&self.kubectl(&["get", kind, "-o", "json"]).await)
    }

    pub async fn list_in_site(&self, kind: &str) -> Vec<Value> {
        items(&self.plane.kubectl(["--namespace", &self.site, "get", kind, "-o", "json"]).await.unwrap())
    }

    pub async fn term(&self) -> i64 {
        self.get("lease", "kalong-operator").await["spec"]["leaseTransitions"].as_i64().unwrap()
    }

    /// An HTTPS client that trusts what the operator published.
    pub async fn client(&self, identity: Option<&str>) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trust = self.get("configmap", "kalong-trust").await;
        let roots =
            reqwest::Certificate::from_pem_bundle(trust["data"]["ca.crt"].as_str().unwrap().as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only(roots);
        if let Some(pem) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }

    pub async fn eventually<T>(&self, what: &str, holds: impl AsyncFn() -> Option<T>) -> T {
        let waited = timeout(EVENTUALLY, async {
            loop {
                if let Some(found) = holds().await {
                    return found;
                }
                sleep(POLL).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("not within {} s: {what}", EVENTUALLY.as_secs()))
    }
}

fn items(text: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(text).unwrap();
    list.get("items").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![json!(null)])
}

/// An operator to be started.
pub struct Order<'s> {
    site: &'s Site,
    instance: String,
}

/// An operator that was started.
pub struct Running<'s> {
    site: &'s Site,
    pub child: Child,
    http: SocketAddr,
    pub https: SocketAddr,
}

impl<'s> Order<'s> {
    pub async fn start(self) -> Running<'s> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let free = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_loopback_port().unwrap()));
        let (http, https, mqtt) = (free(), free(), free());
        let folder = |name: String| self.site.folder.path().join(name).display().to_string();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = folder(format!("operator-{number}.log"));
        let spec = ChildSpec::new("kalong-operator", env!("CARGO_BIN_EXE_kalong-operator"), log)
            .args(["run", "--kubeconfig", &self.site.kubeconfig.display().to_string()])
            .args(["--namespace", &self.site.system, "--namespaces", &self.site.site])
            .args(["--instance", &self.instance, "--state-dir", &folder("state".to_owned())])
            .args(["--http-listen", &http.to_string(), "--https-listen", &https.to_string()])
            .args(["--mqtt-listen", &mqtt.to_string(), "--advertise-https", &format!("https://{https}")])
            .args(["--advertise-gateway", &mqtt.to_string(), "--server-names", "localhost,127.0.0.1"])
            .args(["--cache-dir", &folder(format!("cache-{number}")), "--heartbeat", "3"])
            .args(["--log", "info,kalong_operator=debug"])
            .unset("KUBECONFIG")
            .unset("POD_UID")
            .unset("POD_NAMESPACE");
        let child = self.site.plane.supervisor().spawn(spec).await.unwrap();
        Running { site: self.site, child, http, https }
    }
}

impl Running<'_> {
    pub async fn get(&self, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().timeout(GET).build().unwrap();
        match client.get(format!("http://{}{path}", self.http)).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    pub async fn stage(&self) -> Option<String> {
        self.child.check().unwrap();
        let (_, text) = self.get("/readyz").await;
        Some(text.trim().to_owned())
    }

    /// Waits until it leads and serves.
    pub async fn serves(&self) {
        let served = timeout(EVENTUALLY, async {
            while self.stage().await.as_deref() != Some("serving") {
                sleep(POLL).await;
            }
        });
        if served.await.is_err() {
            panic!("it does not serve in namespace {}:\n{}", self.site.system, self.child.log_tail(40));
        }
        assert_eq!(self.get("/livez").await.0, 200);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.signal(kalong_e2e::cluster::Signal::Kill);
    }
}
