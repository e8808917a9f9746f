//! Files by digest in one folder, bounded in bytes; the one that was used longest ago goes first.
//!
//! The folder is the truth: the index is made of it at every start. What lies there is believed after its digest was computed once.

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

/// Why something cannot be cached.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Larger than the whole cache.
    #[error("{size} bytes do not fit into the cache of {bound} bytes: raise --cache-size")]
    TooLarge {
        /// Size of the artifact.
        size: u64,
        /// Bound of the cache.
        bound: u64,
    },
    /// The folder cannot be used.
    #[error("the folder {0} cannot be used ({1}): give a writable --cache-dir")]
    Folder(PathBuf, #[source] io::Error),
    /// The disk failed.
    #[error("the cache cannot be read or written: {0}")]
    Disk(#[from] io::Error),
}

impl CacheError {
    /// The word for logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Folder(..) => "folder",
            Self::Disk(_) => "disk",
        }
    }
}

/// Whether the bytes of a file were held against its name in this life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They were.
    Verified,
    /// They were there at the start.
    Unverified,
}

#[derive(Debug)]
struct Entry {
    size: u64,
    used: u64,
    trust: Trust,
}

#[derive(Debug, Default)]
struct Index {
    entries: HashMap<Digest, Entry>,
    /// Bytes of downloads that are under way.
    reserved: u64,
    /// A counter in place of a clock: a clock that steps back must not evict what is in use.
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

/// The cache of artifacts.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    bound: u64,
    index: Mutex<Index>,
    metrics: Arc<Metrics>,
}

/// Room for a download; given back when dropped.
#[derive(Debug)]
pub struct Room {
    cache: Arc<Cache>,
    size: u64,
    /// Where to download into.
    pub partial: PathBuf,
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial);
        self.cache.with(|index| index.reserved = index.reserved.saturating_sub(self.size));
    }
}

impl Cache {
    /// Opens the folder: half downloads of an earlier life go, whole files stay, the newest count as used last.
    pub fn open(folder: &Path, bound: u64, metrics: Arc<Metrics>) -> Result<Self, CacheError> {
        let unusable = |e: io::Error| CacheError::Folder(folder.to_owned(), e);
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
            index.entries.insert(digest, Entry { size, used, trust: Trust::Unverified });
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

    /// Whether the artifact is there, with this size if one is named; counts as a use.
    pub fn find(&self, digest: &Digest, size: Option<u64>) -> Option<Trust> {
        self.with(|index| {
            let used = index.next_use();
            let entry = index.entries.get_mut(digest).filter(|e| size.is_none_or(|s| s == e.size))?;
            entry.used = used;
            Some(entry.trust)
        })
    }

    /// The file of a verified artifact and its size; counts as a use.
    pub fn verified(&self, digest: &Digest) -> Option<(PathBuf, u64)> {
        let size = self.with(|index| {
            let used = index.next_use();
            let entry = index.entries.get_mut(digest).filter(|e| e.trust == Trust::Verified)?;
            entry.used = used;
            Some(entry.size)
        })?;
        Some((self.path(digest), size))
    }

    /// Holds a file of an earlier life against its name; one that does not fit goes. Blocks while it reads the whole file.
    pub fn verify(&self, digest: &Digest) -> Result<bool, CacheError> {
        let fits = matches!(digest_of(&self.path(digest)), Ok(found) if found == *digest);
        if fits {
            self.with(|index| {
                if let Some(entry) = index.entries.get_mut(digest) {
                    entry.trust = Trust::Verified;
                }
            });
        } else {
            tracing::warn!(%digest, "a cached file does not fit its digest and is dropped");
            self.drop_file(digest);
        }
        Ok(fits)
    }

    /// Makes room for a download, at the cost of what was used longest ago.
    pub fn room(self: &Arc<Self>, digest: &Digest, size: u64) -> Result<Room, CacheError> {
        if size > self.bound {
            return Err(CacheError::TooLarge { size, bound: self.bound });
        }
        self.drop_file(digest);
        self.evict(size);
        self.with(|index| index.reserved = index.reserved.saturating_add(size));
        Ok(Room { cache: Arc::clone(self), size, partial: self.folder.join(format!("{}.{PARTIAL}", digest.hex())) })
    }

    /// Puts a complete, verified download into its place. It is there after a power cut too. Blocks for the disk.
    pub fn keep(&self, digest: &Digest, room: &Room) -> Result<(), CacheError> {
        fs::rename(&room.partial, self.path(digest))?;
        // A rename is durable only once its folder is.
        fs::File::open(&self.folder)?.sync_all()?;
        self.with(|index| {
            let used = index.next_use();
            index.entries.insert(digest.clone(), Entry { size: room.size, used, trust: Trust::Verified });
        });
        self.count();
        Ok(())
    }

    /// Bytes of all cached artifacts.
    pub fn bytes(&self) -> u64 {
        self.with(|index| index.entries.values().map(|e| e.size).sum())
    }

    /// Most bytes that it holds.
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
            tracing::info!(digest = %oldest, "an artifact was evicted from the cache");
            self.drop_file(&oldest);
        }
        self.count();
    }

    /// Whoever is reading the file reads on: its bytes go when it is closed.
    fn drop_file(&self, digest: &Digest) {
        if self.with(|index| index.entries.remove(digest)).is_some()
            && let Err(error) = fs::remove_file(self.path(digest))
        {
            tracing::warn!(%digest, %error, "a cached file could not be removed");
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

    fn open(folder: &Path, bound: u64) -> Arc<Cache> {
        Arc::new(Cache::open(folder, bound, Arc::new(Metrics::new().unwrap())).unwrap())
    }

    fn put(cache: &Arc<Cache>, content: &[u8]) -> Digest {
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
        assert!(matches!(cache.room(&Digest::of(b"x"), 31), Err(CacheError::TooLarge { size: 31, bound: 30 })));
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
        assert_eq!(cache.find(&a, Some(5)), Some(Trust::Unverified));
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
