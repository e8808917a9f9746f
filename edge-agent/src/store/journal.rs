//! The tables of firmware attempts: every record of late attempts, the last record and the durable state by uid, and bytes of downloads.

use std::collections::BTreeMap;

use kalong_crds::device::Step;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::attempt::Record;
use super::durable::DurableState;
use super::{StoreError, Transaction, decode, encode};

/// Rows of older attempts that are kept of each device.
const HISTORY_ROWS: usize = 64;

const JOURNAL: TableDefinition<'_, (&str, i64, u32), &[u8]> = TableDefinition::new("journal");
const CURRENT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("current");
const MEMORY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("memory");
const PARTS: TableDefinition<'_, &str, u64> = TableDefinition::new("parts");

pub(super) fn prepare(tx: &WriteTransaction) -> Result<(), redb::Error> {
    tx.open_table(JOURNAL)?;
    tx.open_table(CURRENT)?;
    tx.open_table(MEMORY)?;
    tx.open_table(PARTS)?;
    Ok(())
}

pub(super) fn write(tx: &WriteTransaction, transaction: &Transaction) -> Result<(), redb::Error> {
    let uid = transaction.uid.as_str();
    if let Some(record) = &transaction.record {
        let bytes = encode(record);
        tx.open_table(CURRENT)?.insert(uid, bytes.as_slice())?;
        let mut journal = tx.open_table(JOURNAL)?;
        journal.insert((uid, record.attempt, record.seq), bytes.as_slice())?;
        if matches!(record.step, Step::Idle | Step::Failed | Step::Cancelled) {
            trim(&mut journal, uid, record.attempt)?;
        }
    }
    if let Some(durable) = &transaction.durable {
        tx.open_table(MEMORY)?.insert(uid, encode(durable).as_slice())?;
    }
    Ok(())
}

type JournalTable<'t> = redb::Table<'t, (&'static str, i64, u32), &'static [u8]>;

fn trim(journal: &mut JournalTable<'_>, uid: &str, attempt: i64) -> Result<(), redb::Error> {
    let mut old = Vec::new();
    for row in journal.range((uid, 0, 0)..(uid, attempt, 0))? {
        let (key, _) = row?;
        let (_, attempt, seq) = key.value();
        old.push((attempt, seq));
    }
    let surplus = old.len().saturating_sub(HISTORY_ROWS);
    for (attempt, seq) in old.into_iter().take(surplus) {
        journal.remove((uid, attempt, seq))?;
    }
    Ok(())
}

/// Moves everything that is known under one uid to another: the object was recreated, the device is the same.
pub(super) fn rename(tx: &WriteTransaction, old: &str, new: &str) -> Result<(), redb::Error> {
    for definition in [CURRENT, MEMORY] {
        let mut table = tx.open_table(definition)?;
        let value = table.remove(old)?.map(|v| v.value().to_vec());
        if let Some(value) = value {
            table.insert(new, value.as_slice())?;
        }
    }
    forget_journal(tx, old)
}

/// Forgets everything that is known under a uid.
pub(super) fn forget(tx: &WriteTransaction, uid: &str) -> Result<(), redb::Error> {
    tx.open_table(CURRENT)?.remove(uid)?;
    tx.open_table(MEMORY)?.remove(uid)?;
    forget_journal(tx, uid)
}

fn forget_journal(tx: &WriteTransaction, uid: &str) -> Result<(), redb::Error> {
    let mut journal = tx.open_table(JOURNAL)?;
    for row in journal.extract_from_if((uid, 0, 0)..=(uid, i64::MAX, u32::MAX), |_, _| true)? {
        row?;
    }
    Ok(())
}

/// Marks a device that is new in a store that replaced a lost one.
pub(super) fn remember_new(tx: &WriteTransaction, uid: &str, doubt: bool) -> Result<Option<DurableState>, redb::Error> {
    let mut table = tx.open_table(MEMORY)?;
    if table.get(uid)?.is_some() {
        return Ok(None);
    }
    let durable = DurableState { doubt, ..DurableState::default() };
    table.insert(uid, encode(&durable).as_slice())?;
    Ok(Some(durable))
}

type Loaded = (BTreeMap<String, Record>, BTreeMap<String, DurableState>);

pub(super) fn load(tx: &ReadTransaction) -> Result<Result<Loaded, StoreError>, redb::Error> {
    let mut found: Loaded = Default::default();
    for row in tx.open_table(CURRENT)?.iter()? {
        let (uid, value) = row?;
        match decode(value.value()) {
            Ok(record) => found.0.insert(uid.value().to_owned(), record),
            Err(error) => return Ok(Err(error)),
        };
    }
    for row in tx.open_table(MEMORY)?.iter()? {
        let (uid, value) = row?;
        match decode(value.value()) {
            Ok(durable) => found.1.insert(uid.value().to_owned(), durable),
            Err(error) => return Ok(Err(error)),
        };
    }
    Ok(Ok(found))
}

pub(super) fn bytes_durable(tx: &ReadTransaction, digest: &str) -> Result<u64, redb::Error> {
    Ok(tx.open_table(PARTS)?.get(digest)?.map_or(0, |v| v.value()))
}

pub(super) fn record_bytes(tx: &WriteTransaction, digest: &str, bytes: Option<u64>) -> Result<(), redb::Error> {
    let mut table = tx.open_table(PARTS)?;
    match bytes {
        Some(bytes) => table.insert(digest, bytes)?,
        None => table.remove(digest)?,
    };
    Ok(())
}
