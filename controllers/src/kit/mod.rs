//! The small kit that all controllers share.

pub mod caches;
pub mod clock;
pub mod conditions;
pub mod driver;
pub mod link;
pub mod metrics;
pub mod mirror;
pub mod readiness;
pub mod status;
pub mod wakes;
pub mod world;

/// What went wrong while an object was looked at. It is tried again with backoff.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or failed.
    #[error("could not {what}: {source}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The API server took too long.
    #[error("could not {what} within {after:?}: the API server does not answer")]
    Deadline {
        /// What was tried.
        what: &'static str,
        /// The deadline.
        after: std::time::Duration,
    },
    /// An order could not be composed.
    #[error("could not compose the order: {0}")]
    Order(#[from] kalong_crds::wire::digest::CanonicalError),
}

impl Error {
    /// The word for logs, metrics and Events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::Deadline { .. } => "deadline",
            Self::Order(_) => "order",
        }
    }
}
