//! The folder of a run, and the removal of those that nobody holds any more.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::directories::runs_directory;

/// Held by the supervisor while it lives.
pub(super) fn lock_path(directory: &Path) -> PathBuf {
    directory.join("supervisor.lock")
}

/// Held while a folder is made and not yet locked, so that nobody takes it for an abandoned one.
pub(super) struct Making {
    _lock: File,
}

impl Making {
    /// Makes a folder for a run, readable by us alone, after removing what killed supervisors left.
    pub(super) fn begin(name: &str) -> io::Result<(Self, PathBuf)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let runs = runs_directory();
        fs::create_dir_all(&runs)?;
        let lock = File::create(runs.join("making.lock"))?;
        lock.lock()?;
        sweep(&runs)?;
        let directory = runs.join(format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok((Self { _lock: lock }, directory))
    }
}

fn sweep(runs: &Path) -> io::Result<()> {
    for entry in fs::read_dir(runs)? {
        let directory = entry?.path();
        if !directory.is_dir() {
            continue;
        }
        let held = File::open(lock_path(&directory)).is_ok_and(|file| file.try_lock().is_err());
        if !held {
            // Another user's folder or a file still in use: it stays, and the next run tries again.
            let _ = fs::remove_dir_all(&directory);
        }
    }
    Ok(())
}
