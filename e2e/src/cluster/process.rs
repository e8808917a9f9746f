//! The three processes and their flags.

use std::io;
use std::path::{Path, PathBuf};

use super::assets::Assets;
use super::credentials::Credentials;
use super::options::ApiPort;
use super::port::{PortError, free_loopback_port};
use super::supervisor::ChildSpec;
use super::tools::Tool;

/// Every write, and who asked what else, without bodies. The three health paths are asked many times a second at a start.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ['/livez*', '/readyz*', '/healthz*', '/metrics']
- level: Metadata
";

/// The controllers that run: all defaults but those that need nodes of a cloud, and the two that would sign or approve
/// certificate requests, which is the operator's work.
const CONTROLLERS: &str = "*,-certificatesigningrequest-signing-controller,-certificatesigningrequest-approving-controller,\
                           -node-ipam-controller,-node-lifecycle-controller,-persistentvolume-attach-detach-controller";

/// The ports of one control plane, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) api: u16,
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
}

impl Ports {
    pub(super) fn choose(api: ApiPort) -> Result<Self, PortError> {
        let api = match api {
            ApiPort::Fixed(port) => port,
            ApiPort::Free => free_loopback_port()?,
        };
        Ok(Self { api, etcd: free_loopback_port()?, etcd_peer: free_loopback_port()? })
    }

    pub(super) fn server_url(self) -> String {
        format!("https://127.0.0.1:{}", self.api)
    }
}

/// One attempt: where its data is, which ports it has.
pub(super) struct PlaneLayout<'a> {
    pub(super) assets: &'a Assets,
    pub(super) credentials: &'a Credentials,
    pub(super) directory: &'a Path,
    pub(super) ports: Ports,
}

impl PlaneLayout<'_> {
    pub(super) fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    pub(super) fn controller_manager_kubeconfig(&self) -> PathBuf {
        self.directory.join("controller-manager.kubeconfig")
    }

    pub(super) fn write_audit_policy(&self) -> io::Result<()> {
        std::fs::write(self.directory.join("audit-policy.yaml"), AUDIT_POLICY)
    }

    pub(super) fn etcd(&self) -> ChildSpec {
        let client = format!("https://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("https://127.0.0.1:{}", self.ports.etcd_peer);
        self.spec(Tool::Etcd)
            .arg("--name=kalong")
            .arg(format!("--data-dir={}", self.directory.join("etcd").display()))
            // A test's data need not survive a power cut, and fsync is most of what a write costs.
            .arg("--unsafe-no-fsync")
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=kalong={peer}"))
            .args(["--client-cert-auth", "--peer-client-cert-auth"])
            .arg(self.file("--cert-file", "etcd.crt"))
            .arg(self.file("--key-file", "etcd.key"))
            .arg(self.file("--trusted-ca-file", "etcd-ca.crt"))
            .arg(self.file("--peer-cert-file", "etcd.crt"))
            .arg(self.file("--peer-key-file", "etcd.key"))
            .arg(self.file("--peer-trusted-ca-file", "etcd-ca.crt"))
            .arg("--log-level=warn")
    }

    pub(super) fn api_server(&self) -> ChildSpec {
        let directory = self.directory.display();
        self.spec(Tool::KubeApiServer)
            .arg(format!("--etcd-servers=https://127.0.0.1:{}", self.ports.etcd))
            .arg(self.file("--etcd-cafile", "etcd-ca.crt"))
            .arg(self.file("--etcd-certfile", "etcd-client.crt"))
            .arg(self.file("--etcd-keyfile", "etcd-client.key"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.ports.api))
            .arg(self.file("--tls-cert-file", "apiserver.crt"))
            .arg(self.file("--tls-private-key-file", "apiserver.key"))
            .arg(self.file("--client-ca-file", "ca.crt"))
            .args(["--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"])
            // The Service `kubernetes` must not have a loopback address as its endpoint, and nothing here uses it.
            .arg("--endpoint-reconciler-type=none")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(self.file("--service-account-key-file", "service-accounts.pub"))
            .arg(self.file("--service-account-signing-key-file", "service-accounts.key"))
            .arg(format!("--audit-policy-file={directory}/audit-policy.yaml"))
            .arg(format!("--audit-log-path={}", self.audit_log().display()))
            // Written before the request is over, in one file: the tests count in it.
            .args(["--audit-log-mode=blocking", "--audit-log-maxsize=0"])
            .args(["--profiling=false", "--enable-logs-handler=false"])
    }

    pub(super) fn controller_manager(&self) -> ChildSpec {
        self.spec(Tool::KubeControllerManager)
            .arg(format!("--kubeconfig={}", self.controller_manager_kubeconfig().display()))
            .arg(format!("--controllers={CONTROLLERS}"))
            .arg(self.file("--service-account-private-key-file", "service-accounts.key"))
            .arg(self.file("--root-ca-file", "ca.crt"))
            // Each controller with its own ServiceAccount and rights, as in a real cluster.
            .arg("--use-service-account-credentials=true")
            // At the default 20 requests a second the last controllers start after 5 s.
            .args(["--kube-api-qps=300", "--kube-api-burst=600"])
            .args(["--leader-elect=false", "--secure-port=0", "--controller-shutdown-timeout=2s"])
    }

    fn spec(&self, tool: Tool) -> ChildSpec {
        let log = self.directory.join(format!("{tool}.log"));
        // Variables such as ETCD_NAME or KUBECONFIG of the user must not reach in.
        ChildSpec::new(tool.name(), self.assets.path(tool), log).directory(self.directory).unset("KUBECONFIG")
    }

    fn file(&self, flag: &str, name: &str) -> String {
        format!("{flag}={}", self.credentials.file(name))
    }
}
