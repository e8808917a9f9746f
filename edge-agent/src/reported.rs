//! What the box reports of every item. Setting an equal report changes nothing; what is sent is always the newest.

use std::collections::{BTreeMap, BTreeSet};

use kalong_crds::units::Digest;
use kalong_crds::wire::digest::{Rev, digest_of};
use kalong_crds::wire::envelope::{Beat, Clock, Fence};
use kalong_crds::wire::parts;
use kalong_crds::wire::reported::{About, Orphan, Reported, ReportedItem};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Longest message of a report, in characters; it keeps an item below its size limit.
const MAX_MESSAGE: usize = 512;

#[derive(Debug)]
struct ItemTable {
    items: BTreeMap<String, (ReportedItem, Digest)>,
    dirty: BTreeSet<String>,
    removed: BTreeSet<String>,
    about: About,
    desired: Rev,
    fence: Fence,
    want_whole: bool,
    forced: bool,
    whole: bool,
    sent: Option<Rev>,
    sent_desired: Rev,
}

/// What is reported of every item, and what of that was not sent yet.
#[derive(Debug)]
pub struct ReportedState {
    table: Mutex<ItemTable>,
    changed: Notify,
    events: Notify,
}

impl ReportedState {
    /// No reports yet, of a box that holds this desired set.
    pub fn new(about: About, desired: Rev, fence: Fence) -> Self {
        let table = ItemTable {
            items: BTreeMap::new(),
            dirty: BTreeSet::new(),
            removed: BTreeSet::new(),
            about,
            sent_desired: desired.clone(),
            desired,
            fence,
            want_whole: false,
            forced: false,
            whole: true,
            sent: None,
        };
        Self { table: Mutex::new(table), changed: Notify::new(), events: Notify::new() }
    }

    /// Sets the report of an item.
    pub fn set(&self, mut item: ReportedItem) {
        item.message = item.message.chars().take(MAX_MESSAGE).collect();
        let mut table = self.table.lock();
        // Compared before it is hashed: every visit of every device ends here, and nearly all report what they did before.
        if table.items.get(&item.uid).is_some_and(|(old, _)| *old == item) {
            return;
        }
        let Ok(digest) = digest_of(&item) else { return };
        table.removed.remove(&item.uid);
        table.dirty.insert(item.uid.clone());
        table.items.insert(item.uid.clone(), (item, digest));
        drop(table);
        self.changed.notify_one();
    }

    /// Removes the report of an item.
    pub fn remove(&self, uid: &str) {
        let mut table = self.table.lock();
        if table.items.remove(uid).is_none() {
            return;
        }
        table.dirty.remove(uid);
        table.removed.insert(uid.to_owned());
        drop(table);
        self.changed.notify_one();
    }

    /// Sets the desired set that the box holds; it is sent at once, because the operator waits for it.
    pub fn holds(&self, desired: Rev, orphans: Vec<Orphan>, fence: Fence) {
        let mut table = self.table.lock();
        table.desired = desired;
        table.about.orphans = orphans;
        table.fence = table.fence.max(fence);
        (table.want_whole, table.forced) = (false, true);
        drop(table);
        self.changed.notify_one();
    }

    /// Notes that a higher fence was verified.
    pub fn verified(&self, fence: Fence) {
        let mut table = self.table.lock();
        table.fence = table.fence.max(fence);
    }

    /// Asks the operator for the whole desired set, because an update did not fit.
    pub fn ask_whole(&self) {
        let mut table = self.table.lock();
        (table.want_whole, table.forced) = (true, true);
        drop(table);
        self.changed.notify_one();
    }

    /// Makes the next message carry the whole.
    pub fn resync(&self) {
        self.table.lock().whole = true;
        self.changed.notify_one();
    }

    /// Sets whether the outbox has no room.
    pub fn outbox_is_full(&self, full: bool) {
        let mut table = self.table.lock();
        if table.about.outbox_full != full {
            (table.about.outbox_full, table.forced) = (full, true);
            drop(table);
            self.changed.notify_one();
        }
    }

    /// Notes that an event was added to the outbox.
    pub fn event_added(&self) {
        self.events.notify_one();
    }

    /// Resolves when there may be something to send.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Resolves when there may be an event to send.
    pub async fn event(&self) {
        self.events.notified().await;
    }

    /// The parts to send now, if any: the difference to what was sent, or the whole.
    pub fn take(&self) -> Option<Vec<Reported>> {
        let mut table = self.table.lock();
        let whole = table.whole || table.sent.is_none();
        if !whole && !table.forced && table.dirty.is_empty() && table.removed.is_empty() {
            return None;
        }
        let rev = table.rev();
        let dirty = std::mem::take(&mut table.dirty);
        let removed: Vec<_> = std::mem::take(&mut table.removed).into_iter().collect();
        let items = table.items.iter().filter(|(uid, _)| whole || dirty.contains(*uid)).map(|(_, (i, _))| i.clone());
        let groups = parts::groups(items.collect());
        let base = if whole { None } else { table.sent.take() };
        let count = u32::try_from(groups.len()).unwrap_or(u32::MAX);
        let messages = groups.into_iter().zip(1..).map(|(items, part)| Reported {
            desired_rev: table.desired.clone(),
            want_whole: table.want_whole,
            term: table.fence.term,
            term_seq: table.fence.seq,
            base: base.clone(),
            rev: rev.clone(),
            part,
            parts: count,
            items,
            removed: if part == 1 { removed.clone() } else { Vec::new() },
            about: (part == count).then(|| table.about.clone()),
        });
        let messages = messages.collect();
        (table.whole, table.forced, table.sent) = (false, false, Some(rev));
        table.sent_desired = table.desired.clone();
        Some(messages)
    }

    /// The heartbeat, with the digests of what was sent last.
    pub fn beat(&self, epoch: u64, seq: u64, clock: Clock) -> Beat {
        let table = self.table.lock();
        // The digests of what was sent, not of what is about to be: a beat that overtakes a difference would look like a loss.
        let reported = table.sent.clone().unwrap_or_else(|| table.rev());
        Beat { epoch, seq, reported, desired: table.sent_desired.clone(), clock }
    }

    /// The present report of an item.
    pub fn get(&self, uid: &str) -> Option<ReportedItem> {
        self.table.lock().items.get(uid).map(|(item, _)| item.clone())
    }
}

impl ItemTable {
    fn rev(&self) -> Rev {
        Rev::over(self.items.iter().map(|(uid, (item, digest))| (uid.as_str(), item.generation, digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalong_crds::wire::desired::ItemKind;
    use kalong_crds::wire::reported::{ItemState, rev_of};

    fn item(uid: &str, message: &str) -> ReportedItem {
        ReportedItem {
            uid: uid.into(),
            kind: ItemKind::Device,
            generation: 1,
            hash: Digest::of(b"h"),
            applied: 1,
            state: ItemState::Applied,
            reason: String::new(),
            message: message.into(),
            body: None,
        }
    }

    fn image() -> ReportedState {
        ReportedState::new(About::default(), Rev::empty(), Fence::default())
    }

    #[test]
    fn first_message_is_the_whole_then_only_differences_and_equal_reports_send_nothing() {
        let image = image();
        image.set(item("a", ""));
        image.set(item("b", ""));
        let first = image.take().unwrap();
        assert!(first[0].base.is_none() && first[0].items.len() == 2 && first[0].about.is_some());
        assert_eq!(first[0].rev, rev_of(&[item("a", ""), item("b", "")]).unwrap());
        image.set(item("a", ""));
        assert!(image.take().is_none());
        image.set(item("a", "x"));
        let second = image.take().unwrap();
        assert_eq!((second[0].base.as_ref(), second[0].items.len()), (Some(&first[0].rev), 1));
        image.remove("b");
        let third = image.take().unwrap();
        assert_eq!((third[0].removed.clone(), third[0].base.as_ref()), (vec!["b".to_owned()], Some(&second[0].rev)));
        image.resync();
        assert!(image.take().unwrap()[0].base.is_none());
    }

    #[test]
    fn whole_of_sixty_long_items_travels_in_parts() {
        let image = image();
        for n in 0..200 {
            image.set(item(&format!("u{n}"), &"m".repeat(500)));
        }
        let parts = image.take().unwrap();
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|p| serde_json::to_vec(p).unwrap().len() < kalong_crds::wire::MAX_MESSAGE));
        assert!(parts.last().unwrap().about.is_some() && parts[0].about.is_none());
    }

    #[test]
    fn beat_speaks_of_what_was_sent() {
        let image = image();
        image.set(item("a", ""));
        let sent = image.take().unwrap()[0].rev.clone();
        image.set(item("a", "x"));
        assert_eq!(image.beat(1, 1, Clock::Synced).reported, sent);
    }

    #[test]
    fn a_misfit_asks_for_the_whole_until_something_fits() {
        let image = image();
        image.take();
        image.ask_whole();
        assert!(image.take().unwrap()[0].want_whole);
        image.holds(Rev::empty(), vec![], Fence { term: 2, seq: 3 });
        let told = image.take().unwrap();
        assert!(!told[0].want_whole && told[0].term == 2 && told[0].term_seq == 3);
    }
}
