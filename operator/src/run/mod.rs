//! The life of the process: what starts when, and in which order it ends.
//!
//! Every replica serves health and metrics, keeps warm caches and seeks the Lease. The one that gets it becomes the leader: see `lead`.

mod lead;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kalong_controllers::kit::clock::SystemClock;
use kalong_controllers::kit::conditions::ConditionCollector;
use kalong_controllers::kit::watch::CacheError;
use kalong_controllers::station::licence::LicenceCollector;
use kalong_crds::Category;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::artifacts::cache::ArtifactCacheError;
use crate::artifacts::fetch::FetchError;
use crate::broker::GatewayError;
use crate::client::{self, ClientError, RetryMode};
use crate::health::{ProcessHealth, ProcessStage};
use crate::http::plain;
use crate::keys::KeysError;
use crate::lease::election;
use crate::lease::instance::{self, InstanceError};
use crate::lease::pod::{self, Role};
use crate::metrics::{Metrics, MetricsError};
use crate::settings::{Instance, ServedSites, Settings};

/// Bounds an orderly shutdown, all steps together; a Pod is killed after 30 s.
const END_DEADLINE: Duration = Duration::from_secs(25);
/// Bounds the last answers of the plain HTTP server.
const PLAIN_DEADLINE: Duration = Duration::from_secs(3);

/// How a run ended; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// SIGTERM or SIGINT was received.
    Asked,
    /// The Lease was lost: another process may lead by now, so nothing is shut down in order.
    LeaseLost,
    /// A part ended that must not.
    Broken,
}

impl RunEnd {
    /// RunEnd code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Asked => 0,
            Self::LeaseLost => 3,
            Self::Broken => 4,
        }
    }
}

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum RunError {
    /// The metrics of the process cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The metrics of a part cannot be registered.
    #[error("a metric cannot be registered: {0}")]
    #[strum(to_string = "metrics")]
    Registry(#[from] prometheus::Error),
    /// No usable configuration for the API server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// This process has no identity for the Lease.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The address cannot be listened on.
    #[error("{1} cannot be listened on for {0} ({2}): end what uses it, or choose another address")]
    Listen(&'static str, SocketAddr, #[source] std::io::Error),
    /// The signal handlers cannot be installed.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] std::io::Error),
    /// The caches did not fill.
    #[error(transparent)]
    #[strum(to_string = "watch")]
    Cache(#[from] CacheError),
    /// Keys cannot be read or made.
    #[error(transparent)]
    #[strum(transparent)]
    Keys(#[from] KeysError),
    /// A signing key cannot be used.
    #[error(transparent)]
    #[strum(transparent)]
    Signing(#[from] kalong_crds::wire::signature::SignatureError),
    /// The HTTPS server has no usable TLS configuration.
    #[error(transparent)]
    #[strum(transparent)]
    Tls(#[from] crate::http::tls::TlsError),
    /// The gateway has no usable TLS configuration.
    #[error(transparent)]
    #[strum(transparent)]
    GatewayTls(#[from] crate::broker::tls::GatewayTlsError),
    /// The cache of artifacts cannot be opened.
    #[error(transparent)]
    #[strum(transparent)]
    Artifacts(#[from] ArtifactCacheError),
    /// The HTTP client for artifacts cannot be built.
    #[error(transparent)]
    #[strum(transparent)]
    Fetch(#[from] FetchError),
    /// The gateway does not start.
    #[error(transparent)]
    #[strum(transparent)]
    Gateway(#[from] GatewayError),
}

/// What both standby and leader need.
struct Process {
    settings: Settings,
    metrics: Arc<Metrics>,
    health: ProcessHealth,
    client: Client,
    identity: String,
}

/// Runs until a signal, the loss of the Lease, or the failure of a part.
pub async fn run(settings: Settings) -> Result<RunEnd, RunError> {
    let mut signals = Signals::new()?;
    let metrics = Arc::new(Metrics::new()?);
    let health = ProcessHealth::new();
    let end = CancellationToken::new();
    let plain = listen("--http-listen", settings.listen.http).await?;
    let plain = tokio::spawn(plain::serve(plain, health.clone(), Arc::clone(&metrics), end.clone()));

    let release_keys = crate::keys::read_release_keys(settings.release_keys.as_deref())?;
    let claim = instance::claim(&settings.instance)?;
    let config = client::configuration(settings.kubeconfig.as_deref()).await?;
    let patient = RetryMode::Retrying { budget: settings.api_budget };
    let client = client::connect(&config, patient, Arc::clone(&metrics))?;
    let prompt = client::connect(&config, RetryMode::SingleAttempt, Arc::clone(&metrics))?;
    let identity = claim.identity.text();
    tracing::info!(%identity, namespace = settings.namespace, server = %config.cluster_url, "The operator starts.");
    let process = Process { settings, metrics, health, client, identity };

    let watchdog = process.health.watch("lease", election::STUCK_AFTER);
    let (lease, election) = election::start(prompt, &process.settings.namespace, claim.identity.clone(), watchdog);
    let ended = tokio::select! {
        ended = lead::stand_by(&process, &lease, release_keys, &mut signals) => ended,
        why = lease.lost() => Ok(lost(&process, &why)),
    };
    // Another process may lead by now: nothing that still runs here may continue.
    if matches!(ended, Ok(RunEnd::LeaseLost)) {
        return ended;
    }
    // A successor need not wait for the Lease to expire, whatever went wrong here.
    lease.release().await;
    process.metrics.stopped_leading();
    let _ = election.await;
    end.cancel();
    let _ = timeout(PLAIN_DEADLINE, plain).await;
    drop(claim);
    ended
}

fn lost(process: &Process, why: &str) -> RunEnd {
    process.metrics.stopped_leading();
    process.health.set(ProcessStage::Stopping);
    tracing::error!(
        category = "lease-lost",
        why,
        "This process ends, since the Lease is lost; its restart seeks the Lease again."
    );
    RunEnd::LeaseLost
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|e| RunError::Listen(flag, address, e))
}

impl Process {
    async fn label(&self, role: Role) {
        let Instance::Pod { name: Some(name), .. } = &self.settings.instance else { return };
        if let Err(error) = pod::label(&self.client, &self.settings.namespace, name, role).await {
            tracing::warn!(category = error.category(), %error, "The Pod could not be labelled; agents may not find the leader.");
        }
    }

    fn namespaces(&self) -> &[String] {
        match &self.settings.sites {
            ServedSites::All => &[],
            ServedSites::Some(names) => names,
        }
    }

    fn watch_conditions(&self, caches: kalong_controllers::kit::caches::Caches) -> Result<(), RunError> {
        let licences = LicenceCollector::new(caches.clone(), Arc::new(SystemClock))?;
        self.metrics.registry().register(Box::new(licences))?;
        self.metrics.registry().register(Box::new(ConditionCollector::new(caches)?))?;
        Ok(())
    }
}

/// SIGTERM, as Kubernetes sends it, and SIGINT from a terminal.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let of = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
