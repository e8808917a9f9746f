//! Lanes: what their controllers are to do, what they do, and which device of a lane may be touched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::edge_agent::OfflinePolicy;
use kalong_crds::lane::{Admission, LaneAdmission, Service};
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::order::LaneOrder;
use kalong_crds::wire::reported::{ItemState, LaneReport, ReportedItem};
use tokio::time::Instant;

use crate::driver::Reading;
use crate::firmware::attempt::Quiet;
use crate::store::desired::Held;

/// Age after which what a controller showed is no ground to touch a device.
const FRESH: Duration = Duration::from_secs(10);

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

#[derive(Debug)]
struct Lane {
    held: Arc<Held>,
    order: Option<LaneOrder>,
    seen: Option<(Seen, Instant)>,
    offline: bool,
    applied: i64,
}

#[derive(Debug, Default)]
struct Inner {
    lanes: BTreeMap<String, Lane>,
    claims: BTreeMap<String, Claim>,
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

    /// Takes an order in. `offline` is what was remembered of a lane that is new here.
    pub fn put(&self, held: Arc<Held>, offline: bool) {
        let order = held.item.order().ok();
        let mut inner = self.lock();
        match inner.lanes.get_mut(&held.item.uid) {
            Some(lane) => (lane.held, lane.order) = (held, order),
            None => {
                inner.lanes.insert(held.item.uid.clone(), Lane { held, order, seen: None, offline, applied: 0 });
            }
        }
    }

    /// Lets go of a lane; its controller stays as it is.
    pub fn remove(&self, uid: &str) {
        self.lock().lanes.remove(uid);
    }

    /// A lane got another uid; what is seen of it stays.
    pub fn rename(&self, old: &str, new: &str) {
        let mut inner = self.lock();
        if let Some(lane) = inner.lanes.remove(old) {
            inner.lanes.insert(new.to_owned(), lane);
        }
    }

    /// UID of the device that runs this lane.
    pub fn controller(&self, lane: &str) -> Option<String> {
        self.lock().lanes.get(lane)?.order.as_ref().map(|o| o.controller.clone())
    }

    /// Takes in what a controller shows, or that it shows nothing. Gives what it is to be told, if anything.
    pub fn observe(&self, controller: &str, seen: Option<Seen>) -> Option<Admission> {
        let mut inner = self.lock();
        let uid = inner.run_by(controller)?;
        let wish = inner.wish(&uid)?;
        let lane = inner.lanes.get_mut(&uid)?;
        lane.seen = seen.map(|s| (s, Instant::now()));
        let seen = seen?;
        let declared = lane.order.as_ref().map(|o| o.admission)?;
        if admitted(seen.admission) == Some(declared) {
            lane.applied = lane.held.item.generation;
        }
        match (wish, seen.admission) {
            (Admission::Open, LaneAdmission::Open) => None,
            // A lane that empties itself is on its way to Closed; telling it again would change nothing.
            (Admission::Closed, LaneAdmission::Closed | LaneAdmission::Draining | LaneAdmission::Drained) => None,
            (wish, _) => Some(wish),
        }
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

    /// Whether no other device of this device's lanes is in work.
    pub fn is_turn_of(&self, device: &str) -> bool {
        let inner = self.lock();
        !inner
            .lanes
            .values()
            .filter_map(|l| l.order.as_ref())
            .filter(|o| o.members.iter().any(|m| m.uid == device))
            .flat_map(|o| &o.members)
            .any(|m| m.uid != device && inner.claims.contains_key(&m.uid))
    }

    /// Whether this device's lane is closed and empty, as this box itself reads it. A lane of another box is the operator's to judge.
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
                Some((seen, _)) if seen.admission == LaneAdmission::Closed && seen.occupancy.unwrap_or(0) == 0 => {}
                Some((seen, _)) if seen.admission == LaneAdmission::Closed => {
                    return Quiet::No(format!("lane {name} is closed and not empty"));
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

    /// What is to be said of a lane.
    pub fn report(&self, uid: &str) -> Option<ReportedItem> {
        let inner = self.lock();
        let lane = inner.lanes.get(uid)?;
        let item = &lane.held.item;
        let (state, reason, message, admission) = inner.judge(uid, lane);
        Some(ReportedItem {
            uid: item.uid.clone(),
            kind: ItemKind::Lane,
            generation: item.generation,
            hash: item.hash.clone(),
            applied: lane.applied,
            state,
            reason: reason.map_or_else(String::new, |r| r.as_str().to_owned()),
            message,
            device: None,
            lane: Some(LaneReport {
                admission,
                held_by_offline_policy: lane.offline,
                closed_by_interlock: false,
                refusal: None,
            }),
            igv: None,
            link: None,
        })
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

    fn is_held_for_work(&self, order: &LaneOrder) -> bool {
        order.members.iter().any(|m| self.claims.get(&m.uid) == Some(&Claim::Closed))
            || self.claims.get(&order.controller) == Some(&Claim::Closed)
    }

    /// Open only when it is ordered, no device is in work, and no policy holds it: every doubt closes.
    fn wish(&self, uid: &str) -> Option<Admission> {
        let lane = self.lanes.get(uid)?;
        let order = lane.order.as_ref()?;
        let open = order.admission == Admission::Open && !lane.offline && !self.is_held_for_work(order);
        Some(if open { Admission::Open } else { Admission::Closed })
    }

    fn judge(&self, uid: &str, lane: &Lane) -> (ItemState, Option<Reason>, String, LaneAdmission) {
        let (Some(order), Some(wish)) = (&lane.order, self.wish(uid)) else {
            let message = "the order cannot be read: bring operator and agent to releases that fit".to_owned();
            return (ItemState::Rejected, Some(Reason::InvalidSpec), message, LaneAdmission::Unknown);
        };
        let Some((seen, _)) = lane.seen else {
            let message = "the lane's controller was not read yet or does not answer: see its Device".to_owned();
            return (ItemState::Applying, Some(Reason::DeviceUnreachable), message, LaneAdmission::Unknown);
        };
        let in_work = self.is_held_for_work(order);
        let shown =
            if in_work && seen.admission == LaneAdmission::Closed { LaneAdmission::Drained } else { seen.admission };
        if admitted(seen.admission) == Some(order.admission) {
            return (ItemState::Applied, None, String::new(), shown);
        }
        let (reason, message) = if lane.offline {
            (Reason::OfflinePolicyClosed, "the offline policy holds the lane closed until the operator is reached")
        } else if in_work {
            (Reason::Drained, "the lane stays closed while one of its devices is being changed")
        } else if seen.admission == LaneAdmission::Draining && wish == Admission::Closed {
            (Reason::Draining, "the lane is being emptied")
        } else {
            (Reason::AdmissionPending, "the lane's controller was told and does not show it yet")
        };
        (ItemState::Applying, Some(reason), message.to_owned(), shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lane_held;

    fn seen(admission: LaneAdmission, occupancy: i64) -> Option<Seen> {
        Some(Seen { admission, occupancy: Some(occupancy) })
    }

    fn lanes(admission: Admission) -> Lanes {
        let lanes = Lanes::default();
        lanes.put(lane_held("l1", "plc", &["plc", "cam"], admission, Service::Smart), false);
        lanes
    }

    #[tokio::test]
    async fn controller_is_told_only_what_differs() {
        let open = lanes(Admission::Open);
        assert_eq!(open.observe("plc", seen(LaneAdmission::Closed, 0)), Some(Admission::Open));
        assert_eq!(open.observe("plc", seen(LaneAdmission::Open, 0)), None);
        assert_eq!(open.report("l1").unwrap().state, ItemState::Applied);
        let closed = lanes(Admission::Closed);
        assert_eq!(closed.observe("plc", seen(LaneAdmission::Open, 0)), Some(Admission::Closed));
        assert_eq!(closed.observe("plc", seen(LaneAdmission::Draining, 2)), None);
        assert_eq!(closed.report("l1").unwrap().reason, "Draining");
    }

    #[tokio::test]
    async fn silent_controller_makes_the_lane_unknown_and_untouchable() {
        let lanes = lanes(Admission::Closed);
        lanes.observe("plc", seen(LaneAdmission::Closed, 0));
        assert_eq!(lanes.quiet("cam", LaneDrainNeed::Needed), Quiet::Safe);
        lanes.observe("plc", None);
        assert_eq!(lanes.report("l1").unwrap().lane.unwrap().admission, LaneAdmission::Unknown);
        assert!(matches!(lanes.quiet("cam", LaneDrainNeed::Needed), Quiet::No(_)));
        assert_eq!(lanes.quiet("stranger", LaneDrainNeed::Needed), Quiet::Safe);
    }

    #[tokio::test]
    async fn occupied_or_open_lane_is_not_quiet() {
        let lanes = lanes(Admission::Closed);
        lanes.observe("plc", seen(LaneAdmission::Closed, 1));
        assert!(matches!(lanes.quiet("cam", LaneDrainNeed::Needed), Quiet::No(_)));
        lanes.observe("plc", seen(LaneAdmission::Open, 0));
        assert!(matches!(lanes.quiet("cam", LaneDrainNeed::Needed), Quiet::No(_)));
        assert_eq!(lanes.quiet("cam", LaneDrainNeed::NotNeeded), Quiet::Safe);
    }

    #[tokio::test]
    async fn one_device_of_a_lane_at_a_time_and_the_lane_stays_closed_meanwhile() {
        let lanes = lanes(Admission::Open);
        lanes.claim("cam", Some(Claim::Closed));
        assert!(lanes.is_turn_of("cam") && !lanes.is_turn_of("plc") && lanes.is_turn_of("elsewhere"));
        assert_eq!(lanes.observe("plc", seen(LaneAdmission::Closed, 0)), None);
        assert_eq!(lanes.report("l1").unwrap().lane.unwrap().admission, LaneAdmission::Drained);
        lanes.claim("cam", None);
        assert_eq!(lanes.observe("plc", seen(LaneAdmission::Closed, 0)), Some(Admission::Open));
    }

    #[tokio::test]
    async fn policy_closes_by_service_and_gives_back_only_what_is_ordered_open() {
        let lanes = Lanes::default();
        lanes.put(lane_held("smart", "p1", &["p1"], Admission::Open, Service::Smart), false);
        lanes.put(lane_held("people", "p2", &["p2"], Admission::Open, Service::Passenger), false);
        lanes.put(lane_held("shut", "p3", &["p3"], Admission::Closed, Service::Smart), false);
        let degraded = lanes.turned_by(Some(OfflinePolicy::Degrade));
        assert_eq!(degraded.iter().map(|t| t.uid.as_str()).collect::<Vec<_>>(), ["smart"]);
        for turned in lanes.turned_by(Some(OfflinePolicy::SafeClose)) {
            lanes.hold(&turned);
        }
        assert_eq!(lanes.observe("p1", seen(LaneAdmission::Open, 0)), Some(Admission::Closed));
        assert!(lanes.report("smart").unwrap().lane.unwrap().held_by_offline_policy);
        assert!(lanes.turned_by(Some(OfflinePolicy::SafeClose)).is_empty());
        for turned in lanes.turned_by(None) {
            assert!(!turned.held);
            lanes.hold(&turned);
        }
        assert_eq!(lanes.observe("p1", seen(LaneAdmission::Closed, 0)), Some(Admission::Open));
        assert_eq!(lanes.observe("p3", seen(LaneAdmission::Closed, 0)), None);
    }
}
