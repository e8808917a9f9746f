//! What is decided about a BilateralLink, in worlds made by hand.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::bilateral_link::BilateralLinkStatus;
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::order::{LinkMode, LinkOrder};
use kalong_crds::wire::reported::{ItemState, LinkReport, PeerClock, ReportBody, ReportedItem};
use kalong_crds::{BilateralLink, BlockCode, FINALIZER};
use kalong_rules::lifecycle::LifecycleStage;
use serde_json::{Value, json};

use super::decide::decide;
use super::observe::Observed;
use crate::kit::agent_object::AgentView;
use crate::kit::link::{Holding, Presence};
use crate::kit::placement::Placement;
use crate::kit::reconciler::ReconcileResult;

const AT: &str = "2026-11-22T07:00:00Z";

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> Arc<K> {
    let mut value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "mong-cai", "uid": format!("uid-{name}"), "generation": 2, "finalizers": [FINALIZER]},
    });
    if !status.is_null() {
        value["status"] = status;
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

fn agreement(from: &str, until: &str) -> Value {
    json!({"name": "lane-state", "dataset": "LaneState", "direction": "Outbound", "fields": ["open"], "legalRef": "MoU 7",
           "impactAssessmentRef": "DPIA 3", "validFrom": from, "validUntil": until})
}

fn condition(kind: &str, word: &str, reason: &str) -> Value {
    json!({"type": kind, "status": word, "reason": reason, "message": "", "lastTransitionTime": AT})
}

/// A link without an agreement, whose gateway reported that it contacts nobody.
fn observed() -> Observed {
    let link: Arc<BilateralLink> = object(
        "BilateralLink",
        "dongxing",
        json!({"crossingRef": "bac-luan-2", "agentRef": "gateway",
               "counterpart": {"country": "CN", "authority": "Customs", "crossing": "Dongxing"},
               "transport": {"profile": "Simulated", "endpoint": "127.0.0.1:8443"}}),
        json!({"observedGeneration": 2, "conditions": [condition("Ready", "True", "DryRun"), condition("Available", "False", "DryRun")]}),
    );
    let mut observed = Observed {
        now: AT.parse::<Timestamp>().unwrap(),
        life: LifecycleStage::InService,
        crossing: Some(object(
            "Crossing",
            "bac-luan-2",
            json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh"}),
            Value::Null,
        )),
        agent: AgentView::live("mong-cai", "gateway"),
        link,
    };
    confirm(&mut observed, LinkReport::default());
    observed
}

/// A link with an agreement in force, whose peer answers and whose clocks agree.
fn agreed() -> Observed {
    let mut observed = observed();
    declare(&mut observed, |spec| spec["agreements"] = json!([agreement("2026-11-01", "2026-12-31")]));
    confirm(&mut observed, LinkReport { contacting: true, reachable: Some(true), clock: Some(PeerClock::Agrees) });
    observed
}

fn declare(observed: &mut Observed, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::to_value(observed.link.as_ref()).unwrap();
    change(&mut value["spec"]);
    observed.link = Arc::new(serde_json::from_value(value).unwrap());
}

fn confirm(observed: &mut Observed, link: LinkReport) {
    observed.agent.report = Some(Arc::new(report(&order(observed), link)));
}

fn placement(observed: &Observed) -> Placement {
    decide(observed).placement
}

fn order(observed: &Observed) -> Item {
    placement(observed).order().unwrap().clone()
}

fn result(observed: &Observed) -> ReconcileResult<BilateralLinkStatus> {
    super::status(observed, &decide(observed))
}

fn mode(observed: &Observed) -> LinkMode {
    serde_json::from_value::<LinkOrder>(order(observed).spec).unwrap().mode
}

fn report(item: &Item, link: LinkReport) -> ReportedItem {
    ReportedItem {
        uid: item.uid.clone(),
        kind: ItemKind::Link,
        generation: item.generation,
        hash: item.hash.clone(),
        applied: item.generation,
        state: ItemState::Applied,
        reason: String::new(),
        message: String::new(),
        body: Some(ReportBody::Link(link)),
    }
}

fn status(observed: &Observed) -> BilateralLinkStatus {
    result(observed).status.unwrap()
}

fn is(status: &BilateralLinkStatus, kind: ConditionType, word: &str, reason: Reason) -> String {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str());
    assert_eq!(
        found.map(|c| (c.status.as_str(), c.reason.as_str())),
        Some((word, reason.as_str())),
        "{:#?}",
        status.conditions
    );
    found.map(|c| c.message.clone()).unwrap_or_default()
}

#[test]
fn without_an_agreement_the_link_is_a_dry_run_and_nothing_is_sent() {
    let observed = observed();
    assert_eq!(mode(&observed), LinkMode::Cut);
    let status = status(&observed);
    is(&status, ConditionType::Ready, "True", Reason::DryRun);
    is(&status, ConditionType::Available, "False", Reason::DryRun);
    is(&status, ConditionType::AgreementInForce, "False", Reason::NoAgreement);
    is(&status, ConditionType::PeerReachable, "False", Reason::DryRun);
    is(&status, ConditionType::ReceiptsTimely, "Unknown", Reason::NotExchanging);
    assert_eq!(status.blocked_by[0].code, BlockCode::Agreement);
    assert_eq!(status.blocked_by[0].subject, "Counterpart/CN");
}

#[test]
fn agreement_in_force_lets_the_gateway_watch_the_peer_and_no_more() {
    let observed = agreed();
    assert_eq!(mode(&observed), LinkMode::Watch);
    let status = status(&observed);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::AgreementInForce, "True", Reason::AgreementValid);
    is(&status, ConditionType::PeerReachable, "True", Reason::PeerAnswers);
    is(&status, ConditionType::ClockSynchronised, "True", Reason::ClocksAgree);
    is(&status, ConditionType::Available, "False", Reason::NotExchanging);
    assert!(status.blocked_by.is_empty());
}

#[test]
fn agreement_begins_and_ends_at_midnight_in_the_crossings_zone() {
    let at = |time: &str| {
        let mut observed = agreed();
        declare(&mut observed, |spec| spec["agreements"] = json!([agreement("2026-12-01", "2026-12-31")]));
        observed.now = time.parse().unwrap();
        let told = order(&observed);
        observed.agent.has_waited_for(&told);
        observed
    };
    // 17:00 UTC is midnight in Hanoi.
    for (time, expected) in [
        ("2026-11-30T16:59:59Z", LinkMode::Cut),
        ("2026-11-30T17:00:00Z", LinkMode::Watch),
        ("2026-12-31T16:59:59Z", LinkMode::Watch),
        ("2026-12-31T17:00:00Z", LinkMode::Cut),
    ] {
        assert_eq!(mode(&at(time)), expected, "{time}");
    }
    let say = is(&status(&at("2026-11-30T16:59:59Z")), ConditionType::AgreementInForce, "False", Reason::NoAgreement);
    assert!(say.contains("begins on 2026-12-01"), "{say}");
    let say = is(&status(&at("2027-01-05T00:00:00Z")), ConditionType::AgreementInForce, "False", Reason::NoAgreement);
    assert!(say.contains("ended after 2026-12-31"), "{say}");
}

#[test]
fn gateway_is_told_when_the_last_agreement_ends_so_that_it_needs_nobody_then() {
    let until = |observed: &Observed| serde_json::from_value::<LinkOrder>(order(observed).spec).unwrap().until;
    let mut observed = agreed();
    assert_eq!(until(&observed).as_deref(), Some("2026-12-31T17:00:00Z"));
    let mut longer = agreement("2026-06-01", "2027-01-31");
    longer["name"] = json!("capacity");
    declare(&mut observed, |spec| spec["agreements"].as_array_mut().unwrap().push(longer));
    assert_eq!(until(&observed).as_deref(), Some("2027-01-31T17:00:00Z"));
    declare(&mut observed, |spec| spec["suspend"] = json!(true));
    assert_eq!(until(&observed), None);
}

#[test]
fn link_is_looked_at_just_after_the_midnight_at_which_an_agreement_ends() {
    let mut observed = agreed();
    observed.now = "2026-12-31T16:59:30Z".parse().unwrap();
    let again = result(&observed).again.unwrap();
    assert!(again > Duration::from_secs(30) && again < Duration::from_secs(31), "{again:?}");
}

#[test]
fn switch_cuts_at_once_and_is_in_force_when_the_gateway_said_so() {
    let mut observed = agreed();
    declare(&mut observed, |spec| spec["suspend"] = json!(true));
    let (_, item) = placement(&observed).want.unwrap();
    assert_eq!(serde_json::from_value::<LinkOrder>(item.spec.clone()).unwrap().mode, LinkMode::Cut);
    observed.agent.has_waited_for(&item);
    let told = status(&observed);
    is(&told, ConditionType::Ready, "False", Reason::Applying);
    is(&told, ConditionType::Available, "False", Reason::Suspended);
    assert_eq!(told.blocked_by[0].code, BlockCode::AgentConfirmation);

    confirm(&mut observed, LinkReport { contacting: true, ..LinkReport::default() });
    is(&status(&observed), ConditionType::Ready, "False", Reason::Applying);
    confirm(&mut observed, LinkReport::default());
    let cut = status(&observed);
    is(&cut, ConditionType::Ready, "True", Reason::Suspended);
    is(&cut, ConditionType::Available, "False", Reason::Suspended);
    is(&cut, ConditionType::PeerReachable, "False", Reason::Suspended);
    is(&cut, ConditionType::AgreementInForce, "True", Reason::AgreementValid);
    assert!(cut.blocked_by.is_empty());
}

#[test]
fn switch_works_whatever_else_is_wrong() {
    let mut observed = agreed();
    observed.crossing = None;
    declare(&mut observed, |spec| spec["suspend"] = json!(true));
    assert_eq!(mode(&observed), LinkMode::Cut);
    assert!(placement(&observed).want.is_some());
    is(&status(&observed), ConditionType::Stalled, "True", Reason::MissingReference);
}

#[test]
fn every_doubt_cuts() {
    let cut = |change: fn(&mut Observed)| {
        let mut observed = agreed();
        change(&mut observed);
        assert_eq!(mode(&observed), LinkMode::Cut);
        assert!(placement(&observed).want.is_some());
    };
    cut(|observed| observed.crossing = None);
    cut(|observed| observed.life = LifecycleStage::Commissioning);
    cut(|observed| observed.life = LifecycleStage::UnknownPhase);
    cut(|observed| declare(observed, |spec| spec["agreements"] = json!([agreement("2026-02-31", "2026-12-31")])));
    cut(|observed| declare(observed, |spec| spec["agreements"] = json!([])));
}

#[test]
fn unknown_phase_takes_nothing_away_and_contacts_nobody_anew() {
    let mut held = agreed();
    held.life = LifecycleStage::UnknownPhase;
    assert!(placement(&held).remove.is_empty());
    is(&status(&held), ConditionType::Stalled, "True", Reason::UnknownPhase);
    held.agent.holding = Holding::NotHeld;
    assert!(placement(&held).want.is_none());
}

#[test]
fn planned_link_is_taken_from_its_gateway() {
    let mut planned = agreed();
    planned.life = LifecycleStage::Planned;
    let decided = placement(&planned);
    assert!(decided.want.is_none() && decided.remove.len() == 1);
    let status = status(&planned);
    is(&status, ConditionType::Ready, "True", Reason::Planned);
    is(&status, ConditionType::Available, "False", Reason::Planned);
}

#[test]
fn commissioned_link_is_told_to_stay_cut() {
    let mut commissioned = agreed();
    commissioned.life = LifecycleStage::Commissioning;
    confirm(&mut commissioned, LinkReport::default());
    let status = status(&commissioned);
    is(&status, ConditionType::Ready, "True", Reason::Commissioning);
    is(&status, ConditionType::Available, "False", Reason::Commissioning);
}

#[test]
fn silent_gateway_makes_a_watched_link_unknown_and_leaves_a_cut_one_cut() {
    let mut watched = agreed();
    watched.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    let unknown = status(&watched);
    is(&unknown, ConditionType::Ready, "Unknown", Reason::AgentUnreachable);
    is(&unknown, ConditionType::Available, "Unknown", Reason::AgentUnreachable);
    is(&unknown, ConditionType::PeerReachable, "Unknown", Reason::AgentUnreachable);

    let mut cut = observed();
    cut.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    let still = status(&cut);
    is(&still, ConditionType::Ready, "True", Reason::DryRun);
    is(&still, ConditionType::PeerReachable, "Unknown", Reason::DryRun);

    // Told to cut and never heard since: nobody may say that it is.
    declare(&mut watched, |spec| spec["suspend"] = json!(true));
    let told = status(&watched);
    is(&told, ConditionType::Ready, "Unknown", Reason::AgentUnreachable);
    assert!(told.blocked_by.iter().any(|block| block.code == BlockCode::AgentUnreachable));
}

#[test]
fn gateway_that_never_enrolled_can_send_nothing() {
    let mut bare = observed();
    bare.agent.object = Some(object("EdgeAgent", "gateway", json!({}), Value::Null));
    bare.agent.report = None;
    bare.agent.holding = Holding::Unknown;
    bare.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    let status = status(&bare);
    is(&status, ConditionType::Ready, "True", Reason::DryRun);
    assert_eq!(status.blocked_by[0].code, BlockCode::AgentNotEnrolled);
}

#[test]
fn peer_and_clock_are_told_apart() {
    let mut observed = agreed();
    confirm(&mut observed, LinkReport { contacting: true, reachable: Some(false), clock: None });
    let away = status(&observed);
    is(&away, ConditionType::PeerReachable, "False", Reason::PeerUnreachable);
    is(&away, ConditionType::Available, "False", Reason::PeerUnreachable);
    is(&away, ConditionType::Ready, "True", Reason::InForce);
    confirm(&mut observed, LinkReport { contacting: true, reachable: Some(true), clock: Some(PeerClock::Differs) });
    let skewed = status(&observed);
    is(&skewed, ConditionType::ClockSynchronised, "False", Reason::ClockSkewed);
    is(&skewed, ConditionType::Available, "False", Reason::NotExchanging);
    confirm(&mut observed, LinkReport { contacting: true, reachable: Some(true), clock: Some(PeerClock::Refused) });
    is(&status(&observed), ConditionType::Available, "False", Reason::ClockSkewed);
}

#[test]
fn fresh_leader_leaves_the_status_alone_unless_the_mode_changed_meanwhile() {
    let mut fresh = observed();
    fresh.agent.facts.as_mut().unwrap().presence =
        Presence::Unheard { until: fresh.now + SignedDuration::from_secs(5) };
    fresh.agent.report = None;
    assert!(result(&fresh).status.is_none());
}

#[test]
fn all_conditions_are_written_on_the_first_visit() {
    let mut first = observed();
    let mut link = first.link.as_ref().clone();
    link.status = None;
    first.link = Arc::new(link);
    let written: Vec<String> = status(&first).conditions.into_iter().map(|c| c.type_).collect();
    assert_eq!(
        written,
        [
            "Ready",
            "Available",
            "AgreementInForce",
            "PeerReachable",
            "ClockSynchronised",
            "MutuallyAuthenticated",
            "SchemaCompatible",
            "BacklogWithinLimit",
            "ReceiptsTimely"
        ]
    );
}
