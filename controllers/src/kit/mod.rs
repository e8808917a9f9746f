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
    /// The API server refused or failed.
    #[error("could not {what}: {source}")]
    Api {
        /// What was tried, as it follows "could not".
        what: &'static str,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The API server took too long.
    #[error("could not {what} within {after:?}: the API server does not answer")]
    Deadline {
        /// What was tried, as it follows "could not".
        what: &'static str,
        /// The deadline that passed before an answer came.
        after: std::time::Duration,
    },
    /// An order could not be composed.
    #[error("could not compose the order: {0}")]
    Order(#[from] kalong_crds::wire::digest::CanonicalError),
}

impl From<api::ApiError> for Error {
    fn from(error: api::ApiError) -> Self {
        match error {
            api::ApiError::Api { what, source } => Self::Api { what, source },
            api::ApiError::Deadline { what, after } => Self::Deadline { what, after },
        }
    }
}

/// How long one request to the API server may take.
pub const API_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// Runs a request under the deadline.
pub async fn within<T>(what: &'static str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    Ok(api::within(API_DEADLINE, what, request).await?)
}
