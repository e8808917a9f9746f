//! The life of the operator: what starts when, and in which order it ends.
//!
//! Every replica serves health and metrics, keeps warm caches and seeks the Lease. Whoever gets it becomes the leader: see `lead`.

mod lead;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kalong_controllers::kit::caches::CacheError;
use kalong_controllers::kit::clock::SystemClock;
use kalong_controllers::kit::conditions::ConditionCollector;
use kalong_controllers::station::licence::LicenceCollector;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::artifacts::cache::CacheError as ArtifactCacheError;
use crate::artifacts::fetch::FetchError;
use crate::broker::GatewayError;
use crate::client::{self, ClientError, Manner};
use crate::health::{Health, Stage};
use crate::http::plain;
use crate::keys::KeysError;
use crate::lease::instance::{self, InstanceError};
use crate::lease::keeper;
use crate::lease::pod::{self, Role};
use crate::metrics::{Metrics, MetricsError};
use crate::settings::{Instance, Settings, Sites};

/// Time for an ordered end, all steps together: less than the 30 s that a Pod is given.
const END_DEADLINE: Duration = Duration::from_secs(25);
/// Time for the last answers of the plain server.
const PLAIN_DEADLINE: Duration = Duration::from_secs(3);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody asked for it.
    Asked,
    /// The Lease was lost: another may lead by now, so nothing is finished in order.
    LeaseLost,
    /// A part that must not end did.
    Broken,
}

impl End {
    /// Exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Asked => 0,
            Self::LeaseLost => 3,
            Self::Broken => 4,
        }
    }
}

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Metrics cannot be made.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Metrics of a part cannot be made.
    #[error("a metric cannot be registered: {0}")]
    Registry(#[from] prometheus::Error),
    /// No way to the API server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody knows who we are.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// An address is taken.
    #[error("{1} cannot be listened on for {0} ({2}): end what uses it, or choose another address")]
    Listen(&'static str, SocketAddr, #[source] std::io::Error),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] std::io::Error),
    /// The first lists failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A signing key cannot be used.
    #[error(transparent)]
    Signing(#[from] kalong_crds::wire::signature::SignatureError),
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] crate::http::tls::TlsError),
    /// The gateway cannot speak TLS.
    #[error(transparent)]
    GatewayTls(#[from] crate::broker::tls::TlsError),
    /// The cache of artifacts cannot be used.
    #[error(transparent)]
    Artifacts(#[from] ArtifactCacheError),
    /// The fetcher of artifacts cannot be made.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The gateway does not start.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

impl RunError {
    /// The word for logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Metrics(_) | Self::Registry(_) => "metrics",
            Self::Client(_) => "client",
            Self::Instance(_) => "instance",
            Self::Listen(..) => "listen",
            Self::Signals(_) => "signals",
            Self::Cache(_) => "watch",
            Self::Keys(error) => error.category(),
            Self::Signing(error) => error.category(),
            Self::Tls(error) => error.category(),
            Self::GatewayTls(error) => error.category(),
            Self::Artifacts(error) => error.category(),
            Self::Fetch(error) => error.category(),
            Self::Gateway(error) => error.category(),
        }
    }
}

/// What every part shares.
struct Process {
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Health,
    client: Client,
    identity: String,
}

/// Runs until somebody asks for the end, the Lease is lost, or a part breaks.
pub async fn run(settings: Settings) -> Result<End, RunError> {
    let mut signals = Signals::new()?;
    let metrics = Arc::new(Metrics::new()?);
    let health = Health::new();
    let end = CancellationToken::new();
    let plain = listen("--http-listen", settings.listen.http).await?;
    let plain = tokio::spawn(plain::serve(plain, health.clone(), Arc::clone(&metrics), end.clone()));

    let release_keys = crate::keys::read_release_keys(settings.release_keys.as_deref())?;
    let claim = instance::claim(&settings.instance)?;
    let config = client::configuration(settings.kubeconfig.as_deref()).await?;
    let patient = Manner::Patient { budget: settings.api_budget };
    let client = client::connect(&config, patient, Arc::clone(&metrics))?;
    let prompt = client::connect(&config, Manner::Prompt, Arc::clone(&metrics))?;
    let identity = claim.identity.text();
    tracing::info!(%identity, namespace = settings.namespace, server = %config.cluster_url, "the operator starts");
    let process = Process { settings, metrics, health, client, identity };

    let watchdog = process.health.watch("lease", keeper::STILL);
    let (lease, keeper) = keeper::start(prompt, &process.settings.namespace, claim.identity.clone(), watchdog);
    let ended = tokio::select! {
        ended = lead::stand_by(&process, &lease, release_keys, &mut signals) => ended,
        why = lease.lost() => Ok(lost(&process, &why)),
    };
    // Another may lead by now: nothing that still runs here may outlive this moment.
    if matches!(ended, Ok(End::LeaseLost)) {
        return ended;
    }
    // A successor need not wait, whatever went wrong here.
    lease.release().await;
    process.metrics.leads_no_more();
    let _ = keeper.await;
    end.cancel();
    let _ = timeout(PLAIN_DEADLINE, plain).await;
    drop(claim);
    ended
}

fn lost(process: &Process, why: &str) -> End {
    process.metrics.leads_no_more();
    process.health.set(Stage::Stopping);
    tracing::error!(
        category = "lease-lost",
        why,
        "the Lease is lost: this process ends, and its restart seeks the Lease again"
    );
    End::LeaseLost
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|e| RunError::Listen(flag, address, e))
}

impl Process {
    async fn label(&self, role: Role) {
        let Instance::Pod { name: Some(name), .. } = &self.settings.instance else { return };
        if let Err(error) = pod::label(&self.client, &self.settings.namespace, name, role).await {
            tracing::warn!(category = error.category(), %error, "the Pod could not be labelled; agents may not find the leader");
        }
    }

    fn namespaces(&self) -> &[String] {
        match &self.settings.sites {
            Sites::All => &[],
            Sites::Some(names) => names,
        }
    }

    fn watch_conditions(&self, caches: kalong_controllers::kit::caches::Caches) -> Result<(), RunError> {
        let licences = LicenceCollector::new(caches.clone(), Arc::new(SystemClock))?;
        self.metrics.registry().register(Box::new(licences))?;
        self.metrics.registry().register(Box::new(ConditionCollector::new(caches)?))?;
        Ok(())
    }
}

/// SIGTERM from Kubernetes, SIGINT from a terminal.
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
