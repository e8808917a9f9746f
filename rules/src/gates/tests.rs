//! What counts as proven, and which lanes still have to be closed.

use kalong_crds::{Device, Lane};
use serde_json::{Value, json};

use super::{LaneClosure, closure_of, inventory};

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> K {
    let mut value = json!({"apiVersion": "kalong.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "mong-cai", "generation": 1}, "spec": spec});
    if !status.is_null() {
        value["status"] = status;
    }
    serde_json::from_value(value).unwrap()
}

fn condition(kind: &str, word: &str, reason: &str, generation: i64) -> Value {
    json!({"type": kind, "status": word, "reason": reason, "message": "", "observedGeneration": generation, "lastTransitionTime": "2026-11-01T00:00:00Z"})
}

fn device(connected: &str, firmware_generation: i64) -> Device {
    object(
        "Device",
        "a",
        json!({"modelRef": "m", "agentRef": "g", "connection": {"endpoint": "10.0.0.1:502"}}),
        json!({"observedGeneration": 1, "conditions": [
            condition("Connected", connected, "DeviceUnreachable", 1), condition("ConfigApplied", "True", "ConfigInForce", 1),
            condition("FirmwareUpToDate", "True", "UpToDate", firmware_generation),
        ]}),
    )
}

#[test]
fn device_counts_when_its_facts_hold_for_what_is_declared() {
    assert_eq!(inventory::device(&device("True", 1)), None);
    assert_eq!(inventory::device(&device("Unknown", 1)).as_deref(), Some("Connected: DeviceUnreachable"));
    assert!(inventory::device(&device("True", 0)).unwrap().contains("earlier change"));
    let mut edited = device("True", 1);
    edited.metadata.generation = Some(2);
    assert!(inventory::device(&edited).unwrap().contains("not looked at"));
}

fn lane_object(admission: &str, available: &str) -> Lane {
    object(
        "Lane",
        "l",
        json!({"crossingRef": "x", "direction": "Inbound", "service": "Smart", "admission": "Open", "ratedPassagesPerHour": 60,
               "slots": [{"name": "plc", "role": "Controller", "deviceRef": "plc"}]}),
        json!({"observedGeneration": 1, "admission": admission, "conditions": [
            condition("Available", "False", available, 1), condition("DevicesReady", "True", "AllDevicesReady", 1)]}),
    )
}

#[test]
fn lane_is_closed_for_good_only_when_it_knows_of_the_phase() {
    assert_eq!(closure_of(&lane_object("Closed", "Commissioning"), true), LaneClosure::Closed);
    assert_eq!(closure_of(&lane_object("Closed", "AdmissionPending"), true), LaneClosure::Unheard);
    assert_eq!(closure_of(&lane_object("Open", "Commissioning"), true), LaneClosure::Serving);
    assert_eq!(closure_of(&lane_object("Drained", "Commissioning"), true), LaneClosure::Serving);
    assert_eq!(closure_of(&lane_object("Unknown", "AgentUnreachable"), true), LaneClosure::Unheard);
    assert_eq!(
        closure_of(&lane_object("Unknown", "NotEnrolled"), false),
        LaneClosure::Closed,
        "nobody was ever told to open it"
    );
}

#[test]
fn lane_counts_once_its_controller_has_spoken() {
    assert_eq!(inventory::lane(&lane_object("Closed", "Commissioning")), None);
    assert!(inventory::lane(&lane_object("Unknown", "Commissioning")).unwrap().contains("controller"));
}
