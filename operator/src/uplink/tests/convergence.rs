//! Both ends of the wire against each other: whatever is lost, in the end they agree.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kalong_controllers::kit::link::{Holding, Presence};
use kalong_crds::wire::desired::Item;
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::Fence;
use kalong_crds::wire::topic::Up;
use proptest::prelude::*;

use super::model::{Model, device};
use super::pair::Pair;
use crate::transport::{EndReason, Session};

fn items(list: &[Item]) -> BTreeMap<String, Item> {
    list.iter().map(|i| (i.uid.clone(), i.clone())).collect()
}

#[test]
fn wanted_items_arrive_and_a_change_is_one_message_with_one_item() {
    let mut pair = Pair::new();
    let (a, b) = (device("a", "ua", 1, "x"), device("b", "ub", 1, "x"));
    pair.want(a.clone());
    pair.want(b.clone());
    pair.calm();
    assert_eq!(pair.model.items, items(&[a.clone(), b]));
    assert!(pair.synced());
    let before = pair.model.applied;
    let changed = device("a", "ua", 2, "y");
    pair.want(changed.clone());
    pair.calm();
    assert_eq!((pair.model.applied, pair.model.items["ua"].generation), (before + 1, 2));
    pair.want(changed);
    pair.calm();
    assert_eq!(pair.model.applied, before + 1);
}

#[test]
fn nothing_is_sent_before_the_gate_opens_and_held_items_are_not_sent_again_after() {
    let mut pair = Pair::new();
    let (a, b) = (device("a", "ua", 1, "x"), device("b", "ub", 1, "x"));
    pair.want(a.clone());
    pair.want(b.clone());
    pair.calm();
    // A restart of the operator: it knows nothing, the agent holds everything.
    let mut held = std::mem::replace(&mut pair.model, Model::new("mong-cai.a1".parse().unwrap(), vec![]));
    let mut fresh = Pair::new();
    fresh.opened = false;
    held.fence = Fence::default();
    fresh.model = held;
    fresh.connect();
    let before = fresh.model.applied;
    fresh.want(a);
    fresh.calm();
    assert!(fresh.synced() && fresh.down.is_empty());
    fresh.want(b);
    fresh.opened = true;
    fresh.advance(1);
    fresh.calm();
    assert!(fresh.synced());
    assert_eq!(fresh.model.applied, before);
}

#[test]
fn lost_desired_is_computed_anew_after_ten_seconds() {
    let mut pair = Pair::new();
    pair.calm();
    pair.want(device("a", "ua", 1, "x"));
    pair.down.clear();
    pair.want(device("b", "ub", 1, "x"));
    assert!(pair.down.is_empty(), "only one may be unconfirmed");
    pair.advance(9);
    assert!(pair.down.is_empty());
    pair.advance(2);
    pair.calm();
    assert_eq!(pair.model.items.len(), 2);
}

#[test]
fn lost_report_brings_one_resync_and_then_one_every_thirty_seconds() {
    let mut pair = Pair::new();
    pair.want(device("a", "ua", 1, "x"));
    pair.calm();
    for round in 0..3 {
        pair.model.said.insert("ua".into(), format!("lost {round}"));
        pair.report();
        pair.up.pop_back();
        pair.model.said.insert("ua".into(), format!("kept {round}"));
        pair.report();
        pair.deliver_up();
    }
    assert_eq!(pair.metrics.resyncs(), 1);
    pair.calm();
    assert_eq!(pair.state.reported.item("ua").unwrap().message, "kept 2");
}

#[test]
fn wrong_base_at_the_agent_is_answered_with_the_whole() {
    let mut pair = Pair::new();
    let a = device("a", "ua", 1, "x");
    pair.want(a.clone());
    pair.calm();
    // The agent changes behind our back, as after a restored store.
    pair.model.items.insert("uz".into(), device("z", "uz", 1, "x"));
    pair.want(device("b", "ub", 1, "x"));
    pair.calm();
    let wanted = items(&[a, device("b", "ub", 1, "x")]);
    pair.agree(&wanted);
    assert!(pair.model.orphans.contains_key("uz"));
}

#[test]
fn item_that_nobody_wants_any_more_is_orphaned_and_adopted_again_under_a_new_uid() {
    let mut pair = Pair::new();
    let (a, b) = (device("a", "ua", 1, "x"), device("b", "ub", 1, "x"));
    pair.want(a.clone());
    pair.want(b);
    pair.calm();
    let mut model = std::mem::replace(&mut pair.model, Model::new("mong-cai.a1".parse().unwrap(), vec![]));
    let mut restored = Pair::new();
    model.fence = Fence::default();
    restored.model = model;
    restored.signer = pair.signer;
    restored.signer.raise(8);
    restored.want(a.clone());
    restored.connect();
    restored.calm();
    assert_eq!(restored.model.items, items(std::slice::from_ref(&a)));
    assert!(restored.model.orphans.contains_key("ub"));
    assert_eq!(restored.state.holding("ub"), Holding::Held);
    let again = device("b", "ub2", 1, "x");
    restored.want(again.clone());
    restored.calm();
    assert_eq!(restored.model.items, items(&[a, again]));
    assert!(restored.model.orphans.is_empty());
}

#[test]
fn tombstone_is_sent_until_confirmed_and_wakes_the_object_once() {
    let mut pair = Pair::new();
    pair.want(device("a", "ua", 1, "x"));
    pair.calm();
    pair.remove("ua", 2);
    assert_eq!(pair.state.holding("ua"), Holding::Held);
    pair.down.clear();
    pair.advance(11);
    pair.woken.clear();
    pair.calm();
    assert_eq!(pair.state.holding("ua"), Holding::NotHeld);
    assert!(pair.model.items.is_empty() && pair.woken.contains(&"a".to_owned()));
    pair.remove("ua", 2);
    assert!(pair.down.is_empty());
}

#[test]
fn item_removed_while_its_order_travels_is_not_called_let_go() {
    let mut pair = Pair::new();
    pair.calm();
    pair.want(device("a", "ua", 1, "x"));
    pair.remove("ua", 2);
    assert_eq!(pair.state.holding("ua"), Holding::Held);
    pair.calm();
    pair.advance(11);
    pair.calm();
    assert_eq!(pair.state.holding("ua"), Holding::NotHeld);
    assert!(pair.model.items.is_empty());
}

#[test]
fn presence_turns_silent_only_after_grace_and_wakes_every_object() {
    let mut pair = Pair::new();
    pair.want(device("a", "ua", 1, "x"));
    pair.calm();
    let number = pair.session.number();
    pair.act(|state, _, _| state.session_ended(number));
    pair.advance(90);
    assert_eq!(pair.presence(), Presence::Present);
    pair.woken.clear();
    pair.advance(1);
    assert_eq!(pair.presence(), Presence::Silent);
    assert!(pair.woken.contains(&"a".to_owned()) && pair.woken.contains(&"a1".to_owned()));
    pair.woken.clear();
    pair.advance(1000);
    assert!(pair.woken.is_empty());
    pair.connect();
    assert!(pair.woken.contains(&"a".to_owned()));
}

#[test]
fn agent_is_judged_by_a_faster_heartbeat_only_once_it_knows_of_it() {
    let mut pair = Pair::new();
    pair.grace = Duration::from_secs(9);
    pair.opened = false;
    pair.want(device("a", "ua", 1, "x"));
    pair.calm();
    pair.advance(30);
    assert_eq!(pair.presence(), Presence::Present, "it beats every 30 s until it is told");
    pair.beat();
    pair.opened = true;
    pair.calm();
    pair.advance(9);
    assert_eq!(pair.presence(), Presence::Present);
    pair.advance(1);
    assert_eq!(pair.presence(), Presence::Silent);
}

#[test]
fn equal_report_and_beat_wake_nobody() {
    let mut pair = Pair::new();
    pair.want(device("a", "ua", 1, "x"));
    pair.calm();
    pair.beat();
    pair.calm();
    pair.woken.clear();
    pair.advance(30);
    pair.beat();
    pair.report();
    pair.calm();
    assert!(pair.woken.is_empty(), "{:?}", pair.woken);
}

#[test]
fn fourth_takeover_within_a_minute_shuts_both_out() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let now = pair.now;
        pair.act(|state, _, _| state.taken_over(now));
    }
    assert!(!pair.state.duplicate);
    let now = pair.now;
    pair.act(|state, _, _| state.taken_over(now));
    assert!(pair.state.duplicate);
    assert_eq!(pair.session.ended(), Some(EndReason::Refused));
    pair.act(|state, _, _| state.enrolled());
    assert!(!pair.state.duplicate);
}

#[test]
fn higher_term_is_passed_on_and_an_absurd_one_is_not() {
    let mut pair = Pair::new();
    pair.calm();
    let mut say = |term: u64| {
        pair.model.fence.term = term;
        let message = Bytes::from(pair.model.report().remove(0));
        pair.act(|state, context, effects| {
            state.frame(context, Up::Reported, &message, effects);
            (effects.higher_term, state.term_implausible)
        })
    };
    assert_eq!(say(7), (None, false));
    assert_eq!(say(12), (Some(12), false));
    assert_eq!(say(7 + 400 * 24 * 3600), (None, true));
}

#[test]
fn foreign_item_is_not_shown_and_does_not_disturb_the_others() {
    let mut pair = Pair::new();
    pair.want(device("a", "ua", 1, "x"));
    pair.calm();
    pair.model.items.insert("foreign".into(), device("f", "foreign", 1, "x"));
    pair.report();
    pair.deliver_up();
    assert!(pair.state.report("foreign").is_none() && pair.state.report("ua").is_some());
}

#[derive(Clone, Debug)]
enum Op {
    Want(u8, u8),
    Remove(u8),
    Say(u8, u8),
    Up,
    Down,
    LoseUp,
    LoseDown,
    SwapDown,
    Beat,
    Reconnect,
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6_u8, 0..4_u8).prop_map(|(n, s)| Op::Want(n, s)),
        2 => (0..6_u8).prop_map(Op::Remove),
        2 => (0..6_u8, 0..4_u8).prop_map(|(n, s)| Op::Say(n, s)),
        6 => Just(Op::Up),
        6 => Just(Op::Down),
        2 => Just(Op::LoseUp),
        2 => Just(Op::LoseDown),
        1 => Just(Op::SwapDown),
        1 => Just(Op::Beat),
        1 => Just(Op::Reconnect),
        2 => (1..40_u64).prop_map(Op::Advance),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_agree_after_any_loss(ops in prop::collection::vec(op(), 1..80)) {
        let mut pair = Pair::new();
        let mut wanted: BTreeMap<String, Item> = BTreeMap::new();
        let mut removed: Vec<String> = Vec::new();
        let mut generation = 0_i64;
        let mut lives = BTreeMap::<u8, u32>::new();
        for op in ops {
            match op {
                Op::Want(n, setting) => {
                    generation += 1;
                    let life = lives.entry(n).or_default();
                    let item = device(&format!("d{n}"), &format!("u{n}-{life}"), generation, &format!("s{setting}"));
                    wanted.insert(item.uid.clone(), item.clone());
                    pair.want(item);
                }
                Op::Remove(n) => {
                    let life = lives.entry(n).or_default();
                    let uid = format!("u{n}-{life}");
                    if wanted.remove(&uid).is_some() {
                        generation += 1;
                        *life += 1;
                        pair.remove(&uid, generation);
                        removed.push(uid);
                    }
                }
                Op::Say(n, text) => {
                    let life = lives.entry(n).or_default();
                    pair.model.said.insert(format!("u{n}-{life}"), format!("t{text}"));
                    pair.report();
                }
                Op::Up => pair.deliver_up(),
                Op::Down => pair.deliver_down(),
                Op::LoseUp => drop(pair.up.pop_front()),
                Op::LoseDown => drop(pair.down.pop_front()),
                Op::SwapDown => {
                    if pair.down.len() > 1 {
                        pair.down.swap(0, 1);
                    }
                }
                Op::Beat => pair.beat(),
                Op::Reconnect => pair.connect(),
                Op::Advance(seconds) => pair.advance(seconds),
            }
        }
        pair.agree(&wanted);
        for uid in removed {
            prop_assert!(!pair.model.orphans.contains_key(&uid), "{} was removed and is an orphan", uid);
            prop_assert_eq!(pair.state.holding(&uid), Holding::NotHeld);
        }
        prop_assert!(pair.synced());
    }
}

#[test]
fn empty_agent_and_empty_wish_agree() {
    let mut pair = Pair::new();
    pair.calm();
    assert_eq!(pair.state.reported.desired(), Some(&Rev::empty()));
    assert!(pair.synced() && pair.down.is_empty());
}
