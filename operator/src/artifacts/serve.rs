//! `GET /artifacts/<digest>`: for admitted agents, whole or by range, from the cache only.

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::BoxFuture;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderMap, Method, Response, StatusCode};
use kalong_crds::units::{AgentId, Digest};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use warp::Reply;

use super::cache::ArtifactCache;
use super::range::{Selection, select};

/// Bounds opening a file and seeking in it.
const DISK_DEADLINE: Duration = Duration::from_secs(10);
const BLOCK: usize = 64 * 1024;

/// Bounds the wait for the admittance of an agent.
const ADMISSION_DEADLINE: Duration = Duration::from_secs(5);

/// Whether an agent may talk; pends until that is decided.
pub type AdmissionCheck = Arc<dyn Fn(&AgentId) -> BoxFuture<'static, bool> + Send + Sync>;

/// Why a request gets no artifact.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ServeError {
    /// No certificate, or one that names no agent.
    #[error("artifacts are for agents: connect with the certificate of one")]
    NoIdentity,
    /// The agent may not talk.
    #[error("agent `{0}` is suspended or not declared: artifacts are not for it")]
    NotAdmitted(AgentId),
    #[error("this is no artifact: ask for /artifacts/ and 64 lower-case hexadecimal digits")]
    NoDigest,
    /// Not in the cache, or not verified yet.
    #[error("artifact {0} is not cached now: try again in a minute")]
    NotCached(Digest),
    #[error("the cache cannot be read now: try again in a minute")]
    Disk,
}

impl ServeError {
    /// Status code of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoIdentity => StatusCode::UNAUTHORIZED,
            Self::NotAdmitted(_) => StatusCode::FORBIDDEN,
            Self::NoDigest | Self::NotCached(_) => StatusCode::NOT_FOUND,
            Self::Disk => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[derive(Clone)]
pub struct ArtifactServer {
    cache: Arc<ArtifactCache>,
    admitted: AdmissionCheck,
}

impl ArtifactServer {
    pub fn new(cache: Arc<ArtifactCache>, admitted: AdmissionCheck) -> Self {
        Self { cache, admitted }
    }

    pub async fn answer(
        &self,
        peer: Option<AgentId>,
        method: &Method,
        hex: &str,
        headers: &HeaderMap,
    ) -> Result<warp::reply::Response, ServeError> {
        let peer = peer.ok_or(ServeError::NoIdentity)?;
        if !timeout(ADMISSION_DEADLINE, (self.admitted)(&peer)).await.unwrap_or(false) {
            return Err(ServeError::NotAdmitted(peer));
        }
        let digest: Digest = format!("sha256:{hex}").parse().map_err(|_| ServeError::NoDigest)?;
        let (path, length) = self.cache.verified(&digest).ok_or_else(|| ServeError::NotCached(digest.clone()))?;
        let etag = format!("\"{}\"", digest.hex());
        let header = |name| headers.get(name).and_then(|v| v.to_str().ok());
        if header(IF_NONE_MATCH)
            .is_some_and(|known| known.split(',').any(|tag| tag.trim() == "*" || tag.trim() == etag))
        {
            return Ok(bare(StatusCode::NOT_MODIFIED, &etag, None, None));
        }
        let (status, first, count, range) = match select(header(RANGE), header(IF_RANGE), &etag, length) {
            Selection::Whole => (StatusCode::OK, 0, length, None),
            Selection::Part { first, last } => {
                let range = format!("bytes {first}-{last}/{length}");
                (StatusCode::PARTIAL_CONTENT, first, last.saturating_sub(first).saturating_add(1), Some(range))
            }
            Selection::Unsatisfiable => {
                let range = format!("bytes */{length}");
                return Ok(bare(StatusCode::RANGE_NOT_SATISFIABLE, &etag, Some(range), None));
            }
        };
        if *method == Method::HEAD {
            return Ok(bare(status, &etag, range, Some(count)));
        }
        let opened = timeout(DISK_DEADLINE, async {
            let mut file = File::open(&path).await?;
            file.seek(SeekFrom::Start(first)).await?;
            Ok::<_, std::io::Error>(file)
        });
        let file = opened.await.map_err(|_| ServeError::Disk)?.map_err(|_| ServeError::NotCached(digest))?;
        let bytes = ReaderStream::with_capacity(file.take(count), BLOCK).map_err(std::io::Error::other);
        let mut response = warp::reply::stream(bytes).into_response();
        dress(&mut response, status, &etag, range, Some(count));
        Ok(response)
    }
}

fn bare(status: StatusCode, etag: &str, range: Option<String>, length: Option<u64>) -> warp::reply::Response {
    let mut response = warp::reply::reply().into_response();
    dress(&mut response, status, etag, range, length);
    response
}

fn dress<B>(response: &mut Response<B>, status: StatusCode, etag: &str, range: Option<String>, length: Option<u64>) {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut put = |name, value: String| {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    };
    put(ETAG, etag.to_owned());
    put(ACCEPT_RANGES, "bytes".to_owned());
    put(CONTENT_TYPE, "application/octet-stream".to_owned());
    // The bytes of a digest never change.
    put(CACHE_CONTROL, "private, immutable".to_owned());
    if let Some(range) = range {
        put(CONTENT_RANGE, range);
    }
    if let Some(length) = length {
        put(CONTENT_LENGTH, length.to_string());
    }
}
