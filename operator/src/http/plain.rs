//! `/livez`, `/readyz` and `/metrics`, without TLS: for the kubelet and Prometheus only.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use warp::{Filter, Reply};

use crate::health::ProcessHealth;
use crate::metrics::{CONTENT_TYPE as METRICS_TYPE, Metrics};

/// Bounds open requests at the shutdown.
const DRAIN: Duration = Duration::from_secs(2);

pub async fn serve(listener: TcpListener, health: ProcessHealth, metrics: Arc<Metrics>, end: CancellationToken) {
    let ended = end.clone();
    let server =
        warp::serve(routes(health, metrics)).incoming(listener).graceful(async move { ended.cancelled().await }).run();
    // `graceful` has no deadline of its own.
    tokio::select! {
        () = server => {}
        () = after(&end) => tracing::debug!("Open requests for health or metrics were cut."),
    }
}

async fn after(end: &CancellationToken) {
    end.cancelled().await;
    let _ = timeout(DRAIN, std::future::pending::<()>()).await;
}

fn routes(
    health: ProcessHealth,
    metrics: Arc<Metrics>,
) -> impl Filter<Extract = (impl Reply,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    let live = health.clone();
    let livez = warp::path!("livez").map(move || livez(&live));
    let readyz = warp::path!("readyz").map(move || readyz(&health));
    let metrics = warp::path!("metrics").and_then(move || scrape(Arc::clone(&metrics)));
    warp::get().and(livez.or(readyz).unify().or(metrics).unify())
}

fn livez(health: &ProcessHealth) -> warp::reply::Response {
    let complaints = health.complaints();
    if complaints.is_empty() {
        return answer(StatusCode::OK, "ok\n".to_owned());
    }
    answer(StatusCode::SERVICE_UNAVAILABLE, complaints.join("\n") + "\n")
}

fn readyz(health: &ProcessHealth) -> warp::reply::Response {
    let stage = health.stage();
    let code = if stage.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(code, format!("{}\n", stage.as_str()))
}

fn scrape(metrics: Arc<Metrics>) -> impl Future<Output = Result<warp::reply::Response, Infallible>> + Send {
    let answered = match metrics.text() {
        Ok(text) => warp::reply::with_header(text, CONTENT_TYPE, METRICS_TYPE).into_response(),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    std::future::ready(Ok(answered))
}

fn answer(code: StatusCode, text: String) -> warp::reply::Response {
    warp::reply::with_status(text, code).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::health::ProcessStage;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_and_metrics_say_what_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, metrics, end) =
            (ProcessHealth::new(), Arc::new(Metrics::new().unwrap()), CancellationToken::new());
        let server = tokio::spawn(serve(listener, health.clone(), metrics.clone(), end.clone()));

        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let starting = get(address, "/readyz").await;
        assert!(starting.starts_with("HTTP/1.1 503") && starting.ends_with("starting\n"), "{starting}");
        health.set(ProcessStage::Standby);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let _never_beats = health.watch("lease", Duration::ZERO);
        let sick = get(address, "/livez").await;
        assert!(sick.starts_with("HTTP/1.1 503") && sick.contains("lease: stands still for 0 s"), "{sick}");
        metrics.leads(3);
        let scraped = get(address, "/metrics").await;
        assert!(scraped.contains("content-type: text/plain; version=0.0.4") && scraped.contains("kalong_lease_term 3"));
        assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));

        // A client that holds its connection open does not hold up the end.
        let _idle = TcpStream::connect(address).await.unwrap();
        end.cancel();
        timeout(Duration::from_secs(5), server).await.expect("ends in time").unwrap();
    }
}
