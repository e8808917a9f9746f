//! The store against power cuts, a second process and a damaged file.

use super::*;

/// On which side of a commit the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nothing of it is written.
    Before,
    /// All of it is written, and the caller does not know.
    After,
}

/// Cuts the power at the n-th commit from now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fuse {
    pub(crate) left: u32,
    pub(crate) side: Side,
}

pub(super) fn burn(thread: &mut StoreThread, side: Side) -> Result<(), StoreError> {
    if let Some(fuse) = &mut thread.fuse {
        if fuse.left == 0 {
            return Err(StoreError::Closed);
        }
        if fuse.side == side {
            fuse.left -= 1;
            if fuse.left == 0 {
                return Err(StoreError::Closed);
            }
        }
    }
    Ok(())
}

impl Store {
    pub(crate) async fn light(&self, fuse: Fuse) {
        self.run(move |thread| {
            thread.fuse = Some(fuse);
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn epoch_rises_with_every_start_and_a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::try_open(folder.path()), Err(StoreError::InUse(_))));
    let epoch = first.epoch;
    close(first.store).await;
    assert_eq!(reopen(folder.path()).await.epoch, epoch + 1);
}

#[tokio::test]
async fn unreadable_store_is_set_aside_and_doubted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), b"no database at all, but long enough to be read as one".repeat(200))
        .unwrap();
    let opened = Store::open(folder.path()).unwrap();
    assert!(opened.set_aside.as_ref().unwrap().exists());
    let fresh = opened.store.apply(desired::tests::one_device("u1"), Fence { term: 1, seq: 1 }).await.unwrap();
    assert!(fresh[0].1.doubt);
}

#[tokio::test]
async fn full_outbox_refuses_the_whole_note_and_an_ack_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { store, epoch, .. } = Store::open(folder.path()).unwrap();
    let mut written = 0;
    let refused = loop {
        let transaction =
            Transaction { uid: "u".into(), events: vec![outbox::tests::event(8000)], ..Transaction::default() };
        match store.commit(transaction).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::OutboxFull));
    assert_eq!(store.acknowledge(epoch, 10, Fence::default()).await.unwrap(), 10);
    let transaction = Transaction { uid: "u".into(), events: vec![outbox::tests::event(10)], ..Transaction::default() };
    store.commit(transaction).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let batch = store.oldest_events(60_000).await.unwrap();
        let Some(last) = batch.last() else { break };
        store.acknowledge(epoch, last.origin_seq, Fence::default()).await.unwrap();
        seen.extend(batch.iter().map(|e| e.origin_seq));
    }
    assert_eq!(seen, (11..=written + 1).collect::<Vec<u64>>(), "no gap, none twice");
}

#[tokio::test]
async fn events_survive_a_restart_in_the_order_in_which_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path()).unwrap();
    for _ in 0..3 {
        first
            .store
            .commit(Transaction { uid: "u".into(), events: vec![outbox::tests::event(5)], ..Transaction::default() })
            .await
            .unwrap();
    }
    let epoch = first.epoch;
    close(first.store).await;
    let second = reopen(folder.path()).await;
    second
        .store
        .commit(Transaction { uid: "u".into(), events: vec![outbox::tests::event(5)], ..Transaction::default() })
        .await
        .unwrap();
    let order: Vec<_> =
        second.store.oldest_events(60_000).await.unwrap().iter().map(|e| (e.origin_epoch, e.origin_seq)).collect();
    assert_eq!(order, [(epoch, 1), (epoch, 2), (epoch, 3), (epoch + 1, 1)]);
}

/// Ends the storage thread; the file is free once the thread has gone.
pub(crate) async fn close(store: Store) {
    drop(store);
}

/// Opens again as soon as the storage thread of the previous life has let go.
pub(crate) async fn reopen(folder: &Path) -> Opened {
    for _ in 0..500 {
        match Store::try_open(folder) {
            Ok(opened) => return opened,
            // Tasks of the previous life end here, and the storage thread on its own.
            Err(StoreError::InUse(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("the store was never let go");
}

/// What a box stored before names changed in the code has to be read, and written the same way.
fn round_trips<T: serde::Serialize + serde::de::DeserializeOwned>(row: serde_json::Value) {
    let value: T = serde_json::from_value(row.clone()).unwrap();
    assert_eq!(serde_json::to_value(value).unwrap(), row);
}

#[test]
fn rows_on_disk_keep_their_form() {
    let digest = kalong_crds::units::Digest::of(b"x");
    round_trips::<Record>(serde_json::json!({
        "seq": 3, "attempt": 2, "step": "Failed", "mark": "Done",
        "target": { "name": "r", "document": digest, "digest": digest, "size": 5, "version": "2.0.0", "counter": 3 },
        "previous": digest, "previous_version": "1.0.0", "boot_before": 7, "since": "2026-11-01T08:00:00Z",
        "allowed_ms": 1000, "guard": 4, "tries": 1, "written": false, "soak_restarts": 0, "next": "Idle",
        "fault": { "reason": "FetchFailed", "message": "m", "transport": true },
        "transport_failures": 1, "retry_at": "2026-11-01T09:00:00Z",
    }));
    round_trips::<DurableState>(serde_json::json!({
        "health": "Degraded", "counter": 3, "previous": "1.0.0", "image": { "version": "2.0.0", "digest": digest },
        "doubt": false, "offline": true,
        "claim": {
            "hold": { "drains": ["d"], "emptyBy": "2026-11-01T08:15:00Z", "until": "2026-11-01T08:50:00Z" },
            "since": "2026-11-01T08:00:00Z", "emptied": true, "lapsed": false,
            "refusal": { "drains": ["d"], "reason": "DrainTimedOut", "message": "m" },
        },
        "interlocks": [{ "device": "x", "name": "beam" }], "open_interlocks": ["xray.beam"],
    }));
    round_trips::<desired::StoredItem>(serde_json::json!({
        "item": {
            "kind": "Device", "namespace": "mc", "name": "cam", "uid": "u", "generation": 4, "hash": digest, "order": "{}",
        },
        "adopted": true, "leaving": false,
    }));
}
