//! The finalizer that keeps an object until its agent let go of it.

use kalong_crds::{ABANDON, EdgeAgent, FINALIZER};
use kube::ResourceExt;

use super::link::Holding;

/// The finalizers with ours, when the object can be told to an agent and does not have it yet.
pub fn with(present: &[String], wanted: bool) -> Option<Vec<String>> {
    let guarded = present.iter().any(|f| f == FINALIZER);
    (wanted && !guarded).then(|| present.iter().cloned().chain([FINALIZER.to_owned()]).collect())
}

/// The finalizers without ours, when the agent let go of the object or can never say so: it never enrolled, is gone, or was
/// abandoned by a person.
pub fn without(present: &[String], holding: Holding, agent: Option<&EdgeAgent>) -> Option<Vec<String>> {
    let abandoned = agent.is_none_or(|a| a.annotations().contains_key(ABANDON));
    let enrolled = agent.and_then(|a| a.status.as_ref()).is_some_and(|s| s.certificate.is_some());
    let free = holding == Holding::NotHeld || abandoned || !enrolled;
    let guarded = present.iter().any(|f| f == FINALIZER);
    (guarded && free).then(|| present.iter().filter(|f| *f != FINALIZER).cloned().collect())
}
