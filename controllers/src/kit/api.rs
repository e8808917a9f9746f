//! One request to the API server: a deadline, and an error that says what was tried.

use std::time::Duration;

use tokio::time::timeout;

/// Why a request to the API server failed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ApiError {
    /// No answer within the deadline.
    #[error("could not {what} within {after:?}: the API server does not answer")]
    Deadline {
        /// What was tried; completes "could not ...".
        what: &'static str,
        /// The deadline that passed before the API server answered.
        after: Duration,
    },
    /// The API server refused or failed, or cannot be reached.
    #[error("could not {what}: {source}")]
    Api {
        /// What was tried; completes "could not ...".
        what: &'static str,
        /// Answer of the API server, or failure of the connection.
        source: Box<kube::Error>,
    },
}

impl ApiError {
    /// Whether the object changed, or is gone, since it was read.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_conflict)
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// Whether an object of this name exists already.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_already_exists)
    }

    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Deadline { .. } => None,
        }
    }
}

/// Runs a request under a deadline, its retries included. `what` completes the sentence "could not ...".
pub async fn within<T>(
    deadline: Duration,
    what: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApiError> {
    match timeout(deadline, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(ApiError::Api { what, source: Box::new(source) }),
        Err(_) => Err(ApiError::Deadline { what, after: deadline }),
    }
}
