//! HTTP/1.1 to one device: one connection, kept open between calls, with a bound on time and on what is read.
//!
//! No pool and no TLS: sixty devices share twelve megabytes, and a device needs no more than one connection.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{CALL_DEADLINE, DeviceCredential, DriverError};

/// Longest time until a device takes a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Longest time in which not one byte of an image gets on, the device's last answer included.
const STALL_DEADLINE: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// What is read of an image at a time, in bytes.
const CHUNK: usize = 16 * 1024;
/// Largest buffer of a connection, in bytes.
const MAX_BUFFER: usize = 32 * 1024;

pub(super) type HttpBody = UnsyncBoxBody<Bytes, io::Error>;

/// Status and body of a response; `retry_after` is set from its header where that is in seconds.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// One device that serves HTTP.
pub(super) struct HttpPeer {
    endpoint: String,
    /// Taken out while a call is under way, so that an interrupted call never leaves half an answer behind.
    kept: Option<SendRequest<HttpBody>>,
}

/// Connects to `host:port` within three seconds.
pub(super) async fn dial(endpoint: &str) -> Result<TcpStream, DriverError> {
    let unreachable = |error: io::Error| DriverError::Unreachable(endpoint.to_owned(), Some(Box::new(error)));
    let stream = timeout(CONNECT_DEADLINE, TcpStream::connect(endpoint))
        .await
        .map_err(|_| DriverError::Unreachable(endpoint.to_owned(), None))?
        .map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(stream)
}

/// The `Authorization` header of this credential, where there is one: Basic, or Bearer where no username is given.
pub(super) fn authorisation_of(credential: Option<&DeviceCredential>) -> Result<Option<HeaderValue>, DriverError> {
    let Some(credential) = credential else { return Ok(None) };
    let text = if credential.username.is_empty() {
        format!("Bearer {}", credential.password)
    } else {
        format!("Basic {}", BASE64.encode(format!("{}:{}", credential.username, credential.password)))
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        DriverError::Invalid("the password of the device's Secret has characters that HTTP cannot carry".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A body that is in memory.
pub(super) fn full(bytes: impl Into<Bytes>) -> HttpBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

impl HttpPeer {
    pub(super) fn new(endpoint: String) -> Self {
        Self { endpoint, kept: None }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A short call with a body in memory. All calls of the contract may be repeated, so one that met a connection that the device
    /// had closed meanwhile goes out again on a new one.
    pub(super) async fn call(&mut self, request: Request<Bytes>) -> Result<HttpAnswer, DriverError> {
        timeout(CALL_DEADLINE, self.exchange(request))
            .await
            .map_err(|_| DriverError::Timeout(self.endpoint.clone(), CALL_DEADLINE))?
    }

    async fn exchange(&mut self, request: Request<Bytes>) -> Result<HttpAnswer, DriverError> {
        if let Some(mut sender) = self.kept.take()
            && sender.ready().await.is_ok()
            && let Ok(answer) = self.send(sender, request.clone().map(full)).await
        {
            return Ok(answer);
        }
        let sender = self.open().await?;
        self.send(sender, request.map(full)).await
    }

    async fn open(&self) -> Result<SendRequest<HttpBody>, DriverError> {
        let stream = dial(&self.endpoint).await?;
        let (sender, connection) = Builder::new()
            .max_buf_size(MAX_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| DriverError::Protocol(error.to_string()))?;
        // Ends by itself once the sender is dropped or the device hangs up; the sender gets the error.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn send(
        &mut self,
        mut sender: SendRequest<HttpBody>,
        mut request: Request<HttpBody>,
    ) -> Result<HttpAnswer, DriverError> {
        let host = HeaderValue::from_str(&self.endpoint);
        request.headers_mut().insert(HOST, host.map_err(|error| DriverError::Invalid(error.to_string()))?);
        let response = sender.send_request(request).await.map_err(|error| self.fault(error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| DriverError::Protocol(format!("its answer cannot be read: {error}")))?
            .to_bytes();
        if sender.ready().await.is_ok() {
            self.kept = Some(sender);
        }
        let retry_after = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Ok(HttpAnswer { status: parts.status, retry_after: retry_after.map(Duration::from_secs), body })
    }

    fn fault(&self, error: hyper::Error) -> DriverError {
        if error.is_parse() {
            DriverError::Protocol(error.to_string())
        } else {
            DriverError::Unreachable(self.endpoint.clone(), Some(Box::new(error)))
        }
    }

    /// Sends an image from this byte on, on a connection of its own. It may take as long as it likes while bytes get on.
    pub(super) async fn upload(
        &mut self,
        mut request: Request<()>,
        image: &Path,
        from: u64,
        size: u64,
    ) -> Result<HttpAnswer, DriverError> {
        let (body, sent) = read_from(image, from, size).await.map_err(|error| {
            DriverError::Invalid(format!("the image at {} cannot be read: {error}", image.display()))
        })?;
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size.saturating_sub(from)));
        self.kept = None;
        let sender = timeout(CALL_DEADLINE, self.open())
            .await
            .map_err(|_| DriverError::Timeout(self.endpoint.clone(), CALL_DEADLINE))??;
        let stalled = DriverError::Timeout(self.endpoint.clone(), STALL_DEADLINE);
        let exchange = self.send(sender, request.map(|()| body));
        tokio::pin!(exchange);
        let mut before = 0;
        loop {
            if let Ok(answer) = timeout(STALL_DEADLINE, &mut exchange).await {
                return answer;
            }
            let now = sent.load(Ordering::Relaxed);
            if now == before {
                return Err(stalled);
            }
            before = now;
        }
    }
}

/// A body that reads a file piece by piece, and how many bytes of it went out so far.
async fn read_from(image: &Path, from: u64, size: u64) -> io::Result<(HttpBody, Arc<AtomicU64>)> {
    let mut file = File::open(image).await?;
    file.seek(SeekFrom::Start(from)).await?;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let file = file.take(size.saturating_sub(from));
    let chunks = futures::stream::try_unfold((file, counter), |(mut file, counter)| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let got = (&mut file).take(u64::try_from(CHUNK).unwrap_or(u64::MAX)).read_to_end(&mut chunk).await?;
        counter.fetch_add(u64::try_from(got).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok::<_, io::Error>((got > 0).then(|| (Frame::data(Bytes::from(chunk)), (file, counter))))
    });
    Ok((StreamBody::new(chunks).boxed_unsync(), sent))
}

/// A header that carries the credential, where there is one.
pub(super) fn authorise<T>(request: &mut Request<T>, value: Option<&HeaderValue>) {
    if let Some(value) = value {
        request.headers_mut().insert(AUTHORIZATION, value.clone());
    }
}
