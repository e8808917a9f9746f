//! An agent as the wire contract describes it, without devices, store or network. The gateway's tests include this file too.

use std::collections::BTreeMap;

use kalong_crds::units::AgentId;
use kalong_crds::wire::control::Control;
use kalong_crds::wire::desired::{Desired, Item, ItemKind, rev_of};
use kalong_crds::wire::envelope::{Beat, Clock, Envelope, Fence};
use kalong_crds::wire::event::{Event, EventSeverity, Events};
use kalong_crds::wire::parts::{Assembler, groups};
use kalong_crds::wire::reported::{About, ItemState, Orphan, Reported, ReportedItem, rev_of as reported_rev};
use kalong_crds::wire::signature::{PublicKey, open};
use kalong_crds::wire::topic::Down;

/// What an agent holds and has said.
pub struct Model {
    pub id: AgentId,
    pub epoch: u64,
    pub seq: u64,
    pub fence: Fence,
    /// Adopted items by UID.
    pub items: BTreeMap<String, Item>,
    /// Items without an owner by UID.
    pub orphans: BTreeMap<String, Item>,
    /// Texts that differ from report to report.
    pub said: BTreeMap<String, String>,
    /// Messages of `desired` that were applied.
    pub applied: u64,
    /// Control messages that were not a request for the whole.
    pub control: Vec<Control>,
    keys: Vec<PublicKey>,
    want_whole: bool,
    told: Option<BTreeMap<String, ReportedItem>>,
    parts: Assembler<Desired>,
}

impl Model {
    pub fn new(id: AgentId, keys: Vec<PublicKey>) -> Self {
        Self {
            id,
            epoch: 1,
            seq: 0,
            fence: Fence::default(),
            items: BTreeMap::new(),
            orphans: BTreeMap::new(),
            said: BTreeMap::new(),
            applied: 0,
            control: Vec::new(),
            keys,
            want_whole: false,
            told: None,
            parts: Assembler::default(),
        }
    }

    /// A new session: the next report is the whole.
    pub fn connected(&mut self) {
        self.told = None;
        self.parts = Assembler::default();
    }

    /// Takes a message in; says whether a report is due.
    pub fn receive(&mut self, down: Down, message: &[u8]) -> bool {
        let Ok(bytes) = open(&self.keys, &down.of(&self.id), message) else { return false };
        match down {
            Down::Desired => {
                let envelope = Envelope::<Desired>::parse(bytes, &self.id).unwrap();
                self.pass(envelope.fence()) && self.desired(envelope.body)
            }
            Down::Ctl => {
                let envelope = Envelope::<Control>::parse(bytes, &self.id).unwrap();
                if !self.pass(envelope.fence()) {
                    return false;
                }
                let whole = envelope.body == Control::Resync {};
                if whole {
                    self.told = None;
                } else {
                    self.control.push(envelope.body);
                }
                whole
            }
        }
    }

    fn pass(&mut self, fence: Fence) -> bool {
        let newer = fence > self.fence;
        self.fence = self.fence.max(fence);
        newer
    }

    fn desired(&mut self, message: Desired) -> bool {
        let key = (message.base.clone(), message.rev.clone(), message.part, message.parts);
        let Some(parts) = self.parts.take(key.0, key.1, key.2, key.3, message) else { return false };
        let (base, rev) = (parts[0].base.clone(), parts[0].rev.clone());
        if base.as_ref().is_some_and(|base| *base != rev_of(self.items.values())) {
            self.want_whole = true;
            return true;
        }
        let named: Vec<&String> = parts.iter().flat_map(|p| &p.items).map(|i| &i.uid).collect();
        if base.is_none() {
            let (kept, lost) = std::mem::take(&mut self.items).into_iter().partition(|(uid, _)| named.contains(&uid));
            self.items = kept;
            self.orphans.extend::<BTreeMap<String, Item>>(lost);
        }
        for tombstone in parts.iter().flat_map(|p| &p.removed) {
            self.items.remove(&tombstone.uid);
            self.orphans.remove(&tombstone.uid);
        }
        for item in parts.iter().flat_map(|p| &p.items) {
            assert!(item.hash_fits());
            self.adopt(item);
        }
        self.applied += 1;
        self.want_whole = rev_of(self.items.values()) != rev;
        true
    }

    fn adopt(&mut self, item: &Item) {
        if self.items.get(&item.uid).is_some_and(|held| held.generation > item.generation) {
            return;
        }
        let other = |uid: &String, held: &Item| {
            *uid == item.uid || (held.kind, &held.namespace, &held.name) != (item.kind, &item.namespace, &item.name)
        };
        self.items.retain(|uid, held| other(uid, held));
        self.orphans.retain(|uid, held| *uid != item.uid && other(uid, held));
        self.items.insert(item.uid.clone(), item.clone());
    }

    /// What it would say of its items now.
    pub fn reported(&self) -> BTreeMap<String, ReportedItem> {
        self.items.values().map(|item| (item.uid.clone(), self.report_of(item))).collect()
    }

    fn report_of(&self, item: &Item) -> ReportedItem {
        ReportedItem {
            uid: item.uid.clone(),
            kind: item.kind,
            generation: item.generation,
            hash: item.hash.clone(),
            applied: item.generation,
            state: ItemState::Applied,
            reason: String::new(),
            message: self.said.get(&item.uid).cloned().unwrap_or_default(),
            body: None,
        }
    }

    /// The messages of a report: the difference to the last one, or the whole.
    pub fn report(&mut self) -> Vec<Vec<u8>> {
        let now = self.reported();
        let (base, items, removed) = match &self.told {
            None => (None, now.values().cloned().collect(), vec![]),
            Some(told) => (
                Some(reported_rev(told.values()).unwrap()),
                now.iter().filter(|(uid, item)| told.get(*uid) != Some(item)).map(|(_, item)| item.clone()).collect(),
                told.keys().filter(|uid| !now.contains_key(*uid)).cloned().collect::<Vec<_>>(),
            ),
        };
        let rev = reported_rev(now.values()).unwrap();
        let cut = groups(items);
        let parts = u32::try_from(cut.len()).unwrap();
        let mut messages = Vec::new();
        for (part, items) in (1..).zip(cut) {
            let body = Reported {
                desired_rev: rev_of(self.items.values()),
                want_whole: std::mem::take(&mut self.want_whole),
                term: self.fence.term,
                term_seq: self.fence.seq,
                base: base.clone(),
                rev: rev.clone(),
                part,
                parts,
                items,
                removed: if part == 1 { removed.clone() } else { vec![] },
                about: (part == parts).then(|| self.about()),
            };
            messages.push(self.envelope(body));
        }
        self.told = Some(now);
        messages
    }

    fn about(&self) -> About {
        let orphan = |item: &Item| Orphan { kind: item.kind, name: item.name.clone(), uid: item.uid.clone() };
        About { version: "test".into(), orphans: self.orphans.values().map(orphan).collect(), ..About::default() }
    }

    pub fn beat(&self) -> Vec<u8> {
        let told = self.told.clone().unwrap_or_default();
        let beat = Beat {
            epoch: self.epoch,
            seq: self.seq,
            reported: reported_rev(told.values()).unwrap(),
            desired: rev_of(self.items.values()),
            clock: Clock::Synced,
        };
        beat.encode().into_bytes()
    }

    /// A message with events of these numbers.
    #[allow(dead_code, reason = "the gateway tests share this model and send no events")]
    pub fn events(&mut self, item: &Item, numbers: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let event = |origin_seq| Event {
            origin_epoch: self.epoch,
            origin_seq,
            at: "2026-11-21T10:00:00Z".into(),
            kind: item.kind,
            name: item.name.clone(),
            uid: item.uid.clone(),
            reason: "DeviceRecovered".into(),
            severity: EventSeverity::Normal,
            note: format!("event {origin_seq}"),
        };
        let body = Events { historical: false, events: numbers.map(event).collect() };
        self.envelope(body)
    }

    /// The body in this agent's next envelope.
    pub fn envelope<B: serde::Serialize>(&mut self, body: B) -> Vec<u8> {
        self.seq += 1;
        let envelope =
            Envelope { v: 1, agent: self.id.clone(), epoch: self.epoch, seq: self.seq, ts: String::new(), body };
        serde_json::to_vec(&envelope).unwrap()
    }
}

/// A device to be wanted.
pub fn device(name: &str, uid: &str, generation: i64, setting: &str) -> Item {
    let order = serde_json::json!({ "setting": setting });
    Item::new(ItemKind::Device, "mong-cai", name, uid, generation, &order).unwrap()
}
