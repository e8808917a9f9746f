//! A device that is given to another agent.

use kalong_crds::units::Name;

use super::*;
use crate::device::permit;
use crate::kit::link::Hearing;

fn old() -> AgentId {
    AgentId::new("mong-cai", "lane-9").unwrap()
}

/// A device of agent lane-9 that now names lane-1; lane-9 reports it.
fn moving(hearing: Hearing) -> Seen {
    let mut seen = held_by(seen(), Some("lane-9"));
    seen.strays = vec![old()];
    seen.former = vec![(old(), hearing)];
    seen
}

fn held_by(mut seen: Seen, agent: Option<&str>) -> Seen {
    let mut device = seen.device.as_ref().clone();
    device.status.as_mut().unwrap().agent = agent.map(Name::from);
    seen.device = Arc::new(device);
    seen
}

#[test]
fn new_agent_is_not_told_before_the_old_one_let_go() {
    let seen = moving(Hearing::Heard);
    let plan = plan::plan(&seen);
    assert_eq!(plan.telling.remove, vec![old()]);
    assert!(plan.telling.want.is_none(), "never two agents at one device");
    let status = plan.status.unwrap();
    is(&status, ConditionType::Ready, "False", Reason::Applying);
    assert_eq!(
        (status.blocked_by[0].code, status.blocked_by[0].subject.as_str()),
        (BlockCode::AgentConfirmation, "EdgeAgent/lane-9")
    );
    assert_eq!(status.agent, Some("lane-9".into()));
}

#[test]
fn silent_old_agent_keeps_the_device_and_is_named() {
    let mut seen = moving(Hearing::Silent);
    seen.facts.as_mut().unwrap().presence = Presence::Silent;
    let plan = plan::plan(&seen);
    assert!(plan.telling.want.is_none());
    let status = plan.status.unwrap();
    is(&status, ConditionType::Ready, "Unknown", Reason::AgentUnreachable);
    assert_eq!(
        (status.blocked_by[0].code, status.blocked_by[0].subject.as_str()),
        (BlockCode::AgentUnreachable, "EdgeAgent/lane-9")
    );
    assert!(status.blocked_by[0].message.contains("kalong.dev/abandon"));
}

#[test]
fn old_agent_that_was_not_heard_since_a_start_gets_its_tombstone_all_the_same() {
    let mut seen = moving(Hearing::Wait);
    seen.strays = vec![];
    let plan = plan::plan(&seen);
    assert_eq!(plan.telling.remove, vec![old()]);
    assert!(plan.telling.want.is_none());
}

#[test]
fn new_agent_is_told_when_the_old_one_let_go_or_never_can() {
    let mut seen = moving(Hearing::Heard);
    (seen.strays, seen.former) = (vec![], vec![]);
    let plan = plan::plan(&seen);
    assert_eq!(plan.telling.want.map(|(agent, _)| agent), Some(AgentId::new("mong-cai", "lane-1").unwrap()));
    assert_eq!(plan.status.unwrap().agent, Some("lane-1".into()));
    // An abandoned one is no former any more, although it still shows in what it last reported.
    let mut abandoned = moving(Hearing::Silent);
    abandoned.former = vec![];
    assert!(plan::plan(&abandoned).telling.want.is_some());
}

#[test]
fn agent_that_was_told_once_is_never_left_without_its_order() {
    let mut seen = held_by(moving(Hearing::Heard), Some("lane-1"));
    seen.holding = Holding::Unknown;
    assert!(plan::plan(&seen).telling.want.is_some());
    let mut found = moving(Hearing::Silent);
    found.holding = Holding::Held;
    assert!(plan::plan(&found).telling.want.is_some(), "it holds it already, although no status says so");
}

#[test]
fn device_that_is_at_work_when_it_moves_keeps_its_lane() {
    let mut seen = reporting(in_lane(moving(Hearing::Heard)), firmware(Step::Installing, "1.0.0"));
    seen.holding = Holding::NotHeld;
    seen.made = vec![drained("device-cam-1-1")];
    let errands = permit::errands(&seen);
    assert!(errands.make.is_empty() && errands.release.is_empty());
}

#[test]
fn device_that_moves_gets_no_leave() {
    let mut seen = reporting(in_lane(moving(Hearing::Heard)), firmware(Step::AwaitingDrain, "1.0.0"));
    seen.holding = Holding::NotHeld;
    seen.made = vec![drained("device-cam-1-1")];
    assert_eq!(permit::ask(&seen), permit::Ask::Nothing);
}

#[test]
fn deleted_device_stays_until_the_agent_of_before_let_go_too() {
    let mut seen = moving(Hearing::Heard);
    let mut device = seen.device.as_ref().clone();
    device.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    seen.device = Arc::new(device);
    let waiting = plan::plan(&seen);
    assert!(waiting.telling.finalizers.is_none());
    assert_eq!(waiting.status.unwrap().blocked_by[0].subject, "EdgeAgent/lane-9");
    (seen.strays, seen.former) = (vec![], vec![]);
    assert_eq!(plan::plan(&seen).telling.finalizers, Some(vec![]));
}

#[test]
fn device_that_its_agent_let_go_of_is_held_by_nobody() {
    let mut seen = held_by(seen(), Some("lane-1"));
    seen.life = Life::Planned;
    assert_eq!(status(&seen).agent, None);
}
