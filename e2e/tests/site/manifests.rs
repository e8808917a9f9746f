//! What stands in `gitops/sites`: every object is of our API and refers only to what is there, and releases are believed with the keys
//! beside them. Whether the real API server takes it is in `tests/cluster/site_api.rs`; reading a [`kalong_e2e::site::Layout`] shows
//! whether it can be simulated.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use kalong_crds::lane::Need;
use kalong_crds::phase::PhaseState;
use kalong_crds::units::Name;
use kalong_crds::wire::release::{ReleaseKeys, signatures_needed};
use kalong_crds::{DeviceModel, FirmwareRelease, InspectionStation};
use kalong_e2e::site::facts::SimulatorFacts;
use kalong_e2e::site::gitops::{self, KEY_DOCUMENT, Manifest, SiteObjects};
use kalong_e2e::site::{DEMO_PASSWORD, Preset};
use kube::ResourceExt;
use serde_json::Value;

const SITES: [Preset; 2] = [Preset::L0, Preset::L1];

fn files(preset: Preset) -> Vec<Manifest> {
    gitops::read(&preset.source().gitops).unwrap()
}

fn objects(preset: Preset) -> SiteObjects {
    SiteObjects::parse(&files(preset)).unwrap()
}

fn in_phase<'a>(phases: impl Iterator<Item = &'a Option<Name>>, wanted: &str) -> usize {
    phases.filter(|phase| phase.as_ref().is_some_and(|name| name.as_str() == wanted)).count()
}

#[test]
fn sites_have_the_expected_counts() {
    let site = objects(Preset::L1);
    let devices = |phase| in_phase(site.devices.iter().map(|d| &d.spec.phase), phase);
    assert_eq!((devices("phase-1"), devices("phase-2")), (311, 8));
    assert_eq!(in_phase(site.agents.iter().map(|a| &a.spec.phase), "phase-1"), 14);
    assert_eq!(in_phase(site.lanes.iter().map(|l| &l.spec.phase), "phase-1"), 22);
    assert_eq!(in_phase(site.crossings.iter().map(|c| &c.spec.phase), "phase-1"), 2);
    assert_eq!(in_phase(site.stations.iter().map(|s| &s.spec.phase), "phase-1"), 6);
    assert_eq!(in_phase(site.vehicles.iter().map(|v| &v.spec.phase), "phase-1"), 5);
    assert_eq!(site.releases.len(), site.models.len() - 1, "a release for each model but the weighbridge");
    assert_eq!((site.site.as_str(), site.phases.len(), site.links.len()), ("mong-cai", 2, 1));
    let small = objects(Preset::L0);
    assert_eq!((small.site.as_str(), small.devices.len(), small.agents.len()), ("small-gate", 44, 2));
}

/// A field that the API does not know would be lost on the way through its type.
#[test]
fn every_object_says_only_what_the_api_knows() {
    for preset in SITES {
        let site = objects(preset);
        let typed: Vec<Value> = site.list().unwrap()["items"].as_array().unwrap().clone();
        let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
        let typed: BTreeMap<String, &Value> = typed.iter().map(|object| (name(object), object)).collect();
        let mut seen = 0;
        for file in files(preset).iter().skip(1).filter(|file| file.path != "namespace.yaml") {
            for written in serde_saphyr::from_multiple::<Value>(&file.yaml).unwrap() {
                let name = name(&written);
                assert_eq!(written["metadata"]["namespace"], site.site.as_str(), "{name}");
                kept(&written, typed[&name], &format!("{}: {name}", file.path));
                seen += 1;
            }
        }
        assert_eq!(seen, typed.len(), "no two objects of a kind have one name");
    }
}

fn kept(written: &Value, typed: &Value, at: &str) {
    match (written, typed) {
        (Value::Object(written), Value::Object(typed)) => {
            for (key, value) in written {
                kept(value, typed.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"));
            }
        }
        (Value::Array(written), Value::Array(typed)) if written.len() == typed.len() => {
            written.iter().zip(typed).for_each(|(written, typed)| kept(written, typed, at));
        }
        _ => assert_eq!(written, typed, "{at}"),
    }
}

#[test]
fn every_file_below_a_site_is_listed_in_its_kustomization() {
    for preset in SITES {
        let folder = preset.source().gitops;
        let listed: BTreeSet<String> = files(preset).into_iter().map(|file| file.path).collect();
        let mut found = BTreeSet::new();
        yaml_below(&folder, &folder, &mut found);
        assert_eq!(found, listed);
    }
}

fn yaml_below(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_below(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn link_has_no_agreement_and_every_live_crossing_names_it() {
    let site = objects(Preset::L1);
    assert!(site.links[0].spec.agreements.is_empty());
    for crossing in site.crossings {
        let live = crossing.spec.phase.as_ref().is_some_and(|phase| phase.as_str() == "phase-1");
        assert_eq!(crossing.spec.link_ref.map(|link| link.0), live.then(|| site.links[0].name_any()));
    }
}

#[test]
fn phase_1_is_open_without_a_gate_before_it_and_phase_2_waits_for_it() {
    let phases = objects(Preset::L1).phases;
    let of = |name: &str| &SiteObjects::named(&phases, name).unwrap().spec;
    let (first, second) = (of("phase-1"), of("phase-2"));
    assert!(first.state == PhaseState::Open && first.entry_gates.is_empty() && first.exit_gates.len() == 1);
    assert!(second.state == PhaseState::Planned && second.entry_gates.len() == 1);
    assert_eq!(second.after.iter().map(Name::as_str).collect::<Vec<_>>(), ["phase-1"]);
}

#[test]
fn stations_name_the_devices_that_stand_in_them_and_the_scanner_shows_an_interlock() {
    let site = objects(Preset::L1);
    let interlocked = |station: &&InspectionStation| {
        station.spec.slots.iter().any(|slot| {
            let device = SiteObjects::named(&site.devices, slot.device_ref.as_str()).unwrap();
            let model = SiteObjects::named(&site.models, device.spec.model_ref.as_str()).unwrap();
            !model.spec.regulatory.interlocks.is_empty()
        })
    };
    let required = |station: &&InspectionStation| station.spec.serves_lanes.iter().any(|l| l.need == Need::Required);
    let closing = site.stations.iter().filter(required).filter(interlocked).map(ResourceExt::name_any);
    assert_eq!(closing.collect::<Vec<_>>(), ["bl2-xray"]);
}

#[test]
fn references_and_bounds_hold() {
    for preset in SITES {
        let site = objects(preset);
        let mut behind: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for device in &site.devices {
            let name = device.name_any();
            let model = SiteObjects::named(&site.models, device.spec.model_ref.as_str()).unwrap();
            assert!(SiteObjects::named(&site.agents, device.spec.agent_ref.as_str()).is_some(), "{name}");
            for key in device.spec.config.keys() {
                assert!(model.spec.properties.iter().any(|property| property.name == *key), "{name}: {key}");
            }
            if let Some(firmware) = &device.spec.firmware {
                let release = SiteObjects::named(&site.releases, firmware.release.as_str()).unwrap();
                assert!(release.spec.models.contains(&device.spec.model_ref), "{name}");
            }
            let counts = behind.entry(device.spec.agent_ref.as_str()).or_default();
            counts.0 += 1;
            counts.1 += usize::from(!device.spec.config.is_empty());
        }
        assert!(behind.values().all(|(all, set)| *all <= 60 && *set > 0), "{preset:?}: {behind:?}");
        let mut filled = BTreeSet::new();
        for slot in site.lanes.iter().flat_map(|lane| &lane.spec.slots) {
            assert!(filled.insert(&slot.device_ref), "{preset:?}: {} fills two slots", slot.device_ref);
        }
    }
}

#[test]
fn releases_are_believed_with_the_checked_in_key_document() {
    for preset in SITES {
        let keys = fs::read_to_string(preset.source().gitops.join(KEY_DOCUMENT)).unwrap();
        let keys: ReleaseKeys = serde_json::from_str(&keys).unwrap();
        let site = objects(preset);
        for FirmwareRelease { metadata, spec, .. } in &site.releases {
            let model = |name: &Name| -> &DeviceModel { SiteObjects::named(&site.models, name.as_str()).unwrap() };
            let needed = spec.models.iter().map(|name| signatures_needed(model(name).spec.class)).max().unwrap();
            spec.signed(metadata.name.as_ref().unwrap()).unwrap().verify(&keys, needed).unwrap();
        }
    }
}

#[test]
fn nothing_secret_is_in_the_files() {
    for file in SITES.into_iter().flat_map(files) {
        assert!(!file.yaml.contains("kind: Secret") && !file.yaml.contains(DEMO_PASSWORD), "{}", file.path);
    }
}

#[test]
fn run_has_its_own_network_and_artifacts() {
    let facts = SimulatorFacts::read(&Preset::L0.source().facts).unwrap();
    let files = facts.for_run(files(Preset::L0), 77, "https://localhost:1234/a");
    let site = SiteObjects::parse(&files).unwrap();
    assert!(site.devices.iter().all(|device| device.spec.connection.endpoint.starts_with("127.77.")));
    assert!(site.vehicles.iter().all(|vehicle| vehicle.spec.broker.endpoint.starts_with("127.77.")));
    assert!(site.links.iter().all(|link| link.spec.transport.endpoint.as_ref().unwrap().starts_with("127.77.")));
    assert!(site.releases.iter().all(|release| release.spec.artifact.url.starts_with("https://localhost:1234/a/")));
}
