//! What survives a power cut: the desired items, the journal of firmware attempts, the outbox, and the durable state of each device and lane.
//!
//! One thread owns the database and does every commit, so that the disk never holds up a device or the uplink. A state
//! change and the event that reports it are one transaction. Nothing outside this folder knows which database it is.

pub mod attempt;
pub mod desired;
pub mod durable;
pub mod identity;
pub mod outbox;

mod journal;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kalong_crds::Category;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::event::Event;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::oneshot;

use crate::crash_point;
use attempt::Record;
use desired::{DesiredChange, DesiredSet};
use durable::DurableState;
use outbox::NewEvent;

/// Page cache of the database, in bytes. The whole box shall stay below 12 MB.
const CACHE_BYTES: usize = 512 * 1024;
/// Name of the database file.
const FILE: &str = "store.redb";
/// Seconds from 1970 to 2026-01-01T00:00Z: a new store counts its boots from the seconds since then, so that
/// a replaced box or a lost database never reuses an epoch.
const EPOCH_ZERO: i64 = 1_767_225_600;
/// How long a store that another process holds is waited for: an agent that is being stopped closes it within this time.
const HANDOVER: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const HANDOVER_STEP: Duration = Duration::from_millis(50);
/// The one version of stored values; a reader accepts this and the one before.
const VALUE_VERSION: u8 = 1;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Why something could not be stored or read.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum StoreError {
    /// The database failed; nothing was changed.
    #[error("the store at {0} failed: check that the disk has room and is not read-only")]
    Database(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another process has it open.
    #[error("the store at {0} is open in another process: stop the other agent of this box")]
    InUse(PathBuf),
    /// A stored value cannot be read.
    #[error("a stored value cannot be read: {0}")]
    Value(String),
    /// The outbox has no room for an event that must not be lost.
    #[error("the outbox is full: it drains as soon as the operator is reached")]
    OutboxFull,
    /// The storage thread has ended.
    #[error("the store is closed")]
    Closed,
}

type StoreJob = Box<dyn FnOnce(&mut StoreThread) + Send>;

/// A handle to the storage thread. Every method returns once the change is durable.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<StoreJob>,
}

/// What was found at start.
#[derive(Debug)]
pub struct Opened {
    /// Handle to the storage thread.
    pub store: Store,
    /// Number of this start of the agent, higher than that of every start before.
    pub epoch: u64,
    /// The desired set as last stored.
    pub desired: DesiredSet,
    /// The highest verified (term, sequence).
    pub fence: Fence,
    /// The last record of each device's attempt, by uid.
    pub records: BTreeMap<String, Record>,
    /// What survived of each device or lane, by uid.
    pub durable: BTreeMap<String, DurableState>,
    /// Where an unreadable database was put aside.
    pub set_aside: Option<PathBuf>,
}

/// What one transaction writes of one device or lane.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// UID of the device or lane.
    pub uid: String,
    /// A new record of its attempt.
    pub record: Option<Record>,
    /// What of it survives a restart.
    pub durable: Option<DurableState>,
    /// Events to append to the outbox.
    pub events: Vec<NewEvent>,
}

/// The state of the storage thread.
pub(crate) struct StoreThread {
    path: PathBuf,
    db: Database,
    epoch: u64,
    next_event: u64,
    outbox_bytes: u64,
    #[cfg(test)]
    pub(crate) fuse: Option<tests::Fuse>,
}

impl StoreThread {
    fn failed<E: Into<redb::Error>>(&self, error: E) -> StoreError {
        StoreError::Database(self.path.clone(), Box::new(error.into()))
    }

    fn transact<T>(&mut self, work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        #[cfg(test)]
        tests::burn(self, tests::Side::Before)?;
        let tx = self.db.begin_write().map_err(|e| self.failed(e))?;
        let out = work(&tx).map_err(|e| self.failed(e))?;
        tx.commit().map_err(|e| self.failed(e))?;
        #[cfg(test)]
        tests::burn(self, tests::Side::After)?;
        Ok(out)
    }
}

pub(crate) fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VALUE_VERSION];
    // Writing plain data into memory cannot fail; an empty value would be refused by `decode`.
    if serde_json::to_writer(&mut bytes, value).is_err() {
        bytes.clear();
    }
    bytes
}

pub(crate) fn decode<T: for<'de> serde::Deserialize<'de>>(bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((version, json)) if *version == VALUE_VERSION || *version + 1 == VALUE_VERSION => {
            serde_json::from_slice(json).map_err(|e| StoreError::Value(e.to_string()))
        }
        Some((version, _)) => Err(StoreError::Value(format!("version {version} is newer than this program"))),
        None => Err(StoreError::Value("it is empty".to_owned())),
    }
}

impl Store {
    /// Opens or makes the store in this folder and raises the epoch; waits a little for a process that is ending to let go
    /// of it. An unreadable database is set aside, never repaired by guessing.
    pub fn open(folder: &Path) -> Result<Opened, StoreError> {
        let until = Instant::now() + HANDOVER;
        loop {
            match Self::try_open(folder) {
                Err(StoreError::InUse(_)) if Instant::now() < until => std::thread::sleep(HANDOVER_STEP),
                done => return done,
            }
        }
    }

    fn try_open(folder: &Path) -> Result<Opened, StoreError> {
        let path = folder.join(FILE);
        match Self::open_file(&path) {
            Ok(opened) => Ok(opened),
            Err(error @ (StoreError::InUse(_) | StoreError::Closed | StoreError::OutboxFull)) => Err(error),
            Err(error) if path.exists() => {
                let aside = (1..u32::MAX)
                    .map(|n| folder.join(format!("{FILE}.unreadable-{n}")))
                    .find(|p| !p.exists())
                    .ok_or(StoreError::Closed)?;
                tracing::error!(category = error.category(), aside = %aside.display(), %error,
                    "The store is unreadable and was set aside; every device is probed before it counts as current.");
                std::fs::rename(&path, &aside).map_err(|e| StoreError::Database(path.clone(), Box::new(e)))?;
                let mut opened = Self::open_file(&path)?;
                opened.store.doubt_everything(&path)?;
                opened.set_aside = Some(aside);
                Ok(opened)
            }
            Err(error) => Err(error),
        }
    }

    fn open_file(path: &Path) -> Result<Opened, StoreError> {
        let failed = |e: redb::Error| StoreError::Database(path.to_owned(), Box::new(e));
        let existed = path.exists();
        let db = match Database::builder().set_cache_size(CACHE_BYTES).create(path) {
            Ok(db) => db,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::InUse(path.to_owned())),
            Err(error) => return Err(failed(error.into())),
        };
        if !existed {
            private(path)
                .and_then(|()| sync_folder(path))
                .map_err(|e| StoreError::Database(path.to_owned(), Box::new(e)))?;
        }
        let mut thread = StoreThread {
            path: path.to_owned(),
            db,
            epoch: 0,
            next_event: 1,
            outbox_bytes: 0,
            #[cfg(test)]
            fuse: None,
        };
        thread.epoch = thread.transact(raise_epoch)?;
        crash_point!(EpochRaised);
        let (desired, fence, records, durable, outbox_bytes) = thread.load()?;
        thread.outbox_bytes = outbox_bytes;
        let epoch = thread.epoch;
        let (jobs, inbox) = mpsc::channel::<StoreJob>();
        std::thread::Builder::new()
            .name("store".into())
            // The deepest call is a B-tree commit; the default of 2 MiB would only be address space, but is not needed.
            .stack_size(512 * 1024)
            .spawn(move || {
                while let Ok(job) = inbox.recv() {
                    job(&mut thread);
                }
            })
            .map_err(|e| StoreError::Database(path.to_owned(), Box::new(e)))?;
        Ok(Opened { store: Self { jobs }, epoch, desired, fence, records, durable, set_aside: None })
    }

    /// Marks every device that comes into the store as doubted until it was probed.
    fn doubt_everything(&self, path: &Path) -> Result<(), StoreError> {
        let (tx, rx) = mpsc::channel();
        let job: StoreJob = Box::new(move |thread| {
            let _ = tx.send(thread.transact(|tx| {
                tx.open_table(META)?.insert("doubt", [1_u8].as_slice())?;
                Ok(())
            }));
        });
        self.jobs.send(job).map_err(|_| StoreError::Closed)?;
        rx.recv().map_err(|_| StoreError::Database(path.to_owned(), "the storage thread ended".into()))?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut StoreThread) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tx, rx) = oneshot::channel();
        let job: StoreJob = Box::new(move |thread| {
            let _ = tx.send(work(thread));
        });
        self.jobs.send(job).map_err(|_| StoreError::Closed)?;
        rx.await.map_err(|_| StoreError::Closed)?
    }

    /// Commits a change of the desired set together with its fence. Returns the durable states of devices that are new.
    pub async fn apply(&self, change: DesiredChange, fence: Fence) -> Result<Vec<(String, DurableState)>, StoreError> {
        self.run(move |thread| thread.transact(|tx| desired::write(tx, &change, fence))).await
    }

    /// Raises the stored fence; a lower one changes nothing.
    pub async fn raise_fence(&self, fence: Fence) -> Result<(), StoreError> {
        self.run(move |thread| thread.transact(|tx| desired::write_fence(tx, fence))).await
    }

    /// Commits a record, durable state and events of one device or lane: all or nothing.
    pub async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.run(move |thread| {
            let (epoch, first, limit) = (thread.epoch, thread.next_event, outbox::MAX_BYTES);
            let events: Vec<Event> =
                transaction.events.iter().zip(first..).map(|(event, seq)| event.stamped(epoch, seq)).collect();
            let rows: Vec<_> = events.iter().map(|e| (e.origin_seq, encode(e))).collect();
            let bytes: u64 = rows.iter().map(|(_, row)| outbox::weight(row)).sum();
            if !rows.is_empty() && thread.outbox_bytes + bytes > limit {
                return Err(StoreError::OutboxFull);
            }
            if transaction.record.is_some() {
                crash_point!(RecordBefore);
            }
            thread.transact(|tx| {
                outbox::append(tx, epoch, &rows)?;
                journal::write(tx, &transaction)
            })?;
            if transaction.record.is_some() {
                crash_point!(RecordAfter);
            }
            if !rows.is_empty() {
                crash_point!(OutboxAppended);
            }
            thread.outbox_bytes += bytes;
            thread.next_event = events.last().map_or(first, |e| e.origin_seq + 1);
            Ok(())
        })
        .await
    }

    /// The oldest events, as many as fit into one message.
    pub async fn oldest_events(&self, bytes: usize) -> Result<Vec<Event>, StoreError> {
        self.run(move |thread| {
            let tx = thread.db.begin_read().map_err(|e| thread.failed(e))?;
            outbox::oldest(&tx, bytes).map_err(|e| thread.failed(e))?
        })
        .await
    }

    /// Drops events of this epoch up to this number: the operator has handled them. Returns how many were dropped.
    pub async fn acknowledge(&self, epoch: u64, upto: u64, fence: Fence) -> Result<usize, StoreError> {
        self.run(move |thread| {
            let (count, bytes) = thread.transact(|tx| {
                desired::write_fence(tx, fence)?;
                outbox::drop_upto(tx, epoch, upto)
            })?;
            crash_point!(OutboxAcked);
            thread.outbox_bytes = thread.outbox_bytes.saturating_sub(bytes);
            Ok(count)
        })
        .await
    }

    /// How many bytes of this download are durable.
    pub async fn bytes_durable(&self, digest: &str) -> Result<u64, StoreError> {
        let digest = digest.to_owned();
        self.run(move |thread| {
            let tx = thread.db.begin_read().map_err(|e| thread.failed(e))?;
            journal::bytes_durable(&tx, &digest).map_err(|e| thread.failed(e))
        })
        .await
    }

    /// Records how many bytes of this download are durable; none forgets the download.
    pub async fn record_bytes(&self, digest: &str, bytes: Option<u64>) -> Result<(), StoreError> {
        let digest = digest.to_owned();
        self.run(move |thread| thread.transact(|tx| journal::record_bytes(tx, &digest, bytes))).await
    }
}

fn raise_epoch(tx: &WriteTransaction) -> Result<u64, redb::Error> {
    let mut meta = tx.open_table(META)?;
    let last = meta.get("epoch")?.and_then(|v| v.value().try_into().ok().map(u64::from_be_bytes));
    let fresh = u64::try_from(Timestamp::now().as_second() - EPOCH_ZERO).unwrap_or(1).max(1);
    let epoch = last.map_or(fresh, |last| last.saturating_add(1));
    meta.insert("epoch", epoch.to_be_bytes().as_slice())?;
    drop(meta);
    desired::prepare(tx)?;
    journal::prepare(tx)?;
    outbox::prepare(tx)?;
    Ok(epoch)
}

type Loaded = (DesiredSet, Fence, BTreeMap<String, Record>, BTreeMap<String, DurableState>, u64);

impl StoreThread {
    fn load(&self) -> Result<Loaded, StoreError> {
        let tx = self.db.begin_read().map_err(|e| self.failed(e))?;
        let (desired, fence) = desired::load(&tx).map_err(|e| self.failed(e))??;
        let (records, durable) = journal::load(&tx).map_err(|e| self.failed(e))??;
        let bytes = outbox::bytes(&tx).map_err(|e| self.failed(e))?;
        Ok((desired, fence, records, durable, bytes))
    }
}

fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

pub(crate) fn sync_folder(file: &Path) -> std::io::Result<()> {
    match file.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
