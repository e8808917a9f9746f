//! The routes over TLS: `POST /enrol` for boxes with a token, `GET /artifacts/<digest>` for agents.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, Method, StatusCode};
use kalong_crds::Category;
use kalong_crds::wire::enrol::{ARTIFACTS_PATH, ENROL_PATH, EnrolRequest, Refusal};
use warp::filters::body::{bytes, content_length_limit};
use warp::reject::{LengthRequired, MethodNotAllowed, PayloadTooLarge};
use warp::{Filter, Rejection, Reply};

use super::rate::RateLimit;
use super::tls::HttpsPeer;
use crate::artifacts::serve::ArtifactServer;
use crate::enrol::Enroller;
use crate::metrics::Metrics;

/// Largest enrolment request in bytes; one with a P-256 key and a token has about 1 kB.
const BODY: u64 = 16 * 1024;

const ENROL: &str = "enrol";
const ARTIFACTS: &str = "artifacts";
const OTHER: &str = "other";

#[derive(Clone)]
pub struct Routes {
    pub enroller: Arc<Enroller>,
    pub artifacts: ArtifactServer,
    pub metrics: Arc<Metrics>,
}

/// All routes. Every refusal has a sentence as its body.
pub fn routes(
    parts: Routes,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone + Send + Sync + 'static {
    let Routes { enroller, artifacts, metrics } = parts;
    let limit = Arc::new(RateLimit::default());
    let counted = Arc::clone(&metrics);
    let enrol = warp::path(ENROL_PATH)
        .and(warp::path::end())
        .and(warp::post())
        .and(warp::ext::get::<HttpsPeer>())
        .and(content_length_limit(BODY))
        .and(bytes())
        .then(move |peer: HttpsPeer, body: Bytes| {
            let (enroller, limit, metrics) = (Arc::clone(&enroller), Arc::clone(&limit), Arc::clone(&counted));
            async move { count(&metrics, ENROL, enrol(&enroller, &limit, &peer, &body).await) }
        });
    let counted = Arc::clone(&metrics);
    let artifact = warp::path(ARTIFACTS_PATH)
        .and(warp::path::param::<String>())
        .and(warp::path::end())
        .and(warp::get().map(|| Method::GET).or(warp::head().map(|| Method::HEAD)).unify())
        .and(warp::ext::get::<HttpsPeer>())
        .and(warp::header::headers_cloned())
        .then(move |hex: String, method: Method, peer: HttpsPeer, headers: HeaderMap| {
            let (artifacts, metrics) = (artifacts.clone(), Arc::clone(&counted));
            async move { count(&metrics, ARTIFACTS, artifact(&artifacts, peer, method, &hex, &headers).await) }
        });
    enrol.or(artifact).unify().recover(move |rejection| {
        let metrics = Arc::clone(&metrics);
        async move { Ok::<_, Rejection>(count(&metrics, OTHER, rejected(&rejection))) }
    })
}

async fn enrol(enroller: &Enroller, limit: &RateLimit, peer: &HttpsPeer, body: &[u8]) -> warp::reply::Response {
    if !limit.admit(peer.address) {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests from this address: try again in a minute");
    }
    let request: EnrolRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        // The words of the parser may repeat what was sent, the token included.
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("the request cannot be read (line {line}, column {column}): see docs/wire"),
            );
        }
    };
    match enroller.enrol(request).await {
        Ok(answer) => {
            let mut response = warp::reply::json(&answer).into_response();
            response.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => refuse(error.status(), &error.to_string()),
    }
}

async fn artifact(
    artifacts: &ArtifactServer,
    peer: HttpsPeer,
    method: Method,
    hex: &str,
    headers: &HeaderMap,
) -> warp::reply::Response {
    match artifacts.answer(peer.agent, &method, hex, headers).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(category = error.category(), %error, "An artifact was not served.");
            refuse(error.status(), &error.to_string())
        }
    }
}

fn rejected(rejection: &Rejection) -> warp::reply::Response {
    let (code, words) = if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "there is only POST /enrol and GET /artifacts/<digest>")
    } else if rejection.find::<PayloadTooLarge>().is_some() {
        (StatusCode::PAYLOAD_TOO_LARGE, "the request is larger than 16 KiB")
    } else if rejection.find::<LengthRequired>().is_some() {
        (StatusCode::LENGTH_REQUIRED, "send the length of the request")
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        (StatusCode::METHOD_NOT_ALLOWED, "there is only POST /enrol and GET /artifacts/<digest>")
    } else {
        (StatusCode::BAD_REQUEST, "the request cannot be read")
    };
    refuse(code, words)
}

fn refuse(code: StatusCode, words: &str) -> warp::reply::Response {
    let refusal = Refusal { message: words.to_owned() };
    warp::reply::with_status(warp::reply::json(&refusal), code).into_response()
}

fn count(metrics: &Metrics, route: &'static str, response: warp::reply::Response) -> warp::reply::Response {
    metrics.http_request(route, response.status());
    response
}
