//! Artifacts by digest, over HTTPS, in ranges: one download for however many devices want it, resumed where it was durable.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use kalong_crds::condition::Reason;
use kalong_crds::units::Digest;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;
use crate::crash_point;
use crate::https::{Address, HttpsError, send};
use crate::store::attempt::Failure;
use crate::store::{Store, StoreError, sync_folder};

/// Bytes after which what was written is made durable and recorded; a cut costs at most this much twice.
const DURABLE_STEP: u64 = 4 * 1024 * 1024;
/// Longest silence within a body.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// A download that gains nothing for this long ends its attempt; the attempt is tried again later.
const NO_PROGRESS: Duration = Duration::from_secs(600);
/// First and longest wait after a broken transfer.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Downloads that run at the same time.
const PARALLEL: usize = 2;
/// Bytes that stay free on the disk beside an image.
const RESERVE: u64 = 32 * 1024 * 1024;

/// How many bytes an artifact has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Exactly this many; one more ends the download.
    Exactly(u64),
    /// Not known beforehand, and at most this many.
    AtMost(u64),
}

impl Size {
    fn limit(self) -> u64 {
        match self {
            Self::Exactly(n) | Self::AtMost(n) => n,
        }
    }
}

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadState {
    /// It is running or queued.
    Busy,
    /// It is there, whole, checked and synced.
    Ready(PathBuf),
    /// It failed, and stays so until [`Downloads::clear_failure`].
    Failed(Failure),
}

#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error(transparent)]
    Https(#[from] HttpsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the operator answered {0}: {hint}", hint = hint(*.0))]
    Status(StatusCode),
    #[error("the operator was not reached since the box started")]
    NoSource,
    #[error("the operator sent another range than asked")]
    Range,
    #[error("the transfer broke off after {0} bytes")]
    Cut(u64),
    #[error("the artifact is longer than the {0} bytes of its release")]
    TooLong(u64),
    #[error("the file cannot be written: check the disk of this box")]
    File(#[from] std::io::Error),
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "the artifact is not in its cache (yet)",
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "check that this box is not suspended",
        _ => "it is tried again",
    }
}

/// The cache of artifacts of this box.
#[derive(Debug)]
pub struct Downloads {
    folder: PathBuf,
    store: Store,
    source: Mutex<Option<(Arc<rustls::ClientConfig>, Address)>>,
    jobs: Mutex<BTreeMap<Digest, DownloadState>>,
    pins: Mutex<BTreeMap<String, Vec<Digest>>>,
    slots: Semaphore,
}

struct PartFile {
    file: std::fs::File,
    hash: ring::digest::Context,
    length: u64,
    durable: u64,
}

impl Downloads {
    /// A cache in this folder, which is made where it is missing.
    pub fn new(folder: PathBuf, store: Store) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            store,
            source: Mutex::new(None),
            jobs: Mutex::default(),
            pins: Mutex::default(),
            slots: Semaphore::new(PARALLEL),
        })
    }

    /// Sets the base address, and the TLS client with the identity, for downloads from now on.
    pub fn set_source(&self, tls: Arc<rustls::ClientConfig>, base: Address) {
        *self.source.lock() = Some((tls, base));
    }

    /// Path of the complete artifact, whether it exists yet or not.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// Returns how far the download is, and starts it where it has not begun.
    pub fn fetch(self: &Arc<Self>, digest: &Digest, size: Size) -> DownloadState {
        let mut jobs = self.jobs.lock();
        if let Some(progress) = jobs.get(digest) {
            let gone = matches!(progress, DownloadState::Ready(path) if !path.exists());
            if !gone {
                return progress.clone();
            }
        }
        if !self.path(digest).exists() && !has_room(&self.folder, size.limit()) {
            return DownloadState::Failed(Failure::transport(
                "the disk of this box has no room for the image: make room",
            ));
        }
        jobs.insert(digest.clone(), DownloadState::Busy);
        let (this, digest) = (self.clone(), digest.clone());
        tokio::spawn(async move {
            let progress = this.run(&digest, size).await;
            this.jobs.lock().insert(digest, progress);
        });
        DownloadState::Busy
    }

    /// Lets a failed download be retried.
    pub fn clear_failure(&self, digest: &Digest) {
        let mut jobs = self.jobs.lock();
        if matches!(jobs.get(digest), Some(DownloadState::Failed(_))) {
            jobs.remove(digest);
        }
    }

    /// Pins the artifacts that this device still needs. Those that no device needs are deleted.
    pub fn pin(&self, uid: &str, digests: Vec<Digest>) {
        let (mut pins, mut jobs) = (self.pins.lock(), self.jobs.lock());
        if digests.is_empty() {
            pins.remove(uid);
        } else {
            pins.insert(uid.to_owned(), digests);
        }
        let idle = |d: &Digest| !pins.values().flatten().any(|p| p == d);
        let surplus: Vec<_> =
            jobs.iter().filter(|(d, p)| idle(d) && **p != DownloadState::Busy).map(|(d, _)| d.clone()).collect();
        for digest in surplus {
            jobs.remove(&digest);
            // A file that cannot be deleted costs room and nothing else.
            let _ = std::fs::remove_file(self.path(&digest));
        }
    }

    #[cfg(test)]
    pub(crate) fn is_busy(&self) -> bool {
        self.jobs.lock().values().any(|state| *state == DownloadState::Busy)
    }

    async fn run(&self, digest: &Digest, size: Size) -> DownloadState {
        let Ok(_slot) = self.slots.acquire().await else { return DownloadState::Busy };
        let whole = self.path(digest);
        if whole.exists() {
            match digest_of_file(whole.clone()).await {
                Ok(found) if found == *digest => return DownloadState::Ready(whole),
                _ => {
                    let _ = std::fs::remove_file(&whole);
                }
            }
        }
        let mut backoff = Backoff::new(WAIT.0, WAIT.1);
        let (mut best, mut since, mut wrong) = (0, Instant::now(), 0);
        loop {
            match self.attempt(digest, size).await {
                Ok(true) => return DownloadState::Ready(whole),
                Ok(false) if wrong > 0 => {
                    return DownloadState::Failed(Failure::permanent(
                        Reason::DigestMismatch,
                        format!("the artifact is not {digest}, twice: publish a release that names the right bytes"),
                    ));
                }
                Ok(false) => wrong += 1,
                Err(error @ DownloadError::TooLong(_)) => {
                    return DownloadState::Failed(Failure::permanent(Reason::DigestMismatch, error.to_string()));
                }
                Err(error) => {
                    let have = self.store.bytes_durable(digest.hex()).await.unwrap_or(0);
                    if have > best {
                        (best, since) = (have, Instant::now());
                        backoff.reset();
                    }
                    if since.elapsed() > NO_PROGRESS {
                        return DownloadState::Failed(Failure::transport(format!(
                            "the artifact could not be fetched: {error}"
                        )));
                    }
                    tracing::warn!(digest = digest.hex(), have, %error, "A download broke off and continues later.");
                    tokio::time::sleep(backoff.wait()).await;
                }
            }
        }
    }

    /// One connection. True when the whole is staged, false when its digest is wrong.
    async fn attempt(&self, digest: &Digest, size: Size) -> Result<bool, DownloadError> {
        let path = self.folder.join(format!("{}.part", digest.hex()));
        let recorded = self.store.bytes_durable(digest.hex()).await?;
        let mut part = open_part(path.clone(), recorded).await?;
        let complete = matches!(size, Size::Exactly(n) if n == part.length);
        if !complete {
            let response = self.ask(digest, part.length).await?;
            let total = begin(&mut part, &response, size)?;
            self.receive(digest, &mut part, response, size).await?;
            if total.is_some_and(|t| t != part.length) {
                return Err(DownloadError::Cut(part.length));
            }
        }
        part.file.sync_all()?;
        let found = Digest::from_hash(part.hash.finish().as_ref());
        if found != *digest {
            self.store.record_bytes(digest.hex(), None).await?;
            std::fs::remove_file(&path)?;
            return Ok(false);
        }
        let whole = self.path(digest);
        std::fs::rename(&path, &whole)?;
        crash_point!(StagedRenamed);
        sync_folder(&whole)?;
        crash_point!(StagedSynced);
        self.store.record_bytes(digest.hex(), None).await?;
        Ok(true)
    }

    async fn ask(&self, digest: &Digest, from: u64) -> Result<Response<Incoming>, DownloadError> {
        let source = self.source.lock().clone();
        let (tls, base) = source.ok_or(DownloadError::NoSource)?;
        let mut headers = vec![("accept-encoding", "identity".to_owned())];
        if from > 0 {
            headers.push(("range", format!("bytes={from}-")));
            headers.push(("if-range", format!("\"{}\"", digest.hex())));
        }
        Ok(send(&tls, &base.join(digest.hex()), Method::GET, &headers, Bytes::new()).await?)
    }

    async fn receive(
        &self,
        digest: &Digest,
        part: &mut PartFile,
        response: Response<Incoming>,
        size: Size,
    ) -> Result<(), DownloadError> {
        let mut body = response.into_body();
        loop {
            let frame = match timeout(READ_DEADLINE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => {
                    self.secure(digest, part).await?;
                    return Err(DownloadError::Cut(part.length));
                }
            };
            let Some(data) = frame.data_ref() else { continue };
            part.length += u64::try_from(data.len()).unwrap_or(u64::MAX);
            if part.length > size.limit() {
                return Err(DownloadError::TooLong(size.limit()));
            }
            part.file.write_all(data)?;
            part.hash.update(data);
            if part.length - part.durable >= DURABLE_STEP {
                self.secure(digest, part).await?;
            }
        }
        self.secure(digest, part).await
    }

    /// Syncs the bytes, then records them: never the other way round.
    async fn secure(&self, digest: &Digest, part: &mut PartFile) -> Result<(), DownloadError> {
        if part.length == part.durable {
            return Ok(());
        }
        part.file.sync_data()?;
        crash_point!(BytesDurable);
        self.store.record_bytes(digest.hex(), Some(part.length)).await?;
        crash_point!(BytesRecorded);
        part.durable = part.length;
        Ok(())
    }
}

/// Checks the response against the request. Returns the length of the whole artifact, where the response has it.
fn begin(part: &mut PartFile, response: &Response<Incoming>, size: Size) -> Result<Option<u64>, DownloadError> {
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
    let total = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = header("content-range").and_then(|r| r.strip_prefix("bytes ")).ok_or(DownloadError::Range)?;
            let (span, total) = range.split_once('/').ok_or(DownloadError::Range)?;
            let start = span.split('-').next().and_then(|s| s.parse().ok());
            if start != Some(part.length) {
                return Err(DownloadError::Range);
            }
            total.parse().ok()
        }
        StatusCode::OK => {
            // The server ignored the range, so what we have cannot be continued.
            restart(part)?;
            header("content-length").and_then(|l| l.parse().ok())
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            restart(part)?;
            return Err(DownloadError::Range);
        }
        other => return Err(DownloadError::Status(other)),
    };
    match (total, size) {
        (Some(total), size) if total > size.limit() => Err(DownloadError::TooLong(size.limit())),
        (None, Size::Exactly(n)) => Ok(Some(n)),
        (total, _) => Ok(total),
    }
}

fn restart(part: &mut PartFile) -> std::io::Result<()> {
    part.file.set_len(0)?;
    part.file.seek(SeekFrom::Start(0))?;
    part.hash = ring::digest::Context::new(&ring::digest::SHA256);
    (part.length, part.durable) = (0, 0);
    Ok(())
}

/// Opens the part file at what was recorded as durable, and hashes that again: the disk may have lost it.
async fn open_part(path: PathBuf, recorded: u64) -> Result<PartFile, DownloadError> {
    let work = move || -> std::io::Result<PartFile> {
        let mut file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let have = file.metadata()?.len().min(recorded);
        file.set_len(have)?;
        let (hash, length) = hash_of(&mut file)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(PartFile { file, hash, length, durable: length })
    };
    Ok(tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)??)
}

fn hash_of(file: &mut std::fs::File) -> std::io::Result<(ring::digest::Context, u64)> {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|p| !p.is_empty()) else { break };
        hash.update(piece);
        length += u64::try_from(read).unwrap_or(0);
    }
    Ok((hash, length))
}

/// The digest over a file, computed off the async thread.
pub async fn digest_of_file(path: PathBuf) -> std::io::Result<Digest> {
    let work = move || {
        let mut file = std::fs::File::open(path)?;
        Ok(Digest::from_hash(hash_of(&mut file)?.0.finish().as_ref()))
    };
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

fn has_room(folder: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|s| s.f_bavail.saturating_mul(s.f_frsize) >= bytes.saturating_add(RESERVE))
}
