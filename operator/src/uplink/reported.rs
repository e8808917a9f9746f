//! What one agent last reported: a set of items with a digest over the whole. Pure.
//!
//! A difference is applied only to the set that it builds on, and only if the digest fits afterwards. Nothing else changes the set, so
//! after any loss the two sides either agree or know that they do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kalong_crds::units::Digest;
use kalong_crds::wire::digest::{Rev, digest_of};
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::parts::Assembler;
use kalong_crds::wire::reported::{About, Orphan, Reported, ReportedItem};

/// Most items that one agent may report; a site's box has at most 60 devices.
pub(super) const MAX_ITEMS: usize = 1024;

/// Why a report was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// It builds on another set than the one known here.
    Base,
    /// The digest of the result is another than the one stated.
    Digest,
    /// More items than any agent has.
    TooMany,
}

impl Mismatch {
    /// Log field and metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "wrong-base",
            Self::Digest => "wrong-digest",
            Self::TooMany => "too-many-items",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum MergeResult {
    /// Other parts of the same report are missing.
    Incomplete,
    Applied(ReportChanges),
    /// Nothing changed, and the agent must be asked for its whole.
    Rejected(Mismatch),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReportChanges {
    /// Items that were added, changed or removed.
    pub uids: BTreeSet<String>,
    /// Whether it was the whole.
    pub whole: bool,
    /// Whether the agent asks for the desired whole.
    pub want_whole: bool,
}

#[derive(Debug)]
struct ReportPart {
    items: Vec<ReportedItem>,
    removed: Vec<String>,
    about: Option<About>,
}

/// The reported items of one agent; nothing is known before its first whole report.
#[derive(Debug, Default)]
pub(super) struct ReportedMirror {
    known: Option<ReportedSet>,
    parts: Assembler<ReportPart>,
}

#[derive(Debug, Clone)]
struct ReportedSet {
    items: BTreeMap<String, (Arc<ReportedItem>, Digest)>,
    rev: Rev,
    desired: Rev,
    fence: Fence,
    about: About,
}

impl ReportedMirror {
    /// Applies one message, once all its parts are there.
    pub fn merge(&mut self, message: Reported) -> MergeResult {
        let Reported { desired_rev, want_whole, term, term_seq, base, rev, part, parts, items, removed, about } =
            message;
        let payload = ReportPart { items, removed, about };
        let Some(payloads) = self.parts.take(base.clone(), rev.clone(), part, parts, payload) else {
            return MergeResult::Incomplete;
        };
        let whole = base.is_none();
        let mut next = match (base, &self.known) {
            (None, _) => BTreeMap::new(),
            (Some(base), Some(known)) if base == known.rev => known.items.clone(),
            (Some(_), _) => return MergeResult::Rejected(Mismatch::Base),
        };
        let mut spoken = None;
        for payload in payloads {
            for uid in payload.removed {
                next.remove(&uid);
            }
            for item in payload.items {
                let Ok(digest) = digest_of(&item) else { return MergeResult::Rejected(Mismatch::Digest) };
                next.insert(item.uid.clone(), (Arc::new(item), digest));
            }
            spoken = payload.about.or(spoken);
        }
        if next.len() > MAX_ITEMS {
            return MergeResult::Rejected(Mismatch::TooMany);
        }
        if Rev::over(next.iter().map(|(uid, (item, digest))| (uid.as_str(), item.generation, digest))) != rev {
            return MergeResult::Rejected(Mismatch::Digest);
        }
        let uids = self.differing(&next);
        let about = spoken.or_else(|| self.known.take().map(|k| k.about)).unwrap_or_default();
        let fence = Fence { term, seq: term_seq };
        self.known = Some(ReportedSet { items: next, rev, desired: desired_rev, fence, about });
        MergeResult::Applied(ReportChanges { uids, whole, want_whole })
    }

    fn differing(&self, next: &BTreeMap<String, (Arc<ReportedItem>, Digest)>) -> BTreeSet<String> {
        let empty = BTreeMap::new();
        let last = self.known.as_ref().map_or(&empty, |k| &k.items);
        let digest =
            |set: &BTreeMap<String, (Arc<ReportedItem>, Digest)>, uid: &str| set.get(uid).map(|(_, d)| d.clone());
        let all = next.keys().chain(last.keys());
        all.filter(|uid| digest(next, uid) != digest(last, uid)).cloned().collect()
    }

    /// Drops parts of a report that belong to an earlier session.
    pub fn forget_parts(&mut self) {
        self.parts = Assembler::default();
    }

    /// Whether a whole report was ever applied.
    pub fn known(&self) -> bool {
        self.known.is_some()
    }

    /// Digest over the reported items.
    pub fn rev(&self) -> Option<&Rev> {
        self.known.as_ref().map(|k| &k.rev)
    }

    /// Digest over the desired items that the agent holds, as it computed it.
    pub fn desired(&self) -> Option<&Rev> {
        self.known.as_ref().map(|k| &k.desired)
    }

    /// Highest fence that the agent has verified.
    pub fn fence(&self) -> Fence {
        self.known.as_ref().map(|k| k.fence).unwrap_or_default()
    }

    /// Version, outbox and orphans of the agent.
    pub fn about(&self) -> Option<&About> {
        self.known.as_ref().map(|k| &k.about)
    }

    /// Items that the agent holds and that are not wanted.
    pub fn orphans(&self) -> &[Orphan] {
        self.known.as_ref().map_or(&[], |k| &k.about.orphans)
    }

    /// The item as it was reported, not sanitized.
    pub fn item(&self, uid: &str) -> Option<&Arc<ReportedItem>> {
        self.known.as_ref()?.items.get(uid).map(|(item, _)| item)
    }

    /// Whether the agent holds this item, as its own or as an orphan.
    pub fn holds(&self, uid: &str) -> bool {
        self.item(uid).is_some() || self.orphans().iter().any(|o| o.uid == uid)
    }

    /// UID, generation and order hash of every item, orphans excluded.
    pub fn held(&self) -> impl Iterator<Item = (&str, i64, &Digest)> {
        self.known.iter().flat_map(|k| &k.items).map(|(uid, (item, _))| (uid.as_str(), item.generation, &item.hash))
    }

    /// Whether the digest that the agent computed fits the items that it reported.
    pub fn consistent(&self) -> bool {
        self.desired().is_some_and(|said| *said == Rev::over(self.held()))
    }
}

#[cfg(test)]
mod tests {
    use kalong_crds::wire::desired::ItemKind;
    use kalong_crds::wire::reported::{ItemState, rev_of};

    use super::*;

    fn item(uid: &str, applied: i64) -> ReportedItem {
        ReportedItem {
            uid: uid.into(),
            kind: ItemKind::Device,
            generation: 1,
            hash: Digest::of(uid.as_bytes()),
            applied,
            state: ItemState::Applied,
            reason: String::new(),
            message: String::new(),
            body: None,
        }
    }

    fn set(items: &[ReportedItem]) -> Rev {
        rev_of(items).unwrap()
    }

    fn message(base: Option<Rev>, rev: Rev, items: &[ReportedItem], removed: &[&str]) -> Reported {
        Reported {
            desired_rev: Rev::empty(),
            want_whole: false,
            term: 1,
            term_seq: 1,
            base,
            rev,
            part: 1,
            parts: 1,
            items: items.to_vec(),
            removed: removed.iter().map(|&uid| uid.to_owned()).collect(),
            about: None,
        }
    }

    fn holding(items: &[ReportedItem]) -> ReportedMirror {
        let mut reported = ReportedMirror::default();
        assert!(matches!(reported.merge(message(None, set(items), items, &[])), MergeResult::Applied(_)));
        reported
    }

    #[test]
    fn first_report_of_an_item_counts_and_an_equal_one_changes_nothing() {
        let items = [item("a", 1), item("b", 1)];
        let mut reported = ReportedMirror::default();
        let MergeResult::Applied(changes) = reported.merge(message(None, set(&items), &items, &[])) else { panic!() };
        assert_eq!(changes.uids, ["a".to_owned(), "b".to_owned()].into());
        let MergeResult::Applied(again) = reported.merge(message(None, set(&items), &items, &[])) else { panic!() };
        assert!(again.uids.is_empty() && again.whole);
    }

    #[test]
    fn difference_on_its_base_changes_only_what_it_names() {
        let (old, new) = ([item("a", 1), item("b", 1)], [item("a", 2), item("c", 1)]);
        let mut reported = holding(&old);
        let MergeResult::Applied(changes) = reported.merge(message(Some(set(&old)), set(&new), &new, &["b"])) else {
            panic!()
        };
        assert_eq!(changes.uids, ["a".to_owned(), "b".to_owned(), "c".to_owned()].into());
        assert!(!changes.whole && !reported.holds("b") && reported.item("a").unwrap().applied == 2);
    }

    #[test]
    fn lost_difference_shows_as_a_wrong_base() {
        let (first, third) = ([item("a", 1)], [item("a", 3)]);
        let mut reported = holding(&first);
        let second = set(&[item("a", 2)]);
        assert_eq!(
            reported.merge(message(Some(second), set(&third), &third, &[])),
            MergeResult::Rejected(Mismatch::Base)
        );
        assert_eq!(reported.item("a").unwrap().applied, 1);
    }

    #[test]
    fn doubled_difference_does_not_apply_twice() {
        let (old, new) = ([item("a", 1)], [item("a", 2)]);
        let mut reported = holding(&old);
        let difference = message(Some(set(&old)), set(&new), &new, &[]);
        assert!(matches!(reported.merge(difference.clone()), MergeResult::Applied(_)));
        assert_eq!(reported.merge(difference), MergeResult::Rejected(Mismatch::Base));
        assert_eq!(reported.item("a").unwrap().applied, 2);
    }

    #[test]
    fn wrong_digest_changes_nothing() {
        let old = [item("a", 1)];
        let mut reported = holding(&old);
        let lie = message(Some(set(&old)), Rev::empty(), &[item("a", 2)], &[]);
        assert_eq!(reported.merge(lie), MergeResult::Rejected(Mismatch::Digest));
        assert_eq!((reported.rev(), reported.item("a").unwrap().applied), (Some(&set(&old)), 1));
    }

    #[test]
    fn whole_is_applied_only_when_every_part_is_there() {
        let items = [item("a", 1), item("b", 1)];
        let part = |n: u32| {
            let at = usize::try_from(n - 1).unwrap();
            Reported { part: n, parts: 2, ..message(None, set(&items), &items[at..=at], &[]) }
        };
        let mut reported = ReportedMirror::default();
        assert_eq!(reported.merge(part(2)), MergeResult::Incomplete);
        assert!(!reported.known());
        assert!(matches!(reported.merge(part(1)), MergeResult::Applied(_)));
        reported.merge(part(1));
        reported.forget_parts();
        assert_eq!(reported.merge(part(2)), MergeResult::Incomplete);
    }
}
