//! The way to the API server: each attempt is counted and has a deadline, Retry-After is obeyed, a budget slows down.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tower::retry::RetryLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder};

use crate::metrics::Metrics;

/// Time to the head of one answer, watches included: cert-manager allows 10 s an item.
pub const ATTEMPT_DEADLINE: Duration = Duration::from_secs(10);
/// Time for one call of ours, its retries and its body included.
pub const CALL_DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);
const RETRIES: u32 = 4;
/// A server that asks for more patience than this is asked again all the same.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No configuration was found.
    #[error("no way to the API server: give --kubeconfig or KUBECONFIG, or run with a service account ({0})")]
    NoConfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Unusable(#[source] Box<kube::Error>),
    /// An internal bound is wrong.
    #[error("the retry policy is invalid: {0}")]
    Retry(#[from] kube::client::retry::InvalidBackoff),
}

/// What a call to the API server came to when it came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server took too long.
    #[error("could not {what} within {} s: the API server does not answer", CALL_DEADLINE.as_secs())]
    Deadline {
        /// What was tried.
        what: &'static str,
    },
    /// The API server refused or failed.
    #[error("could not {what}: {source}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: Box<kube::Error>,
    },
}

impl ApiError {
    /// The word for logs and metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Deadline { .. } => "deadline",
            Self::Api { .. } => "api",
        }
    }

    /// Whether the object is not, or not any more, as the request supposed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(s) if s.is_conflict()))
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(s) if s.is_not_found()))
    }

    /// Whether the object is there already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(s) if s.is_already_exists()))
    }
}

/// The answer, if it comes within [`CALL_DEADLINE`].
pub async fn call<T>(what: &'static str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
    match timeout(CALL_DEADLINE, request).await {
        Err(_) => Err(ApiError::Deadline { what }),
        Ok(Err(source)) => Err(ApiError::Api { what, source: Box::new(source) }),
        Ok(Ok(value)) => Ok(value),
    }
}

/// How a client behaves when the server is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Waits as the server says, and keeps to this many requests a second.
    Patient {
        /// Most requests a second; none leaves it to the server's own fairness.
        budget: Option<NonZeroU32>,
    },
    /// One attempt, at once: for the Lease, where a late answer is worse than none.
    Prompt,
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

/// A client with our layers.
pub fn connect(config: &Config, manner: Manner, metrics: Arc<Metrics>) -> Result<Client, ClientError> {
    let unusable = |e: kube::Error| ClientError::Unusable(Box::new(e));
    let (retry, budget, courtesy) = match manner {
        Manner::Prompt => (None, None, None),
        Manner::Patient { budget } => {
            let retry = RetryLayer::new(RetryPolicy::new(RETRY_FIRST, RETRY_LAST, RETRIES, true)?);
            (Some(retry), budget, Some(Courtesy::default()))
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
        .layer(Counted { metrics, budget: budget.map(Budget::new), courtesy })
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Counts each attempt, gives it a deadline, and keeps to the budget and to what the server asked for.
#[derive(Clone)]
struct Counted {
    metrics: Arc<Metrics>,
    budget: Option<Budget>,
    courtesy: Option<Courtesy>,
}

impl<S> Layer<S> for Counted {
    type Service = CountedService<S>;

    fn layer(&self, inner: S) -> CountedService<S> {
        CountedService { inner, counted: self.clone() }
    }
}

#[derive(Clone)]
struct CountedService<S> {
    inner: S,
    counted: Counted,
}

/// The server did not answer an attempt in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", ATTEMPT_DEADLINE.as_secs())]
struct Silent;

impl<S, B> Service<Request<Body>> for CountedService<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = verb(request.method(), request.uri());
        let key = (request.method().clone(), request.uri().path().to_owned());
        let Counted { metrics, budget, courtesy } = self.counted.clone();
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            if let Some(courtesy) = &courtesy {
                courtesy.wait(&key).await;
            }
            if let Some(budget) = budget {
                budget.wait().await;
            }
            let begun = Instant::now();
            let answer = timeout(ATTEMPT_DEADLINE, inner.call(request)).await;
            let took = begun.elapsed();
            match answer {
                Err(_) => {
                    metrics.api_request(verb, "timeout", took);
                    Err(BoxError::from(Silent))
                }
                Ok(Err(error)) => {
                    metrics.api_request(verb, "error", took);
                    Err(error.into())
                }
                Ok(Ok(response)) => {
                    if let Some(courtesy) = &courtesy {
                        courtesy.heed(key, &response);
                    }
                    metrics.api_request(verb, response.status().as_str(), took);
                    Ok(response)
                }
            }
        })
    }
}

/// Until when the server asked not to be asked the same again, by method and path. Whoever asked may give up at its own deadline
/// and come again under its own backoff, sooner than the server wants: this remembers.
#[derive(Clone, Default)]
struct Courtesy(Arc<Mutex<HashMap<(Method, String), Instant>>>);

impl Courtesy {
    async fn wait(&self, key: &(Method, String)) {
        let until = self.0.lock().get(key).copied();
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    fn heed<B>(&self, key: (Method, String), response: &Response<B>) {
        if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        let asked = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        if let Some(seconds) = asked {
            let now = Instant::now();
            let mut until = self.0.lock();
            until.retain(|_, at| *at > now);
            until.insert(key, now + Duration::from_secs(seconds).min(PATIENCE));
        }
    }
}

/// At most so many requests a second, evenly spread: a neighbour that shares the API server notices no bursts.
#[derive(Clone)]
struct Budget {
    gap: Duration,
    next: Arc<Mutex<Instant>>,
}

impl Budget {
    fn new(per_second: NonZeroU32) -> Self {
        Self { gap: Duration::from_secs(1) / per_second.get(), next: Arc::new(Mutex::new(Instant::now())) }
    }

    async fn wait(&self) {
        let turn = {
            let mut next = self.next.lock();
            let turn = (*next).max(Instant::now());
            *next = turn + self.gap;
            turn
        };
        sleep_until(turn).await;
    }
}

/// The verb as RBAC names it.
fn verb(method: &Method, uri: &http::Uri) -> &'static str {
    if *method == Method::GET && watches(uri.query().unwrap_or_default()) {
        return "watch";
    }
    match *method {
        Method::GET if names_an_object(uri.path()) => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if names_an_object(uri.path()) => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

fn watches(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// `/api/v1[/namespaces/N]/KIND[/NAME[/SUB]]` and the same under `/apis/GROUP/VERSION`; everything else is a document.
fn names_an_object(path: &str) -> bool {
    let words: Vec<&str> = path.split('/').filter(|w| !w.is_empty()).collect();
    let rest = match words.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return true,
    };
    match rest {
        ["namespaces", _, _kind, rest @ ..] => !rest.is_empty(),
        [_kind, rest @ ..] => !rest.is_empty(),
        [] => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_rbac() {
        let devices = "/apis/kalong.dev/v1alpha1/namespaces/a/devices";
        for (method, uri, expected) in [
            (Method::GET, devices.to_owned(), "list"),
            (Method::GET, format!("{devices}?watch=true&x=1"), "watch"),
            (Method::GET, format!("{devices}/d1"), "get"),
            (Method::PUT, format!("{devices}/d1/status"), "update"),
            (Method::GET, "/apis/kalong.dev/v1alpha1/devices?limit=500".to_owned(), "list"),
            (Method::GET, "/api/v1/namespaces/a".to_owned(), "get"),
            (Method::GET, "/api/v1/namespaces/a/secrets/s".to_owned(), "get"),
            (Method::GET, "/version".to_owned(), "get"),
            (Method::POST, "/api/v1/namespaces/a/secrets".to_owned(), "create"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets/s".to_owned(), "delete"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets".to_owned(), "deletecollection"),
            (Method::PATCH, "/api/v1/namespaces/a/secrets/s".to_owned(), "patch"),
        ] {
            assert_eq!(verb(&method, &uri.parse().unwrap()), expected, "{method} {uri}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_after_the_deadline_and_counted() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let silent = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>());
        let mut service = Counted { metrics: metrics.clone(), budget: None, courtesy: None }.layer(silent);
        let begun = Instant::now();
        let request = Request::get("/version").body(Body::empty()).unwrap();
        assert!(service.call(request).await.is_err());
        assert_eq!(begun.elapsed(), ATTEMPT_DEADLINE);
        assert_eq!(metrics.api_requests("get", "timeout"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gave_up_waiting_and_comes_again_is_not_sent_before_the_server_wants_it() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let busy = tower::service_fn(|_: Request<Body>| async {
            let busy = Response::builder().status(StatusCode::TOO_MANY_REQUESTS).header(RETRY_AFTER, "20");
            Ok::<_, BoxError>(busy.body(Body::empty())?)
        });
        let courtesy = Some(Courtesy::default());
        let mut service = Counted { metrics: metrics.clone(), budget: None, courtesy }.layer(busy);
        let begun = Instant::now();
        let request = |path: &str| Request::get(path).body(Body::empty()).unwrap();
        service.call(request("/api/v1/pods?a")).await.unwrap();
        assert!(timeout(Duration::from_secs(10), service.call(request("/api/v1/pods?b"))).await.is_err());
        service.call(request("/api/v1/nodes")).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(10), "other questions need not wait");
        service.call(request("/api/v1/pods?c")).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
        assert_eq!(metrics.api_requests("list", "429"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_spreads_requests_evenly() {
        let budget = Budget::new(NonZeroU32::new(10).unwrap());
        let begun = Instant::now();
        for _ in 0..11 {
            budget.wait().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}
