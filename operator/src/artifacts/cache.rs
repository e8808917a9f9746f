//! A folder of files named by their digest, bounded in bytes, with least-recently-used eviction.
//!
//! The folder is the source of truth: the index is built from it at every start. A file is served only after its digest was verified
//! once by this process.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kalong_crds::units::Digest;
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};

use crate::metrics::Metrics;

const BLOCK: usize = 256 * 1024;
const PARTIAL: &str = "part";

/// Why an artifact cannot be cached.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ArtifactCacheError {
    /// Larger than the whole cache.
    #[error("{size} bytes do not fit into the cache of {bound} bytes: raise --cache-size")]
    TooLarge { size: u64, bound: u64 },
    /// The folder cannot be used.
    #[error("the folder {0} cannot be used ({1}): give a writable --cache-dir")]
    Folder(PathBuf, #[source] io::Error),
    #[error("the cache cannot be read or written: {0}")]
    Disk(#[from] io::Error),
}

/// Whether this process has compared the digest of a file with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    Verified,
    /// They were there at the start.
    Unverified,
}

#[derive(Debug)]
struct CachedFile {
    size: u64,
    used: u64,
    trust: Verification,
}

#[derive(Debug, Default)]
struct Index {
    entries: HashMap<Digest, CachedFile>,
    /// Bytes that running downloads will take, by the size that their releases state.
    reserved: u64,
    /// A logical clock: a wall clock that steps back must not evict what is in use.
    uses: u64,
}

impl Index {
    fn bytes(&self) -> u64 {
        self.entries.values().map(|e| e.size).sum::<u64>().saturating_add(self.reserved)
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}

#[derive(Debug)]
pub struct ArtifactCache {
    folder: PathBuf,
    bound: u64,
    index: Mutex<Index>,
    metrics: Arc<Metrics>,
}

/// Space for a download; released, with the partial file, when dropped.
#[derive(Debug)]
pub struct ReservedSpace {
    cache: Arc<ArtifactCache>,
    size: u64,
    pub partial: PathBuf,
}

impl Drop for ReservedSpace {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial);
        self.cache.with(|index| index.reserved = index.reserved.saturating_sub(self.size));
    }
}

impl ArtifactCache {
    /// Opens the folder: partial downloads of an earlier process are deleted, complete files stay and count as used in the order of their age.
    pub fn open(folder: &Path, bound: u64, metrics: Arc<Metrics>) -> Result<Self, ArtifactCacheError> {
        let unusable = |e: io::Error| ArtifactCacheError::Folder(folder.to_owned(), e);
        fs::create_dir_all(folder).map_err(unusable)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(unusable)? {
            let path = entry.map_err(unusable)?.path();
            let facts = fs::symlink_metadata(&path).map_err(unusable)?;
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            if path.extension().is_some_and(|e| e == PARTIAL) {
                fs::remove_file(&path).map_err(unusable)?;
            } else if let (true, Ok(digest)) = (facts.is_file(), format!("sha256:{name}").parse::<Digest>()) {
                found.push((facts.modified().unwrap_or(SystemTime::UNIX_EPOCH), digest, facts.len()));
            }
        }
        found.sort();
        let mut index = Index::default();
        for (_, digest, size) in found {
            let used = index.next_use();
            index.entries.insert(digest, CachedFile { size, used, trust: Verification::Unverified });
        }
        let cache = Self { folder: folder.to_owned(), bound, index: Mutex::new(index), metrics };
        // The bound may be smaller than in an earlier life.
        cache.evict(0);
        Ok(cache)
    }

    fn with<T>(&self, read: impl FnOnce(&mut Index) -> T) -> T {
        read(&mut self.index.lock())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// Whether the artifact is cached, with this size if one is given. Counts as a use.
    pub fn find(&self, digest: &Digest, size: Option<u64>) -> Option<Verification> {
        self.with(|index| {
            let used = index.next_use();
            let entry = index.entries.get_mut(digest).filter(|e| size.is_none_or(|s| s == e.size))?;
            entry.used = used;
            Some(entry.trust)
        })
    }

    /// Path and size of a verified artifact. Counts as a use.
    pub fn verified(&self, digest: &Digest) -> Option<(PathBuf, u64)> {
        let size = self.with(|index| {
            let used = index.next_use();
            let entry = index.entries.get_mut(digest).filter(|e| e.trust == Verification::Verified)?;
            entry.used = used;
            Some(entry.size)
        })?;
        Some((self.path(digest), size))
    }

    /// Verifies a file of an earlier process, and deletes it if its digest is wrong. Blocks while it reads the whole file.
    pub fn verify(&self, digest: &Digest) -> Result<bool, ArtifactCacheError> {
        let fits = matches!(digest_of(&self.path(digest)), Ok(found) if found == *digest);
        if fits {
            self.with(|index| {
                if let Some(entry) = index.entries.get_mut(digest) {
                    entry.trust = Verification::Verified;
                }
            });
        } else {
            tracing::warn!(%digest, "A cached file does not match its digest and is deleted.");
            self.drop_file(digest);
        }
        Ok(fits)
    }

    /// Reserves space for a download, and evicts the least recently used artifacts for it.
    pub fn room(self: &Arc<Self>, digest: &Digest, size: u64) -> Result<ReservedSpace, ArtifactCacheError> {
        if size > self.bound {
            return Err(ArtifactCacheError::TooLarge { size, bound: self.bound });
        }
        self.drop_file(digest);
        self.evict(size);
        self.with(|index| index.reserved = index.reserved.saturating_add(size));
        Ok(ReservedSpace {
            cache: Arc::clone(self),
            size,
            partial: self.folder.join(format!("{}.{PARTIAL}", digest.hex())),
        })
    }

    /// Moves a complete, verified download into its place, durably. Blocks for the disk.
    pub fn keep(&self, digest: &Digest, room: &ReservedSpace) -> Result<(), ArtifactCacheError> {
        fs::rename(&room.partial, self.path(digest))?;
        // A rename is durable only once its folder is.
        fs::File::open(&self.folder)?.sync_all()?;
        self.with(|index| {
            let used = index.next_use();
            index.entries.insert(digest.clone(), CachedFile { size: room.size, used, trust: Verification::Verified });
        });
        self.count();
        Ok(())
    }

    /// Size of all cached artifacts in bytes.
    pub fn bytes(&self) -> u64 {
        self.with(|index| index.entries.values().map(|e| e.size).sum())
    }

    /// Bound of the cache in bytes.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    fn evict(&self, room: u64) {
        loop {
            let oldest = self.with(|index| {
                let over = index.bytes().saturating_add(room) > self.bound;
                let oldest = index.entries.iter().min_by_key(|(_, e)| e.used).map(|(d, _)| d.clone());
                oldest.filter(|_| over)
            });
            let Some(oldest) = oldest else { break };
            tracing::info!(digest = %oldest, "An artifact was evicted from the cache.");
            self.drop_file(&oldest);
        }
        self.count();
    }

    /// Readers that have the file open can finish: its blocks are freed when they close it.
    fn drop_file(&self, digest: &Digest) {
        if self.with(|index| index.entries.remove(digest)).is_some()
            && let Err(error) = fs::remove_file(self.path(digest))
        {
            tracing::warn!(%digest, %error, "A cached file could not be removed.");
        }
    }

    fn count(&self) {
        self.metrics.cache_bytes(self.bytes());
    }
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = fs::File::open(path)?;
    let mut hash = Context::new(&SHA256);
    let mut block = vec![0; BLOCK];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(Digest::from_hash(hash.finish().as_ref()));
        }
        hash.update(block.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path, bound: u64) -> Arc<ArtifactCache> {
        Arc::new(ArtifactCache::open(folder, bound, Arc::new(Metrics::new().unwrap())).unwrap())
    }

    fn put(cache: &Arc<ArtifactCache>, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let room = cache.room(&digest, u64::try_from(content.len()).unwrap()).unwrap();
        fs::write(&room.partial, content).unwrap();
        cache.keep(&digest, &room).unwrap();
        digest
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn the_artifact_used_longest_ago_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 30);
        let (a, b, c) = (put(&cache, &[1; 10]), put(&cache, &[2; 10]), put(&cache, &[3; 10]));
        assert!(cache.find(&a, Some(10)).is_some());
        let d = put(&cache, &[4; 10]);
        assert!(cache.find(&b, None).is_none());
        assert!([&a, &c, &d].into_iter().all(|digest| cache.find(digest, None).is_some()));
        assert_eq!((cache.bytes(), files(folder.path())), (30, 3));
    }

    #[test]
    fn what_is_larger_than_the_bound_is_refused_and_evicts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 30);
        let a = put(&cache, &[1; 10]);
        assert!(matches!(cache.room(&Digest::of(b"x"), 31), Err(ArtifactCacheError::TooLarge { size: 31, bound: 30 })));
        assert!(cache.find(&a, None).is_some());
    }

    #[test]
    fn downloads_under_way_count() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 30);
        let a = put(&cache, &[1; 10]);
        let first = cache.room(&Digest::of(b"x"), 15).unwrap();
        assert!(cache.find(&a, None).is_some());
        let second = cache.room(&Digest::of(b"y"), 10).unwrap();
        assert!(cache.find(&a, None).is_none());
        drop((first, second));
        put(&cache, &[5; 30]);
        assert_eq!(cache.bytes(), 30);
    }

    #[test]
    fn a_start_keeps_whole_files_and_drops_half_ones() {
        let folder = tempfile::tempdir().unwrap();
        let a = put(&open(folder.path(), 100), b"whole");
        fs::write(folder.path().join(format!("{}.part", Digest::of(b"half").hex())), b"ha").unwrap();
        fs::write(folder.path().join("README"), b"somebody's").unwrap();
        let cache = open(folder.path(), 100);
        assert_eq!(cache.find(&a, Some(5)), Some(Verification::Unverified));
        assert!(cache.verified(&a).is_none(), "nothing is served that was not verified in this life");
        assert!(cache.verify(&a).unwrap());
        assert_eq!(cache.verified(&a).unwrap().1, 5);
        assert_eq!(files(folder.path()), 2);
    }

    #[test]
    fn a_file_that_rotted_on_disk_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let a = put(&open(folder.path(), 100), b"whole");
        fs::write(folder.path().join(a.hex()), b"whale").unwrap();
        let cache = open(folder.path(), 100);
        assert!(!cache.verify(&a).unwrap());
        assert!(cache.find(&a, None).is_none());
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn a_smaller_bound_evicts_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 100);
        put(&cache, &[1; 40]);
        put(&cache, &[2; 40]);
        drop(cache);
        assert_eq!(open(folder.path(), 50).bytes(), 40);
    }
}
