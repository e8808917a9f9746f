//! The manifests of the presets: every one is an object of our API, refers only to what is there, and is checked in as
//! generated.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use kalong_crds::lane::Need;
use kalong_crds::phase::PhaseState;
use kalong_crds::wire::release::{ReleaseKeys, signatures_needed};
use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, Phase,
};
use kalong_e2e::site::manifests::KEY_DOCUMENT;
use kalong_e2e::site::{Manifest, Render, SitePlan, manifests, preset};
use kube::ResourceExt;
use serde::de::DeserializeOwned;

struct Objects {
    documents: Vec<(String, String)>,
}

impl Objects {
    fn of(files: &[Manifest]) -> Self {
        let yaml = files.iter().filter(|f| f.path.ends_with(".yaml") && f.path != "kustomization.yaml");
        let documents = yaml.flat_map(|f| f.yaml.split("---\n").skip(1)).map(|text| {
            let kind = text.lines().find_map(|l| l.strip_prefix("kind: ")).unwrap();
            (kind.to_owned(), text.to_owned())
        });
        Self { documents: documents.collect() }
    }

    fn all<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let of_kind = self.documents.iter().filter(|(k, _)| k == kind);
        of_kind.map(|(_, text)| serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))).collect()
    }
}

fn plans() -> [(SitePlan, &'static str); 2] {
    [(preset::l0(), "l0"), (preset::l1(), "mong-cai")]
}

fn files(plan: &SitePlan) -> Vec<Manifest> {
    manifests(plan, &Render::default()).unwrap()
}

#[test]
fn every_manifest_is_an_object_of_the_api_with_the_expected_counts() {
    let objects = Objects::of(&files(&preset::l1()));
    let phase = |p: &Option<kalong_crds::units::Name>, want: &str| p.as_ref().is_some_and(|p| p.as_str() == want);
    let devices: Vec<Device> = objects.all("Device");
    assert_eq!(devices.iter().filter(|d| phase(&d.spec.phase, "phase-1")).count(), 311);
    assert_eq!(devices.iter().filter(|d| phase(&d.spec.phase, "phase-2")).count(), 8);
    let agents: Vec<EdgeAgent> = objects.all("EdgeAgent");
    assert_eq!(agents.iter().filter(|a| phase(&a.spec.phase, "phase-1")).count(), 14);
    let lanes: Vec<Lane> = objects.all("Lane");
    assert_eq!(lanes.iter().filter(|l| phase(&l.spec.phase, "phase-1")).count(), 22);
    let crossings: Vec<Crossing> = objects.all("Crossing");
    assert_eq!(crossings.iter().filter(|c| phase(&c.spec.phase, "phase-1")).count(), 2);
    let models = objects.all::<DeviceModel>("DeviceModel").len();
    let releases = objects.all::<FirmwareRelease>("FirmwareRelease").len();
    assert_eq!(releases, models - 1, "a release for each model but the weighbridge");
    let phases: Vec<Phase> = objects.all("Phase");
    assert_eq!(phases.len(), 2);
    let stations: Vec<InspectionStation> = objects.all("InspectionStation");
    assert_eq!(stations.iter().filter(|s| phase(&s.spec.phase, "phase-1")).count(), 6);
    let vehicles: Vec<IGV> = objects.all("IGV");
    assert_eq!(vehicles.iter().filter(|v| phase(&v.spec.phase, "phase-1")).count(), 5);
    let links: Vec<BilateralLink> = objects.all("BilateralLink");
    assert_eq!(links.len(), 1);
    let field = phases.len() + stations.len() + vehicles.len() + links.len();
    let known = devices.len() + agents.len() + lanes.len() + crossings.len() + models + releases + field + 1;
    assert_eq!(objects.documents.len(), known, "the namespace, and nothing else");
}

#[test]
fn link_has_no_agreement_and_every_live_crossing_names_it() {
    let objects = Objects::of(&files(&preset::l1()));
    let links: Vec<BilateralLink> = objects.all("BilateralLink");
    assert!(links[0].spec.agreements.is_empty());
    for crossing in objects.all::<Crossing>("Crossing") {
        let live = crossing.spec.phase.as_ref().is_some_and(|p| p.as_str() == "phase-1");
        assert_eq!(crossing.spec.link_ref.map(|l| l.0), live.then(|| links[0].name_any()));
    }
}

#[test]
fn phase_1_is_open_without_a_gate_before_it_and_phase_2_waits_for_it() {
    let phases: Vec<Phase> = Objects::of(&files(&preset::l1())).all("Phase");
    let of = |name: &str| &phases.iter().find(|p| p.name_any() == name).unwrap().spec;
    let (first, second) = (of("phase-1"), of("phase-2"));
    assert!(first.state == PhaseState::Open && first.entry_gates.is_empty() && first.exit_gates.len() == 1);
    assert!(second.state == PhaseState::Planned && second.entry_gates.len() == 1);
    assert_eq!(second.after.iter().map(|n| n.as_str()).collect::<Vec<_>>(), ["phase-1"]);
}

#[test]
fn stations_name_the_devices_that_stand_in_them_and_the_scanner_shows_an_interlock() {
    let objects = Objects::of(&files(&preset::l1()));
    let stations: Vec<InspectionStation> = objects.all("InspectionStation");
    let devices: Vec<Device> = objects.all("Device");
    let models: Vec<DeviceModel> = objects.all("DeviceModel");
    let interlocked = |station: &&InspectionStation| {
        station.spec.slots.iter().any(|slot| {
            let device = devices.iter().find(|d| d.name_any() == slot.device_ref.as_str()).unwrap();
            let model = models.iter().find(|m| m.name_any() == device.spec.model_ref.as_str()).unwrap();
            !model.spec.regulatory.interlocks.is_empty()
        })
    };
    let closing: Vec<_> = stations
        .iter()
        .filter(|s| s.spec.serves_lanes.iter().any(|l| l.need == Need::Required))
        .filter(interlocked)
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(closing, ["bl2-xray"]);
}

#[test]
fn references_and_bounds_hold() {
    for (plan, name) in plans() {
        let objects = Objects::of(&files(&plan));
        let devices: Vec<Device> = objects.all("Device");
        let models: BTreeMap<String, DeviceModel> =
            objects.all::<DeviceModel>("DeviceModel").into_iter().map(|m| (m.name_any(), m)).collect();
        let agents: BTreeSet<String> =
            objects.all::<EdgeAgent>("EdgeAgent").iter().map(ResourceExt::name_any).collect();
        let releases: BTreeMap<String, FirmwareRelease> =
            objects.all::<FirmwareRelease>("FirmwareRelease").into_iter().map(|r| (r.name_any(), r)).collect();
        let mut behind: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for device in &devices {
            let model = &models[device.spec.model_ref.as_str()];
            assert!(agents.contains(device.spec.agent_ref.as_str()), "{name}: {}", device.name_any());
            for key in device.spec.config.keys() {
                assert!(model.spec.properties.iter().any(|p| p.name == *key), "{name}: {key}");
            }
            if let Some(firmware) = &device.spec.firmware {
                let release = &releases[firmware.release.as_str()];
                assert!(release.spec.models.contains(&device.spec.model_ref), "{name}: {}", device.name_any());
            }
            let counts = behind.entry(device.spec.agent_ref.as_str()).or_default();
            counts.0 += 1;
            counts.1 += usize::from(!device.spec.config.is_empty());
        }
        assert!(behind.values().all(|(all, set)| *all <= 60 && *set > 0), "{name}: {behind:?}");
        let mut filled = BTreeSet::new();
        for lane in objects.all::<Lane>("Lane") {
            for slot in &lane.spec.slots {
                let device = devices.iter().find(|d| d.name_any() == slot.device_ref.as_str());
                assert!(device.is_some(), "{name}: {}", slot.device_ref);
                assert!(filled.insert(slot.device_ref.clone()), "{name}: {} fills two slots", slot.device_ref);
            }
        }
    }
}

#[test]
fn releases_are_believed_with_the_checked_in_key_document() {
    let files = files(&preset::l1());
    let document = files.iter().find(|f| f.path == KEY_DOCUMENT).unwrap();
    let keys: ReleaseKeys = serde_json::from_str(&document.yaml).unwrap();
    let objects = Objects::of(&files);
    let models: BTreeMap<String, DeviceModel> =
        objects.all::<DeviceModel>("DeviceModel").into_iter().map(|m| (m.name_any(), m)).collect();
    for release in objects.all::<FirmwareRelease>("FirmwareRelease") {
        let needed =
            release.spec.models.iter().map(|m| signatures_needed(models[m.as_str()].spec.class)).max().unwrap();
        release.spec.signed(&release.name_any()).unwrap().verify(&keys, needed).unwrap();
    }
}

#[test]
fn checked_in_files_are_as_generated() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../gitops/sites");
    for (plan, folder) in plans() {
        let files = files(&plan);
        for file in &files {
            let text = fs::read_to_string(root.join(folder).join(&file.path)).unwrap_or_default();
            let again = format!("cargo run -p kalong-e2e --bin kalong-site -- manifests --out gitops/sites/{folder}");
            assert!(text == file.yaml, "{folder}/{} is not current: run `{again}` with its --preset", file.path);
        }
        let listed = files.first().unwrap();
        for file in files.iter().skip(1).filter(|f| f.path.ends_with(".yaml")) {
            assert!(listed.yaml.contains(&format!("  - {}\n", file.path)), "{}", file.path);
        }
    }
}

#[test]
fn nothing_secret_is_in_the_files() {
    for file in files(&preset::l1()) {
        assert!(
            !file.yaml.contains("kind: Secret") && !file.yaml.contains(kalong_e2e::site::DEMO_PASSWORD),
            "{}",
            file.path
        );
    }
}

#[test]
fn own_network_artifacts_and_namespace_are_rendered() {
    let render = Render { network: 77, artifacts: "https://localhost:1234/a".into(), namespace: Some("test-1".into()) };
    let objects = Objects::of(&manifests(&preset::l0(), &render).unwrap());
    for device in objects.all::<Device>("Device") {
        assert!(device.spec.connection.endpoint.starts_with("127.77."));
        assert_eq!(device.namespace().as_deref(), Some("test-1"));
    }
    for vehicle in objects.all::<IGV>("IGV") {
        assert!(vehicle.spec.broker.endpoint.starts_with("127.77."));
    }
    for link in objects.all::<BilateralLink>("BilateralLink") {
        assert!(link.spec.transport.endpoint.unwrap().starts_with("127.77."));
    }
    for release in objects.all::<FirmwareRelease>("FirmwareRelease") {
        assert!(release.spec.artifact.url.starts_with("https://localhost:1234/a/"));
    }
}
