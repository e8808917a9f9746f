//! What is decided about a Phase, in worlds made by hand.

mod histories;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::tz::TimeZone;
use kalong_crds::Phase;
use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::phase::{GateVerdict, LegalBasis, PhaseState, PhaseStatus};
use kalong_crds::wire::event::EventSeverity;
use kalong_rules::gates::{LaneClosure, Member, MemberKind, MemberLane, Predecessor};
use serde_json::{Value, json};

use super::decide::decide;
use super::observe::Observed;
use super::status::is_only_progress;
use crate::kit::reconciler::ReconcileResult;

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> K {
    let mut value = json!({"apiVersion": "kalong.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "mong-cai", "generation": 1}, "spec": spec});
    if !status.is_null() {
        value["status"] = status;
    }
    serde_json::from_value(value).unwrap()
}

static ZONE: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get("Asia/Ho_Chi_Minh").unwrap());

/// Parsed once: histories make hundreds of thousands of them.
static DECLARED: LazyLock<Phase> = LazyLock::new(|| {
    let spec = json!({
        "crossings": ["bac-luan-2"], "after": ["phase-1"],
        "entryGates": [{"name": "inventory", "type": "Inventory"}],
        "exitGates": [{"name": "all-there", "type": "Inventory"}],
        "milestones": [{"name": "first", "crossingRef": "bac-luan-2", "due": "2026-12-31", "expects": {"devices": 2}}],
    });
    object("Phase", "phase-2", spec, Value::Null)
});

/// phase-2 after phase-1, with an Inventory gate at either end and one milestone.
struct Stage {
    asked: PhaseState,
    force: Option<PhaseState>,
    previous: Option<PhaseStatus>,
    first: Predecessor,
    members: Vec<Member>,
    lanes: Vec<MemberLane>,
    now: &'static str,
    legal: Option<&'static str>,
}

impl Stage {
    fn asked(asked: PhaseState, force: PhaseState) -> Self {
        Self {
            asked,
            force: Some(force),
            previous: None,
            first: Predecessor::InForce(PhaseState::Open),
            members: vec![there("a"), there("b")],
            lanes: Vec::new(),
            now: "2026-11-22T07:00:00Z",
            legal: None,
        }
    }

    fn observed(&self) -> Observed {
        let mut phase = DECLARED.clone();
        phase.spec.state = self.asked;
        phase.spec.legal_basis = self
            .legal
            .map(|until| LegalBasis { document: "Decision 164".to_owned(), valid_until: Some(until.to_owned()) });
        phase.status = self.force.map(|state| PhaseStatus { observed_generation: 1, state, ..PhaseStatus::default() });
        if let Some(previous) = &self.previous {
            phase.status = Some(previous.clone());
        }
        Observed {
            phase: Arc::new(phase),
            now: self.now.parse().unwrap(),
            before: vec![("phase-1".to_owned(), self.first)],
            zones: BTreeMap::from([("bac-luan-2".to_owned(), Some(ZONE.clone()))]),
            members: self.members.clone(),
            lanes: self.lanes.clone(),
            changes: Vec::new(),
            since_write: None,
        }
    }

    fn result(&self) -> ReconcileResult<PhaseStatus> {
        result(&self.observed())
    }

    fn status(&self) -> PhaseStatus {
        self.result().status.unwrap()
    }
}

fn result(observed: &Observed) -> ReconcileResult<PhaseStatus> {
    super::status(observed, &decide(observed))
}

fn there(name: &str) -> Member {
    Member { kind: MemberKind::Device, name: name.to_owned(), crossing: None, missing: None }
}

fn absent(name: &str) -> Member {
    Member { missing: Some("Connected: DeviceUnreachable".to_owned()), ..there(name) }
}

fn lane(name: &str, closure: LaneClosure) -> MemberLane {
    MemberLane { name: name.to_owned(), closure }
}

fn is(status: &PhaseStatus, kind: ConditionType, word: &str, reason: Reason) -> String {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str());
    assert_eq!(
        found.map(|c| (c.status.as_str(), c.reason.as_str())),
        Some((word, reason.as_str())),
        "{:#?}",
        status.conditions
    );
    found.unwrap().message.clone()
}

#[test]
fn planned_phase_asked_straight_to_open_is_refused_by_the_names_of_what_is_missing() {
    let status = Stage::asked(PhaseState::Open, PhaseState::Planned).status();
    assert_eq!(status.state, PhaseState::Planned);
    let say = is(&status, ConditionType::Stalled, "True", Reason::GateRefused);
    assert!(
        say.contains("Gate inventory") && say.contains("Device/a, Device/b") && say.contains("Commissioning"),
        "{say}"
    );
    is(&status, ConditionType::Ready, "False", Reason::GateRefused);
    assert_eq!(status.blocked_by.len(), 2);
    assert!(status.blocked_by.iter().all(|b| b.code == BlockCode::PhaseGate && b.subject.starts_with("Device/")));
}

#[test]
fn a_message_names_eight_and_counts_the_rest() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Commissioning);
    stage.members = (0..11).map(|n| absent(&format!("camera-{n:02}"))).collect();
    let say = is(&stage.status(), ConditionType::Ready, "False", Reason::GateRefused);
    assert!(say.contains("11 of 11") && say.contains("camera-07") && !say.contains("camera-08"), "{say}");
    assert!(say.contains("and 3 more"), "{say}");
}

#[test]
fn commissioned_phase_opens_when_everything_is_proven_and_by_itself_once_it_is() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Commissioning);
    stage.members = vec![there("a"), absent("b")];
    let refused = stage.status();
    assert_eq!(refused.state, PhaseState::Commissioning);
    is(&refused, ConditionType::Stalled, "True", Reason::GateRefused);
    stage.previous = Some(refused);
    stage.members = vec![there("a"), there("b")];
    let result = stage.result();
    let status = result.status.unwrap();
    assert_eq!(status.state, PhaseState::Open);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::EntryMet, "True", Reason::GatesMet);
    is(&status, ConditionType::Open, "True", Reason::PhaseOpen);
    assert_eq!(result.events.iter().map(|n| n.reason).collect::<Vec<_>>(), [Reason::PhaseOpen]);
}

#[test]
fn empty_phase_fails_inventory() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Commissioning);
    stage.members.clear();
    let say = is(&stage.status(), ConditionType::Stalled, "True", Reason::GateRefused);
    assert!(say.contains("Nothing is declared"), "{say}");
}

#[test]
fn phase_waits_for_the_one_before_it_to_be_open_and_may_be_commissioned_beside_it() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Commissioning);
    stage.first = Predecessor::InForce(PhaseState::Commissioning);
    let status = stage.status();
    let say = is(&status, ConditionType::Stalled, "True", Reason::GateRefused);
    assert!(say.contains("after-phase-1") && status.blocked_by[0].subject == "Phase/phase-1", "{say}");
    stage.asked = PhaseState::Commissioning;
    stage.force = Some(PhaseState::Planned);
    assert_eq!(stage.status().state, PhaseState::Commissioning);
    stage.first = Predecessor::Absent;
    let status = stage.status();
    assert_eq!(status.state, PhaseState::Planned);
    is(&status, ConditionType::Stalled, "True", Reason::GateRefused);
}

#[test]
fn legal_basis_that_has_ended_opens_nothing() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Commissioning);
    stage.legal = Some("2026-11-22");
    // Still the 22nd in Hanoi.
    assert_eq!(stage.status().state, PhaseState::Open);
    stage.now = "2026-11-22T17:00:00Z";
    let say = is(&stage.status(), ConditionType::Stalled, "True", Reason::GateRefused);
    assert!(say.contains("legal-basis") && say.contains("Decision 164"), "{say}");
}

#[test]
fn open_phase_with_void_evidence_stays_open_and_says_so_once() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Open);
    stage.members = vec![there("a"), absent("b")];
    let result = stage.result();
    let status = result.status.unwrap();
    assert_eq!(status.state, PhaseState::Open);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    let say = is(&status, ConditionType::EntryMet, "False", Reason::GateVoided);
    assert!(say.contains("Device/b"), "{say}");
    assert_eq!(
        result.events.iter().map(|n| (n.reason, n.severity)).collect::<Vec<_>>(),
        [(Reason::GateVoided, EventSeverity::Warning)]
    );
    stage.previous = Some(status);
    assert!(stage.result().events.is_empty());
}

#[test]
fn going_back_closes_lanes_before_anything_loses_contact() {
    let mut stage = Stage::asked(PhaseState::Planned, PhaseState::Open);
    stage.lanes = vec![lane("out-1", LaneClosure::Serving), lane("out-2", LaneClosure::Closed)];
    let first = stage.status();
    assert_eq!(first.state, PhaseState::Commissioning, "lanes close while their devices are in contact");
    is(&first, ConditionType::Reconciling, "True", Reason::PhaseClosing);
    assert_eq!(first.blocked_by.iter().map(|b| b.subject.as_str()).collect::<Vec<_>>(), ["Lane/out-1"]);
    stage.previous = Some(first);
    stage.lanes = vec![lane("out-1", LaneClosure::Closed), lane("out-2", LaneClosure::Unheard)];
    let second = stage.status();
    assert_eq!(second.state, PhaseState::Commissioning, "a lane that nobody hears may be open");
    assert_eq!(second.blocked_by[0].code, BlockCode::AgentUnreachable);
    stage.previous = Some(second);
    stage.lanes = vec![lane("out-1", LaneClosure::Closed), lane("out-2", LaneClosure::Closed)];
    let third = stage.status();
    assert_eq!(third.state, PhaseState::Planned);
    is(&third, ConditionType::Ready, "True", Reason::Planned);
}

#[test]
fn never_from_open_to_planned_in_one_step() {
    let mut stage = Stage::asked(PhaseState::Planned, PhaseState::Open);
    stage.lanes = vec![lane("out-1", LaneClosure::Closed)];
    assert_eq!(stage.status().state, PhaseState::Commissioning, "what lanes said is from before the change");
}

#[test]
fn complete_asks_for_both_ends_and_may_be_taken_back() {
    let mut stage = Stage::asked(PhaseState::Complete, PhaseState::Open);
    assert_eq!(stage.status().state, PhaseState::Complete);
    stage.members.push(absent("c"));
    let status = stage.status();
    assert_eq!(status.state, PhaseState::Open);
    let say = is(&status, ConditionType::Stalled, "True", Reason::GateRefused);
    assert!(say.contains("all-there"), "{say}");
    let back = Stage { members: vec![absent("a")], ..Stage::asked(PhaseState::Open, PhaseState::Complete) };
    assert_eq!(back.status().state, PhaseState::Open);
}

#[test]
fn phase_that_was_lost_finds_its_gate_as_it_is() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Planned);
    stage.force = None;
    stage.members = vec![absent("a")];
    stage.lanes = vec![lane("out-1", LaneClosure::Serving)];
    let status = stage.status();
    assert_eq!(status.state, PhaseState::Open, "lanes that serve were opened once, and only a person closes them");
    is(&status, ConditionType::EntryMet, "False", Reason::GateVoided);
    stage.lanes = vec![lane("out-1", LaneClosure::Closed)];
    assert_eq!(stage.status().state, PhaseState::Planned);
}

#[test]
fn milestone_is_late_after_its_day_in_the_crossings_zone() {
    let mut stage = Stage::asked(PhaseState::Commissioning, PhaseState::Commissioning);
    stage.members = vec![there("a"), absent("b")];
    stage.now = "2026-12-31T16:59:59Z";
    let result = stage.result();
    is(&result.status.unwrap(), ConditionType::Late, "False", Reason::OnTime);
    assert_eq!(result.again, Some(Duration::from_secs(1)));
    stage.now = "2026-12-31T17:00:00Z";
    let say = is(&stage.status(), ConditionType::Late, "True", Reason::MilestonePassed);
    assert!(say.contains("first") && say.contains("1 of 2 devices"), "{say}");
    stage.members = vec![there("a"), there("b")];
    is(&stage.status(), ConditionType::Late, "False", Reason::OnTime);
}

#[test]
fn nothing_of_a_planned_phase_is_seen() {
    let stage = Stage::asked(PhaseState::Planned, PhaseState::Planned);
    let status = stage.status();
    assert_eq!((status.milestones[0].seen.devices, status.milestones[0].expects.devices), (0, 2));
    is(&status, ConditionType::Ready, "True", Reason::Planned);
    is(&status, ConditionType::EntryMet, "False", Reason::GateFailed);
    let commissioned = Stage::asked(PhaseState::Commissioning, PhaseState::Commissioning).status();
    assert_eq!(commissioned.milestones[0].seen.devices, 2);
}

#[test]
fn device_elsewhere_does_not_count_for_a_crossing() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Open);
    stage.members = vec![
        Member { crossing: Some("bac-luan-2".to_owned()), ..there("a") },
        Member { crossing: Some("bac-luan-1".to_owned()), ..there("b") },
        there("in-no-slot"),
    ];
    assert_eq!(stage.status().milestones[0].seen.devices, 2);
}

#[test]
fn gates_of_one_name_are_one_entry_and_the_failing_one() {
    let mut stage = Stage::asked(PhaseState::Open, PhaseState::Open);
    stage.members.push(absent("c"));
    let mut observed = stage.observed();
    let mut phase = observed.phase.as_ref().clone();
    phase.spec.exit_gates = phase.spec.entry_gates.clone();
    observed.phase = Arc::new(phase);
    let gates = result(&observed).status.unwrap().gates;
    assert_eq!(gates.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["after-phase-1", "inventory"]);
    assert_eq!(gates[1].result, GateVerdict::Failed);
}

#[test]
fn one_more_device_is_only_progress_and_an_opened_gate_is_not() {
    let mut stage = Stage::asked(PhaseState::Commissioning, PhaseState::Commissioning);
    stage.members = vec![absent("a"), absent("b"), absent("c")];
    let first = stage.status();
    stage.previous = Some(first.clone());
    stage.members[0] = there("a");
    let second = stage.status();
    assert!(first != second && is_only_progress(&first, &second));
    stage.asked = PhaseState::Open;
    assert!(!is_only_progress(&second, &stage.status()), "a refusal is told at once");
    let mut open = Stage::asked(PhaseState::Open, PhaseState::Open);
    let met = open.status();
    open.members.push(absent("c"));
    open.previous = Some(met.clone());
    assert!(!is_only_progress(&met, &open.status()), "void evidence is told at once");
}

#[test]
fn progress_waits_after_a_write_and_anything_else_does_not() {
    let mut stage = Stage::asked(PhaseState::Commissioning, PhaseState::Commissioning);
    stage.members = vec![absent("a"), absent("b")];
    stage.previous = Some(stage.status());
    stage.members[0] = there("a");
    let after = |stage: &Stage, seconds: u64| {
        result(&Observed { since_write: Some(Duration::from_secs(seconds)), ..stage.observed() })
    };
    let waits = after(&stage, 1);
    assert!(waits.status.is_none());
    assert_eq!(waits.again, Some(Duration::from_secs(4)));
    assert!(after(&stage, 5).status.is_some());
    stage.asked = PhaseState::Open;
    assert!(after(&stage, 1).status.is_some(), "a refusal is told at once");
}

#[test]
fn nothing_changes_while_nothing_happens() {
    for (asked, force) in [
        (PhaseState::Planned, PhaseState::Planned),
        (PhaseState::Open, PhaseState::Planned),
        (PhaseState::Open, PhaseState::Open),
    ] {
        let mut stage = Stage::asked(asked, force);
        let first = stage.status();
        stage.previous = Some(first.clone());
        stage.now = "2026-11-22T09:00:00Z";
        assert_eq!(stage.status(), first);
    }
}
