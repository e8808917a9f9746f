//! The next `desired` for an agent, computed from the wanted items, the tombstones, and what the agent holds. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kalong_crds::wire::desired::{Desired, Item, Tombstone, rev_of};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::parts::groups;

use super::reported::ReportedMirror;

/// Tombstones in one message; they share the first part with items. With more of them the whole is sent: what it leaves out becomes an
/// orphan, counts in no digest, and gets its tombstone in a later message.
const MAX_TOMBSTONES: usize = 40;

/// One `desired` in its parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DesiredMessage {
    /// Digest of the set that it builds on; none for the whole.
    pub base: Option<Rev>,
    /// Digest of the set after it.
    pub rev: Rev,
    pub uids: BTreeSet<String>,
    pub parts: Vec<Desired>,
}

/// What the next message may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendMode {
    /// A difference if the agent can apply one, else the whole.
    Shortest,
    /// The whole, since the agent asked for it.
    Whole,
}

/// The next message; none if the agent holds exactly what is wanted, or has not reported yet.
///
/// `exposed` are items that were sent and never confirmed: the agent may hold them without having reported them.
pub(super) fn next(
    wanted: &BTreeMap<String, Item>,
    tombstones: &BTreeMap<String, i64>,
    reported: &ReportedMirror,
    exposed: &BTreeSet<String>,
    mode: SendMode,
) -> Option<DesiredMessage> {
    let said = reported.desired()?.clone();
    let removed: Vec<Tombstone> = tombstones
        .iter()
        .filter(|(uid, _)| reported.holds(uid) || exposed.contains(*uid))
        .take(MAX_TOMBSTONES)
        .map(|(uid, generation)| Tombstone { uid: uid.clone(), generation: *generation })
        .collect();
    let held: BTreeMap<&str, (i64, &str)> = reported.held().map(|(uid, g, hash)| (uid, (g, hash.as_str()))).collect();
    let differs = |item: &&Item| held.get(item.uid.as_str()) != Some(&(item.generation, item.hash.as_str()));
    // An item that is neither wanted nor removed becomes an orphan only by a whole that leaves it out.
    let stray = held.keys().any(|uid| !wanted.contains_key(*uid) && !tombstones.contains_key(*uid));
    let crowded = removed.len() >= MAX_TOMBSTONES;
    let rev = rev_of(wanted.values());
    let whole = mode == SendMode::Whole || stray || crowded || !reported.consistent();
    let items: Vec<Item> = wanted.values().filter(|item| whole || differs(item)).cloned().collect();
    let settled = if whole { mode == SendMode::Shortest && said == rev } else { items.is_empty() };
    if settled && removed.is_empty() {
        return None;
    }
    let base = (!whole).then_some(said);
    Some(cut(base, rev, removed, items))
}

fn cut(base: Option<Rev>, rev: Rev, removed: Vec<Tombstone>, items: Vec<Item>) -> DesiredMessage {
    let uids = items.iter().map(|item| item.uid.clone()).collect();
    let groups = groups(items);
    let parts = u32::try_from(groups.len()).unwrap_or(u32::MAX);
    let mut removed = Some(removed);
    let parts = (1..)
        .zip(groups)
        .map(|(part, items)| Desired {
            base: base.clone(),
            rev: rev.clone(),
            part,
            parts,
            removed: removed.take().unwrap_or_default(),
            items,
        })
        .collect();
    DesiredMessage { base, rev, uids, parts }
}

#[cfg(test)]
mod tests {
    use kalong_crds::wire::desired::ItemKind;
    use kalong_crds::wire::reported::{ItemState, Reported, ReportedItem, rev_of as reported_rev};

    use super::super::reported::MergeResult;
    use super::*;

    fn item(uid: &str, generation: i64) -> Item {
        Item::new(ItemKind::Device, "ns", uid, uid, generation, &serde_json::json!({ "g": generation })).unwrap()
    }

    fn wanted(items: &[Item]) -> BTreeMap<String, Item> {
        items.iter().map(|i| (i.uid.clone(), i.clone())).collect()
    }

    fn reported(items: &[Item]) -> ReportedMirror {
        let said: Vec<_> = items
            .iter()
            .map(|i| ReportedItem {
                uid: i.uid.clone(),
                kind: i.kind,
                generation: i.generation,
                hash: i.hash.clone(),
                applied: 0,
                state: ItemState::Applying,
                reason: String::new(),
                message: String::new(),
                body: None,
            })
            .collect();
        let mut state = ReportedMirror::default();
        let taken = state.merge(Reported {
            desired_rev: rev_of(items),
            want_whole: false,
            term: 1,
            term_seq: 1,
            base: None,
            rev: reported_rev(&said).unwrap(),
            part: 1,
            parts: 1,
            items: said,
            removed: vec![],
            about: None,
        });
        assert!(matches!(taken, MergeResult::Applied(_)));
        state
    }

    fn shortest(
        wanted: &BTreeMap<String, Item>,
        ended: &[(&str, i64)],
        reported: &ReportedMirror,
    ) -> Option<DesiredMessage> {
        let ended = ended.iter().map(|(uid, g)| ((*uid).to_owned(), *g)).collect();
        next(wanted, &ended, reported, &BTreeSet::new(), SendMode::Shortest)
    }

    #[test]
    fn nothing_is_sent_to_an_agent_that_holds_what_is_wanted_or_never_reported() {
        let items = [item("a", 1), item("b", 2)];
        assert_eq!(shortest(&wanted(&items), &[], &reported(&items)), None);
        assert_eq!(shortest(&wanted(&items), &[], &ReportedMirror::default()), None);
    }

    #[test]
    fn only_what_differs_is_sent_on_the_base_that_the_agent_holds() {
        let (old, new) = ([item("a", 1), item("b", 1)], [item("a", 1), item("b", 2), item("c", 1)]);
        let message = shortest(&wanted(&new), &[], &reported(&old)).unwrap();
        assert_eq!((message.base, message.rev), (Some(rev_of(&old)), rev_of(&new)));
        assert_eq!(message.uids, ["b".to_owned(), "c".to_owned()].into());
    }

    #[test]
    fn end_of_a_held_item_is_a_tombstone_and_of_an_unheld_one_nothing() {
        let (old, new) = ([item("a", 1), item("b", 1)], [item("a", 1)]);
        let message = shortest(&wanted(&new), &[("b", 3)], &reported(&old)).unwrap();
        assert_eq!(message.parts[0].removed, [Tombstone { uid: "b".into(), generation: 3 }]);
        assert!(message.base.is_some() && message.parts[0].items.is_empty());
        assert_eq!(shortest(&wanted(&new), &[("z", 1)], &reported(&new)), None);
    }

    #[test]
    fn unconfirmed_item_that_ended_gets_a_tombstone_too() {
        let items = [item("a", 1)];
        let ended = [("z".to_owned(), 1)].into();
        let message =
            next(&wanted(&items), &ended, &reported(&items), &["z".to_owned()].into(), SendMode::Shortest).unwrap();
        assert_eq!(message.parts[0].removed.len(), 1);
    }

    #[test]
    fn stray_item_brings_the_whole_without_it() {
        let (old, new) = ([item("a", 1), item("b", 1)], [item("a", 1)]);
        let message = shortest(&wanted(&new), &[], &reported(&old)).unwrap();
        assert_eq!((message.base, message.uids), (None, ["a".to_owned()].into()));
        assert!(message.parts[0].removed.is_empty());
    }

    #[test]
    fn whole_that_was_asked_for_is_sent_in_parts() {
        let items: Vec<_> = (0..60).map(big).collect();
        let ended = BTreeMap::new();
        let whole = next(&wanted(&items), &ended, &reported(&items), &BTreeSet::new(), SendMode::Whole).unwrap();
        assert!(whole.base.is_none() && whole.parts.len() > 1);
        assert_eq!(whole.parts.iter().map(|p| p.items.len()).sum::<usize>(), 60);
        assert!(whole.parts.iter().enumerate().all(|(n, p)| usize::try_from(p.part).unwrap() == n + 1));
        assert!(
            whole.parts.iter().all(|p| serde_json::to_vec(p).unwrap().len() < kalong_crds::wire::MAX_MESSAGE - 1024)
        );
    }

    fn big(n: i32) -> Item {
        let spec = serde_json::json!({ "n": n, "x": "x".repeat(3800) });
        Item::new(ItemKind::Device, "ns", &format!("n{n}"), &format!("u{n:03}"), 1, &spec).unwrap()
    }
}
