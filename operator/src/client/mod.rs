//! The way to the API server. Each attempt is counted and has a deadline, Retry-After is obeyed, and a budget limits the rate.

mod metered;
mod verb;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

use crate::metrics::Metrics;
use metered::{MeteredLayer, RequestBudget, RetryAfterTracker};

pub use kalong_controllers::kit::api::{ApiError, within};

/// Bounds one call of the operator, its retries and its body included.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);
const RETRIES: u32 = 4;

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no way to the API server: give --kubeconfig or KUBECONFIG, or run with a service account ({0})")]
    NoConfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration is incomplete or contradicts itself.
    #[error("the kubeconfig cannot be used: {0}")]
    Unusable(#[source] Box<kube::Error>),
    /// The constants of this module contradict each other.
    #[error("the retry policy is invalid: {0}")]
    Retry(#[from] kube::client::retry::InvalidBackoff),
}

/// Runs a request of the operator under [`CALL_DEADLINE`].
pub async fn call<T>(what: &'static str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
    within(CALL_DEADLINE, what, request).await
}

/// What a client does when the API server is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryMode {
    /// Tries again when the server asks for it, within a budget of requests.
    Retrying {
        /// Most requests a second; none leaves it to the server's own fairness.
        budget: Option<NonZeroU32>,
    },
    /// One attempt, at once: for the Lease, where a late answer is worse than none.
    SingleAttempt,
}

/// Reads how to reach the API server.
pub async fn configuration(kubeconfig: Option<&Path>) -> Result<Config, ClientError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path).map_err(|e| ClientError::NoConfig(Box::new(e)))?;
            Config::from_custom_kubeconfig(file, &Default::default())
                .await
                .map_err(|e| ClientError::NoConfig(Box::new(e)))?
        }
        None => Config::infer().await.map_err(|e| ClientError::NoConfig(Box::new(e)))?,
    };
    config.connect_timeout = Some(CONNECT_DEADLINE);
    // HTTPS_PROXY is for artifacts: the API server is reached from inside the cluster, and kube refuses proxies without a feature.
    config.proxy_url = None;
    Ok(config)
}

/// A client whose attempts are counted, bounded and, depending on the mode, retried.
pub fn connect(config: &Config, mode: RetryMode, metrics: Arc<Metrics>) -> Result<Client, ClientError> {
    let unusable = |e: kube::Error| ClientError::Unusable(Box::new(e));
    let (retry, budget, retry_after) = match mode {
        RetryMode::SingleAttempt => (None, None, None),
        RetryMode::Retrying { budget } => {
            let retry = RetryLayer::new(RetryPolicy::new(RETRY_FIRST, RETRY_LAST, RETRIES, true)?);
            (Some(retry), budget, Some(RetryAfterTracker::default()))
        }
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
    let https = config.rustls_https_connector_with_connector(tcp).map_err(unusable)?;
    let http = hyper_util::client::legacy::Builder::new(TokioExecutor::new()).build::<_, Body>(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer().map_err(unusable)?)
        .layer(config.extra_headers_layer().map_err(unusable)?)
        .layer(MeteredLayer { metrics, budget: budget.map(RequestBudget::new), retry_after })
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}
