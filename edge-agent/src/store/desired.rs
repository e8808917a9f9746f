//! The desired items as the box stores them, whether each is still declared, and the highest verified fence.

use std::collections::BTreeMap;
use std::sync::Arc;

use kalong_crds::units::Digest;
use kalong_crds::wire::desired::{Item, ItemKind, ItemOrder, Tombstone, rev_of};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::reported::Orphan;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::durable::DurableState;
use super::{META, StoreError, decode, encode, journal};

const ITEMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("items");

/// An item as the box keeps it. Its order stays text: as a tree it would take five times the memory, for as long as the box runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompactItem {
    /// Kind of the object, which determines the order's type.
    pub kind: ItemKind,
    /// Namespace of the object in the cluster.
    pub namespace: String,
    /// Name of the object in the cluster.
    pub name: String,
    /// UID of the object; another uid of the same name takes its place.
    pub uid: String,
    /// Generation of the object, as of its order.
    pub generation: i64,
    /// Digest over the canonical form of the order.
    pub hash: Digest,
    order: Box<str>,
}

impl CompactItem {
    /// The order, by the type of the kind.
    ///
    /// # Errors
    /// It is not of that type: operator and box do not fit.
    pub fn order<O: ItemOrder>(&self) -> Result<O, serde_json::Error> {
        O::read(self.kind, &mut serde_json::Deserializer::from_str(&self.order))
    }
}

impl From<&Item> for CompactItem {
    fn from(item: &Item) -> Self {
        let Item { kind, namespace, name, uid, generation, hash, spec } = item.clone();
        Self { kind, namespace, name, uid, generation, hash, order: spec.to_string().into() }
    }
}

/// An item, and whether it is still declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredItem {
    /// The item as last received.
    pub item: CompactItem,
    /// Whether it was in the last whole or came since. An orphan is kept and realised, and counts in no digest.
    pub adopted: bool,
    /// It was removed by a tombstone and goes as soon as its device is not being written.
    #[serde(default)]
    pub leaving: bool,
}

/// Every item that the box holds, by uid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredSet {
    items: BTreeMap<String, Arc<StoredItem>>,
}

/// A complete update of the desired set, put together from all its parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredUpdate {
    /// The set that it builds on; none is the whole.
    pub base: Option<Rev>,
    /// The set afterwards; none only in tests of the store.
    pub rev: Option<Rev>,
    /// Objects that were deleted in the cluster.
    pub removed: Vec<Tombstone>,
    /// Objects that are new or changed.
    pub items: Vec<Item>,
}

/// What an update changes in the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredChange {
    /// Items that are new, changed, orphaned or adopted again.
    pub put: Vec<Arc<StoredItem>>,
    /// Objects that were recreated: old uid, new uid.
    pub renamed: Vec<(String, String)>,
    /// UIDs of items that are forgotten.
    pub dropped: Vec<String>,
    /// Whether the message was the whole.
    pub whole: bool,
}

/// An update that does not fit what the box holds; the agent then asks for the whole set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DesiredMismatch {
    /// It builds on another set.
    #[error("the message builds on {expected} and the box holds {held}")]
    Base {
        /// Digest of the set that the update builds on.
        expected: Rev,
        /// Digest of the set that the box holds.
        held: Rev,
    },
    /// The result is not what the sender computed.
    #[error("the message leads to {found} where the operator expects {expected}")]
    Result {
        /// Digest that the operator expects afterwards.
        expected: Rev,
        /// Digest that the update leads to.
        found: Rev,
    },
    /// An item is not what its own hash says.
    #[error("the item `{0}` does not fit its hash")]
    Hash(String),
}

impl DesiredSet {
    /// The digest over the adopted items.
    pub fn rev(&self) -> Rev {
        let adopted = self.items.values().filter(|h| h.adopted && !h.leaving);
        Rev::over(adopted.map(|h| (h.item.uid.as_str(), h.item.generation, &h.item.hash)))
    }

    /// Everything stored, in the order of uids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<StoredItem>> {
        self.items.values()
    }

    /// The item with this uid.
    pub fn get(&self, uid: &str) -> Option<&Arc<StoredItem>> {
        self.items.get(uid)
    }

    /// Items that are stored and no longer declared.
    pub fn orphans(&self) -> Vec<Orphan> {
        let orphan =
            |h: &Arc<StoredItem>| Orphan { kind: h.item.kind, name: h.item.name.clone(), uid: h.item.uid.clone() };
        self.items.values().filter(|h| !h.adopted && !h.leaving).map(orphan).collect()
    }

    /// The set after this update, and what has to be written for it. Changes nothing by itself.
    pub fn merged(&self, update: &DesiredUpdate) -> Result<(Self, DesiredChange), DesiredMismatch> {
        if let Some(bad) = update.items.iter().find(|i| !i.hash_fits()) {
            return Err(DesiredMismatch::Hash(bad.name.clone()));
        }
        let whole = update.base.is_none();
        if let Some(base) = &update.base {
            let held = self.rev();
            if *base != held {
                return Err(DesiredMismatch::Base { expected: base.clone(), held });
            }
        } else if let Some(rev) = &update.rev {
            // A whole must be consistent in itself; an item of it that is older than ours then stays as we have it.
            let found = rev_of(&update.items);
            if found != *rev {
                return Err(DesiredMismatch::Result { expected: rev.clone(), found });
            }
        }
        let mut next = self.clone();
        let mut change = DesiredChange { whole, ..DesiredChange::default() };
        for tombstone in &update.removed {
            next.end(&tombstone.uid, &mut change);
        }
        for item in &update.items {
            next.take(item, &mut change);
        }
        if whole {
            next.orphan_all_but(&update.items, &mut change);
        } else if let Some(rev) = &update.rev {
            let found = next.rev();
            if found != *rev {
                return Err(DesiredMismatch::Result { expected: rev.clone(), found });
            }
        }
        Ok((next, change))
    }

    fn end(&mut self, uid: &str, change: &mut DesiredChange) {
        if let Some(stored) = self.items.get_mut(uid) {
            let leaving = Arc::new(StoredItem { leaving: true, ..StoredItem::clone(stored) });
            *stored = leaving.clone();
            change.put.push(leaving);
        }
    }

    fn take(&mut self, item: &Item, change: &mut DesiredChange) {
        let put = |item: CompactItem| Arc::new(StoredItem { item, adopted: true, leaving: false });
        if let Some(stored) = self.items.get_mut(&item.uid) {
            let older = item.generation < stored.item.generation;
            let kept = if older { stored.item.clone() } else { CompactItem::from(item) };
            if stored.item != kept || !stored.adopted || stored.leaving {
                *stored = put(kept);
                change.put.push(stored.clone());
            }
            return;
        }
        let same_place = |h: &&Arc<StoredItem>| {
            h.item.kind == item.kind && h.item.namespace == item.namespace && h.item.name == item.name
        };
        if let Some(old) = self.items.values().find(same_place).map(|h| h.item.uid.clone()) {
            self.items.remove(&old);
            change.put.retain(|h| h.item.uid != old);
            change.renamed.push((old, item.uid.clone()));
        }
        let stored = put(CompactItem::from(item));
        self.items.insert(item.uid.clone(), stored.clone());
        change.put.push(stored);
    }

    fn orphan_all_but(&mut self, items: &[Item], change: &mut DesiredChange) {
        for stored in self.items.values_mut() {
            if stored.adopted && !stored.leaving && !items.iter().any(|i| i.uid == stored.item.uid) {
                *stored = Arc::new(StoredItem { adopted: false, ..StoredItem::clone(stored) });
                change.put.push(stored.clone());
            }
        }
    }

    /// Forgets an item for good.
    pub fn drop_item(&mut self, uid: &str) -> Option<DesiredChange> {
        self.items.remove(uid).map(|_| DesiredChange { dropped: vec![uid.to_owned()], ..DesiredChange::default() })
    }
}

pub(super) fn prepare(tx: &WriteTransaction) -> Result<(), redb::Error> {
    tx.open_table(ITEMS)?;
    Ok(())
}

pub(super) fn write_fence(tx: &WriteTransaction, fence: Fence) -> Result<(), redb::Error> {
    let mut meta = tx.open_table(META)?;
    let stored = meta.get("fence")?.and_then(|v| decode::<Fence>(v.value()).ok()).unwrap_or_default();
    if fence > stored {
        meta.insert("fence", encode(&fence).as_slice())?;
    }
    Ok(())
}

/// Writes a change and its fence; returns the durable states of devices that are new.
pub(super) fn write(
    tx: &WriteTransaction,
    change: &DesiredChange,
    fence: Fence,
) -> Result<Vec<(String, DurableState)>, redb::Error> {
    write_fence(tx, fence)?;
    let doubt = tx.open_table(META)?.get("doubt")?.is_some_and(|v| v.value() == [1]);
    let mut items = tx.open_table(ITEMS)?;
    for (old, new) in &change.renamed {
        items.remove(old.as_str())?;
        journal::rename(tx, old, new)?;
    }
    let mut fresh = Vec::new();
    for stored in &change.put {
        items.insert(stored.item.uid.as_str(), encode(stored.as_ref()).as_slice())?;
        if stored.item.kind == ItemKind::Device
            && let Some(durable) = journal::remember_new(tx, &stored.item.uid, doubt)?
        {
            fresh.push((stored.item.uid.clone(), durable));
        }
    }
    for uid in &change.dropped {
        items.remove(uid.as_str())?;
        journal::forget(tx, uid)?;
    }
    if doubt && change.whole {
        tx.open_table(META)?.remove("doubt")?;
    }
    Ok(fresh)
}

pub(super) fn load(tx: &ReadTransaction) -> Result<Result<(DesiredSet, Fence), StoreError>, redb::Error> {
    let mut desired = DesiredSet::default();
    for row in tx.open_table(ITEMS)?.iter()? {
        let (uid, value) = row?;
        match decode::<StoredItem>(value.value()) {
            Ok(stored) => desired.items.insert(uid.value().to_owned(), Arc::new(stored)),
            Err(error) => return Ok(Err(error)),
        };
    }
    let fence = tx.open_table(META)?.get("fence")?.and_then(|v| decode(v.value()).ok()).unwrap_or_default();
    Ok(Ok((desired, fence)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    fn item(uid: &str, name: &str, generation: i64, spec: i64) -> Item {
        Item::new(ItemKind::Device, "mc", name, uid, generation, &json!({ "n": spec })).unwrap()
    }

    pub(crate) fn one_device(uid: &str) -> DesiredChange {
        DesiredSet::default().merged(&whole(&[item(uid, uid, 1, 1)])).unwrap().1
    }

    fn whole(items: &[Item]) -> DesiredUpdate {
        DesiredUpdate { base: None, rev: Some(rev_of(items)), removed: vec![], items: items.to_vec() }
    }

    fn holding(items: &[Item]) -> DesiredSet {
        DesiredSet::default().merged(&whole(items)).unwrap().0
    }

    fn diff(from: &DesiredSet, items: &[Item], removed: &[&str], result: &[Item]) -> DesiredUpdate {
        let removed = removed.iter().map(|uid| Tombstone { uid: (*uid).into(), generation: 9 }).collect();
        DesiredUpdate { base: Some(from.rev()), rev: Some(rev_of(result)), removed, items: items.to_vec() }
    }

    #[test]
    fn difference_on_a_wrong_base_or_with_a_wrong_result_changes_nothing() {
        let (a, b) = (item("a", "a", 1, 1), item("b", "b", 1, 1));
        let held = holding(std::slice::from_ref(&a));
        let foreign = holding(std::slice::from_ref(&b));
        assert!(matches!(held.merged(&diff(&foreign, &[], &[], &[])), Err(DesiredMismatch::Base { .. })));
        assert!(matches!(held.merged(&diff(&held, &[b], &[], &[a])), Err(DesiredMismatch::Result { .. })));
        let mut bent = item("c", "c", 1, 1);
        bent.spec = json!({ "n": 2 });
        assert!(matches!(held.merged(&whole(&[bent])), Err(DesiredMismatch::Hash(_))));
    }

    #[test]
    fn absent_item_is_kept_as_orphan_and_adopted_again() {
        let (a, b) = (item("a", "a", 1, 1), item("b", "b", 1, 1));
        let held = holding(&[a.clone(), b.clone()]);
        let (orphaned, _) = held.merged(&whole(std::slice::from_ref(&a))).unwrap();
        assert_eq!(orphaned.orphans().len(), 1);
        assert_eq!(orphaned.rev(), rev_of([&a]));
        let (again, _) = orphaned.merged(&diff(&orphaned, std::slice::from_ref(&b), &[], &[a, b.clone()])).unwrap();
        assert!(again.orphans().is_empty() && again.get("b").unwrap().adopted);
    }

    #[test]
    fn another_uid_of_the_same_name_takes_the_place() {
        let held = holding(&[item("old", "cam", 5, 1)]);
        let (next, change) = held.merged(&whole(&[item("new", "cam", 1, 1)])).unwrap();
        assert_eq!(change.renamed, [("old".to_owned(), "new".to_owned())]);
        assert!(next.get("old").is_none() && next.get("new").is_some());
    }

    #[test]
    fn lower_generation_is_ignored_and_same_generation_with_another_hash_is_taken() {
        let held = holding(&[item("a", "a", 5, 1)]);
        let (next, _) = held.merged(&whole(&[item("a", "a", 4, 9)])).unwrap();
        assert_eq!(next.get("a").unwrap().item, CompactItem::from(&item("a", "a", 5, 1)));
        let (next, _) = held.merged(&whole(&[item("a", "a", 5, 2)])).unwrap();
        assert_eq!(next.get("a").unwrap().item, CompactItem::from(&item("a", "a", 5, 2)));
    }

    #[test]
    fn only_a_tombstone_takes_away() {
        let (a, b) = (item("a", "a", 1, 1), item("b", "b", 1, 1));
        let held = holding(&[a.clone(), b]);
        let (mut next, change) = held.merged(&diff(&held, &[], &["b"], &[a])).unwrap();
        assert!(next.get("b").unwrap().leaving && change.put[0].leaving);
        assert_eq!(next.drop_item("b").unwrap().dropped, ["b"]);
        assert!(next.get("b").is_none());
    }
}
