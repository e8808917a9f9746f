//! What is decided about an IGV, in worlds made by hand.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::igv::{IGVStatus, Laden, Side, SoftwareVersion, VehicleConnection, VehicleMap};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::order::IgvOrder;
use kalong_crds::wire::reported::{IgvReport, ItemState, ReportBody, ReportedItem};
use kalong_crds::{FINALIZER, IGV};
use kalong_rules::lifecycle::LifecycleStage;
use serde_json::{Value, json};

use super::decide::decide;
use super::observe::Observed;
use crate::kit::agent_object::AgentView;
use crate::kit::debounce::CONFIRMATION_DEBOUNCE;
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

fn condition(kind: &str, word: &str, reason: &str) -> Value {
    json!({"type": kind, "status": word, "reason": reason, "message": "", "lastTransitionTime": AT})
}

fn well() -> IgvReport {
    IgvReport {
        broker: true,
        connection: VehicleConnection::Online,
        fresh: true,
        operating_mode: Some("AUTOMATIC".into()),
        localised: Some(true),
        side: Side::Domestic,
        laden: Laden::Empty,
        at_service: true,
        maps: Some(vec![VehicleMap { name: "yard".into(), version: "4".into() }]),
        software: vec![SoftwareVersion { name: "controller".into(), version: "2.4.1".into() }],
        errors: vec![],
    }
}

/// A vehicle that stands idle at its service node, heard by its agent.
fn observed() -> Observed {
    let igv: Arc<IGV> = object(
        "IGV",
        "igv-01",
        json!({"crossingRef": "bac-luan-2", "agentRef": "yard", "broker": {"endpoint": "127.0.0.1:1883"},
               "vda5050": {"manufacturer": "KIT", "serialNumber": "0001"},
               "maps": [{"name": "yard", "version": "4"}], "firmware": {"release": "igv-2.4.1"},
               "zoneSet": {"id": "z1", "zones": [{"name": "home", "side": "Domestic", "map": "yard", "corners":
                   [{"xCentimetres": 0, "yCentimetres": 0}, {"xCentimetres": 9, "yCentimetres": 0}, {"xCentimetres": 0, "yCentimetres": 9}]}]},
               "changeAt": {"nodes": ["depot"], "minCharge": 40}}),
        json!({"observedGeneration": 2, "conditions": [condition("Ready", "True", "InForce")]}),
    );
    let release = object(
        "FirmwareRelease",
        "igv-2.4.1",
        json!({"models": ["igv"], "version": "2.4.1", "securityCounter": 1, "signatures": [],
               "artifact": {"url": "https://example.org/x", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1}}),
        Value::Null,
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
        agent: AgentView::live("mong-cai", "yard"),
        release: Some(release),
        duplicates: vec![],
        igv,
    };
    observed.agent.report = Some(Arc::new(report(&order(&observed), well())));
    observed
}

fn placement(observed: &Observed) -> Placement {
    decide(observed).placement
}

fn order(observed: &Observed) -> Item {
    placement(observed).order().unwrap().clone()
}

fn result(observed: &Observed) -> ReconcileResult<IGVStatus> {
    super::status(observed, &decide(observed))
}

fn report(item: &Item, igv: IgvReport) -> ReportedItem {
    ReportedItem {
        uid: item.uid.clone(),
        kind: ItemKind::Igv,
        generation: item.generation,
        hash: item.hash.clone(),
        applied: item.generation,
        state: ItemState::Applied,
        reason: String::new(),
        message: String::new(),
        body: Some(ReportBody::Igv(igv)),
    }
}

fn saying(change: impl FnOnce(&mut IgvReport)) -> Observed {
    let mut observed = observed();
    let mut said = well();
    change(&mut said);
    observed.agent.report = Some(Arc::new(report(&order(&observed), said)));
    observed
}

fn declared(observed: &mut Observed, change: impl FnOnce(&mut IGV)) {
    let mut igv = observed.igv.as_ref().clone();
    change(&mut igv);
    observed.igv = Arc::new(igv);
}

fn status(observed: &Observed) -> IGVStatus {
    result(observed).status.unwrap()
}

fn is(status: &IGVStatus, kind: ConditionType, word: &str, reason: Reason) -> String {
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
fn vehicle_that_is_as_declared_is_ready_available_and_safe_to_change() {
    let status = status(&observed());
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::Available, "True", Reason::Serving);
    is(&status, ConditionType::Connected, "True", Reason::VehicleOnline);
    is(&status, ConditionType::Localised, "True", Reason::PositionKnown);
    is(&status, ConditionType::SafeToChange, "True", Reason::AtServiceNode);
    is(&status, ConditionType::MapsCurrent, "True", Reason::MapsEnabled);
    is(&status, ConditionType::FirmwareUpToDate, "True", Reason::UpToDate);
    assert_eq!((status.side, status.laden, status.software.len()), (Side::Domestic, Laden::Empty, 1));
}

#[test]
fn order_names_the_crossing_and_carries_everything_that_the_agent_needs() {
    let order: IgvOrder = serde_json::from_value(order(&observed()).spec.clone()).unwrap();
    assert_eq!((order.crossing.as_str(), order.vda5050.serial_number.as_str()), ("bac-luan-2", "0001"));
    assert_eq!((order.maps.len(), order.change_at.nodes.len()), (1, 1));
}

#[test]
fn vehicle_that_was_never_seen_is_ready_and_not_connected() {
    let away = saying(|said| *said = IgvReport { broker: true, ..IgvReport::default() });
    let status = status(&away);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::Connected, "False", Reason::VehicleNotSeen);
    is(&status, ConditionType::Available, "False", Reason::VehicleNotSeen);
    for kind in [
        ConditionType::Localised,
        ConditionType::SafeToChange,
        ConditionType::MapsCurrent,
        ConditionType::FirmwareUpToDate,
    ] {
        is(&status, kind, "Unknown", Reason::VehicleNotSeen);
    }
}

#[test]
fn each_way_of_being_away_has_its_word() {
    type Change = fn(&mut IgvReport);
    let cases: [(Change, Reason); 4] = [
        (|said| said.connection = VehicleConnection::Offline, Reason::VehicleOffline),
        (|said| said.connection = VehicleConnection::Broken, Reason::VehicleConnectionBroken),
        (|said| said.fresh = false, Reason::StateStale),
        (|said| said.broker = false, Reason::FleetUnreachable),
    ];
    for (change, reason) in cases {
        let status = status(&saying(change));
        is(&status, ConditionType::Connected, "False", reason);
        is(&status, ConditionType::Available, "False", reason);
        is(&status, ConditionType::Localised, "Unknown", reason);
        assert_eq!((status.side, status.laden), (Side::Unknown, Laden::Unknown), "nobody knows where it is now");
    }
}

#[test]
fn broker_out_of_reach_keeps_the_vehicle_reconciling() {
    let status = status(&saying(|said| said.broker = false));
    is(&status, ConditionType::Ready, "False", Reason::FleetUnreachable);
    is(&status, ConditionType::Reconciling, "True", Reason::FleetUnreachable);
    assert_eq!(status.connection, VehicleConnection::Unknown);
}

#[test]
fn fault_mode_and_lost_position_take_a_vehicle_out_of_service() {
    let faulty = status(&saying(|said| said.errors = vec!["steering".into()]));
    let say = is(&faulty, ConditionType::Available, "False", Reason::VehicleFaulty);
    assert!(say.contains("steering"), "{say}");
    let manual = status(&saying(|said| said.operating_mode = Some("MANUAL".into())));
    is(&manual, ConditionType::Available, "False", Reason::NotAutomatic);
    is(&manual, ConditionType::Ready, "True", Reason::InForce);
    let half = status(&saying(|said| said.operating_mode = Some("SEMIAUTOMATIC".into())));
    is(&half, ConditionType::Available, "True", Reason::Serving);
    let lost = status(&saying(|said| said.localised = Some(false)));
    is(&lost, ConditionType::Available, "False", Reason::PositionLost);
    is(&lost, ConditionType::Localised, "False", Reason::PositionLost);
}

#[test]
fn vehicle_is_safe_to_change_only_at_home_empty_and_at_its_node() {
    type Change = fn(&mut IgvReport);
    let cases: [(Change, &str); 5] = [
        (|said| said.at_service = false, "depot"),
        (|said| said.laden = Laden::Laden, "load"),
        (|said| said.side = Side::OnLine, "on the line"),
        (|said| said.side = Side::Foreign, "other side"),
        (|said| said.side = Side::Unknown, "none of the zones"),
    ];
    for (change, word) in cases {
        let say = is(&status(&saying(change)), ConditionType::SafeToChange, "False", Reason::NotSafeToChange);
        assert!(say.contains(word), "{say}");
    }
    let mut nowhere = observed();
    declared(&mut nowhere, |igv| igv.spec.change_at.nodes.clear());
    nowhere.agent.report = Some(Arc::new(report(&order(&nowhere), well())));
    is(&status(&nowhere), ConditionType::SafeToChange, "False", Reason::NotSafeToChange);
}

#[test]
fn other_maps_or_another_version_need_somebody() {
    let other = VehicleMap { name: "yard".into(), version: "3".into() };
    let maps = status(&saying(|said| said.maps = Some(vec![other])));
    let say = is(&maps, ConditionType::MapsCurrent, "False", Reason::MapsDiffer);
    assert!(say.contains("yard 3 is enabled instead of 4"), "{say}");
    is(&maps, ConditionType::Stalled, "True", Reason::MapsDiffer);
    is(&maps, ConditionType::Available, "True", Reason::Serving);
    let old = SoftwareVersion { name: "controller".into(), version: "2.3.0".into() };
    let firmware = status(&saying(|said| said.software = vec![old]));
    is(&firmware, ConditionType::FirmwareUpToDate, "False", Reason::WrongVersion);
    is(&firmware, ConditionType::Stalled, "True", Reason::WrongVersion);
}

#[test]
fn nothing_declared_is_nothing_to_compare() {
    let mut plain = observed();
    declared(&mut plain, |igv| {
        igv.spec.maps.clear();
        igv.spec.firmware = None;
    });
    plain.release = None;
    plain.agent.report = Some(Arc::new(report(&order(&plain), IgvReport { maps: None, software: vec![], ..well() })));
    let status = status(&plain);
    is(&status, ConditionType::MapsCurrent, "True", Reason::NothingDeclared);
    is(&status, ConditionType::FirmwareUpToDate, "True", Reason::NotDeclared);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
}

#[test]
fn silent_agent_makes_everything_unknown_and_takes_no_order_back() {
    let mut silent = observed();
    silent.agent.facts.as_mut().unwrap().presence = Presence::Silent;
    let placement = placement(&silent);
    assert!(placement.want.is_some() && placement.remove.is_empty());
    let status = status(&silent);
    for kind in [ConditionType::Ready, ConditionType::Available, ConditionType::Connected, ConditionType::Localised] {
        is(&status, kind, "Unknown", Reason::AgentUnreachable);
    }
    assert_eq!((status.connection, status.side), (VehicleConnection::Unknown, Side::Unknown));
}

#[test]
fn fresh_leader_leaves_the_status_of_a_vehicle_alone() {
    let mut fresh = observed();
    fresh.agent.facts.as_mut().unwrap().presence =
        Presence::Unheard { until: fresh.now + SignedDuration::from_secs(5) };
    let result = result(&fresh);
    assert!(result.status.is_none() && result.again.is_some_and(|again| again >= Duration::from_secs(5)));
}

#[test]
fn confirmation_is_awaited_in_silence_first_and_said_when_it_stays_away() {
    let mut told = observed();
    told.agent.report = None;
    let silent = result(&told);
    assert!(silent.status.is_none());
    assert_eq!(silent.again, Some(CONFIRMATION_DEBOUNCE));
    let order = order(&told);
    told.agent.has_waited_for(&order);
    is(&status(&told), ConditionType::Reconciling, "True", Reason::Applying);
}

#[test]
fn suspended_vehicle_is_ready_and_its_agent_lets_go() {
    let mut suspended = observed();
    declared(&mut suspended, |igv| igv.spec.suspend = true);
    let placement = placement(&suspended);
    assert!(placement.want.is_none());
    assert_eq!(placement.remove, [AgentId::new("mong-cai", "yard").unwrap()]);
    let status = status(&suspended);
    is(&status, ConditionType::Ready, "True", Reason::Suspended);
    is(&status, ConditionType::Available, "False", Reason::Suspended);
    is(&status, ConditionType::Connected, "Unknown", Reason::Suspended);
}

#[test]
fn planned_vehicle_is_not_listened_to_and_unknown_phase_takes_nothing_away() {
    let mut planned = observed();
    planned.life = LifecycleStage::Planned;
    let decided = placement(&planned);
    assert!(decided.want.is_none() && decided.remove.len() == 1);
    is(&status(&planned), ConditionType::Ready, "True", Reason::Planned);

    let mut unknown = observed();
    unknown.life = LifecycleStage::UnknownPhase;
    let decided = placement(&unknown);
    assert!(decided.want.is_none() && decided.remove.is_empty());
    is(&status(&unknown), ConditionType::Stalled, "True", Reason::UnknownPhase);
}

#[test]
fn commissioning_listens_and_is_ready_whatever_is_missing() {
    let mut commissioned = saying(|said| said.broker = false);
    commissioned.life = LifecycleStage::Commissioning;
    assert!(placement(&commissioned).want.is_some());
    let status = status(&commissioned);
    let say = is(&status, ConditionType::Ready, "True", Reason::Commissioning);
    assert!(say.contains("broker"), "{say}");
    is(&status, ConditionType::Available, "False", Reason::Commissioning);
    is(&status, ConditionType::Connected, "False", Reason::FleetUnreachable);
}

#[test]
fn contradictions_are_stalled_and_not_sent() {
    let stalled = |change: fn(&mut Observed), reason: Reason| {
        let mut observed = observed();
        change(&mut observed);
        let placement = placement(&observed);
        assert!(placement.want.is_none() && placement.remove.is_empty());
        is(&status(&observed), ConditionType::Stalled, "True", reason);
    };
    stalled(|observed| observed.duplicates = vec!["igv-09".into()], Reason::InvalidSpec);
    stalled(|observed| observed.crossing = None, Reason::MissingReference);
    stalled(|observed| observed.agent.object = None, Reason::MissingReference);
}

#[test]
fn vehicle_that_moved_is_taken_from_its_old_agent() {
    let mut moved = observed();
    let old = AgentId::new("mong-cai", "old").unwrap();
    moved.agent.wrong_holders = vec![old.clone()];
    let placement = placement(&moved);
    assert_eq!(placement.remove, [old]);
    assert!(placement.want.is_some());
}

#[test]
fn order_waits_for_the_finalizer_and_the_object_for_its_agent() {
    let mut bare = observed();
    declared(&mut bare, |igv| igv.metadata.finalizers = None);
    let decided = placement(&bare);
    assert!(decided.want.is_none() && decided.finalizers == Some(vec![FINALIZER.to_owned()]));

    let mut going = observed();
    declared(&mut going, |igv| {
        igv.metadata.deletion_timestamp = serde_json::from_value(json!(AT)).unwrap();
    });
    let decided = placement(&going);
    assert!(decided.finalizers.is_none() && decided.remove.len() == 1);
    going.agent.holding = Holding::NotHeld;
    assert_eq!(placement(&going).finalizers, Some(vec![]));
}
