//! The leader: starts keys, uplink, gateway, controllers and HTTPS in this order, and stops them in reverse.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kalong_controllers::kit::clock::SystemClock;
use kalong_controllers::kit::context::Settings as ControllerSettings;
use kalong_controllers::kit::link::Admittance;
use kalong_controllers::kit::metrics::Metrics as ControllerMetrics;
use kalong_controllers::{Controllers, WarmCaches};
use kalong_crds::Category;
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::release::ReleaseKeys;
use kube::runtime::events::{Recorder, Reporter};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{END_DEADLINE, Process, RunEnd, RunError, Signals, listen, lost};
use crate::artifacts::serve::ArtifactServer;
use crate::artifacts::{ArtifactCache, ArtifactMirror, Fetcher};
use crate::broker::{Gateway, GatewayConfig, GatewayMetrics, Limits, tls as gateway_tls};
use crate::enrol::{self, Enroller};
use crate::health::ProcessStage;
use crate::http::routes::{Routes, routes};
use crate::http::tls::{self, CONNECTIONS, TlsServer};
use crate::keys::refresh::{Refresh, announce};
use crate::keys::{KeyStore, Keys, trust};
use crate::lease::LeaseHandle;
use crate::lease::pod::Role;
use crate::transport::SessionHandler;
use crate::uplink::{KubeEvents, RenewalError, Renewals, Uplink, UplinkConfig, UplinkMetrics};

/// Heartbeats without which an agent counts as silent.
const GRACE_BEATS: u32 = 3;
/// Bounds the end of the gateway's sessions.
const GATEWAY_DEADLINE: Duration = Duration::from_secs(5);
/// Bounds running reconciles at the shutdown.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Fills the caches, waits for the Lease, then leads until a signal, the loss of the Lease, or a failure.
pub async fn stand_by(
    process: &Process,
    lease: &LeaseHandle,
    release_keys: ReleaseKeys,
    signals: &mut Signals,
) -> Result<RunEnd, RunError> {
    let warm = tokio::select! {
        () = signals.received() => return Ok(asked(process)),
        warm = async {
            // A Pod whose container was restarted may still carry the label of the earlier process.
            process.label(Role::Standby).await;
            kalong_controllers::warm(&process.client, process.namespaces()).await
        } => warm?,
    };
    process.watch_conditions(warm.caches.clone())?;
    process.health.set(ProcessStage::Standby);
    let term = tokio::select! {
        () = signals.received() => return Ok(asked(process)),
        acquired = lease.acquired() => match acquired {
            Ok(term) => term,
            Err(_) => return Ok(lost(process, &lease.lost().await)),
        },
    };
    process.metrics.leads(term);
    process.health.set(ProcessStage::Leading);
    let mut leader = tokio::select! {
        () = signals.received() => return Ok(asked(process)),
        leader = Leader::start(process, lease, warm, release_keys, term) => leader?,
    };
    process.label(Role::Leader).await;
    process.health.set(ProcessStage::Serving);
    tracing::info!(term, "The operator serves agents.");
    let ended = tokio::select! {
        () = signals.received() => asked(process),
        why = lease.lost() => return Ok(lost(process, &why)),
        () = leader.broken() => RunEnd::Broken,
    };
    process.health.set(ProcessStage::Stopping);
    if timeout(END_DEADLINE, leader.stop(process)).await.is_err() {
        tracing::warn!("The shutdown took longer than {} s and is cut short.", END_DEADLINE.as_secs());
    }
    Ok(ended)
}

fn asked(process: &Process) -> RunEnd {
    process.health.set(ProcessStage::Stopping);
    tracing::info!("The operator was asked to stop.");
    RunEnd::Asked
}

/// The parts that only the leader runs.
struct Leader {
    gateway: Gateway,
    fatal: BoxFuture<'static, String>,
    controllers: Controllers,
    mirror: ArtifactMirror,
    https: JoinHandle<()>,
    end: CancellationToken,
    _uplink: Arc<Uplink>,
}

impl Leader {
    async fn start(
        process: &Process,
        lease: &LeaseHandle,
        warm: WarmCaches,
        release_keys: ReleaseKeys,
        term: u64,
    ) -> Result<Self, RunError> {
        let Process { settings, metrics, health: _, client, identity } = process;
        let end = CancellationToken::new();

        let keys = keys(process, &release_keys, end.clone()).await?;
        let sealing_seed = keys.borrow().signing.sealing_seed();
        let (https_tls, gateway_tls) = follow(keys.clone(), process, end.clone())?;

        let enrolled: Arc<OnceLock<Weak<Uplink>>> = Arc::default();
        let enroller = Arc::new(Enroller::new(enrol::EnrollerConfig {
            client: client.clone(),
            keys: keys.clone(),
            release_keys: release_keys.clone(),
            advertise: settings.advertise.clone(),
            sites: settings.sites.clone(),
            recorder: Recorder::new(
                client.clone(),
                Reporter { controller: "kalong.dev/operator".into(), instance: Some(identity.clone()) },
            ),
            metrics: Arc::clone(metrics),
            enrolled: tell(Arc::clone(&enrolled)),
        }));
        let config = UplinkConfig {
            term,
            signer: keys.borrow().signing.signer()?,
            grace: settings.heartbeat * GRACE_BEATS,
            metrics: Arc::new(UplinkMetrics::register(metrics.named())?),
        };
        let events = Arc::new(KubeEvents::new(client.clone(), identity.clone()));
        let uplink = Uplink::new(config, events, Arc::new(SessionRenewals(Arc::clone(&enroller))));
        let _ = enrolled.set(Arc::downgrade(&uplink));
        tokio::spawn(raise(Arc::downgrade(&uplink), lease.clone(), end.clone()));

        let config = GatewayConfig {
            listen: settings.listen.mqtt,
            tls: gateway_tls,
            limits: Limits::default(),
            metrics: Arc::new(GatewayMetrics::register(metrics.named())?),
        };
        let gateway = Gateway::start(config, uplink.clone()).await?;
        let fatal = gateway.fatal().map(|fatal| format!("{fatal:?}")).boxed();

        let artifacts = &settings.artifacts;
        let fetcher = Fetcher::new(artifacts.hosts.clone(), artifacts.extra_roots.as_deref())?;
        let cache = Arc::new(ArtifactCache::open(&artifacts.dir, artifacts.bytes, Arc::clone(metrics))?);
        let mirror = ArtifactMirror::new(Arc::clone(&cache), fetcher, Arc::clone(metrics));
        let parts = kalong_controllers::Parts {
            client: client.clone(),
            link: uplink.clone(),
            mirror: Arc::new(mirror.clone()),
            clock: Arc::new(SystemClock),
            settings: ControllerSettings {
                heartbeat: settings.heartbeat,
                release_keys: release_keys.clone(),
                sealing_seed,
            },
            metrics: ControllerMetrics::new(metrics.registry())?,
            instance: identity.clone(),
        };
        let controllers = kalong_controllers::start(warm, parts);

        let server = TlsServer {
            listener: listen("--https-listen", settings.listen.https).await?,
            tls: https_tls,
            connections: CONNECTIONS,
            metrics: Arc::clone(metrics),
        };
        let artifacts = ArtifactServer::new(cache, admitted(&uplink));
        let filter = routes(Routes { enroller, artifacts, metrics: Arc::clone(metrics) });
        let https = tokio::spawn(server.run(filter, end.clone()));
        // Last, since boxes may enrol as soon as they can read it.
        let trusted = keys.borrow().clone();
        trust::publish(client, &settings.namespace, &trusted, &release_keys, &settings.advertise).await?;
        Ok(Self { gateway, fatal, controllers, mirror, https, end, _uplink: uplink })
    }

    /// Resolves when a part ended that must not.
    async fn broken(&mut self) {
        tokio::select! {
            fatal = &mut self.fatal => tracing::error!(category = "router", fatal, "The gateway's router is dead; the process ends."),
            () = self.controllers.failed() => tracing::error!(category = "controller", "A controller ended by itself; the process ends."),
            _ = &mut self.https => tracing::error!(category = "https", "The HTTPS server ended by itself; the process ends."),
        }
    }

    /// Stops taking sessions first, then finishes what runs. The caller gives the Lease back, last.
    async fn stop(self, process: &Process) {
        let Self { gateway, fatal: _, controllers, mirror, https, end, _uplink } = self;
        process.label(Role::Standby).await;
        end.cancel();
        if let Err(error) = gateway.stop(GATEWAY_DEADLINE).await {
            tracing::warn!(category = error.category(), %error, "Sessions of agents were cut.");
        }
        if timeout(DRAIN_DEADLINE, controllers.stop()).await.is_err() {
            tracing::warn!("Running reconciles were cut; the next leader repeats them.");
        }
        mirror.stop().await;
        if !https.is_finished() {
            let _ = https.await;
        }
    }
}

async fn keys(
    process: &Process,
    release_keys: &ReleaseKeys,
    end: CancellationToken,
) -> Result<watch::Receiver<Arc<Keys>>, RunError> {
    let Process { settings, metrics, health: _, client, identity: _ } = process;
    let store = KeyStore::new(client.clone(), &settings.namespace, settings.server_names.clone());
    let first = store.load().await?;
    announce(metrics, &first);
    let (sender, keys) = watch::channel(Arc::new(first));
    let refresh = Refresh {
        store,
        client: client.clone(),
        namespace: settings.namespace.clone(),
        release_keys: release_keys.clone(),
        advertise: settings.advertise.clone(),
        metrics: Arc::clone(metrics),
    };
    tokio::spawn(refresh.run(sender, end));
    Ok(keys)
}

type TlsConfigs = (watch::Receiver<Arc<ServerConfig>>, watch::Receiver<Arc<ServerConfig>>);

/// The TLS configurations of both servers, rebuilt whenever keys change. Keys that cannot be used leave the old ones in place.
fn follow(
    mut keys: watch::Receiver<Arc<Keys>>,
    process: &Process,
    end: CancellationToken,
) -> Result<TlsConfigs, RunError> {
    let first = Arc::clone(&keys.borrow_and_update());
    let (https, for_https) = watch::channel(tls::configuration(&first)?);
    let (gateway, for_gateway) = watch::channel(gateway_configuration(&first)?);
    let metrics = Arc::clone(&process.metrics);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                changed = keys.changed() => if changed.is_err() { return },
            }
            let fresh = Arc::clone(&keys.borrow_and_update());
            match (tls::configuration(&fresh), gateway_configuration(&fresh)) {
                (Ok(one), Ok(other)) => {
                    https.send_replace(one);
                    gateway.send_replace(other);
                }
                (Err(error), _) => refused(&metrics, error.category(), &error),
                (_, Err(error)) => refused(&metrics, error.category(), &error),
            }
        }
    });
    Ok((for_https, for_gateway))
}

fn gateway_configuration(keys: &Keys) -> Result<Arc<ServerConfig>, gateway_tls::GatewayTlsError> {
    let authorities = keys.authority.bundle_pem().as_bytes();
    gateway_tls::server_config(keys.server.chain_pem.as_bytes(), keys.server.key_pem.as_bytes(), authorities)
}

fn refused(metrics: &crate::metrics::Metrics, category: &'static str, error: &dyn std::error::Error) {
    metrics.key_refresh_failed(category);
    tracing::warn!(category, %error, "The new certificate cannot be used; the old one stays in use.");
}

/// Raises the term of the Lease above one that agents have verified, as happens after the Lease was deleted.
async fn raise(uplink: Weak<Uplink>, lease: LeaseHandle, end: CancellationToken) {
    let Some(mut higher) = uplink.upgrade().map(|uplink| uplink.higher_term()) else { return };
    loop {
        let claimed = *higher.borrow_and_update();
        if let Some(claimed) = claimed {
            match lease.raise_above(claimed).await {
                Ok(term) => match uplink.upgrade() {
                    Some(uplink) => uplink.raise_term(term),
                    None => return,
                },
                Err(error) => tracing::warn!(claimed, category = error.category(), %error, "The term was not raised."),
            }
        }
        tokio::select! {
            () = end.cancelled() => return,
            changed = higher.changed() => if changed.is_err() { return },
        }
    }
}

fn tell(uplink: Arc<OnceLock<Weak<Uplink>>>) -> Box<dyn Fn(&AgentId) + Send + Sync> {
    Box::new(move |agent| {
        if let Some(uplink) = uplink.get().and_then(Weak::upgrade) {
            uplink.enrolled(agent);
        }
    })
}

fn admitted(uplink: &Arc<Uplink>) -> crate::artifacts::serve::AdmissionCheck {
    let uplink = Arc::clone(uplink);
    Arc::new(move |agent| uplink.admittance(agent).map(|admittance| admittance == Admittance::Admitted).boxed())
}

/// Renews certificates for agents that ask over their session.
struct SessionRenewals(Arc<Enroller>);

impl Renewals for SessionRenewals {
    fn renew<'a>(&'a self, agent: &'a AgentId, request: Renewal) -> BoxFuture<'a, Result<Control, RenewalError>> {
        async move {
            let renewed = self.0.renew(agent, &request.csr).await.map_err(|e| RenewalError(e.to_string()))?;
            let enrol::RenewedCertificate { certificate, authorities } = renewed;
            Ok(Control::Certificate { certificate, authorities })
        }
        .boxed()
    }
}
