//! The lanes of the box as a pure table: no I/O, and the time comes from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::device::Guard;
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::edge_agent::OfflinePolicy;
use kalong_crds::lane::{Admission, LaneAdmission, Service};
use kalong_crds::wire::event::EventSeverity;
use kalong_crds::wire::order::LaneOrder;
use kalong_crds::wire::reported::ReportedItem;

use super::hold::UnderChange;
use super::interlock::{self, InterlockStates};
use super::reading::LaneReading;
use super::safety::Safety;
use super::state::{CloseCause, LaneState};
use crate::clock::Now;
use crate::store::Transaction;
use crate::store::desired::StoredItem;
use crate::store::durable::DurableState;

/// Age after which what a controller showed is no ground to touch a device.
const FRESH: Duration = Duration::from_secs(10);

/// What a lane does while one of its devices is being changed. Either way no other device of the lane may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneDuringChange {
    /// The lane serves on, because the change does not disturb it.
    Serves,
    /// The lane stays closed for the change.
    Closed,
}

/// A lane that the offline policy closes or gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// UID of the Lane object.
    pub uid: String,
    /// Name of the Lane object.
    pub name: String,
    /// UID of the device that controls the lane.
    pub controller: String,
    /// Whether the policy keeps it closed from now on.
    pub held: bool,
}

/// A lane whose controller has to act at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneToWake {
    /// UID of the Lane object.
    pub uid: String,
    /// UID of the device that controls the lane.
    pub controller: String,
}

/// The lanes of the box, the devices that are being changed, and the interlocks that the box reads.
#[derive(Debug, Default)]
pub struct LaneTable {
    lanes: BTreeMap<String, LaneState>,
    /// Devices that are being changed, by uid.
    pub(super) changes: BTreeMap<String, LaneDuringChange>,
    interlocks: InterlockStates,
}

/// Whether a policy closes lanes of this service.
fn closes(policy: OfflinePolicy, service: Service) -> bool {
    match policy {
        OfflinePolicy::Hold => false,
        OfflinePolicy::Degrade => matches!(service, Service::Smart | Service::Igv),
        OfflinePolicy::SafeClose => true,
    }
}

impl LaneTable {
    /// Takes an order in. `durable` is what the store kept of a lane that is new to the table.
    pub fn put(&mut self, stored: Arc<StoredItem>, durable: &DurableState, now: &Now) {
        let order: Option<LaneOrder> = stored.item.order().ok();
        let uid = stored.item.uid.clone();
        let lane = self.lanes.entry(uid.clone()).or_insert_with(|| LaneState::restored(stored.clone(), durable, now));
        (lane.stored, lane.order) = (stored, order);
        lane.take_hold(now);
        self.judge_interlocks(&uid);
    }

    /// Lets go of a lane; its controller stays as it is.
    pub fn remove(&mut self, uid: &str) {
        self.lanes.remove(uid);
    }

    /// Gives a lane another uid; what is known of it stays.
    pub fn rename(&mut self, old: &str, new: &str) {
        self.interlocks.forget(old);
        if let Some(lane) = self.lanes.remove(old) {
            self.lanes.insert(new.to_owned(), lane);
        }
    }

    /// Forgets the interlocks that a device showed: they count as unread.
    pub fn forget_device(&mut self, uid: &str) {
        self.interlocks.forget(uid);
    }

    /// UID of the device that controls this lane.
    pub fn controller_of(&self, lane: &str) -> Option<String> {
        self.lanes.get(lane)?.order.as_ref().map(|o| o.controller.clone())
    }

    /// UID of the lane that this device controls.
    pub fn lane_of(&self, controller: &str) -> Option<String> {
        let controls = |lane: &LaneState| lane.order.as_ref().is_some_and(|o| o.controller == controller);
        self.lanes.iter().find(|(_, lane)| controls(lane)).map(|(uid, _)| uid.clone())
    }

    /// Takes in what a controller shows, or that it shows nothing. Returns the order to send to it, if any.
    pub fn observe(&mut self, controller: &str, reading: Option<LaneReading>, now: &Now) -> Option<Admission> {
        let uid = self.lane_of(controller)?;
        self.visit(&uid, reading, now);
        let wanted = self.wanted(&uid)?;
        let lane = self.lanes.get_mut(&uid)?;
        let declared = lane.order.as_ref().map(|o| o.admission)?;
        lane.track_close_cause(declared);
        let reading = reading?;
        if reading.fulfils() == Some(declared) {
            lane.applied = lane.stored.item.generation;
        }
        match (wanted, reading.admission) {
            (Admission::Open, LaneAdmission::Open) => {
                lane.note_reopened();
                None
            }
            // A lane that empties itself is on its way to Closed; sending the order again would change nothing.
            (Admission::Closed, LaneAdmission::Closed | LaneAdmission::Draining | LaneAdmission::Drained) => None,
            (wanted, _) => Some(wanted),
        }
    }

    /// Takes in the interlocks that a device shows. Returns the lanes for which that changes something.
    pub fn update_interlocks(&mut self, uid: &str, name: &str, guards: &[Guard]) -> Vec<LaneToWake> {
        if !self.interlocks.update(uid, name, guards) {
            return Vec::new();
        }
        let depends =
            |lane: &LaneState| lane.order.as_ref().is_some_and(|o| o.interlocks.iter().any(|i| i.device == uid));
        let lanes: Vec<_> = self.lanes.iter().filter(|(_, l)| depends(l)).map(|(uid, _)| uid.clone()).collect();
        lanes.iter().filter_map(|lane| self.judge_interlocks(lane)).collect()
    }

    /// Notes that a device is being changed, or no longer.
    pub fn mark_change(&mut self, device: &str, change: Option<LaneDuringChange>) {
        match change {
            Some(change) => self.changes.insert(device.to_owned(), change),
            None => self.changes.remove(device),
        };
    }

    /// Whether this device may begin a change: no other device of its lanes is being changed, and where its change needs the lane empty, the
    /// lane is declared closed or held. A box closes no lane for a change on a permit alone: the floors were judged for the hold.
    pub fn may_begin_change(&self, device: &str, need: LaneDrainNeed) -> bool {
        let mut lanes = self.lanes.values().filter_map(|l| Some((l, l.order.as_ref()?)));
        lanes.all(|(lane, order)| {
            let member = order.members.iter().any(|m| m.uid == device);
            let free = || !order.members.iter().any(|m| m.uid != device && self.changes.contains_key(&m.uid));
            let ready = || need == LaneDrainNeed::NotNeeded || order.admission == Admission::Closed || lane.is_held();
            !member || (free() && ready())
        })
    }

    /// Whether this device's lane was seen closed and empty twice, as this box itself reads it. A lane of another box is the operator's to
    /// judge.
    pub fn safety(&self, device: &str, need: LaneDrainNeed) -> Safety {
        if need == LaneDrainNeed::NotNeeded {
            return Safety::Safe;
        }
        for lane in self.lanes.values() {
            let member = lane.order.as_ref().is_some_and(|o| o.members.iter().any(|m| m.uid == device));
            if !member {
                continue;
            }
            let name = &lane.stored.item.name;
            match &lane.reading {
                Some((_, at)) if at.elapsed() > FRESH => {
                    return Safety::Unsafe(format!("lane {name} was not read for {} s", at.elapsed().as_secs()));
                }
                Some(_) if lane.empty.is_proven() => {}
                Some((reading, _)) if reading.admission == LaneAdmission::Closed => {
                    return Safety::Unsafe(format!("lane {name} is closed and was not seen empty twice"));
                }
                Some(_) => return Safety::Unsafe(format!("lane {name} is not closed")),
                None => return Safety::Unsafe(format!("nobody can tell what lane {name} does")),
            }
        }
        Safety::Safe
    }

    /// What putting a policy in force, or ending it, changes. Commit each change, then [`Self::apply_policy`].
    pub fn policy_changes(&self, policy: Option<OfflinePolicy>) -> Vec<PolicyChange> {
        let change = |(uid, lane): (&String, &LaneState)| {
            let order = lane.order.as_ref()?;
            let closes = policy.is_some_and(|p| closes(p, order.service));
            // A lane that is declared closed is not closed by the policy; one that is held already stays held.
            let held = closes && (lane.offline || order.admission == Admission::Open);
            (held != lane.offline).then(|| PolicyChange {
                uid: uid.clone(),
                name: lane.stored.item.name.clone(),
                controller: order.controller.clone(),
                held,
            })
        };
        self.lanes.iter().filter_map(change).collect()
    }

    /// Holds a lane closed for the offline policy, or gives it back.
    pub fn apply_policy(&mut self, change: &PolicyChange) {
        if let Some(lane) = self.lanes.get_mut(&change.uid) {
            lane.offline = change.held;
        }
    }

    /// What of a lane has to survive a restart.
    pub fn durable(&self, uid: &str) -> DurableState {
        self.lanes.get(uid).map(LaneState::durable).unwrap_or_default()
    }

    /// What of a lane is not durable yet, if anything. Where it cannot be committed, return it with [`Self::put_back`].
    pub fn take_unsaved(&mut self, uid: &str) -> Option<Transaction> {
        let lane = self.lanes.get_mut(uid).filter(|l| l.unsaved)?;
        lane.unsaved = false;
        let events = std::mem::take(&mut lane.waiting);
        Some(Transaction { uid: uid.to_owned(), durable: Some(lane.durable()), events, ..Transaction::default() })
    }

    /// Takes back what could not be committed.
    pub fn put_back(&mut self, transaction: Transaction) {
        if let Some(lane) = self.lanes.get_mut(&transaction.uid) {
            lane.put_back(transaction.events);
        }
    }

    /// What is reported of a lane now.
    pub fn report(&self, uid: &str) -> Option<ReportedItem> {
        let lane = self.lanes.get(uid)?;
        let under_change = lane.order.as_ref().map_or(UnderChange::No, |order| self.under_change(order));
        Some(lane.report(under_change, self.wanted(uid)))
    }

    fn under_change(&self, order: &LaneOrder) -> UnderChange {
        let closed = |uid: &String| self.changes.get(uid) == Some(&LaneDuringChange::Closed);
        if order.members.iter().any(|m| closed(&m.uid)) || closed(&order.controller) {
            UnderChange::Yes
        } else {
            UnderChange::No
        }
    }

    /// Counts a visit of the lane's controller, and judges the hold by it.
    fn visit(&mut self, uid: &str, reading: Option<LaneReading>, now: &Now) {
        let order = self.lanes.get(uid).and_then(|l| l.order.as_ref());
        let under_change = order.map_or(UnderChange::No, |order| self.under_change(order));
        let Some(lane) = self.lanes.get_mut(uid) else { return };
        lane.reading = reading.map(|r| (r, now.mono));
        lane.empty.count(reading, now.mono);
        let empty = lane.empty;
        if let Some(outcome) = lane.hold.as_mut().and_then(|hold| hold.visit(reading, empty, under_change, now)) {
            lane.note_hold(outcome);
        }
    }

    /// Judges the interlocks of a lane again; returns it where its controller has to act at once.
    fn judge_interlocks(&mut self, uid: &str) -> Option<LaneToWake> {
        let lane = self.lanes.get_mut(uid)?;
        let order = lane.order.as_ref()?;
        let latched = interlock::latched(order, &self.interlocks, &lane.latched);
        let open = interlock::open(order, &self.interlocks, &latched);
        if latched == lane.latched && open == lane.open {
            return None;
        }
        let changed = LaneToWake { uid: uid.to_owned(), controller: order.controller.clone() };
        let closes = lane.open.is_empty() && !open.is_empty() && order.admission == Admission::Open;
        (lane.latched, lane.open, lane.unsaved) = (latched, open, true);
        if closes {
            lane.close_cause = Some(CloseCause::Interlock);
            let note = format!("lane {} was closed: interlock {} is open", lane.stored.item.name, lane.open.join(", "));
            lane.add_event(Reason::InterlockOpen, EventSeverity::Warning, note.chars().take(900).collect());
        }
        Some(changed)
    }

    /// Open only when it is declared so and nothing speaks against it: every doubt closes.
    fn wanted(&self, uid: &str) -> Option<Admission> {
        let lane = self.lanes.get(uid)?;
        let order = lane.order.as_ref()?;
        let open = order.admission == Admission::Open
            && !lane.offline
            && !lane.is_held()
            && lane.open.is_empty()
            && self.under_change(order) == UnderChange::No;
        Some(if open { Admission::Open } else { Admission::Closed })
    }
}
