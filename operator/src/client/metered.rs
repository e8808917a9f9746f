//! The tower layer around each attempt of a request.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tower::{BoxError, Layer, Service};

use super::verb::verb;
use crate::metrics::Metrics;

/// Time to the head of one answer, watches included: cert-manager allows 10 s an item.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(10);
/// A longer Retry-After is cut to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Counts each attempt, bounds it, and delays it for the budget and for Retry-After.
#[derive(Clone)]
pub(super) struct MeteredLayer {
    pub metrics: Arc<Metrics>,
    pub budget: Option<RequestBudget>,
    pub retry_after: Option<RetryAfterTracker>,
}

impl<S> Layer<S> for MeteredLayer {
    type Service = MeteredService<S>;

    fn layer(&self, inner: S) -> MeteredService<S> {
        MeteredService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct MeteredService<S> {
    inner: S,
    layer: MeteredLayer,
}

/// The server did not answer an attempt in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", ATTEMPT_DEADLINE.as_secs())]
struct AttemptTimeout;

impl<S, B> Service<Request<Body>> for MeteredService<S>
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
        let MeteredLayer { metrics, budget, retry_after } = self.layer.clone();
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            if let Some(retry_after) = &retry_after {
                retry_after.wait(&key).await;
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
                    Err(BoxError::from(AttemptTimeout))
                }
                Ok(Err(error)) => {
                    metrics.api_request(verb, "error", took);
                    Err(error.into())
                }
                Ok(Ok(response)) => {
                    if let Some(retry_after) = &retry_after {
                        retry_after.record(key, &response);
                    }
                    metrics.api_request(verb, response.status().as_str(), took);
                    Ok(response)
                }
            }
        })
    }
}

/// When the server wants the same request again, by method and path. A caller may give up at its own deadline and come back under its own
/// back-off, sooner than Retry-After said; the tracker delays it.
#[derive(Clone, Default)]
pub(super) struct RetryAfterTracker(Arc<Mutex<HashMap<(Method, String), Instant>>>);

impl RetryAfterTracker {
    async fn wait(&self, key: &(Method, String)) {
        let until = self.0.lock().get(key).copied();
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    fn record<B>(&self, key: (Method, String), response: &Response<B>) {
        if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        let asked = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        if let Some(seconds) = asked {
            let now = Instant::now();
            let mut until = self.0.lock();
            until.retain(|_, at| *at > now);
            until.insert(key, now + Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        }
    }
}

/// At most so many requests a second, evenly spread: other users of the API server see no bursts.
#[derive(Clone)]
pub(super) struct RequestBudget {
    gap: Duration,
    next: Arc<Mutex<Instant>>,
}

impl RequestBudget {
    pub fn new(per_second: NonZeroU32) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_after_the_deadline_and_counted() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let silent = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>());
        let mut service = MeteredLayer { metrics: metrics.clone(), budget: None, retry_after: None }.layer(silent);
        let begun = Instant::now();
        let request = Request::get("/version").body(Body::empty()).unwrap();
        assert!(service.call(request).await.is_err());
        assert_eq!(begun.elapsed(), ATTEMPT_DEADLINE);
        assert_eq!(metrics.api_requests("get", "timeout"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn caller_that_gave_up_and_comes_back_is_delayed_until_the_server_wants_it() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let busy = tower::service_fn(|_: Request<Body>| async {
            let busy = Response::builder().status(StatusCode::TOO_MANY_REQUESTS).header(RETRY_AFTER, "20");
            Ok::<_, BoxError>(busy.body(Body::empty())?)
        });
        let retry_after = Some(RetryAfterTracker::default());
        let mut service = MeteredLayer { metrics: metrics.clone(), budget: None, retry_after }.layer(busy);
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
        let budget = RequestBudget::new(NonZeroU32::new(10).unwrap());
        let begun = Instant::now();
        for _ in 0..11 {
            budget.wait().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}
