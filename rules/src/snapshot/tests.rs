//! A snapshot that was kept by increments equals one that was built at once, and its lookups find what a scan finds.

use std::collections::BTreeMap;

use kalong_crds::kinds::Kind;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::claim::has_ended;

/// An object as a test case describes it: of a kind, with one of few names, and with small numbers from which its spec follows.
#[derive(Clone, Debug)]
struct Sketch {
    kind: Kind,
    name: usize,
    choices: [usize; 4],
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(Sketch),
    Remove(Kind, usize),
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::ALL)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let upsert = (kinds(), 0..4_usize, prop::array::uniform4(0..4_usize))
        .prop_map(|(kind, name, choices)| Step::Upsert(Sketch { kind, name, choices }));
    let remove = (kinds(), 0..4_usize).prop_map(|(kind, name)| Step::Remove(kind, name));
    prop::collection::vec(prop_oneof![3 => upsert, 1 => remove], 0..80)
}

fn name(kind: Kind, number: usize) -> String {
    format!("{}-{number}", kind.as_str().to_lowercase())
}

impl Sketch {
    fn value(&self) -> Value {
        let [a, b, c, d] = self.choices;
        let crossing = format!("crossing-{a}");
        let phase = (b < 3).then(|| format!("phase-{b}"));
        let slots = |role: bool| -> Vec<Value> {
            [c, d]
                .iter()
                .enumerate()
                .map(|(slot, device)| {
                    let mut slot = json!({"name": format!("s{slot}"), "deviceRef": format!("device-{device}")});
                    if role {
                        slot["role"] = if slot["name"] == "s0" { "Controller".into() } else { "Barrier".into() };
                    }
                    slot
                })
                .collect()
        };
        let agent = format!("edgeagent-{c}");
        let (spec, status) = match self.kind {
            Kind::Phase => (
                json!({"crossings": [crossing], "state": "Open"}),
                json!({"observedGeneration": 1, "state": if b == 0 { "Planned" } else { "Open" }}),
            ),
            Kind::Crossing => {
                (json!({"traffic": "Cargo", "timeZone": "Asia/Ho_Chi_Minh", "phase": phase}), Value::Null)
            }
            Kind::Lane => (
                json!({"crossingRef": crossing, "direction": "Inbound", "service": "Smart", "admission": "Open",
                       "ratedPassagesPerHour": 60, "slots": slots(true), "phase": phase}),
                Value::Null,
            ),
            Kind::LaneDrain => {
                let target = [("Lane", "lane"), ("Crossing", "crossing"), ("InspectionStation", "inspectionstation")];
                let (kind, stem) = target[b % 3];
                let spec = json!({"target": {"kind": kind, "name": format!("{stem}-{a}")}, "reason": "A test.",
                                  "requester": format!("Device/device-{c}")});
                let responders = [json!({"name": format!("lane-{d}"), "state": "Open"})];
                let released = json!({"type": "Released", "status": if a == 2 { "True" } else { "False" }, "message": "",
                                      "reason": "Released", "lastTransitionTime": "2026-11-01T00:00:00Z"});
                (spec, json!({"observedGeneration": 1, "responders": responders, "conditions": [released]}))
            }
            Kind::InspectionStation => {
                let need = if b == 0 { "Optional" } else { "Required" };
                let served = [json!({"name": format!("lane-{c}"), "need": need}), json!({"name": format!("lane-{d}")})];
                let served = if c == d { &served[..1] } else { &served[..] };
                (
                    json!({"crossingRef": crossing, "type": "Weighing", "capacityPerHour": 20, "slots": slots(false),
                           "servesLanes": served, "fallbackRef": format!("inspectionstation-{b}"), "phase": phase}),
                    Value::Null,
                )
            }
            Kind::IGV => (
                json!({"crossingRef": crossing, "agentRef": agent, "phase": phase,
                       "broker": {"endpoint": "10.0.0.1:1883"},
                       "vda5050": {"manufacturer": "m", "serialNumber": d.to_string()}}),
                Value::Null,
            ),
            Kind::BilateralLink => (
                json!({"crossingRef": crossing, "agentRef": agent, "phase": phase,
                       "counterpart": {"country": "CN", "authority": "Customs", "crossing": "Beilun II"},
                       "transport": {"profile": "FileDrop"}}),
                Value::Null,
            ),
            Kind::EdgeAgent => (json!({"phase": phase}), Value::Null),
            Kind::Device => {
                let mut spec = json!({"modelRef": format!("devicemodel-{a}"), "agentRef": agent, "phase": phase,
                                      "connection": {"endpoint": "10.0.0.1:502"}});
                if d < 3 {
                    spec["firmware"] = json!({"release": format!("firmwarerelease-{d}")});
                }
                (spec, Value::Null)
            }
            Kind::DeviceModel => {
                (json!({"class": "Barrier", "protocol": {"name": "GenericHttp"}, "update": {}}), Value::Null)
            }
            Kind::FirmwareRelease => {
                let artifact = json!({"url": "https://artifacts.example/v2", "size": 2,
                                      "digest": kalong_crds::units::Digest::of(b"v2").as_str()});
                let spec = json!({"models": [format!("devicemodel-{a}")], "version": "2.0.0", "securityCounter": 2,
                                  "artifact": artifact});
                (spec, Value::Null)
            }
        };
        let mut object = json!({
            "apiVersion": "kalong.dev/v1alpha1", "kind": self.kind.as_str(), "spec": spec,
            "metadata": {"name": name(self.kind, self.name), "namespace": "mong-cai", "uid": format!("{a}{b}{c}{d}")},
        });
        if a == 3 {
            object["metadata"]["annotations"] = json!({"kalong.dev/changed-for-phase": format!("phase-{d}")});
        }
        if !status.is_null() {
            object["status"] = status;
        }
        object
    }

    fn read<K: DeserializeOwned>(&self) -> Arc<K> {
        let value = self.value();
        Arc::new(serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}")))
    }

    fn put(&self, site: &mut SiteSnapshot) {
        macro_rules! put {
            ($($kind:ident { $list:ident $($facts:tt)* })+) => {
                match self.kind { $(Kind::$kind => drop(site.upsert::<$kind>(self.read())),)+ }
            };
        }
        kalong_crds::for_each_kind!(put);
    }
}

fn take(site: &mut SiteSnapshot, kind: Kind, object: &str) {
    macro_rules! take {
        ($($kind:ident { $list:ident $($facts:tt)* })+) => {
            match kind { $(Kind::$kind => drop(site.remove::<$kind>(object)),)+ }
        };
    }
    kalong_crds::for_each_kind!(take);
}

/// What the steps leave behind, kept by increments and built at once.
fn run(steps: &[Step]) -> (SiteSnapshot, SiteSnapshot) {
    let mut kept = SiteSnapshot::default();
    let mut left: BTreeMap<(Kind, usize), &Sketch> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Upsert(sketch) => {
                sketch.put(&mut kept);
                left.insert((sketch.kind, sketch.name), sketch);
            }
            Step::Remove(kind, number) => {
                take(&mut kept, *kind, &name(*kind, *number));
                left.remove(&(*kind, *number));
            }
        }
    }
    let mut built = SiteSnapshot::default();
    left.values().for_each(|sketch| sketch.put(&mut built));
    (kept, built)
}

fn names<'a, K: SiteObject>(objects: impl IntoIterator<Item = &'a Arc<K>>) -> Vec<&'a str> {
    objects.into_iter().map(|object| object.name()).collect()
}

/// The names of the objects that a scan finds.
fn scan<K: Tabled>(site: &SiteSnapshot, fits: impl Fn(&K) -> bool) -> Vec<&str> {
    names(K::table(site).iter().filter(|object| fits(object)))
}

proptest! {
    #[test]
    fn snapshot_kept_by_increments_equals_one_built_at_once(steps in steps()) {
        let (kept, built) = run(&steps);
        prop_assert_eq!(kept, built);
    }

    #[test]
    fn lookup_finds_what_a_scan_finds(steps in steps()) {
        let (site, _) = run(&steps);
        for number in 0..4 {
            let device = name(Kind::Device, number);
            let has_slot = |lane: &Lane| lane.spec.slots.iter().any(|slot| slot.device_ref.as_str() == device);
            prop_assert_eq!(names(site.lanes_of(&device)), scan(&site, has_slot));
            let agent = name(Kind::EdgeAgent, number);
            let on_agent = |device: &Device| device.spec.agent_ref.as_str() == agent;
            prop_assert_eq!(names(site.devices.by(Relation::EdgeAgent, &agent)), scan(&site, on_agent));
            let release = name(Kind::FirmwareRelease, number);
            let runs = |d: &Device| d.spec.firmware.as_ref().is_some_and(|f| f.release.as_str() == release);
            prop_assert_eq!(names(site.devices.by(Relation::FirmwareRelease, &release)), scan(&site, runs));
            let phase = name(Kind::Phase, number);
            let belongs = |igv: &IGV| igv.spec.phase.as_ref().is_some_and(|p| p.as_str() == phase);
            prop_assert_eq!(names(site.igvs.by(Relation::Phase, &phase)), scan(&site, belongs));
        }
    }

    #[test]
    fn claims_on_a_lane_have_not_ended_and_have_a_target_that_stands_for_it(steps in steps()) {
        let (site, _) = run(&steps);
        for lane in site.lanes.iter() {
            let covers = |drain: &LaneDrain| {
                let under = site.lanes_under(&drain.spec.target);
                !has_ended(drain) && under.iter().any(|other| other.name() == lane.name())
            };
            prop_assert_eq!(names(site.claims_on(lane)), scan(&site, covers));
        }
    }
}

#[test]
fn phase_that_was_never_reconciled_leaves_its_objects_alone() {
    let mut site = SiteSnapshot::default();
    let phase = |status: Value| -> Arc<Phase> {
        let value = json!({"apiVersion": "kalong.dev/v1alpha1", "kind": "Phase", "metadata": {"name": "phase-2"},
                           "spec": {"crossings": ["x"]}, "status": status});
        Arc::new(serde_json::from_value(value).unwrap())
    };
    let name = Name::from("phase-2");
    assert_eq!(site.life(None), LifecycleStage::InService);
    assert_eq!(site.life(Some(&name)), LifecycleStage::UnknownPhase);
    site.upsert(phase(json!({"observedGeneration": -1})));
    assert_eq!(site.life(Some(&name)), LifecycleStage::UnknownPhase);
    site.upsert(phase(json!({"observedGeneration": 1, "state": "Open"})));
    assert_eq!(site.life(Some(&name)), LifecycleStage::InService);
}
