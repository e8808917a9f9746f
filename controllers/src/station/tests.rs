//! What is said of an InspectionStation, in worlds made by hand.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::inspection_station::InspectionStationStatus;
use kalong_crds::{BlockCode, Device, InspectionStation};
use kalong_rules::lifecycle::LifecycleStage;
use serde_json::{Value, json};

use super::decide::decide;
use super::observe::{Fallback, FilledSlot, Observed};
use crate::kit::reconciler::ReconcileResult;

const AT: &str = "2026-11-22T07:00:00Z";

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> Arc<K> {
    let mut value = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "mong-cai", "uid": format!("uid-{name}"), "generation": 2},
    });
    if !status.is_null() {
        value["status"] = status;
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

fn conditions(words: &[(&str, &str, &str)]) -> Value {
    let condition = |(kind, status, reason): &(&str, &str, &str)| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": AT});
    json!(words.iter().map(condition).collect::<Vec<_>>())
}

const WELL: [(&str, &str, &str); 3] =
    [("Ready", "True", "InForce"), ("Available", "True", "Serving"), ("Calibrated", "True", "CalibrationValid")];
const SILENT: [(&str, &str, &str); 3] = [
    ("Ready", "Unknown", "AgentUnreachable"),
    ("Available", "Unknown", "AgentUnreachable"),
    ("Calibrated", "Unknown", "AgentUnreachable"),
];

fn scanner(words: &[(&str, &str, &str)], guards: Value) -> Arc<Device> {
    let spec = json!({"modelRef": "x-ray", "agentRef": "bay", "connection": {"endpoint": "127.0.0.1:5020"}});
    object(
        "Device",
        "scanner",
        spec,
        json!({"observedGeneration": 2, "conditions": conditions(words), "guards": guards}),
    )
}

fn guards(interlock: &str, seal: &str) -> Value {
    json!([{"name": "searchComplete", "kind": "Interlock", "state": interlock}, {"name": "seal", "kind": "Seal", "state": seal}])
}

/// An X-ray bay with one scanner, two lanes that need it and one that does not.
fn observed() -> Observed {
    let station: Arc<InspectionStation> = object(
        "InspectionStation",
        "bay",
        json!({"crossingRef": "bac-luan-2", "type": "XRay", "capacityPerHour": 20, "fallbackRef": "house",
               "slots": [{"name": "scanner", "deviceRef": "scanner"}],
               "servesLanes": [{"name": "out-2"}, {"name": "out-1"}, {"name": "out-3", "need": "Optional"}],
               "licence": {"number": "VARANS-7", "validUntil": "2027-06-30"}}),
        Value::Null,
    );
    let model = object(
        "DeviceModel",
        "x-ray",
        json!({"class": "XRayScanner", "protocol": {"name": "ModbusTcp"},
               "regulatory": {"interlocks": [{"name": "searchComplete", "safe": "Closed"}], "seals": [{"name": "seal", "intact": "Whole"}]}}),
        Value::Null,
    );
    let crossing =
        object("Crossing", "bac-luan-2", json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh"}), Value::Null);
    Observed {
        now: AT.parse::<Timestamp>().unwrap(),
        life: LifecycleStage::InService,
        crossing: Some(crossing),
        slots: vec![FilledSlot {
            slot: station.spec.slots[0].clone(),
            device: Some(scanner(&WELL, guards("Safe", "Safe"))),
            model: Some(model),
        }],
        elsewhere: vec![],
        missing_lanes: vec![],
        fallback: Fallback::Idle,
        station,
    }
}

fn with(change: impl FnOnce(&mut Observed)) -> Observed {
    let mut observed = observed();
    change(&mut observed);
    observed
}

fn declared(observed: &mut Observed, change: impl FnOnce(&mut InspectionStation)) {
    let mut station = observed.station.as_ref().clone();
    change(&mut station);
    observed.station = Arc::new(station);
}

fn result(observed: &Observed) -> ReconcileResult<InspectionStationStatus> {
    super::status(observed, &decide(observed))
}

fn status(observed: &Observed) -> InspectionStationStatus {
    result(observed).status.unwrap()
}

fn is(status: &InspectionStationStatus, kind: ConditionType, word: &str, reason: Reason) -> String {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str());
    assert_eq!(
        found.map(|c| (c.status.as_str(), c.reason.as_str())),
        Some((word, reason.as_str())),
        "{:#?}",
        status.conditions
    );
    found.map(|c| c.message.clone()).unwrap_or_default()
}

fn lanes(status: &InspectionStationStatus) -> Vec<&str> {
    status.closed_lanes.iter().map(|lane| lane.as_str()).collect()
}

#[test]
fn sound_station_serves_and_closes_nothing() {
    let status = status(&observed());
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    is(&status, ConditionType::Available, "True", Reason::Serving);
    is(&status, ConditionType::InterlocksSafe, "True", Reason::InterlocksClosed);
    is(&status, ConditionType::Licensed, "True", Reason::LicenceValid);
    is(&status, ConditionType::Calibrated, "True", Reason::CalibrationValid);
    assert!(status.closed_lanes.is_empty() && status.blocked_by.is_empty());
}

#[test]
fn open_interlock_closes_the_lanes_that_need_the_station_and_no_other() {
    let open = with(|s| s.slots[0].device = Some(scanner(&WELL, guards("Unsafe", "Safe"))));
    let status = status(&open);
    let say = is(&status, ConditionType::InterlocksSafe, "False", Reason::InterlockOpen);
    assert!(say.contains("scanner.searchComplete") && say.contains("out-1, out-2"), "{say}");
    is(&status, ConditionType::Available, "False", Reason::InterlockOpen);
    is(&status, ConditionType::Ready, "True", Reason::InForce);
    assert_eq!(lanes(&status), ["out-1", "out-2"]);
    assert_eq!(status.blocked_by[0].code, BlockCode::InterlockOpen);
}

#[test]
fn interlock_that_cannot_be_read_closes_nothing_and_is_said() {
    let unread = with(|s| s.slots[0].device = Some(scanner(&WELL, json!([]))));
    let status = status(&unread);
    is(&status, ConditionType::InterlocksSafe, "Unknown", Reason::InterlockUnknown);
    is(&status, ConditionType::Available, "Unknown", Reason::InterlockUnknown);
    assert!(status.closed_lanes.is_empty());
}

#[test]
fn interlock_that_was_open_keeps_lanes_closed_until_it_is_read_to_be_safe() {
    let open = with(|s| s.slots[0].device = Some(scanner(&WELL, guards("Unsafe", "Safe"))));
    let before = status(&open);
    let later = |device: Arc<Device>| {
        let observed = with(|s| {
            s.slots[0].device = Some(device);
            let old = before.clone();
            declared(s, |station| station.status = Some(old));
        });
        status(&observed)
    };
    let unread = later(scanner(&SILENT, json!([])));
    let say = is(&unread, ConditionType::InterlocksSafe, "Unknown", Reason::InterlockUnknown);
    assert!(say.contains("out-1, out-2 stay closed"), "{say}");
    assert_eq!(lanes(&unread), ["out-1", "out-2"]);
    let safe = later(scanner(&WELL, guards("Safe", "Safe")));
    is(&safe, ConditionType::InterlocksSafe, "True", Reason::InterlocksClosed);
    assert!(safe.closed_lanes.is_empty() && safe.blocked_by.is_empty());
}

#[test]
fn silent_agent_makes_what_it_knows_unknown() {
    let silent = with(|s| s.slots[0].device = Some(scanner(&SILENT, json!([]))));
    let status = status(&silent);
    is(&status, ConditionType::Ready, "Unknown", Reason::DeviceNotReady);
    is(&status, ConditionType::Available, "Unknown", Reason::AgentUnreachable);
    is(&status, ConditionType::InterlocksSafe, "Unknown", Reason::InterlockUnknown);
    is(&status, ConditionType::Calibrated, "Unknown", Reason::AgentUnreachable);
    is(&status, ConditionType::Licensed, "True", Reason::LicenceValid);
}

#[test]
fn one_open_interlock_counts_more_than_one_that_cannot_be_read() {
    let both = with(|s| {
        let spec = json!({"modelRef": "x-ray", "agentRef": "bay", "connection": {"endpoint": "127.0.0.1:5021"}});
        let device = object(
            "Device",
            "second",
            spec,
            json!({"observedGeneration": 2, "conditions": conditions(&WELL), "guards": guards("Unsafe", "Safe")}),
        );
        let mut slot = s.slots[0].slot.clone();
        slot.device_ref = "second".into();
        let model = s.slots[0].model.clone();
        s.slots[0].device = Some(scanner(&WELL, json!([])));
        s.slots.push(FilledSlot { slot, device: Some(device), model });
    });
    let say = is(&status(&both), ConditionType::InterlocksSafe, "False", Reason::InterlockOpen);
    assert!(say.contains("second.searchComplete") && !say.contains("scanner.searchComplete"), "{say}");
}

#[test]
fn suspended_planned_or_commissioned_station_closes_nothing() {
    let unsafe_in = |life: LifecycleStage, suspend: bool| {
        let observed = with(|s| {
            s.slots[0].device = Some(scanner(&WELL, guards("Unsafe", "Safe")));
            s.life = life;
            declared(s, |station| station.spec.suspend = suspend);
        });
        status(&observed)
    };
    let suspended = unsafe_in(LifecycleStage::InService, true);
    is(&suspended, ConditionType::Ready, "True", Reason::Suspended);
    is(&suspended, ConditionType::Available, "False", Reason::Suspended);
    let planned = unsafe_in(LifecycleStage::Planned, false);
    is(&planned, ConditionType::Ready, "True", Reason::Planned);
    is(&planned, ConditionType::InterlocksSafe, "Unknown", Reason::Planned);
    let commissioned = unsafe_in(LifecycleStage::Commissioning, false);
    is(&commissioned, ConditionType::Ready, "True", Reason::Commissioning);
    is(&commissioned, ConditionType::Available, "False", Reason::Commissioning);
    is(&commissioned, ConditionType::InterlocksSafe, "False", Reason::InterlockOpen);
    for status in [suspended, planned, commissioned] {
        assert!(status.closed_lanes.is_empty());
    }
}

#[test]
fn commissioning_is_ready_and_says_what_is_missing() {
    let waiting = with(|s| {
        s.life = LifecycleStage::Commissioning;
        s.slots[0].device = Some(scanner(&[("Ready", "False", "DeviceUnreachable")], json!([])));
    });
    let say = is(&status(&waiting), ConditionType::Ready, "True", Reason::Commissioning);
    assert!(say.contains("scanner"), "{say}");
}

#[test]
fn unknown_phase_is_stalled_and_an_open_interlock_still_closes() {
    let unknown = with(|s| {
        s.life = LifecycleStage::UnknownPhase;
        s.slots[0].device = Some(scanner(&WELL, guards("Unsafe", "Safe")));
    });
    let status = status(&unknown);
    is(&status, ConditionType::Stalled, "True", Reason::UnknownPhase);
    assert_eq!(lanes(&status), ["out-1", "out-2"]);
}

#[test]
fn contradictions_are_stalled_and_looked_at_again() {
    let stalled = |change: fn(&mut Observed), reason: Reason| {
        let observed = with(change);
        let result = result(&observed);
        is(&result.status.unwrap(), ConditionType::Stalled, "True", reason);
        assert!(result.again.is_some_and(|again| again <= Duration::from_secs(15)));
    };
    stalled(|s| s.slots[0].device = None, Reason::MissingReference);
    stalled(|s| s.crossing = None, Reason::MissingReference);
    stalled(|s| s.missing_lanes = vec!["out-1".into()], Reason::MissingReference);
    stalled(|s| s.fallback = Fallback::Missing, Reason::MissingReference);
    stalled(|s| s.elsewhere = vec!["scanner".into()], Reason::SlotConflict);
    stalled(|s| declared(s, |station| station.spec.fallback_ref = Some("bay".into())), Reason::InvalidSpec);
    stalled(
        |s| {
            declared(s, |station| {
                station.spec.licence.iter_mut().for_each(|licence| licence.valid_until = "2026-02-31".into());
            });
        },
        Reason::InvalidSpec,
    );
}

#[test]
fn station_without_interlock_or_licence_says_so() {
    let plain = with(|s| {
        s.slots[0].model = None;
        s.slots[0].device = Some(scanner(&WELL[..2], json!([])));
        declared(s, |station| station.spec.licence = None);
    });
    let status = status(&plain);
    is(&status, ConditionType::InterlocksSafe, "True", Reason::NoInterlock);
    is(&status, ConditionType::Licensed, "True", Reason::NoLicence);
    is(&status, ConditionType::Calibrated, "True", Reason::NothingDeclared);
    is(&status, ConditionType::Available, "True", Reason::Serving);
}

#[test]
fn end_of_a_licence_is_known_weeks_ahead_and_takes_the_station_out_of_use() {
    let on = |day: &str| {
        let observed = with(|s| s.now = format!("{day}T05:00:00Z").parse().unwrap());
        status(&observed)
    };
    let say = is(&on("2027-05-31"), ConditionType::Licensed, "True", Reason::LicenceEnding);
    assert!(say.contains("VARANS-7") && say.contains("2027-06-30"), "{say}");
    is(&on("2027-05-30"), ConditionType::Licensed, "True", Reason::LicenceValid);
    is(&on("2027-06-30"), ConditionType::Available, "True", Reason::Serving);
    let ended = on("2027-07-01");
    is(&ended, ConditionType::Licensed, "False", Reason::LicenceExpired);
    is(&ended, ConditionType::Available, "False", Reason::LicenceExpired);
    is(&ended, ConditionType::Ready, "True", Reason::InForce);
}

#[test]
fn broken_seal_takes_the_station_out_of_use_and_the_fallback_is_named() {
    let broken = with(|s| {
        s.slots[0].device = Some(scanner(&WELL, guards("Safe", "Unsafe")));
        s.fallback = Fallback::Serves;
    });
    let status = status(&broken);
    is(&status, ConditionType::Calibrated, "False", Reason::SealBroken);
    let say = is(&status, ConditionType::Available, "False", Reason::SealBroken);
    assert!(say.contains("FallbackServes: InspectionStation house takes over."), "{say}");
    assert!(status.closed_lanes.is_empty());
}

#[test]
fn station_serves_without_an_optional_device_and_not_without_a_required_one() {
    let gone = [("Ready", "False", "DeviceUnreachable"), ("Available", "False", "DeviceUnreachable")];
    let required = with(|s| s.slots[0].device = Some(scanner(&gone, guards("Safe", "Safe"))));
    let judged = status(&required);
    is(&judged, ConditionType::Available, "False", Reason::DeviceNotAvailable);
    is(&judged, ConditionType::Ready, "False", Reason::DeviceNotReady);
    is(&judged, ConditionType::Reconciling, "True", Reason::DeviceNotReady);
    let optional = with(|s| {
        s.slots[0].device = Some(scanner(&gone, guards("Safe", "Safe")));
        s.slots[0].slot.need = kalong_crds::lane::Need::Optional;
    });
    is(&status(&optional), ConditionType::Available, "True", Reason::Serving);
}

#[test]
fn expired_calibration_is_said_by_name() {
    let expired = [
        ("Ready", "True", "InForce"),
        ("Available", "False", "CalibrationExpired"),
        ("Calibrated", "False", "CalibrationExpired"),
    ];
    let observed = with(|s| s.slots[0].device = Some(scanner(&expired, guards("Safe", "Safe"))));
    let status = status(&observed);
    let say = is(&status, ConditionType::Calibrated, "False", Reason::CalibrationExpired);
    assert!(say.contains("scanner"), "{say}");
    is(&status, ConditionType::Available, "False", Reason::DeviceNotAvailable);
}

#[test]
fn all_conditions_are_written_on_the_first_visit_and_time_alone_changes_nothing() {
    let first = status(&observed());
    for kind in ["Ready", "Available", "InterlocksSafe", "Licensed", "Calibrated"] {
        assert!(first.conditions.iter().any(|c| c.type_ == kind), "{kind}");
    }
    let later = with(|s| {
        s.now = "2026-11-22T09:30:00Z".parse().unwrap();
        let old = first.clone();
        declared(s, |station| station.status = Some(old));
    });
    assert_eq!(status(&later), first);
}
