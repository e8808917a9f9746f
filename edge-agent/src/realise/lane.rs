//! Lanes: what their controllers are to do, what they do, and which device of a lane may be touched.
//!
//! A lane is open only when it is declared open and nothing speaks against it: no claim, no open interlock, no offline policy, no device
//! in work. It closes without asking anybody, and opens again by itself once the last of these has ended.

mod report;
mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::device::Guard;
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::edge_agent::OfflinePolicy;
use kalong_crds::lane::{Admission, LaneAdmission, Service};
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::event::EventSeverity;
use kalong_crds::wire::order::{LaneInterlock, LaneOrder};
use kalong_crds::wire::reported::ReportedItem;
use tokio::time::Instant;

use super::hold::{Hold, Looks, Now, Work};
use crate::driver::Reading;
use crate::firmware::attempt::Quiet;
use crate::interlock::{self, Board};
use crate::store::Note;
use crate::store::desired::Held;
use crate::store::journal::Memory;
use crate::store::outbox::NewEvent;

/// Age after which what a controller showed is no ground to touch a device.
const FRESH: Duration = Duration::from_secs(10);
/// Events of one lane that wait for room in the outbox; an interlock that flutters meanwhile is not news every time.
const MAX_WAITING: usize = 16;

/// What a controller shows of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it does.
    pub admission: LaneAdmission,
    /// How many are inside, where it counts.
    pub occupancy: Option<i64>,
}

impl Seen {
    /// What a reading shows; none where the device runs no lane.
    pub fn of(reading: &Reading) -> Option<Self> {
        let word = match reading.properties.get(well_known::ADMISSION_STATE)? {
            Value::Text(word) => word.as_str(),
            Value::Integer(n) => well_known::ADMISSION_STATES.get(usize::try_from(*n).ok()?).copied()?,
        };
        let admission = match word {
            "Open" => LaneAdmission::Open,
            "Closed" => LaneAdmission::Closed,
            "Draining" => LaneAdmission::Draining,
            _ => LaneAdmission::Unknown,
        };
        let occupancy = match reading.properties.get(well_known::OCCUPANCY) {
            Some(Value::Integer(n)) => Some(*n),
            _ => None,
        };
        Some(Self { admission, occupancy })
    }
}

/// Whether a device in work keeps its lane closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// No other device of the lane may begin; the lane serves on.
    Turn,
    /// The lane stays closed as well.
    Closed,
}

/// What closed a lane that is declared open, so that its reopening is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shut {
    ByInterlock,
    ByClaim,
}

#[derive(Debug)]
struct Lane {
    held: Arc<Held>,
    order: Option<LaneOrder>,
    seen: Option<(Seen, Instant)>,
    looks: Looks,
    offline: bool,
    applied: i64,
    hold: Option<Hold>,
    /// Interlocks read by this box that were last seen open.
    latched: Vec<LaneInterlock>,
    /// Names of all interlocks that keep the lane closed.
    open: Vec<String>,
    shut: Option<Shut>,
    /// What happened and is not in the outbox yet.
    waiting: Vec<NewEvent>,
    unsaved: bool,
}

#[derive(Debug, Default)]
struct Inner {
    lanes: BTreeMap<String, Lane>,
    claims: BTreeMap<String, Claim>,
    board: Board,
}

/// The lanes whose controllers belong to this box.
#[derive(Debug, Default)]
pub struct Lanes {
    inner: Mutex<Inner>,
}

/// A lane that the offline policy closes or gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// UID of the lane.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// UID of its controller.
    pub controller: String,
    /// Whether it is held closed from now on.
    pub held: bool,
}

/// A lane that has to be told something at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urgent {
    /// UID of the lane.
    pub lane: String,
    /// UID of its controller.
    pub controller: String,
}

/// Whether a policy closes lanes of this service.
fn closes(policy: OfflinePolicy, service: Service) -> bool {
    match policy {
        OfflinePolicy::Hold => false,
        OfflinePolicy::Degrade => matches!(service, Service::Smart | Service::Igv),
        OfflinePolicy::SafeClose => true,
    }
}

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock means that a task died between two plain assignments; what is inside is still whole.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes an order in. `memory` is what was remembered of a lane that is new here.
    pub fn put(&self, held: Arc<Held>, memory: &Memory, now: &Now) {
        let order: Option<LaneOrder> = held.item.order().ok();
        let uid = held.item.uid.clone();
        let mut inner = self.lock();
        let lane = inner.lanes.entry(uid.clone()).or_insert_with(|| Lane::remembered(held.clone(), memory, now));
        (lane.held, lane.order) = (held, order);
        lane.take_claim(now);
        inner.judge_interlocks(&uid);
    }

    /// Lets go of a lane; its controller stays as it is.
    pub fn remove(&self, uid: &str) {
        self.lock().lanes.remove(uid);
    }

    /// A lane got another uid; what is seen of it stays.
    pub fn rename(&self, old: &str, new: &str) {
        let mut inner = self.lock();
        inner.board.forget(old);
        if let Some(lane) = inner.lanes.remove(old) {
            inner.lanes.insert(new.to_owned(), lane);
        }
    }

    /// Lets go of a device: what it showed of interlocks is not known any more.
    pub fn forget_device(&self, uid: &str) {
        self.lock().board.forget(uid);
    }

    /// UID of the device that runs this lane.
    pub fn controller(&self, lane: &str) -> Option<String> {
        self.lock().lanes.get(lane)?.order.as_ref().map(|o| o.controller.clone())
    }

    /// Takes in what a controller shows, or that it shows nothing. Gives what it is to be told, if anything.
    pub fn observe(&self, controller: &str, seen: Option<Seen>, now: &Now) -> Option<Admission> {
        let mut inner = self.lock();
        let uid = inner.run_by(controller)?;
        inner.look(&uid, seen, now);
        let wish = inner.wish(&uid)?;
        let lane = inner.lanes.get_mut(&uid)?;
        let declared = lane.order.as_ref().map(|o| o.admission)?;
        lane.follow_closing(declared);
        let seen = seen?;
        if admitted(seen.admission) == Some(declared) {
            lane.applied = lane.held.item.generation;
        }
        match (wish, seen.admission) {
            (Admission::Open, LaneAdmission::Open) => {
                lane.tell_reopening();
                None
            }
            // A lane that empties itself is on its way to Closed; telling it again would change nothing.
            (Admission::Closed, LaneAdmission::Closed | LaneAdmission::Draining | LaneAdmission::Drained) => None,
            (wish, _) => Some(wish),
        }
    }

    /// Takes in what a device shows of its interlocks. Gives the lanes for which that changes something: wake their controllers.
    pub fn guards_seen(&self, uid: &str, name: &str, guards: &[Guard]) -> Vec<Urgent> {
        let mut inner = self.lock();
        if !inner.board.see(uid, name, guards) {
            return Vec::new();
        }
        let depends = |lane: &Lane| lane.order.as_ref().is_some_and(|o| o.interlocks.iter().any(|i| i.device == uid));
        let lanes: Vec<_> = inner.lanes.iter().filter(|(_, l)| depends(l)).map(|(uid, _)| uid.clone()).collect();
        lanes.iter().filter_map(|lane| inner.judge_interlocks(lane)).collect()
    }

    /// UID of the lane that this device runs.
    pub fn run_by(&self, controller: &str) -> Option<String> {
        self.lock().run_by(controller)
    }

    /// Notes that a device is in work, or no longer.
    pub fn claim(&self, device: &str, claim: Option<Claim>) {
        let mut inner = self.lock();
        match claim {
            Some(claim) => inner.claims.insert(device.to_owned(), claim),
            None => inner.claims.remove(device),
        };
    }

    /// Whether this device may begin: no other device of its lanes is in work, and where its change needs the lane empty, the lane is
    /// closed as declared or claimed. A box closes no lane for a change on a permit alone: the floors were judged for the claim.
    pub fn is_turn_of(&self, device: &str, need: LaneDrainNeed) -> bool {
        let inner = self.lock();
        let mut lanes = inner.lanes.values().filter_map(|l| Some((l, l.order.as_ref()?)));
        lanes.all(|(lane, order)| {
            let member = order.members.iter().any(|m| m.uid == device);
            let free = || !order.members.iter().any(|m| m.uid != device && inner.claims.contains_key(&m.uid));
            let ready =
                || need == LaneDrainNeed::NotNeeded || order.admission == Admission::Closed || lane.is_claimed();
            !member || (free() && ready())
        })
    }

    /// Whether this device's lane was seen closed and empty twice, as this box itself reads it. A lane of another box is the operator's to
    /// judge.
    pub fn quiet(&self, device: &str, need: LaneDrainNeed) -> Quiet {
        if need == LaneDrainNeed::NotNeeded {
            return Quiet::Safe;
        }
        let inner = self.lock();
        for lane in inner.lanes.values() {
            let member = lane.order.as_ref().is_some_and(|o| o.members.iter().any(|m| m.uid == device));
            if !member {
                continue;
            }
            let name = &lane.held.item.name;
            match &lane.seen {
                Some((_, at)) if at.elapsed() > FRESH => {
                    return Quiet::No(format!("lane {name} was not read for {} s", at.elapsed().as_secs()));
                }
                Some(_) if lane.looks.is_empty() => {}
                Some((seen, _)) if seen.admission == LaneAdmission::Closed => {
                    return Quiet::No(format!("lane {name} is closed and was not seen empty twice"));
                }
                Some(_) => return Quiet::No(format!("lane {name} is not closed")),
                None => return Quiet::No(format!("nobody can tell what lane {name} does")),
            }
        }
        Quiet::Safe
    }

    /// Puts a policy in force, or ends it. Gives the lanes for which that changes something; commit that, then [`Self::hold`].
    pub fn turned_by(&self, policy: Option<OfflinePolicy>) -> Vec<Turned> {
        let inner = self.lock();
        let turn = |(uid, lane): (&String, &Lane)| {
            let order = lane.order.as_ref()?;
            let held = policy.is_some_and(|p| closes(p, order.service));
            // A lane that is declared closed is not closed by the policy; one that is held already stays held.
            let holds = held && (lane.offline || order.admission == Admission::Open);
            (holds != lane.offline).then(|| Turned {
                uid: uid.clone(),
                name: lane.held.item.name.clone(),
                controller: order.controller.clone(),
                held: holds,
            })
        };
        inner.lanes.iter().filter_map(turn).collect()
    }

    /// Whether any lane is held by the offline policy.
    pub fn any_held(&self) -> bool {
        self.lock().lanes.values().any(|l| l.offline)
    }

    /// Holds a lane closed, or gives it back.
    pub fn hold(&self, turned: &Turned) {
        if let Some(lane) = self.lock().lanes.get_mut(&turned.uid) {
            lane.offline = turned.held;
        }
    }

    /// What is remembered of a lane.
    pub fn memory(&self, uid: &str) -> Memory {
        self.lock().lanes.get(uid).map(Lane::memory).unwrap_or_default()
    }

    /// What of a lane is not durable yet, if anything. Where it cannot be committed, give it back with [`Self::unsaved`].
    pub fn to_save(&self, uid: &str) -> Option<Note> {
        let mut inner = self.lock();
        let lane = inner.lanes.get_mut(uid).filter(|l| l.unsaved)?;
        lane.unsaved = false;
        let events = std::mem::take(&mut lane.waiting);
        Some(Note { uid: uid.to_owned(), memory: Some(lane.memory()), events, ..Note::default() })
    }

    /// This could not be committed; it is tried again at the next visit.
    pub fn unsaved(&self, note: Note) {
        let mut inner = self.lock();
        let Some(lane) = inner.lanes.get_mut(&note.uid) else { return };
        lane.unsaved = true;
        let later = std::mem::replace(&mut lane.waiting, note.events);
        lane.waiting.extend(later);
        lane.waiting.truncate(MAX_WAITING);
    }

    /// What is to be said of a lane.
    pub fn report(&self, uid: &str) -> Option<ReportedItem> {
        let inner = self.lock();
        let lane = inner.lanes.get(uid)?;
        let work = lane.order.as_ref().map_or(Work::None, |order| inner.work(order));
        Some(lane.report(work, inner.wish(uid)))
    }
}

fn admitted(seen: LaneAdmission) -> Option<Admission> {
    match seen {
        LaneAdmission::Open => Some(Admission::Open),
        LaneAdmission::Closed | LaneAdmission::Drained => Some(Admission::Closed),
        LaneAdmission::Draining | LaneAdmission::Unknown => None,
    }
}

impl Inner {
    fn run_by(&self, controller: &str) -> Option<String> {
        let runs = |lane: &Lane| lane.order.as_ref().is_some_and(|o| o.controller == controller);
        self.lanes.iter().find(|(_, lane)| runs(lane)).map(|(uid, _)| uid.clone())
    }

    fn work(&self, order: &LaneOrder) -> Work {
        let closed = |uid: &String| self.claims.get(uid) == Some(&Claim::Closed);
        if order.members.iter().any(|m| closed(&m.uid)) || closed(&order.controller) {
            Work::UnderWay
        } else {
            Work::None
        }
    }

    /// Counts a visit of the lane's controller, and has the claim judged by it.
    fn look(&mut self, uid: &str, seen: Option<Seen>, now: &Now) {
        let order = self.lanes.get(uid).and_then(|l| l.order.as_ref());
        let work = order.map_or(Work::None, |order| self.work(order));
        let Some(lane) = self.lanes.get_mut(uid) else { return };
        lane.seen = seen.map(|s| (s, now.mono));
        lane.looks.count(seen, now.mono);
        let looks = lane.looks;
        if let Some(turn) = lane.hold.as_mut().and_then(|hold| hold.look(seen, looks, work, now)) {
            lane.turned(turn);
        }
    }

    /// Judges the interlocks of a lane anew; says whether its controller has to be told at once.
    fn judge_interlocks(&mut self, uid: &str) -> Option<Urgent> {
        let lane = self.lanes.get_mut(uid)?;
        let order = lane.order.as_ref()?;
        let latched = interlock::latched(order, &self.board, &lane.latched);
        let open = interlock::open(order, &self.board, &latched);
        if latched == lane.latched && open == lane.open {
            return None;
        }
        let urgent = Urgent { lane: uid.to_owned(), controller: order.controller.clone() };
        let closes = lane.open.is_empty() && !open.is_empty() && order.admission == Admission::Open;
        (lane.latched, lane.open, lane.unsaved) = (latched, open, true);
        if closes {
            lane.shut = Some(Shut::ByInterlock);
            let note = format!("lane {} was closed: interlock {} is open", lane.held.item.name, lane.open.join(", "));
            lane.happened(Reason::InterlockOpen, EventSeverity::Warning, note.chars().take(900).collect());
        }
        Some(urgent)
    }

    /// Open only when it is declared so and nothing speaks against it: every doubt closes.
    fn wish(&self, uid: &str) -> Option<Admission> {
        let lane = self.lanes.get(uid)?;
        let order = lane.order.as_ref()?;
        let open = order.admission == Admission::Open
            && !lane.offline
            && !lane.is_claimed()
            && lane.open.is_empty()
            && self.work(order) == Work::None;
        Some(if open { Admission::Open } else { Admission::Closed })
    }
}
