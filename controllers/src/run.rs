//! Starts the watches and the controllers of all kinds, and stops them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};
use kalong_crds::Phase;
use kalong_crds::kinds::Kind;
use kalong_crds::wire::desired::ItemKind;
use kalong_rules::lifecycle::in_force;
use kube::{Client, ResourceExt};
use kube_runtime::events::{Recorder, Reporter};
use kube_runtime::reflector::Store;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::kit::caches::{Caches, Triggers};
use crate::kit::clock::Clock;
use crate::kit::context::{Context, Settings};
use crate::kit::debounce::ConfirmationDebounce;
use crate::kit::drains::Drains;
use crate::kit::first_pass::FirstPass;
use crate::kit::link::{AgentLink, Wake};
use crate::kit::metrics::Metrics;
use crate::kit::mirror::Mirror;
use crate::kit::permits::Permits;
use crate::kit::queue::ReconcileQueue;
use crate::kit::reconciler::{Reconcile, drive};
use crate::kit::routing::{Routed, route_report};
use crate::kit::status::StatusWriter;
use crate::kit::watch::CacheError;

/// What the controllers are built from.
pub struct Parts {
    /// Client of the API server.
    pub client: Client,
    /// What reaches the edge agents.
    pub link: Arc<dyn AgentLink>,
    /// The operator's cache of artifacts.
    pub mirror: Arc<dyn Mirror>,
    /// Source of the wall clock.
    pub clock: Arc<dyn Clock>,
    /// Settings from the operator's command line.
    pub settings: Settings,
    /// Counters that are scraped.
    pub metrics: Metrics,
    /// Identity of this process, as the reporter of Events.
    pub instance: String,
}

/// Caches that are filled. Every replica keeps them so; only the leader runs controllers on them.
pub struct WarmCaches {
    /// Caches of all kinds.
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

/// The controllers while they run.
pub struct Controllers {
    controllers: JoinSet<()>,
    background: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// Starts the controllers of all kinds. Every object is reconciled once; only then do orders go out.
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
    });
    listen(&ctx, &mut background);

    // Woken first: what goes between the two is woken for nothing, and is not waited for in vain.
    wakes.everything(&caches);
    let link = ctx.link.clone();
    let first = Arc::new(FirstPass::new(move || link.open(), ctx.metrics.clone()));
    macro_rules! expect {
        ($($kind:ident { $list:ident $($facts:tt)* })+) => { $(first.expect_all(&caches.$list);)+ };
    }
    kalong_crds::for_each_kind!(expect);
    background.spawn(first.clone().run());

    let (stop, stopping) = watch::channel(false);
    let starter = Starter { phases: reconciled(caches.phases.clone()).boxed().shared(), ctx, first, stopping };
    let mut controllers = JoinSet::new();
    macro_rules! drive {
        ($($kind:ident { $list:ident $($facts:tt)* })+) => {
            $(controllers.spawn(starter.drive(caches.$list, wakes.$list));)+
        };
    }
    kalong_crds::for_each_kind!(drive);
    Controllers { controllers, background, stop }
}

/// How long the other controllers wait for the phases to be reconciled; then objects of a new phase say that it does not exist.
const PHASES_DEADLINE: Duration = Duration::from_secs(5);
const PHASES_POLL: Duration = Duration::from_millis(20);

/// What the controllers of all kinds start with.
struct Starter {
    ctx: Arc<Context>,
    first: Arc<FirstPass>,
    stopping: watch::Receiver<bool>,
    /// Resolves once every phase that exists at the start has a state in force.
    phases: Shared<BoxFuture<'static, ()>>,
}

impl Starter {
    /// What an object is to do depends on the state in force of its phase: after a start phases are reconciled first, or every object
    /// of a new phase would say for a moment that its phase does not exist.
    fn drive<K: Reconcile>(
        &self,
        cache: Store<K>,
        queue: Arc<ReconcileQueue>,
    ) -> impl Future<Output = ()> + Send + use<K> {
        let driven = drive(self.ctx.clone(), cache, queue, self.first.clone(), self.stopping.clone());
        let phases = (K::KIND != Kind::Phase).then(|| self.phases.clone());
        async move {
            if let Some(phases) = phases {
                phases.await;
            }
            driven.await;
        }
    }
}

/// Resolves once every phase that exists now was reconciled at least once, by this operator or an earlier one.
async fn reconciled(phases: Store<Phase>) {
    let all = async {
        while phases.state().iter().any(|phase| in_force(phase).is_none()) {
            tokio::time::sleep(PHASES_POLL).await;
        }
    };
    if tokio::time::timeout(PHASES_DEADLINE, all).await.is_err() {
        tracing::warn!("A phase was not reconciled in time; its objects are left as they are until it is.");
    }
}

/// Wakes what rests on an agent's report, or on the cache of artifacts.
fn listen(ctx: &Arc<Context>, tasks: &mut JoinSet<()>) {
    macro_rules! reports {
        ($($kind:ident { $list:ident $($facts:tt)* })+) => {
            $(if let Some(item) = Kind::$kind.item_kind() {
                tasks.spawn(reports::<kalong_crds::$kind>(ctx.clone(), item));
            })+
        };
    }
    kalong_crds::for_each_kind!(reports);
    let (mut changes, ctx) = (ctx.mirror.changes(), ctx.clone());
    tasks.spawn(async move {
        while changes.next().await.is_some() {
            for release in ctx.caches.releases.state() {
                ctx.wakes.releases.wake(&release.namespace().unwrap_or_default(), &release.name_any());
            }
        }
    });
}

async fn reports<K: Routed>(ctx: Arc<Context>, item: ItemKind) {
    let mut wakes = ctx.link.wakes(item);
    while let Some(Wake { namespace, name }) = wakes.next().await {
        route_report::<K>(&ctx.caches.site(&namespace), &ctx.wakes, &namespace, &name);
    }
}

impl Controllers {
    /// Resolves when a controller ends by itself, which none should.
    pub async fn failed(&mut self) {
        self.controllers.join_next().await;
    }

    /// Finishes the reconciles that run, and ends; the caller sets the deadline.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.controllers.join_next().await.is_some() {}
        self.background.shutdown().await;
    }
}
