//! The first visit of everything that exists at the start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::kinds::Kind;
use kube_runtime::reflector::Store;
use parking_lot::Mutex;

use super::caches::Controlled;
use super::link::Wake;
use super::metrics::Metrics;

/// When orders go out although something was not visited. What agents hold and nobody has asked for yet stays as it is.
const DEADLINE: Duration = Duration::from_secs(60);
/// How many of the objects that were not visited the log names.
const NAMED: usize = 10;

/// Holds orders back until all objects that agents hear of were visited once, since a set with gaps makes agents report orphans.
pub struct FirstPass {
    waiting: Mutex<BTreeSet<(Kind, String, String)>>,
    open: Box<dyn Fn() + Send + Sync>,
    metrics: Metrics,
}

impl FirstPass {
    /// Nothing is expected yet. `open` lets orders go out, and may be called again.
    pub fn new(open: impl Fn() + Send + Sync + 'static, metrics: Metrics) -> Self {
        Self { waiting: Mutex::default(), open: Box::new(open), metrics }
    }

    /// Every object of this cache has to be visited, if agents hear of its kind.
    pub fn expect_all<K: Controlled>(&self, cache: &Store<K>) {
        if K::KIND.item_kind().is_none() {
            return;
        }
        let objects = cache.state();
        self.expect(K::KIND, objects.iter().map(|object| Wake::of(object.meta())).collect());
    }

    fn expect(&self, kind: Kind, objects: Vec<Wake>) {
        self.metrics.expected(kind, objects.len());
        self.waiting.lock().extend(objects.into_iter().map(|object| (kind, object.namespace, object.name)));
    }

    /// All are expected that will be. Orders go out with the last visit, or when the deadline is over.
    pub async fn run(self: Arc<Self>) {
        if self.waiting.lock().is_empty() {
            (self.open)();
            return;
        }
        tokio::time::sleep(DEADLINE).await;
        let (count, named) = {
            let waiting = self.waiting.lock();
            let name =
                |(kind, namespace, name): &(Kind, String, String)| format!("{} {namespace}/{name}", kind.as_str());
            (waiting.len(), Vec::from_iter(waiting.iter().take(NAMED).map(name)).join(", "))
        };
        if count > 0 {
            tracing::error!(
                count, named, after = ?DEADLINE,
                "Not every object was visited; orders go out all the same. Those that were not visited stay as their agents know them."
            );
            (self.open)();
        }
    }

    /// The object was visited, or is gone.
    pub fn visited(&self, kind: Kind, object: &Wake) {
        let key = (kind, object.namespace.clone(), object.name.clone());
        let mut waiting = self.waiting.lock();
        if !waiting.remove(&key) {
            return;
        }
        self.metrics.first_visited(kind);
        if waiting.is_empty() {
            drop(waiting);
            tracing::info!("Every object was visited once; orders go out.");
            (self.open)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use prometheus::Registry;

    use super::*;

    fn wake(name: &str) -> Wake {
        Wake { namespace: "mong-cai".into(), name: name.into() }
    }

    fn pass() -> (Arc<FirstPass>, Arc<AtomicUsize>, Registry) {
        let (registry, opened) = (Registry::new(), Arc::new(AtomicUsize::new(0)));
        let count = opened.clone();
        let open = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        (Arc::new(FirstPass::new(open, Metrics::new(&registry).unwrap())), opened, registry)
    }

    fn not_visited(registry: &Registry) -> f64 {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == "not_visited_objects").unwrap();
        family.get_metric().iter().map(|metric| metric.get_gauge().get_value()).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn orders_go_out_with_the_last_visit_and_not_before() {
        let (pass, opened, registry) = pass();
        pass.expect(Kind::Lane, vec![wake("a"), wake("b")]);
        let run = tokio::spawn(pass.clone().run());
        tokio::task::yield_now().await;
        pass.visited(Kind::Lane, &wake("a"));
        pass.visited(Kind::Lane, &wake("a"));
        pass.visited(Kind::Device, &wake("b"));
        assert_eq!((opened.load(Ordering::Relaxed), not_visited(&registry)), (0, 1.0));
        pass.visited(Kind::Lane, &wake("b"));
        assert_eq!((opened.load(Ordering::Relaxed), not_visited(&registry)), (1, 0.0));
        run.await.unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn object_that_is_never_visited_holds_orders_back_until_the_deadline() {
        let (pass, opened, registry) = pass();
        pass.expect(Kind::Lane, vec![wake("a")]);
        let run = tokio::spawn(pass.clone().run());
        tokio::time::sleep(DEADLINE - Duration::from_secs(1)).await;
        assert_eq!(opened.load(Ordering::Relaxed), 0);
        run.await.unwrap();
        assert_eq!((opened.load(Ordering::Relaxed), not_visited(&registry)), (1, 1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn orders_go_out_at_once_where_nothing_is_declared() {
        let (pass, opened, _registry) = pass();
        pass.run().await;
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }
}
