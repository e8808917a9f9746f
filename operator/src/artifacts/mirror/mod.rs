//! Keeps wanted artifacts in the cache: fetched in the background, two at a time, and retried for as long as they are wanted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kalong_controllers::kit::mirror::{Mirror, MirrorState};
use kalong_crds::Category;
use kalong_crds::condition::Reason;
use kalong_crds::firmware_release::Artifact;
use kalong_crds::units::Digest;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::{ArtifactCache, ArtifactCacheError, Verification};
use super::fetch::{FetchError, Fetcher};
use crate::metrics::Metrics;

/// Concurrent downloads: the operator shares its network link with the agents.
const AT_ONCE: usize = 2;
/// Pause after a failure; it doubles up to [`PAUSE_LAST`].
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_LAST: Duration = Duration::from_secs(600);
/// Pause after a failure that only another file or release can mend.
const PAUSE_FINAL: Duration = Duration::from_secs(3600);
/// An artifact is given up when it was not asked for in this time; releases ask every 10 min.
const WANTED: Duration = Duration::from_secs(1800);

/// A wanted artifact that is not cached yet.
#[derive(Debug)]
struct PendingArtifact {
    artifact: Artifact,
    asked: Instant,
    failure: Option<(Reason, String)>,
}

struct MirrorShared {
    cache: Arc<ArtifactCache>,
    fetcher: Fetcher,
    metrics: Arc<Metrics>,
    turns: Semaphore,
    work: Mutex<HashMap<Digest, PendingArtifact>>,
    changed: watch::Sender<u64>,
    stopping: CancellationToken,
}

/// The [`Mirror`] of the controllers; clones are the same.
#[derive(Clone)]
pub struct ArtifactMirror {
    shared: Arc<MirrorShared>,
    tasks: TaskTracker,
}

impl ArtifactMirror {
    pub fn new(cache: Arc<ArtifactCache>, fetcher: Fetcher, metrics: Arc<Metrics>) -> Self {
        let shared = MirrorShared {
            cache,
            fetcher,
            metrics,
            turns: Semaphore::new(AT_ONCE),
            work: Mutex::default(),
            changed: watch::channel(0).0,
            stopping: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new() }
    }

    /// Cancels running downloads and waits for their tasks; partial files are deleted.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Mirror for ArtifactMirror {
    fn state(&self, artifact: &Artifact) -> MirrorState {
        if self.shared.is_cached(artifact) {
            return MirrorState::Cached;
        }
        // What can be refused without network is refused at once, and accepted as soon as the settings allow it.
        if let Err(error) = self.shared.admit(artifact) {
            return MirrorState::Failed { reason: error.reason(), message: sentence(&error) };
        }
        // A failure is shown until the artifact is cached: an alternating state would be a status write each time.
        let failure = self.shared.with(|work| work.get(&artifact.digest).and_then(|work| work.failure.clone()));
        failure.map_or(MirrorState::Fetching, |(reason, message)| MirrorState::Failed { reason, message })
    }

    fn want(&self, release: &str, artifact: &Artifact) {
        if self.shared.is_cached(artifact) || self.shared.admit(artifact).is_err() {
            return;
        }
        let mut begun = false;
        self.shared.with(|work| {
            let entry = work.entry(artifact.digest.clone()).or_insert_with(|| {
                begun = true;
                PendingArtifact { artifact: artifact.clone(), asked: Instant::now(), failure: None }
            });
            entry.asked = Instant::now();
            entry.artifact = artifact.clone();
        });
        if begun && !self.shared.stopping.is_cancelled() {
            tracing::info!(release, digest = %artifact.digest, size = artifact.size, "An artifact is fetched.");
            self.tasks.spawn(Arc::clone(&self.shared).provide(artifact.digest.clone()));
        }
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        let changed = self.shared.changed.subscribe();
        futures::stream::unfold(
            changed,
            |mut changed| async move { changed.changed().await.ok().map(|()| ((), changed)) },
        )
        .boxed()
    }
}

impl MirrorShared {
    fn with<T>(&self, read: impl FnOnce(&mut HashMap<Digest, PendingArtifact>) -> T) -> T {
        read(&mut self.work.lock())
    }

    /// Whether the bytes are there and verified.
    fn is_cached(&self, artifact: &Artifact) -> bool {
        let size = u64::try_from(artifact.size).ok();
        size.is_some() && self.cache.find(&artifact.digest, size) == Some(Verification::Verified)
    }

    fn admit(&self, artifact: &Artifact) -> Result<u64, FetchError> {
        let size = u64::try_from(artifact.size).ok().filter(|s| *s > 0).ok_or(FetchError::BadSize(artifact.size))?;
        if size > self.cache.bound() {
            return Err(FetchError::TooLarge { size, bound: self.cache.bound() });
        }
        self.fetcher.admit(artifact).map(|_| size)
    }

    /// Tries until the artifact is cached, is not wanted any more, or the process ends.
    async fn provide(self: Arc<Self>, digest: Digest) {
        let mut pause = PAUSE_FIRST;
        loop {
            let wanted =
                self.with(|work| work.get(&digest).filter(|w| w.asked.elapsed() < WANTED).map(|w| w.artifact.clone()));
            let Some(artifact) = wanted else { break };
            let attempt = tokio::select! {
                () = self.stopping.cancelled() => break,
                attempt = self.attempt(&artifact) => attempt,
            };
            let Err(error) = attempt else {
                self.metrics.artifact_fetch("cached");
                tracing::info!(%digest, "An artifact is cached.");
                break;
            };
            self.metrics.artifact_fetch(error.category());
            tracing::warn!(%digest, category = error.category(), %error, "An artifact could not be fetched.");
            self.fail(&digest, &error);
            let rest = if error.is_final() { PAUSE_FINAL } else { pause };
            pause = (pause * 2).min(PAUSE_LAST);
            tokio::select! {
                () = self.stopping.cancelled() => break,
                () = sleep(rest) => {}
            }
        }
        self.with(|work| work.remove(&digest));
        self.announce();
    }

    async fn attempt(&self, artifact: &Artifact) -> Result<(), FetchError> {
        let size = self.admit(artifact)?;
        // Only closed at the end of the process.
        let Ok(_turn) = self.turns.acquire().await else { return Err(FetchError::Deadline) };
        if self.cache.find(&artifact.digest, Some(size)).is_some() && self.verified(&artifact.digest).await? {
            return Ok(());
        }
        let room = self.cache.room(&artifact.digest, size).map_err(disk)?;
        self.fetcher.download(artifact, &room.partial).await?;
        let (cache, digest) = (Arc::clone(&self.cache), artifact.digest.clone());
        blocking(move || cache.keep(&digest, &room)).await
    }

    async fn verified(&self, digest: &Digest) -> Result<bool, FetchError> {
        let (cache, digest) = (Arc::clone(&self.cache), digest.clone());
        blocking(move || cache.verify(&digest)).await
    }

    fn fail(&self, digest: &Digest, error: &FetchError) {
        let failure = (error.reason(), sentence(error));
        let news = self.with(|work| {
            let entry = work.get_mut(digest)?;
            (entry.failure.as_ref() != Some(&failure)).then(|| entry.failure = Some(failure))
        });
        if news.is_some() {
            self.announce();
        }
    }

    fn announce(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }
}

/// Runs disk work outside of the threads that serve agents.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactCacheError> + Send + 'static,
) -> Result<T, FetchError> {
    spawn_blocking(work).await.map_err(|e| FetchError::Disk(std::io::Error::other(e)))?.map_err(disk)
}

fn disk(error: ArtifactCacheError) -> FetchError {
    match error {
        ArtifactCacheError::TooLarge { size, bound } => FetchError::TooLarge { size, bound },
        ArtifactCacheError::Folder(_, error) | ArtifactCacheError::Disk(error) => FetchError::Disk(error),
    }
}

fn sentence(error: &FetchError) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    text + "."
}

#[cfg(test)]
mod tests;
