//! What one agent last said: a set of reported items with a digest over the whole. Pure.
//!
//! A difference is applied only to the set that it builds on and only if the digest fits afterwards. Nothing else changes the image,
//! so after any loss the two sides either agree or know that they do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kalong_crds::units::Digest;
use kalong_crds::wire::digest::{Rev, digest_of};
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::parts::Assembler;
use kalong_crds::wire::reported::{About, Orphan, Reported, ReportedItem};

/// The most items that one agent may report; a site's box has at most 60 devices.
pub const MAX_ITEMS: usize = 1024;

/// The order of messages of one topic: (epoch, seq) must rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    last: Option<(u64, u64)>,
}

/// What a number says of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Newer than everything before it.
    Newer,
    /// Heard before, or older: to be dropped.
    Stale,
}

impl Sequence {
    /// The sequence whose last number is this.
    pub fn at(epoch: u64, seq: u64) -> Self {
        Self { last: Some((epoch, seq)) }
    }

    /// Takes a number in. The first one is the baseline.
    pub fn take(&mut self, epoch: u64, seq: u64) -> Place {
        if self.last.is_some_and(|last| (epoch, seq) <= last) {
            return Place::Stale;
        }
        self.last = Some((epoch, seq));
        Place::Newer
    }

    /// Messages that are missing before this number, within one epoch.
    pub fn missing(&self, epoch: u64, seq: u64) -> u64 {
        match self.last {
            Some((last_epoch, last)) if last_epoch == epoch => seq.saturating_sub(last.saturating_add(1)),
            _ => 0,
        }
    }
}

/// Why a set was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It builds on another set than the one held here.
    Base,
    /// The digest of the result is another than the one stated.
    Digest,
    /// More items than any agent has.
    TooMany,
}

impl Misfit {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "wrong-base",
            Self::Digest => "wrong-digest",
            Self::TooMany => "too-many-items",
        }
    }
}

/// What a message did to the image.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Parts are missing still.
    Partial,
    /// It was applied.
    Applied(Changes),
    /// It was not, and the whole must be asked for.
    Unfit(Misfit),
}

/// What differs after a set was applied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Items that are new, other, or gone.
    pub uids: BTreeSet<String>,
    /// Whether it was the whole.
    pub whole: bool,
    /// Whether the agent asks for the desired whole.
    pub want_whole: bool,
}

#[derive(Debug)]
struct Part {
    items: Vec<ReportedItem>,
    removed: Vec<String>,
    about: Option<About>,
}

/// What one agent last said.
#[derive(Debug, Default)]
pub struct Image {
    known: Option<Known>,
    parts: Assembler<Part>,
}

#[derive(Debug, Clone)]
struct Known {
    items: BTreeMap<String, (Arc<ReportedItem>, Digest)>,
    rev: Rev,
    desired: Rev,
    fence: Fence,
    about: About,
}

impl Image {
    /// Takes one message in.
    pub fn take(&mut self, message: Reported) -> Taken {
        let Reported { desired_rev, want_whole, term, term_seq, base, rev, part, parts, items, removed, about } =
            message;
        let payload = Part { items, removed, about };
        let Some(payloads) = self.parts.take(base.clone(), rev.clone(), part, parts, payload) else {
            return Taken::Partial;
        };
        let whole = base.is_none();
        let mut next = match (base, &self.known) {
            (None, _) => BTreeMap::new(),
            (Some(base), Some(known)) if base == known.rev => known.items.clone(),
            (Some(_), _) => return Taken::Unfit(Misfit::Base),
        };
        let mut spoken = None;
        for payload in payloads {
            for uid in payload.removed {
                next.remove(&uid);
            }
            for item in payload.items {
                let Ok(digest) = digest_of(&item) else { return Taken::Unfit(Misfit::Digest) };
                next.insert(item.uid.clone(), (Arc::new(item), digest));
            }
            spoken = payload.about.or(spoken);
        }
        if next.len() > MAX_ITEMS {
            return Taken::Unfit(Misfit::TooMany);
        }
        if Rev::over(next.iter().map(|(uid, (item, digest))| (uid.as_str(), item.generation, digest))) != rev {
            return Taken::Unfit(Misfit::Digest);
        }
        let uids = self.differing(&next);
        let about = spoken.or_else(|| self.known.take().map(|k| k.about)).unwrap_or_default();
        let fence = Fence { term, seq: term_seq };
        self.known = Some(Known { items: next, rev, desired: desired_rev, fence, about });
        Taken::Applied(Changes { uids, whole, want_whole })
    }

    fn differing(&self, next: &BTreeMap<String, (Arc<ReportedItem>, Digest)>) -> BTreeSet<String> {
        let empty = BTreeMap::new();
        let last = self.known.as_ref().map_or(&empty, |k| &k.items);
        let digest =
            |set: &BTreeMap<String, (Arc<ReportedItem>, Digest)>, uid: &str| set.get(uid).map(|(_, d)| d.clone());
        let all = next.keys().chain(last.keys());
        all.filter(|uid| digest(next, uid) != digest(last, uid)).cloned().collect()
    }

    /// A session ended or began: parts of before belong to nothing.
    pub fn forget_parts(&mut self) {
        self.parts = Assembler::default();
    }

    /// Whether a whole was ever applied.
    pub fn known(&self) -> bool {
        self.known.is_some()
    }

    /// Digest over the reported items.
    pub fn rev(&self) -> Option<&Rev> {
        self.known.as_ref().map(|k| &k.rev)
    }

    /// Digest over what the agent holds of what it was told, in its own words.
    pub fn desired(&self) -> Option<&Rev> {
        self.known.as_ref().map(|k| &k.desired)
    }

    /// Highest fence that the agent has verified.
    pub fn fence(&self) -> Fence {
        self.known.as_ref().map(|k| k.fence).unwrap_or_default()
    }

    /// What the agent says of itself.
    pub fn about(&self) -> Option<&About> {
        self.known.as_ref().map(|k| &k.about)
    }

    /// Items without an owner.
    pub fn orphans(&self) -> &[Orphan] {
        self.known.as_ref().map_or(&[], |k| &k.about.orphans)
    }

    /// The item as it was reported.
    pub fn item(&self, uid: &str) -> Option<&Arc<ReportedItem>> {
        self.known.as_ref()?.items.get(uid).map(|(item, _)| item)
    }

    /// Whether the agent holds this, adopted or not.
    pub fn holds(&self, uid: &str) -> bool {
        self.item(uid).is_some() || self.orphans().iter().any(|o| o.uid == uid)
    }

    /// Adopted items: UID, generation, and hash of the order.
    pub fn held(&self) -> impl Iterator<Item = (&str, i64, &Digest)> {
        self.known.iter().flat_map(|k| &k.items).map(|(uid, (item, _))| (uid.as_str(), item.generation, &item.hash))
    }

    /// Whether the agent's own digest of what it holds fits its items.
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
            device: None,
            lane: None,
            igv: None,
            link: None,
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

    fn holding(items: &[ReportedItem]) -> Image {
        let mut image = Image::default();
        assert!(matches!(image.take(message(None, set(items), items, &[])), Taken::Applied(_)));
        image
    }

    #[test]
    fn first_report_of_an_item_counts_and_an_equal_one_changes_nothing() {
        let items = [item("a", 1), item("b", 1)];
        let mut image = Image::default();
        let Taken::Applied(changes) = image.take(message(None, set(&items), &items, &[])) else { panic!() };
        assert_eq!(changes.uids, ["a".to_owned(), "b".to_owned()].into());
        let Taken::Applied(again) = image.take(message(None, set(&items), &items, &[])) else { panic!() };
        assert!(again.uids.is_empty() && again.whole);
    }

    #[test]
    fn difference_on_its_base_changes_only_what_it_names() {
        let (old, new) = ([item("a", 1), item("b", 1)], [item("a", 2), item("c", 1)]);
        let mut image = holding(&old);
        let Taken::Applied(changes) = image.take(message(Some(set(&old)), set(&new), &new, &["b"])) else { panic!() };
        assert_eq!(changes.uids, ["a".to_owned(), "b".to_owned(), "c".to_owned()].into());
        assert!(!changes.whole && !image.holds("b") && image.item("a").unwrap().applied == 2);
    }

    #[test]
    fn lost_difference_shows_as_a_wrong_base() {
        let (first, third) = ([item("a", 1)], [item("a", 3)]);
        let mut image = holding(&first);
        let second = set(&[item("a", 2)]);
        assert_eq!(image.take(message(Some(second), set(&third), &third, &[])), Taken::Unfit(Misfit::Base));
        assert_eq!(image.item("a").unwrap().applied, 1);
    }

    #[test]
    fn doubled_difference_does_not_apply_twice() {
        let (old, new) = ([item("a", 1)], [item("a", 2)]);
        let mut image = holding(&old);
        let difference = message(Some(set(&old)), set(&new), &new, &[]);
        assert!(matches!(image.take(difference.clone()), Taken::Applied(_)));
        assert_eq!(image.take(difference), Taken::Unfit(Misfit::Base));
        assert_eq!(image.item("a").unwrap().applied, 2);
    }

    #[test]
    fn wrong_digest_leaves_the_image_as_it_was() {
        let old = [item("a", 1)];
        let mut image = holding(&old);
        let lie = message(Some(set(&old)), Rev::empty(), &[item("a", 2)], &[]);
        assert_eq!(image.take(lie), Taken::Unfit(Misfit::Digest));
        assert_eq!((image.rev(), image.item("a").unwrap().applied), (Some(&set(&old)), 1));
    }

    #[test]
    fn whole_is_applied_only_when_every_part_is_there() {
        let items = [item("a", 1), item("b", 1)];
        let part = |n: u32| {
            let at = usize::try_from(n - 1).unwrap();
            Reported { part: n, parts: 2, ..message(None, set(&items), &items[at..=at], &[]) }
        };
        let mut image = Image::default();
        assert_eq!(image.take(part(2)), Taken::Partial);
        assert!(!image.known());
        assert!(matches!(image.take(part(1)), Taken::Applied(_)));
        image.take(part(1));
        image.forget_parts();
        assert_eq!(image.take(part(2)), Taken::Partial);
    }

    #[test]
    fn sequence_drops_what_is_not_newer_and_counts_gaps() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take(3, 7), Place::Newer);
        assert_eq!(
            (sequence.take(3, 7), sequence.take(3, 6), sequence.take(2, 99)),
            (Place::Stale, Place::Stale, Place::Stale)
        );
        assert_eq!((sequence.missing(3, 8), sequence.missing(3, 11), sequence.missing(4, 50)), (0, 3, 0));
        assert_eq!(sequence.take(4, 1), Place::Newer);
    }
}
