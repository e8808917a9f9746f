//! A device that is given to another agent.

use kalong_crds::units::Name;

use super::*;
use crate::kit::link::Liveness;

fn old() -> AgentId {
    AgentId::new("mong-cai", "lane-9").unwrap()
}

/// A device of agent lane-9 that now names lane-1; lane-9 reports it.
fn moving(liveness: Liveness) -> Observed {
    let mut observed = held_by(observed(), Some("lane-9"));
    observed.agent.wrong_holders = vec![old()];
    observed.previous_agents = vec![(old(), liveness)];
    observed
}

fn held_by(mut observed: Observed, agent: Option<&str>) -> Observed {
    let mut device = observed.device.as_ref().clone();
    device.status.as_mut().unwrap().agent = agent.map(Name::from);
    observed.device = Arc::new(device);
    observed
}

#[test]
fn new_agent_is_not_told_before_the_old_one_let_go() {
    let observed = late(moving(Liveness::Live));
    let (decision, result) = reconciled(&observed);
    assert_eq!(decision.placement.remove, vec![old()]);
    assert!(decision.placement.want.is_none(), "never two agents at one device");
    let status = result.status.unwrap();
    is(&status, ConditionType::Ready, "False", Reason::Applying);
    assert_eq!(
        (status.blocked_by[0].code, status.blocked_by[0].subject.as_str()),
        (BlockCode::AgentConfirmation, "EdgeAgent/lane-9")
    );
    assert_eq!(status.agent, Some("lane-9".into()));
}

#[test]
fn silent_old_agent_keeps_the_device_and_is_named() {
    let mut observed = moving(Liveness::Lost);
    observed.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    let (decision, result) = reconciled(&observed);
    assert!(decision.placement.want.is_none());
    let status = result.status.unwrap();
    is(&status, ConditionType::Ready, "Unknown", Reason::AgentUnreachable);
    assert_eq!(
        (status.blocked_by[0].code, status.blocked_by[0].subject.as_str()),
        (BlockCode::AgentUnreachable, "EdgeAgent/lane-9")
    );
    assert!(status.blocked_by[0].message.contains("kalong.dev/abandon"));
}

#[test]
fn old_agent_that_was_not_heard_since_a_start_gets_its_tombstone_all_the_same() {
    let mut observed = moving(Liveness::Pending);
    observed.agent.wrong_holders = vec![];
    let decision = decide(&observed);
    assert_eq!(decision.placement.remove, vec![old()]);
    assert!(decision.placement.want.is_none());
}

#[test]
fn new_agent_is_told_when_the_old_one_let_go_or_never_can() {
    let mut observed = moving(Liveness::Live);
    (observed.agent.wrong_holders, observed.previous_agents) = (vec![], vec![]);
    let (decision, result) = reconciled(&late(observed));
    assert_eq!(decision.placement.want.map(|(agent, _)| agent), Some(AgentId::new("mong-cai", "lane-1").unwrap()));
    assert_eq!(result.status.unwrap().agent, Some("lane-1".into()));
    // An abandoned one is no previous agent any more, although it still shows in what it last reported.
    let mut abandoned = moving(Liveness::Lost);
    abandoned.previous_agents = vec![];
    assert!(decide(&abandoned).placement.want.is_some());
}

#[test]
fn agent_that_was_told_once_is_never_left_without_its_order() {
    let mut observed = held_by(moving(Liveness::Live), Some("lane-1"));
    observed.agent.holding = Holding::Unknown;
    assert!(decide(&observed).placement.want.is_some());
    let mut found = moving(Liveness::Lost);
    found.agent.holding = Holding::Held;
    assert!(decide(&found).placement.want.is_some(), "it holds it already, although no status says so");
}

#[test]
fn device_that_is_at_work_when_it_moves_keeps_its_lane() {
    let mut observed = reporting(in_lane(moving(Liveness::Live)), firmware(Step::Installing, "1.0.0"));
    observed.agent.holding = Holding::NotHeld;
    observed.own_claims = vec![drained("device-cam-1-1")];
    let changes = decide(&observed).claims;
    assert!(changes.create.is_empty() && changes.delete.is_empty());
}

#[test]
fn device_that_moves_gets_no_permit() {
    let mut observed = reporting(in_lane(moving(Liveness::Live)), firmware(Step::AwaitingDrain, "1.0.0"));
    observed.agent.holding = Holding::NotHeld;
    observed.own_claims = vec![drained("device-cam-1-1")];
    assert_eq!(permit_state(&observed), PermitState::NotAsked);
}

#[test]
fn deleted_device_stays_until_the_agent_of_before_let_go_too() {
    let mut observed = moving(Liveness::Live);
    let mut device = observed.device.as_ref().clone();
    device.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    observed.device = Arc::new(device);
    let (decision, result) = reconciled(&observed);
    assert!(decision.placement.finalizers.is_none());
    assert_eq!(result.status.unwrap().blocked_by[0].subject, "EdgeAgent/lane-9");
    (observed.agent.wrong_holders, observed.previous_agents) = (vec![], vec![]);
    assert_eq!(decide(&observed).placement.finalizers, Some(vec![]));
}

#[test]
fn device_that_its_agent_let_go_of_is_held_by_nobody() {
    let mut observed = held_by(observed(), Some("lane-1"));
    observed.life = LifecycleStage::Planned;
    assert_eq!(status(&observed).agent, None);
}
