//! The small kit that all controllers share.

pub mod agent_object;
pub mod api;
pub mod blocked;
pub mod caches;
pub mod clock;
pub mod conditions;
pub mod context;
pub mod debounce;
pub mod drains;
pub mod finalizer;
pub mod first_pass;
#[cfg(test)]
pub(crate) mod histories;
pub mod link;
pub mod metrics;
pub mod mirror;
pub mod permits;
pub mod placement;
pub mod queue;
pub mod readiness;
pub mod reconciler;
pub(crate) mod routing;
pub mod sites;
pub mod status;
pub mod watch;

/// What went wrong while an object was looked at. It is tried again with backoff.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Error {
    /// A request to the API server failed.
    #[error(transparent)]
    #[strum(transparent)]
    Api(#[from] api::ApiError),
    /// An order could not be composed.
    #[error("could not compose the order: {0}")]
    Order(#[from] kalong_crds::wire::digest::CanonicalError),
}

/// How long one request to the API server may take.
pub const API_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// Runs a request under the deadline.
pub async fn within<T>(
    what: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, api::ApiError> {
    api::within(API_DEADLINE, what, request).await
}
