//! What the controllers count. Labels come from enums; conditions are made at scrape time from the caches.

use std::time::Duration;

use kalong_crds::kinds::Kind;
use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGaugeVec, Registry, exponential_buckets, histogram_opts, opts,
};

/// How a pass over an object ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileOutcome {
    /// It was looked at; nothing was written.
    Unchanged,
    /// It was looked at and its status written.
    Written,
    /// Another writer changed the object first; it is reconciled again at once.
    Conflict,
    /// An error; the object is reconciled again after its backoff.
    Failed,
}

impl ReconcileOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Written => "written",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }
}

/// The counters of all controllers.
#[derive(Clone, Debug)]
pub struct Metrics {
    passes: IntCounterVec,
    errors: IntCounterVec,
    duration: HistogramVec,
    not_visited: IntGaugeVec,
}

impl Metrics {
    /// Registers the counters.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let passes = IntCounterVec::new(
            opts!("reconcile_total", "Passes over objects by kind and result."),
            &["kind", "result"],
        )?;
        let errors = IntCounterVec::new(
            opts!("reconcile_errors_total", "Failed passes by kind and category."),
            &["kind", "category"],
        )?;
        let buckets = exponential_buckets(0.0005, 4.0, 8)?;
        let duration = HistogramVec::new(
            histogram_opts!("reconcile_duration_seconds", "Time of a pass by kind.", buckets),
            &["kind"],
        )?;
        let not_visited = IntGaugeVec::new(
            opts!("not_visited_objects", "Objects that the leader has not visited since it took over, by kind."),
            &["kind"],
        )?;
        registry.register(Box::new(not_visited.clone()))?;
        registry.register(Box::new(passes.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { passes, errors, duration, not_visited })
    }

    /// A pass ended.
    pub fn passed(&self, kind: &str, outcome: ReconcileOutcome, took: Duration) {
        self.passes.with_label_values(&[kind, outcome.label()]).inc();
        let histogram: Histogram = self.duration.with_label_values(&[kind]);
        histogram.observe(took.as_secs_f64());
    }

    /// So many objects of a kind are to be visited once.
    pub(super) fn expected(&self, kind: Kind, count: usize) {
        self.not_visited.with_label_values(&[kind.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// One of them was.
    pub(super) fn first_visited(&self, kind: Kind) {
        self.not_visited.with_label_values(&[kind.as_str()]).dec();
    }

    /// A pass failed.
    pub fn failed(&self, kind: &str, category: &str) {
        self.errors.with_label_values(&[kind, category]).inc();
    }
}
