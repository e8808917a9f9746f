//! All controllers together.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};
use kalong_crds::Phase;
use kalong_crds::wire::desired::ItemKind;
use kube::{Client, ResourceExt};
use kube_runtime::events::{Recorder, Reporter};
use kube_runtime::reflector::Store;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::kit::caches::{CacheError, Caches, Triggers, select};
use crate::kit::clock::Clock;
use crate::kit::context::{Context, Permits, Settings};
use crate::kit::debounce::ConfirmationDebounce;
use crate::kit::drains::Drains;
use crate::kit::life::in_force;
use crate::kit::link::AgentLink;
use crate::kit::metrics::Metrics;
use crate::kit::mirror::Mirror;
use crate::kit::queue::ReconcileQueue;
use crate::kit::reconciler::{FirstPass, drive};
use crate::kit::status::StatusWriter;
use crate::kit::throttle::StatusThrottle;

/// What the controllers are built from.
pub struct Parts {
    /// The API server.
    pub client: Client,
    /// The agents.
    pub link: Arc<dyn AgentLink>,
    /// The cache of artifacts.
    pub mirror: Arc<dyn Mirror>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the operator was told.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
    /// Identity of this process, as the reporter of Events.
    pub instance: String,
}

/// The caches: every replica keeps them warm; only the leader lets controllers run on them.
pub struct WarmCaches {
    /// What the API server last said.
    pub caches: Caches,
    wakes: Triggers,
    tasks: JoinSet<()>,
}

/// Starts the watches of these namespaces, of all when none is named, and waits for the first lists.
pub async fn warm(client: &Client, namespaces: &[String]) -> Result<WarmCaches, CacheError> {
    let (wakes, mut tasks) = (Triggers::default(), JoinSet::new());
    let caches = Caches::start(client, namespaces, &wakes, &mut tasks).await?;
    Ok(WarmCaches { caches, wakes, tasks })
}

/// Running controllers.
pub struct Controllers {
    controllers: JoinSet<()>,
    background: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// Lets the controllers of all kinds run. The first pass visits every object once; then orders go out.
pub fn start(warm: WarmCaches, parts: Parts) -> Controllers {
    let WarmCaches { caches, wakes, tasks: mut background } = warm;
    let Parts { client, link, mirror, clock, settings, metrics, instance } = parts;
    let reporter = Reporter { controller: "kalong.dev/operator".into(), instance: Some(instance) };
    let ctx = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        link,
        mirror,
        clock,
        settings,
        caches: caches.clone(),
        wakes: wakes.clone(),
        status: StatusWriter::default(),
        metrics,
        drains: Drains::default(),
        permits: Permits::default(),
        credentials: Mutex::default(),
        debounce: ConfirmationDebounce::default(),
        throttle: StatusThrottle::default(),
    });
    listen(&ctx, &mut background);

    let first = Arc::new(FirstPass::default());
    first.expect(caches.devices.state().iter().filter_map(|d| d.uid()));
    first.expect(caches.lanes.state().iter().filter_map(|l| l.uid()));
    first.expect(caches.agents.state().iter().filter_map(|a| a.uid()));
    first.expect(caches.igvs.state().iter().filter_map(|v| v.uid()));
    first.expect(caches.links.state().iter().filter_map(|l| l.uid()));
    if first.is_empty() {
        ctx.link.open();
    }
    wakes.everything(&caches);

    let (stop, stopping) = watch::channel(false);
    let mut controllers = JoinSet::new();
    // What an object is to do depends on the state in force of its phase: after a start phases are looked at first, or
    // every object of a new one would say for a moment that its phase is not there.
    controllers.spawn(drive(ctx.clone(), caches.phases.clone(), wakes.phases, first.clone(), stopping.clone()));
    let judged = visited(caches.phases.clone()).boxed().shared();
    controllers.spawn(after(&judged, drive(ctx.clone(), caches.models, wakes.models, first.clone(), stopping.clone())));
    controllers
        .spawn(after(&judged, drive(ctx.clone(), caches.releases, wakes.releases, first.clone(), stopping.clone())));
    controllers.spawn(after(&judged, drive(ctx.clone(), caches.agents, wakes.agents, first.clone(), stopping.clone())));
    controllers
        .spawn(after(&judged, drive(ctx.clone(), caches.devices, wakes.devices, first.clone(), stopping.clone())));
    controllers.spawn(after(&judged, drive(ctx.clone(), caches.lanes, wakes.lanes, first.clone(), stopping.clone())));
    controllers
        .spawn(after(&judged, drive(ctx.clone(), caches.stations, wakes.stations, first.clone(), stopping.clone())));
    controllers.spawn(after(&judged, drive(ctx.clone(), caches.igvs, wakes.igvs, first.clone(), stopping.clone())));
    controllers.spawn(after(&judged, drive(ctx.clone(), caches.links, wakes.links, first.clone(), stopping.clone())));
    controllers.spawn(after(&judged, drive(ctx.clone(), caches.drains, wakes.drains, first.clone(), stopping.clone())));
    controllers.spawn(after(&judged, drive(ctx, caches.crossings, wakes.crossings, first, stopping)));
    Controllers { controllers, background, stop }
}

/// How long the other controllers wait for the phases to be looked at: without them they go on as if none existed.
const PHASES_DEADLINE: Duration = Duration::from_secs(5);
/// How often to look whether they were.
const PHASES_POLL: Duration = Duration::from_millis(20);

type Judged = Shared<BoxFuture<'static, ()>>;

/// Every phase that exists now was looked at once, ever.
async fn visited(phases: Store<Phase>) {
    let all = async {
        while phases.state().iter().any(|phase| in_force(phase).is_none()) {
            tokio::time::sleep(PHASES_POLL).await;
        }
    };
    if tokio::time::timeout(PHASES_DEADLINE, all).await.is_err() {
        tracing::warn!("A phase was not looked at in time; its objects are left as they are until it is.");
    }
}

fn after(
    judged: &Judged,
    driven: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    judged.clone().then(|()| driven)
}

/// Whoever an agent's report or the cache of artifacts concerns is looked at again.
fn listen(ctx: &Arc<Context>, tasks: &mut JoinSet<()>) {
    let wakes = &ctx.wakes;
    let of = |kind: ItemKind, set: &Arc<ReconcileQueue>| {
        let (mut stream, set) = (ctx.link.wakes(kind), set.clone());
        async move {
            while let Some(wake) = stream.next().await {
                set.wake(&wake.namespace, &wake.name);
            }
        }
    };
    // What a lane says may end or refuse a claim on it without changing a word of its own status.
    let (mut stream, lanes) = (ctx.link.wakes(ItemKind::Lane), ctx.clone());
    tasks.spawn(async move {
        while let Some(wake) = stream.next().await {
            lanes.wakes.lanes.wake(&wake.namespace, &wake.name);
            for drain in select(&lanes.caches.drains, &wake.namespace, |_| true) {
                lanes.wakes.drains.wake(&wake.namespace, &drain.name_any());
            }
        }
    });
    tasks.spawn(of(ItemKind::Agent, &wakes.agents));
    tasks.spawn(of(ItemKind::Igv, &wakes.igvs));
    tasks.spawn(of(ItemKind::Link, &wakes.links));
    // A report on a device may give it leave to be changed, which its lane and its neighbours have to know.
    let (mut stream, devices) = (ctx.link.wakes(ItemKind::Device), ctx.clone());
    tasks.spawn(async move {
        while let Some(wake) = stream.next().await {
            devices.wakes.devices.wake(&wake.namespace, &wake.name);
        }
    });
    let (mut changes, releases) = (ctx.mirror.changes(), ctx.clone());
    tasks.spawn(async move {
        while changes.next().await.is_some() {
            for release in releases.caches.releases.state() {
                releases.wakes.releases.wake(&release.namespace().unwrap_or_default(), &release.name_any());
            }
        }
    });
}

impl Controllers {
    /// Ends when a controller ended by itself, which none should.
    pub async fn failed(&mut self) {
        self.controllers.join_next().await;
    }

    /// Finishes running passes and ends; the caller sets the deadline.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.controllers.join_next().await.is_some() {}
        self.background.shutdown().await;
    }
}
