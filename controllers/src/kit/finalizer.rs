//! The finalizer that keeps an object until its agent has let go of it.

use kalong_crds::{ABANDON, EdgeAgent, FINALIZER};
use kube::ResourceExt;

use super::link::Holding;

/// The finalizers with ours, if the object has an order and no finalizer of ours yet.
pub fn with(present: &[String], wanted: bool) -> Option<Vec<String>> {
    let guarded = present.iter().any(|f| f == FINALIZER);
    (wanted && !guarded).then(|| present.iter().cloned().chain([FINALIZER.to_owned()]).collect())
}

/// The finalizers without ours, once the agent let go of the object or never can: it never enrolled, its EdgeAgent is gone, or a
/// person abandoned it.
pub fn without(present: &[String], holding: Holding, agent: Option<&EdgeAgent>) -> Option<Vec<String>> {
    let abandoned = agent.is_none_or(|a| a.annotations().contains_key(ABANDON));
    let enrolled = agent.and_then(|a| a.status.as_ref()).is_some_and(|s| s.certificate.is_some());
    let free = holding == Holding::NotHeld || abandoned || !enrolled;
    let guarded = present.iter().any(|f| f == FINALIZER);
    (guarded && free).then(|| present.iter().filter(|f| *f != FINALIZER).cloned().collect())
}
