//! What a lane's controller is told, and what is said of the lane.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::Reason;
use kalong_crds::device::{Guard, GuardKind, GuardState};
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::edge_agent::OfflinePolicy;
use kalong_crds::lane::{Admission, LaneAdmission, Service};
use kalong_crds::wire::order::{LaneHold, LaneInterlock, LaneOrder};
use kalong_crds::wire::reported::{ItemState, ReportedItem};
use proptest::prelude::*;
use tokio::time::Instant;

use super::reading::LaneReading;
use super::safety::Safety;
use super::table::{LaneDuringChange, LaneTable, LaneToWake};
use crate::clock::Now;
use crate::store::durable::DurableState;
use crate::testing::{lane_order, stored_lane, stored_lane_order};

/// Time between two visits.
const VISIT: Duration = Duration::from_millis(500);
const COME: &str = "2026-11-01T08:00:00Z";
const NEEDED: LaneDrainNeed = LaneDrainNeed::Needed;

/// One lane with a controller in memory, visited on a clock of its own.
struct Gate {
    lanes: LaneTable,
    order: LaneOrder,
    plc: LaneReading,
    now: Now,
}

impl Gate {
    fn new(admission: Admission) -> Self {
        let wall: Timestamp = COME.parse().unwrap();
        let mut gate = Self {
            lanes: LaneTable::default(),
            order: lane_order("plc", &["plc", "cam"], admission, Service::Smart),
            plc: LaneReading { admission: LaneAdmission::Closed, occupancy: Some(0) },
            now: Now { wall: Some(wall), signed: wall, mono: Instant::now() },
        };
        gate.tell();
        gate
    }

    /// The same lane after the box restarted with what it remembered.
    fn restarted(mut self) -> Self {
        let durable = self.lanes.durable("l1");
        let durable: DurableState = serde_json::from_value(serde_json::to_value(durable).unwrap()).unwrap();
        self.lanes = LaneTable::default();
        self.lanes.put(stored_lane_order("l1", &self.order), &durable, &self.now);
        self
    }

    fn tell(&mut self) {
        self.lanes.put(stored_lane_order("l1", &self.order), &DurableState::default(), &self.now);
    }

    fn claim(&mut self, drains: &[&str], empty_by: u8, until: u8) {
        self.order.hold = Some(LaneHold {
            drains: drains.iter().map(|d| (*d).to_owned()).collect(),
            divert_to: None,
            empty_by: format!("2026-11-01T08:{empty_by:02}:00Z"),
            until: format!("2026-11-01T08:{until:02}:00Z"),
        });
        self.tell();
    }

    fn release(&mut self) {
        self.order.hold = None;
        self.tell();
    }

    fn pass(&mut self, time: Duration) {
        let time_signed = SignedDuration::try_from(time).unwrap();
        self.now.wall = self.now.wall.map(|wall| wall + time_signed);
        self.now.signed += time_signed;
        self.now.mono += time;
    }

    /// A visit; the controller obeys as a real one does.
    fn visit(&mut self) {
        self.pass(VISIT);
        match self.lanes.observe("plc", Some(self.plc), &self.now) {
            None => {}
            Some(Admission::Open) => self.plc.admission = LaneAdmission::Open,
            Some(Admission::Closed) if self.plc.occupancy == Some(0) => self.plc.admission = LaneAdmission::Closed,
            Some(Admission::Closed) => self.plc.admission = LaneAdmission::Draining,
        }
        self.lanes.observe("plc", Some(self.plc), &self.now);
    }

    fn visits(&mut self) {
        for _ in 0..3 {
            self.visit();
        }
    }

    fn leave(&mut self) {
        self.plc.occupancy = Some(0);
        if self.plc.admission == LaneAdmission::Draining {
            self.plc.admission = LaneAdmission::Closed;
        }
    }

    fn report(&self) -> ReportedItem {
        self.lanes.report("l1").unwrap()
    }

    fn admission(&self) -> LaneAdmission {
        self.report().lane().unwrap().admission
    }

    fn events(&mut self) -> Vec<Reason> {
        self.lanes.take_unsaved("l1").map(|t| t.events.iter().map(|e| e.reason).collect()).unwrap_or_default()
    }

    fn beam(&mut self, state: GuardState) -> Vec<LaneToWake> {
        let guard = Guard { name: "beam".into(), kind: GuardKind::Interlock, state };
        self.lanes.update_interlocks("x", "xray", &[guard])
    }
}

fn seen(admission: LaneAdmission, occupancy: i64) -> Option<LaneReading> {
    Some(LaneReading { admission, occupancy: Some(occupancy) })
}

#[tokio::test]
async fn controller_is_told_only_what_differs() {
    let mut gate = Gate::new(Admission::Open);
    assert_eq!(gate.lanes.observe("plc", seen(LaneAdmission::Closed, 0), &gate.now), Some(Admission::Open));
    assert_eq!(gate.lanes.observe("plc", seen(LaneAdmission::Open, 0), &gate.now), None);
    assert_eq!(gate.report().state, ItemState::Applied);
    let mut gate = Gate::new(Admission::Closed);
    assert_eq!(gate.lanes.observe("plc", seen(LaneAdmission::Open, 0), &gate.now), Some(Admission::Closed));
    assert_eq!(gate.lanes.observe("plc", seen(LaneAdmission::Draining, 2), &gate.now), None);
    assert_eq!(gate.report().reason, "Draining");
}

#[tokio::test]
async fn silent_controller_makes_the_lane_unknown_and_untouchable() {
    let mut gate = Gate::new(Admission::Closed);
    gate.visits();
    assert_eq!(gate.lanes.safety("cam", NEEDED), Safety::Safe);
    gate.lanes.observe("plc", None, &gate.now);
    assert_eq!(gate.admission(), LaneAdmission::Unknown);
    assert!(matches!(gate.lanes.safety("cam", NEEDED), Safety::Unsafe(_)));
    assert_eq!(gate.lanes.safety("stranger", NEEDED), Safety::Safe);
    gate.visit();
    assert!(matches!(gate.lanes.safety("cam", NEEDED), Safety::Unsafe(_)), "one visit is none");
}

#[tokio::test]
async fn occupied_or_open_lane_is_not_quiet() {
    let mut gate = Gate::new(Admission::Closed);
    gate.plc.occupancy = Some(1);
    gate.visits();
    assert!(matches!(gate.lanes.safety("cam", NEEDED), Safety::Unsafe(_)));
    gate.lanes.observe("plc", seen(LaneAdmission::Open, 0), &gate.now);
    assert!(matches!(gate.lanes.safety("cam", NEEDED), Safety::Unsafe(_)));
    assert_eq!(gate.lanes.safety("cam", LaneDrainNeed::NotNeeded), Safety::Safe);
}

#[tokio::test]
async fn one_device_of_a_lane_at_a_time_and_the_lane_stays_closed_meanwhile() {
    let mut gate = Gate::new(Admission::Open);
    gate.claim(&["a"], 15, 50);
    gate.visits();
    gate.lanes.mark_change("cam", Some(LaneDuringChange::Closed));
    assert!(gate.lanes.may_begin_change("cam", NEEDED) && gate.lanes.may_begin_change("elsewhere", NEEDED));
    assert!(!gate.lanes.may_begin_change("plc", NEEDED));
    gate.release();
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Drained);
    gate.lanes.mark_change("cam", None);
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Open);
}

#[tokio::test]
async fn permit_alone_closes_no_lane() {
    let mut gate = Gate::new(Admission::Open);
    gate.visits();
    assert!(!gate.lanes.may_begin_change("cam", NEEDED));
    assert!(gate.lanes.may_begin_change("cam", LaneDrainNeed::NotNeeded));
    gate.claim(&["a"], 15, 50);
    gate.visits();
    assert!(gate.lanes.may_begin_change("cam", NEEDED));
    assert!(Gate::new(Admission::Closed).lanes.may_begin_change("cam", NEEDED));
}

#[tokio::test]
async fn policy_closes_by_service_and_gives_back_only_what_is_ordered_open() {
    let mut lanes = LaneTable::default();
    let now = Gate::new(Admission::Open).now;
    lanes.put(stored_lane("smart", "p1", &["p1"], Admission::Open, Service::Smart), &DurableState::default(), &now);
    lanes.put(
        stored_lane("people", "p2", &["p2"], Admission::Open, Service::Passenger),
        &DurableState::default(),
        &now,
    );
    lanes.put(stored_lane("shut", "p3", &["p3"], Admission::Closed, Service::Smart), &DurableState::default(), &now);
    let degraded = lanes.policy_changes(Some(OfflinePolicy::Degrade));
    assert_eq!(degraded.iter().map(|t| t.uid.as_str()).collect::<Vec<_>>(), ["smart"]);
    for change in lanes.policy_changes(Some(OfflinePolicy::SafeClose)) {
        lanes.apply_policy(&change);
    }
    assert_eq!(lanes.observe("p1", seen(LaneAdmission::Open, 0), &now), Some(Admission::Closed));
    assert!(lanes.report("smart").unwrap().lane().unwrap().held_by_offline_policy);
    assert!(lanes.policy_changes(Some(OfflinePolicy::SafeClose)).is_empty());
    for change in lanes.policy_changes(None) {
        assert!(!change.held);
        lanes.apply_policy(&change);
    }
    assert_eq!(lanes.observe("p1", seen(LaneAdmission::Closed, 0), &now), Some(Admission::Open));
    assert_eq!(lanes.observe("p3", seen(LaneAdmission::Closed, 0), &now), None);
}

#[tokio::test]
async fn claimed_lane_empties_is_drained_after_two_visits_and_reopens_when_the_claim_is_gone() {
    let mut gate = Gate::new(Admission::Open);
    gate.visits();
    gate.plc.occupancy = Some(2);
    gate.claim(&["a"], 15, 50);
    gate.visits();
    assert_eq!((gate.admission(), gate.report().reason.as_str()), (LaneAdmission::Draining, "Draining"));
    assert_eq!(gate.report().state, ItemState::Applying);
    gate.leave();
    gate.visit();
    assert_eq!(gate.admission(), LaneAdmission::Draining, "one visit proves nothing");
    gate.visit();
    assert_eq!((gate.admission(), gate.report().reason.as_str()), (LaneAdmission::Drained, "Drained"));
    assert!(gate.events().is_empty());
    gate.release();
    gate.visits();
    assert_eq!((gate.admission(), gate.report().state), (LaneAdmission::Open, ItemState::Applied));
    assert_eq!(gate.events(), [Reason::Reopened]);
}

#[tokio::test]
async fn lane_that_is_not_empty_in_time_reopens_says_so_and_a_restart_does_not_close_it_again() {
    let mut gate = Gate::new(Admission::Open);
    gate.visits();
    gate.plc.occupancy = Some(1);
    gate.claim(&["a", "b"], 15, 50);
    gate.visits();
    gate.pass(Duration::from_secs(900));
    gate.visits();
    let lane = gate.report().lane().cloned().unwrap();
    let refusal = lane.refusal.unwrap();
    assert_eq!((lane.admission, refusal.reason.as_str()), (LaneAdmission::Open, "DrainTimedOut"));
    assert_eq!(refusal.drains, ["a", "b"]);
    assert_eq!(gate.report().state, ItemState::Applied);
    assert_eq!(gate.events(), [Reason::DrainTimedOut]);
    let mut gate = gate.restarted();
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Open);
    assert!(gate.report().lane().unwrap().refusal.is_some() && gate.events().is_empty());
    gate.claim(&["a", "b"], 40, 50);
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Draining, "asked anew");
    assert!(gate.report().lane().unwrap().refusal.is_none());
}

#[tokio::test]
async fn drained_lane_stays_drained_over_a_restart_and_opens_by_itself_when_the_claim_lapses() {
    let mut gate = Gate::new(Admission::Open);
    gate.visits();
    gate.claim(&["a"], 15, 50);
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Drained);
    gate.pass(Duration::from_secs(1200));
    let mut gate = gate.restarted();
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Drained, "the hour to be empty is past, and it is empty");
    gate.lanes.mark_change("cam", Some(LaneDuringChange::Closed));
    gate.pass(Duration::from_secs(1800));
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Drained, "a device is in work");
    gate.lanes.mark_change("cam", None);
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Open);
    assert_eq!(gate.events(), [Reason::DrainLapsed, Reason::Reopened]);
}

#[tokio::test]
async fn lane_that_a_person_closed_is_closed_under_a_claim_and_afterwards() {
    let mut gate = Gate::new(Admission::Closed);
    gate.claim(&["a"], 15, 50);
    gate.visits();
    assert_eq!((gate.admission(), gate.report().state), (LaneAdmission::Closed, ItemState::Applied));
    assert_eq!(gate.lanes.safety("cam", NEEDED), Safety::Safe);
    gate.release();
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Closed);
    assert!(gate.events().is_empty());
}

#[tokio::test]
async fn lane_whose_occupancy_cannot_be_read_is_refused_and_serves_on() {
    let mut gate = Gate::new(Admission::Open);
    gate.plc.occupancy = None;
    gate.visits();
    gate.claim(&["a"], 15, 50);
    gate.visits();
    let lane = gate.report().lane().cloned().unwrap();
    assert_eq!((lane.admission, lane.refusal.unwrap().reason.as_str()), (LaneAdmission::Open, "DrainRefused"));
    assert_eq!(gate.events(), [Reason::DrainRefused]);
}

#[tokio::test]
async fn open_interlock_closes_at_once_and_the_lane_reopens_when_it_is_safe() {
    let mut gate = Gate::new(Admission::Open);
    gate.order.interlocks = vec![LaneInterlock { device: "x".into(), name: "beam".into() }];
    gate.tell();
    gate.visits();
    assert!(gate.beam(GuardState::Unknown).is_empty());
    let changed = gate.beam(GuardState::Unsafe);
    assert_eq!(changed, [LaneToWake { uid: "l1".into(), controller: "plc".into() }]);
    gate.visits();
    let report = gate.report();
    assert_eq!((report.state, report.reason.as_str()), (ItemState::Applying, "InterlockOpen"));
    assert!(report.message.contains("xray.beam"), "{}", report.message);
    let lane = report.lane().unwrap();
    assert_eq!((lane.admission, lane.closed_by_interlock), (LaneAdmission::Closed, true));
    assert_eq!(gate.events(), [Reason::InterlockOpen]);
    gate.beam(GuardState::Unknown);
    let mut gate = gate.restarted();
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Closed, "what was seen open stays so until it is seen safe");
    assert!(gate.events().is_empty(), "a restart is no news");
    gate.beam(GuardState::Safe);
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Open);
    assert_eq!(gate.events(), [Reason::Reopened]);
}

#[tokio::test]
async fn interlock_of_another_box_closes_while_the_operator_says_so() {
    let mut gate = Gate::new(Admission::Open);
    gate.visits();
    gate.order.open_interlocks = vec!["scan/far.door".into()];
    gate.tell();
    gate.visits();
    assert!(gate.report().lane().unwrap().closed_by_interlock);
    assert_eq!(gate.admission(), LaneAdmission::Closed);
    gate.order.open_interlocks.clear();
    gate.tell();
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Open);
    assert_eq!(gate.events(), [Reason::InterlockOpen, Reason::Reopened]);
}

#[tokio::test]
async fn claim_outlasts_the_interlock_and_the_interlock_the_claim() {
    let mut gate = Gate::new(Admission::Open);
    gate.order.open_interlocks = vec!["scan/far.door".into()];
    gate.claim(&["a"], 15, 50);
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Drained, "a device may be changed behind an open interlock");
    gate.order.open_interlocks.clear();
    gate.tell();
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Drained);
    gate.order.open_interlocks = vec!["scan/far.door".into()];
    gate.release();
    gate.visits();
    assert_eq!(gate.admission(), LaneAdmission::Closed);
}

#[tokio::test]
async fn what_could_not_be_committed_is_tried_again_in_its_order() {
    let mut gate = Gate::new(Admission::Open);
    gate.visits();
    gate.order.open_interlocks = vec!["scan/far.door".into()];
    gate.tell();
    let unsaved = gate.lanes.take_unsaved("l1").unwrap();
    assert!(gate.lanes.take_unsaved("l1").is_none());
    gate.lanes.put_back(unsaved);
    gate.order.open_interlocks.clear();
    gate.tell();
    gate.visits();
    assert_eq!(gate.events(), [Reason::InterlockOpen, Reason::Reopened]);
}

/// What may happen to a lane.
#[derive(Clone, Debug)]
enum Happening {
    Claim(u8, u8),
    Release,
    Beam(GuardState),
    Told(bool),
    Work(bool),
    Arrive,
    Leave,
    Restart,
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let state = prop_oneof![Just(GuardState::Safe), Just(GuardState::Unsafe), Just(GuardState::Unknown)];
    prop_oneof![
        (1_u8..30, 30_u8..59).prop_map(|(by, until)| Claim(by, until)),
        Just(Release),
        state.prop_map(Beam),
        any::<bool>().prop_map(Told),
        any::<bool>().prop_map(Work),
        Just(Arrive),
        Just(Leave),
        Just(Restart),
        (1_u64..600).prop_map(Wait),
    ]
}

fn happens(mut gate: Gate, what: &Happening) -> Gate {
    match what {
        Happening::Claim(by, until) => gate.claim(&["a"], *by, *until),
        Happening::Release => gate.release(),
        Happening::Beam(state) => drop(gate.beam(*state)),
        Happening::Told(open) => {
            gate.order.open_interlocks = if *open { vec!["scan/far.door".into()] } else { vec![] };
            gate.tell();
        }
        // A device is touched only in a lane that is empty; it is done when it is done.
        Happening::Work(true) if gate.lanes.safety("cam", NEEDED) == Safety::Safe => {
            if gate.lanes.may_begin_change("cam", NEEDED) {
                gate.lanes.mark_change("cam", Some(LaneDuringChange::Closed));
            }
        }
        Happening::Work(_) => gate.lanes.mark_change("cam", None),
        Happening::Arrive if gate.plc.admission == LaneAdmission::Open => gate.plc.occupancy = Some(1),
        Happening::Arrive => {}
        Happening::Leave => gate.leave(),
        Happening::Restart => {
            let changes = gate.lanes.changes.clone();
            gate = gate.restarted();
            gate.lanes.changes = changes;
        }
        Happening::Wait(seconds) => gate.pass(Duration::from_secs(*seconds)),
    }
    gate
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_happens_no_device_is_touched_in_a_lane_in_use_and_in_the_end_it_is_as_declared(
        declared in prop_oneof![Just(Admission::Open), Just(Admission::Closed)],
        history in prop::collection::vec(happening(), 0..40),
    ) {
        let mut gate = Gate::new(declared);
        gate.order.interlocks = vec![LaneInterlock { device: "x".into(), name: "beam".into() }];
        gate.tell();
        for what in &history {
            gate = happens(gate, what);
            gate.visit();
            let under_change = !gate.lanes.changes.is_empty();
            prop_assert!(!under_change || gate.plc.admission == LaneAdmission::Closed, "{what:?}");
            prop_assert!(gate.admission() != LaneAdmission::Drained || gate.plc.occupancy == Some(0));
            let told = !gate.order.open_interlocks.is_empty();
            prop_assert!(!told || gate.plc.admission != LaneAdmission::Open);
        }
        gate.release();
        gate.lanes.mark_change("cam", None);
        gate.order.open_interlocks.clear();
        gate.tell();
        gate.beam(GuardState::Safe);
        gate.leave();
        gate.visits();
        let end = if declared == Admission::Open { LaneAdmission::Open } else { LaneAdmission::Closed };
        prop_assert_eq!(gate.admission(), end);
    }
}
