//! Events until the operator has handled them. Ordered by (epoch, number) without a gap; only an ack removes one.

use kalong_crds::condition::Reason;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::{Event, EventSeverity};
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::{StoreError, decode};
use crate::clock::now_text;

/// Bytes that the outbox holds at most. When it is full, the producer waits: these events must not be lost.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes that a row costs beside its value.
const ROW_BYTES: u64 = 32;

const OUTBOX: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("outbox");

/// An event before it gets its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Kind of the object that it concerns.
    pub kind: ItemKind,
    /// Name of the object in the cluster.
    pub name: String,
    /// UID of the object in the cluster.
    pub uid: String,
    /// Documented reason of the event.
    pub reason: Reason,
    /// Whether a person should look into it.
    pub severity: EventSeverity,
    /// What happened, as a sentence.
    pub note: String,
}

impl NewEvent {
    pub(super) fn stamped(&self, epoch: u64, seq: u64) -> Event {
        Event {
            origin_epoch: epoch,
            origin_seq: seq,
            at: now_text(),
            kind: self.kind,
            name: self.name.clone(),
            uid: self.uid.clone(),
            reason: self.reason.as_str().to_owned(),
            severity: self.severity,
            note: self.note.clone(),
        }
    }
}

pub(super) fn weight(row: &[u8]) -> u64 {
    u64::try_from(row.len()).unwrap_or(u64::MAX).saturating_add(ROW_BYTES)
}

pub(super) fn prepare(tx: &WriteTransaction) -> Result<(), redb::Error> {
    tx.open_table(OUTBOX)?;
    Ok(())
}

pub(super) fn append(tx: &WriteTransaction, epoch: u64, rows: &[(u64, Vec<u8>)]) -> Result<(), redb::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = tx.open_table(OUTBOX)?;
    for (seq, row) in rows {
        table.insert((epoch, *seq), row.as_slice())?;
    }
    Ok(())
}

pub(super) fn oldest(tx: &ReadTransaction, bytes: usize) -> Result<Result<Vec<Event>, StoreError>, redb::Error> {
    let mut events = Vec::new();
    let mut used = 0;
    for row in tx.open_table(OUTBOX)?.iter()? {
        let (_, value) = row?;
        let raw = value.value();
        used += raw.len() + 1;
        if used > bytes && !events.is_empty() {
            break;
        }
        match decode(raw) {
            Ok(event) => events.push(event),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(events))
}

pub(super) fn drop_upto(tx: &WriteTransaction, epoch: u64, upto: u64) -> Result<(usize, u64), redb::Error> {
    let mut table = tx.open_table(OUTBOX)?;
    let (mut count, mut bytes) = (0, 0);
    for row in table.extract_from_if((epoch, 0)..=(epoch, upto), |_, _| true)? {
        bytes += weight(row?.1.value());
        count += 1;
    }
    Ok((count, bytes))
}

pub(super) fn bytes(tx: &ReadTransaction) -> Result<u64, redb::Error> {
    let mut sum = 0;
    for row in tx.open_table(OUTBOX)?.iter()? {
        sum += weight(row?.1.value());
    }
    Ok(sum)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn event(length: usize) -> NewEvent {
        NewEvent {
            kind: ItemKind::Device,
            name: "d".into(),
            uid: "u".into(),
            reason: Reason::DeviceFaulty,
            severity: EventSeverity::Warning,
            note: "x".repeat(length),
        }
    }
}
