//! What the leader does: keys, uplink, gateway, controllers, HTTPS, in this order; and the reverse at the end.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kalong_controllers::kit::clock::SystemClock;
use kalong_controllers::kit::context::Settings as ControllerSettings;
use kalong_controllers::kit::metrics::Metrics as ControllerMetrics;
use kalong_controllers::{Controllers, WarmCaches};
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::release::ReleaseKeys;
use kube::runtime::events::{Recorder, Reporter};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{END_DEADLINE, End, Process, RunError, Signals, listen, lost};
use crate::artifacts::serve::ArtifactServer;
use crate::artifacts::{ArtifactMirror, Cache, Fetcher};
use crate::broker::{Gateway, GatewayConfig, GatewayMetrics, Limits, tls as gateway_tls};
use crate::enrol::{self, Enroller};
use crate::health::Stage;
use crate::http::routes::{Routes, routes};
use crate::http::tls::{self, CONNECTIONS, TlsServer};
use crate::keys::refresh::{Refresh, announce};
use crate::keys::{KeyStore, Keys, trust};
use crate::lease::LeaseHandle;
use crate::lease::pod::Role;
use crate::transport::{Admission, SessionHandler};
use crate::uplink::{KubeEvents, RenewalError, Renewals, Uplink, UplinkConfig, UplinkMetrics};

/// Beats that may be missed before an agent counts as silent.
const GRACE_BEATS: u32 = 3;
/// Time for the gateway's sessions to end.
const GATEWAY_DEADLINE: Duration = Duration::from_secs(5);
/// Time for reconciles under way.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Waits for the Lease with warm caches, then leads.
pub async fn stand_by(
    process: &Process,
    lease: &LeaseHandle,
    release_keys: ReleaseKeys,
    signals: &mut Signals,
) -> Result<End, RunError> {
    let warm = tokio::select! {
        () = signals.received() => return Ok(asked(process)),
        warm = async {
            // A container that was restarted in its Pod may carry the label of its earlier life.
            process.label(Role::Standby).await;
            kalong_controllers::warm(&process.client, process.namespaces()).await
        } => warm?,
    };
    process.watch_conditions(warm.caches.clone())?;
    process.health.set(Stage::Standby);
    let term = tokio::select! {
        () = signals.received() => return Ok(asked(process)),
        acquired = lease.acquired() => match acquired {
            Ok(term) => term,
            Err(_) => return Ok(lost(process, &lease.lost().await)),
        },
    };
    process.metrics.leads(term);
    process.health.set(Stage::Leading);
    let mut leader = tokio::select! {
        () = signals.received() => return Ok(asked(process)),
        leader = Leader::start(process, lease, warm, release_keys, term) => leader?,
    };
    process.label(Role::Leader).await;
    process.health.set(Stage::Serving);
    tracing::info!(term, "the operator serves");
    let ended = tokio::select! {
        () = signals.received() => asked(process),
        why = lease.lost() => return Ok(lost(process, &why)),
        () = leader.broken() => End::Broken,
    };
    process.health.set(Stage::Stopping);
    if timeout(END_DEADLINE, leader.stop(process)).await.is_err() {
        tracing::warn!("the end took longer than {} s and is cut short", END_DEADLINE.as_secs());
    }
    Ok(ended)
}

fn asked(process: &Process) -> End {
    process.health.set(Stage::Stopping);
    tracing::info!("the operator was asked to end");
    End::Asked
}

/// Everything that only the leader runs.
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
        let enroller = Arc::new(Enroller::new(enrol::Parts {
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
        let uplink = Uplink::new(config, events, Arc::new(OverSession(Arc::clone(&enroller))));
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
        let cache = Arc::new(Cache::open(&artifacts.dir, artifacts.bytes, Arc::clone(metrics))?);
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
        // Last: whoever reads it may enrol at once.
        let trusted = keys.borrow().clone();
        trust::publish(client, &settings.namespace, &trusted, &release_keys, &settings.advertise).await?;
        Ok(Self { gateway, fatal, controllers, mirror, https, end, _uplink: uplink })
    }

    /// Ends when a part that must not end did.
    async fn broken(&mut self) {
        tokio::select! {
            fatal = &mut self.fatal => tracing::error!(category = "router", fatal, "the gateway's router is dead: the process ends"),
            () = self.controllers.failed() => tracing::error!(category = "controller", "a controller ended by itself: the process ends"),
            _ = &mut self.https => tracing::error!(category = "https", "the HTTPS server ended by itself: the process ends"),
        }
    }

    /// First no more intake, then what is under way; the Lease is given back by the caller, last.
    async fn stop(self, process: &Process) {
        let Self { gateway, fatal: _, controllers, mirror, https, end, _uplink } = self;
        process.label(Role::Standby).await;
        end.cancel();
        if let Err(error) = gateway.stop(GATEWAY_DEADLINE).await {
            tracing::warn!(category = error.category(), %error, "sessions of agents were cut");
        }
        if timeout(DRAIN_DEADLINE, controllers.stop()).await.is_err() {
            tracing::warn!("reconciles under way were cut; the next leader does them again");
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

/// The TLS configurations of both servers, made anew whenever keys change. A pair that cannot be used keeps the old one.
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

fn gateway_configuration(keys: &Keys) -> Result<Arc<ServerConfig>, gateway_tls::TlsError> {
    let authorities = keys.authority.bundle_pem().as_bytes();
    gateway_tls::server_config(keys.server.chain_pem.as_bytes(), keys.server.key_pem.as_bytes(), authorities)
}

fn refused(metrics: &crate::metrics::Metrics, category: &'static str, error: &dyn std::error::Error) {
    metrics.key_refresh_failed(category);
    tracing::warn!(category, %error, "the new certificate cannot be used; the old one stays in use");
}

/// Agents come and say that they have verified a higher term, after the Lease was lost once: ours is raised above it.
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
                Err(error) => tracing::warn!(claimed, category = error.category(), %error, "the term was not raised"),
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

fn admitted(uplink: &Arc<Uplink>) -> crate::artifacts::serve::Admitted {
    let uplink = Arc::clone(uplink);
    Arc::new(move |agent| uplink.admission(agent).map(|admission| admission == Admission::Admitted).boxed())
}

/// Renewals that come over a session.
struct OverSession(Arc<Enroller>);

impl Renewals for OverSession {
    fn renew<'a>(&'a self, agent: &'a AgentId, request: Renewal) -> BoxFuture<'a, Result<Control, RenewalError>> {
        async move {
            let renewed = self.0.renew(agent, &request.csr).await.map_err(|e| RenewalError(e.to_string()))?;
            let enrol::Renewed { certificate, authorities } = renewed;
            Ok(Control::Certificate { certificate, authorities })
        }
        .boxed()
    }
}
