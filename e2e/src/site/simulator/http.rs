//! HTTP/1.1 under the devices and the control port: connections, bodies with a bound, and the forms of answers.

use std::convert::Infallible;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpStream;

pub(super) type HttpAnswer = Response<Full<Bytes>>;
/// The largest body that is not an image.
const LARGEST_BODY: usize = 256 * 1024;
/// A client may take so long for the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(60);

/// Answers every request of this connection.
pub(super) async fn serve<F>(stream: TcpStream, answer: impl Fn(Request<Incoming>) -> F)
where
    F: Future<Output = HttpAnswer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    // What goes wrong with a connection is the client's to see.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// The whole body, if it is not too long.
pub(super) async fn body(request: Request<Incoming>) -> Option<Bytes> {
    Limited::new(request.into_body(), LARGEST_BODY).collect().await.ok().map(|b| b.to_bytes())
}

pub(super) fn empty(status: StatusCode) -> HttpAnswer {
    typed(status, None, Bytes::new())
}

pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> HttpAnswer {
    let text = serde_json::to_vec(value).unwrap_or_default();
    typed(status, Some("application/json"), text.into())
}

pub(super) fn problem(status: StatusCode, title: &str, detail: &str) -> HttpAnswer {
    let value = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    typed(status, Some("application/problem+json"), value.to_string().into())
}

pub(super) fn typed(status: StatusCode, kind: Option<&'static str>, body: Bytes) -> HttpAnswer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    if let Some(kind) = kind {
        answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    }
    answer
}

/// Whether the request carries this login, as HTTP Basic or, with an empty user name, as a bearer token.
pub(super) fn knows_login(headers: &HeaderMap, username: &str, password: &str) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let basic = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    sent == basic || (username.is_empty() && sent == format!("Bearer {password}"))
}
