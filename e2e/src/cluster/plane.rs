//! A control plane that runs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Request;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client, Config};
use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::timeout;

use super::assets::{AssetSource, Assets};
use super::audit::{AuditLog, AuditMark};
use super::command::{CommandError, Tooling};
use super::credentials::Credentials;
use super::failure::{ControlPlaneError, REQUEST_DEADLINE};
use super::kubeconfig::{self, Proof};
use super::options::StartOptions;
use super::process::Ports;
use super::ready::wait_ready;
use super::supervisor::{Child, ChildSpec, Signal, Supervisor};
use super::tools::Tool;

/// From SIGTERM to SIGKILL of an API server that is stopped on purpose. It stops listening at once and would then wait a minute
/// for watches that nobody closes.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Longer than any run; the API server sets no bound of its own.
const TOKEN_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The answer to a request may overtake its line in the audit log by this much on a busy machine.
const FENCE_DEADLINE: Duration = Duration::from_secs(15);

/// The processes of a successful start and how to reach them.
pub(super) struct Started {
    pub(super) kubeconfig: PathBuf,
    pub(super) config: Config,
    pub(super) ports: Ports,
    pub(super) api_server_spec: ChildSpec,
    pub(super) audit_log: PathBuf,
    pub(super) etcd: Child,
    pub(super) api_server: Child,
    pub(super) controller_manager: Child,
}

/// A running control plane. Dropping it ends its processes and removes its data, and waits for that; so does the end of this
/// process, however it comes.
pub struct ControlPlane {
    assets: Assets,
    credentials: Credentials,
    kubeconfig: PathBuf,
    config: Config,
    ports: Ports,
    server_url: String,
    api_server_spec: ChildSpec,
    audit_log: PathBuf,
    etcd: Child,
    controller_manager: Child,
    /// Another one after each restart.
    api_server: Mutex<Child>,
    supervisor: Supervisor,
}

impl ControlPlane {
    pub(super) fn assemble(assets: Assets, supervisor: Supervisor, credentials: Credentials, started: Started) -> Self {
        let Started { kubeconfig, config, ports, api_server_spec, audit_log, etcd, api_server, controller_manager } =
            started;
        Self {
            assets,
            credentials,
            kubeconfig,
            config,
            ports,
            server_url: ports.server_url(),
            api_server_spec,
            audit_log,
            etcd,
            controller_manager,
            api_server: Mutex::new(api_server),
            supervisor,
        }
    }

    /// The one that the tests of a binary share; started at the first call, with the programs built if need be. It ends with the
    /// process. Tests that stop the API server start their own.
    ///
    /// # Errors
    /// As [`Assets::obtain`] and [`ControlPlane::start`].
    pub async fn shared() -> Result<&'static Self, ControlPlaneError> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_try_init(async || Self::start(StartOptions::new(Self::default_assets().await?)).await).await
    }

    /// The programs from the usual source, with progress on standard error. Does not block the runtime.
    ///
    /// # Errors
    /// As [`Assets::obtain`].
    pub async fn default_assets() -> Result<Assets, ControlPlaneError> {
        let obtained =
            tokio::task::spawn_blocking(|| Assets::obtain(AssetSource::default(), &|line| eprintln!("{line}")));
        Ok(obtained.await.map_err(|_| ControlPlaneError::Interrupted)??)
    }

    /// A kubeconfig of a cluster-admin.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A new client of a cluster-admin. It belongs to the runtime in which it is made: tests that share a control plane take one each.
    ///
    /// # Errors
    /// The client library refuses, which it has not done at the start.
    pub fn client(&self) -> Result<Client, ControlPlaneError> {
        Ok(Client::try_from(self.config.clone())?)
    }

    #[must_use]
    pub fn server_url(&self) -> &str {
        &self.server_url
    }

    /// The authority of the API server's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.credentials.ca
    }

    /// The audit log's file; [`ControlPlane::audit`] reads it.
    #[must_use]
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// A reader of the audit log.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::open(&self.audit_log)
    }

    /// The programs that it was started with.
    #[must_use]
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// Holds its processes. What else is started there ends before them.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Ends everything and removes the data. A drop does the same, but blocks and tells nobody.
    ///
    /// # Errors
    /// It took too long; then it was killed.
    pub async fn stop(self) -> Result<(), ControlPlaneError> {
        Ok(self.supervisor.stop().await?)
    }

    /// An error with the end of its log if one of the processes has died.
    ///
    /// # Errors
    /// [`ControlPlaneError::Child`]. An API server that was stopped on purpose is one of them.
    pub async fn check(&self) -> Result<(), ControlPlaneError> {
        self.etcd.check()?;
        self.controller_manager.check()?;
        Ok(self.api_server().await.check()?)
    }

    /// Runs the real kubectl with the kubeconfig of the cluster-admin, and returns what it prints.
    ///
    /// # Errors
    /// It said no, with what it wrote on standard error.
    pub async fn kubectl<I, A>(&self, args: I) -> Result<String, CommandError>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        self.tooling(Tool::Kubectl, &self.kubeconfig).run(args, None).await
    }

    /// As [`ControlPlane::kubectl`], with something on standard input, as in `kubectl apply -f -`.
    ///
    /// # Errors
    /// It said no, with what it wrote on standard error.
    pub async fn kubectl_with_input<I, A>(&self, args: I, input: &str) -> Result<String, CommandError>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        self.tooling(Tool::Kubectl, &self.kubeconfig).run(args, Some(input)).await
    }

    /// As [`ControlPlane::kubectl`], as the user of another kubeconfig.
    ///
    /// # Errors
    /// It said no, with what it wrote on standard error.
    pub async fn kubectl_as<I, A>(&self, kubeconfig: &Path, args: I) -> Result<String, CommandError>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        self.tooling(Tool::Kubectl, kubeconfig).run(args, None).await
    }

    /// Runs the real Helm with the kubeconfig of the cluster-admin, and returns what it prints.
    ///
    /// # Errors
    /// It said no, with what it wrote on standard error.
    pub async fn helm<I, A>(&self, args: I) -> Result<String, CommandError>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        self.tooling(Tool::Helm, &self.kubeconfig).run(args, None).await
    }

    /// Writes a kubeconfig of a ServiceAccount that exists into `directory`, and returns its path. The token is one that the API server
    /// issued, for seven days; the file is readable by its owner alone.
    ///
    /// # Errors
    /// There is no such ServiceAccount, or the file cannot be written.
    pub async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
        directory: &Path,
    ) -> Result<PathBuf, ControlPlaneError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, namespace);
        let seconds = i64::try_from(TOKEN_LIFE.as_secs()).ok();
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: seconds, ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let what = "a token of the ServiceAccount";
        let answer = asked(what, accounts.create_token_request(name, &PostParams::default(), &request)).await?;
        let token = answer.status.and_then(|status| status.token).ok_or(ControlPlaneError::Answer { what })?;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let text = kubeconfig::text(&self.server_url, self.ca_pem(), &user, namespace, &Proof::Token(&token));
        // Both names were accepted by the API server, so neither leads out of the folder.
        let path = directory.join(format!("{namespace}-{name}.kubeconfig"));
        kubeconfig::write(&path, &text)?;
        Ok(path)
    }

    /// The revision of the store: it rises by one with every change of any object, whoever made it.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn etcd_revision(&self) -> Result<u64, ControlPlaneError> {
        #[derive(Deserialize)]
        struct RangeResponse {
            header: RangeHeader,
        }
        #[derive(Deserialize)]
        struct RangeHeader {
            revision: String,
        }
        let what = "the revision of etcd";
        let url = format!("https://127.0.0.1:{}", self.ports.etcd);
        let proof = Proof::Certificate(&self.credentials.etcd_client);
        let text = kubeconfig::text(&url, &self.credentials.etcd_ca, "etcd-client", "default", &proof);
        let client = Client::try_from(kubeconfig::config(&text).await?)?;
        // Any range does: each answer's header carries the revision. The key is one zero byte.
        let request = Request::post("/v3/kv/range")
            .body(br#"{"key":"AA==","count_only":true}"#.to_vec())
            .map_err(|_| ControlPlaneError::Answer { what })?;
        let answer: RangeResponse = asked(what, client.request(request)).await?;
        answer.header.revision.parse().map_err(|_| ControlPlaneError::Answer { what })
    }

    /// A place in the audit log before which every request stands that was answered before this call. Asks for an object that does not
    /// exist and waits until that shows.
    ///
    /// # Errors
    /// The API server does not answer, or its log does not show it.
    pub async fn audit_fence(&self) -> Result<AuditMark, ControlPlaneError> {
        let log = self.audit();
        let before = log.mark()?;
        let path = format!("/api/v1/namespaces/default/configmaps/kalong-fence-{}", fence_name(before));
        let request =
            Request::get(&path).body(Vec::new()).map_err(|_| ControlPlaneError::Answer { what: "a fence" })?;
        let client = self.client()?;
        match timeout(REQUEST_DEADLINE, client.request_text(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {}
            Ok(Err(source)) => return Err(ControlPlaneError::Request { what: "a fence", source: Box::new(source) }),
            Err(_) => return Err(ControlPlaneError::RequestDeadline { what: "a fence" }),
        }
        log.wait_for("the fence", before, FENCE_DEADLINE, |entry| entry.uri == path).await?;
        Ok(log.mark()?)
    }

    /// Stops the API server: SIGTERM, then SIGKILL after 2 s. Data and port are kept for [`ControlPlane::start_api_server`].
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop_api_server(&self) -> Result<(), ControlPlaneError> {
        self.api_server().await.stop(STOP_GRACE).await?;
        Ok(())
    }

    /// Kills the API server at once, as a machine that loses power does.
    ///
    /// # Errors
    /// It does not end.
    pub async fn kill_api_server(&self) -> Result<(), ControlPlaneError> {
        self.api_server().await.kill().await?;
        Ok(())
    }

    /// Lets the API server stand still: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn pause_api_server(&self) -> Result<(), ControlPlaneError> {
        Ok(self.api_server().await.signal(Signal::Pause)?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn resume_api_server(&self) -> Result<(), ControlPlaneError> {
        Ok(self.api_server().await.signal(Signal::Resume)?)
    }

    /// Starts the API server again after it was stopped or killed, on its port and data, and waits until it is ready. One that runs
    /// is left as it is.
    ///
    /// # Errors
    /// Its port was taken meanwhile, or it died.
    pub async fn start_api_server(&self) -> Result<(), ControlPlaneError> {
        let mut api_server = self.api_server().await;
        if api_server.exited().is_none() {
            return Ok(());
        }
        *api_server = self.supervisor.spawn(self.api_server_spec.clone()).await?;
        wait_ready(&self.client()?, &[&self.etcd, &api_server], self.ports).await
    }

    /// The processes, oldest first: etcd, API server, controller manager.
    pub async fn processes(&self) -> [Child; 3] {
        [self.etcd.clone(), self.api_server().await.clone(), self.controller_manager.clone()]
    }

    async fn api_server(&self) -> MutexGuard<'_, Child> {
        self.api_server.lock().await
    }

    fn tooling<'a>(&'a self, tool: Tool, kubeconfig: &'a Path) -> Tooling<'a> {
        Tooling { program: self.assets.path(tool), kubeconfig, home: self.supervisor.directory() }
    }
}

/// Each fence has a name of its own, since two may be under way at once.
fn fence_name(mark: AuditMark) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", mark.offset(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn asked<T>(
    what: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ControlPlaneError> {
    timeout(REQUEST_DEADLINE, request)
        .await
        .map_err(|_| ControlPlaneError::RequestDeadline { what })?
        .map_err(|source| ControlPlaneError::Request { what, source: Box::new(source) })
}
