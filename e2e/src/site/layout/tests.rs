use kalong_crds::lane::{Need, Service};

use super::*;
use crate::site::preset::Preset;

fn layout(preset: Preset) -> Layout {
    Layout::read(&preset.source()).unwrap()
}

fn count(layout: &Layout, model: &str) -> usize {
    layout.live().filter(|device| device.model.name == model).count()
}

#[test]
fn l1_sums_to_311_devices_behind_14_boxes() {
    let layout = layout(Preset::L1);
    assert_eq!(layout.live().count(), 311);
    assert_eq!(layout.live_agents().count(), 14);
    for agent in layout.live_agents() {
        assert!(layout.setting_behind(&agent.name_any()).is_some(), "{}", agent.name_any());
    }
}

#[test]
fn l1_has_the_parts_of_the_formula() {
    let layout = layout(Preset::L1);
    let of = |lane: &Lane, service| (lane.spec.service == Service::Passenger) == service;
    let in_lanes = |passengers| {
        let lanes = layout.objects.lanes.iter().filter(|lane| layout.is_live(lane.spec.phase.as_ref()));
        lanes.filter(|lane| of(lane, passengers)).map(|lane| lane.spec.slots.len()).sum::<usize>()
    };
    assert_eq!(in_lanes(false), 90, "15 a cargo lane");
    assert_eq!(count(&layout, "e-gate"), 16);
    assert_eq!(in_lanes(true), 3 * 16);
    // Seven cameras of each cargo lane are of the lane's fifteen; the 120 are the others.
    let cameras = layout.live().filter(|device| device.model.is_camera()).count();
    assert_eq!(cameras - 6 * 7, 120);
    assert_eq!(count(&layout, "x-ray-scanner"), 1);
    let rack = ["network-switch", "ups", "charger", "guidance-beacon", "fleet-controller"];
    let others: usize = rack.iter().map(|m| count(&layout, m)).sum::<usize>() + count(&layout, "display") - 6;
    assert_eq!(others, 60);
    assert_eq!(90 + 16 + 120 + 60 + 1 + 6 * 4, 311);
}

#[test]
fn l1_has_22_live_lanes_and_12_cameras_of_closed_ones() {
    let layout = layout(Preset::L1);
    let live: Vec<_> = layout.objects.lanes.iter().filter(|lane| layout.is_live(lane.spec.phase.as_ref())).collect();
    let of = |service| live.iter().filter(|lane| lane.spec.service == service).count();
    assert_eq!((of(Service::Traditional), of(Service::Igv), of(Service::Passenger)), (4, 2, 16));
    assert_eq!(live.iter().filter(|lane| lane.spec.admission == Admission::Closed).count(), 6);
    let cameras = layout.cameras_of_closed_lanes();
    assert!(cameras.len() >= 12, "{}", cameras.len());
    let lanes: BTreeSet<_> = cameras.iter().take(6).filter_map(|d| d.slot.as_ref()).map(|s| &s.lane).collect();
    assert_eq!(lanes.len(), 6, "the first cameras are of different lanes");
}

#[test]
fn every_smart_lane_falls_back_to_a_traditional_one_that_is_open() {
    for layout in [layout(Preset::L0), layout(Preset::L1)] {
        let lanes = &layout.objects.lanes;
        for lane in lanes.iter().filter(|lane| matches!(lane.spec.service, Service::Igv | Service::Smart)) {
            let first = lane.spec.fallback.first().unwrap_or_else(|| panic!("{}: none", lane.name_any()));
            let target = layout.lane(first.as_str()).unwrap();
            assert_eq!((target.spec.service, target.spec.admission), (Service::Traditional, Admission::Open));
        }
    }
}

#[test]
fn floors_make_the_second_lane_wait_and_one_lane_wait_for_its_reserve() {
    let site = layout(Preset::L1);
    let lanes = || site.objects.lanes.iter().filter(|lane| site.is_live(lane.spec.phase.as_ref()));
    let mut stuck = Vec::new();
    for crossing in &site.objects.crossings {
        for floor in &crossing.spec.capacity_floors {
            let same = |lane: &&Lane| {
                let place = (lane.spec.crossing_ref.as_str(), lane.spec.service, lane.spec.direction);
                place == (crossing.name_any().as_str(), floor.service, floor.direction)
            };
            let open = lanes().filter(same).filter(|lane| lane.spec.admission == Admission::Open).count();
            let (open, all) = (i64::try_from(open).unwrap(), i64::try_from(lanes().filter(same).count()).unwrap());
            assert!(all > floor.min_open_lanes && open >= floor.min_open_lanes, "{floor:?}");
            if open == floor.min_open_lanes {
                stuck.push((floor.service, floor.direction));
            }
        }
    }
    use kalong_crds::lane::Direction;
    assert_eq!(stuck, [(Service::Traditional, Direction::Outbound)]);
    let trucks = lanes().filter(|lane| lane.spec.service == Service::Traditional);
    let open = trucks.filter(|l| l.spec.admission == Admission::Open && l.spec.direction == Direction::Inbound);
    assert_eq!(open.count(), 2, "the second has to wait");
    let small = layout(Preset::L0);
    let none = |c: &kalong_crds::Crossing| c.spec.capacity_floors.is_empty();
    assert!(small.objects.crossings.iter().all(none), "a lane of its kind can be changed");
}

#[test]
fn stations_vehicles_link_and_phases_refer_to_what_is_there() {
    for layout in [layout(Preset::L0), layout(Preset::L1)] {
        let agents: BTreeSet<String> = layout.objects.agents.iter().map(ResourceExt::name_any).collect();
        let stations = &layout.objects.stations;
        let mut filled = BTreeSet::new();
        for station in stations {
            for slot in &station.spec.slots {
                let placed = layout.devices.iter().find(|device| device.name == slot.device_ref.as_str());
                let placed = placed.unwrap_or_else(|| panic!("{}: {}", station.name_any(), slot.device_ref));
                assert!(placed.slot.is_none() && filled.insert(slot.device_ref.clone()), "{}", slot.device_ref);
            }
            assert!(station.spec.serves_lanes.iter().all(|served| layout.lane(served.name.as_str()).is_some()));
            let fallback = station.spec.fallback_ref.as_ref();
            assert!(fallback.is_none_or(|name| SiteObjects::named(stations, name.as_str()).is_some()));
        }
        assert!(layout.objects.vehicles.iter().all(|vehicle| agents.contains(vehicle.spec.agent_ref.as_str())));
        assert!(agents.contains(layout.objects.links[0].spec.agent_ref.as_str()));
        let interlocked = stations.iter().filter(|station| {
            let required = station.spec.serves_lanes.iter().any(|served| served.need == Need::Required);
            let shows =
                |device: &&Placed| station.spec.slots.iter().any(|slot| slot.device_ref.as_str() == device.name);
            required && layout.devices.iter().filter(shows).any(|device| device.model.interlock().is_some())
        });
        assert_eq!(interlocked.count(), 1, "{}: what the demo opens", layout.site());
        for phase in &layout.objects.phases {
            for milestone in &phase.spec.milestones {
                assert!(phase.spec.crossings.contains(&milestone.crossing_ref), "{}", milestone.name);
            }
        }
    }
}

#[test]
fn l1_declares_five_vehicles_and_hears_four() {
    let layout = layout(Preset::L1);
    assert_eq!((layout.objects.vehicles.len(), layout.facts.switched_off.len()), (5, 1));
    assert_eq!(layout.objects.stations.len(), 6);
}

#[test]
fn phase_2_comes_on_top() {
    let layout = layout(Preset::L1);
    assert_eq!(layout.planned_phase().as_deref(), Some("phase-2"));
    assert_eq!(layout.devices.len() - layout.live().count(), 8);
    assert_eq!(layout.objects.agents.len(), 15);
    let planned = layout.objects.lanes.iter().filter(|lane| !layout.is_live(lane.spec.phase.as_ref()));
    assert_eq!(planned.count(), 2);
}

#[test]
fn l0_is_44_devices_behind_two_boxes() {
    let layout = layout(Preset::L0);
    assert_eq!((layout.devices.len(), layout.objects.agents.len()), (44, 2));
    assert!(!layout.cameras_of_closed_lanes().is_empty());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let base = layout(Preset::L0);
    let refused = |change: &dyn Fn(&mut SiteObjects, &mut SimulatorFacts)| {
        let (mut objects, mut facts) = (base.objects.clone(), base.facts.clone());
        change(&mut objects, &mut facts);
        Layout::of(objects, facts).unwrap_err().to_string()
    };
    let texts = [
        refused(&|objects, _| objects.devices[3].spec.model_ref = "unheard-of".into()),
        refused(&|objects, _| objects.devices[3].spec.connection.endpoint = "192.0.2.1:5020".into()),
        refused(&|objects, _| {
            objects.devices[3].spec.connection.endpoint = objects.devices[2].spec.connection.endpoint.clone();
        }),
        refused(&|objects, _| drop(objects.devices.remove(0))),
        refused(&|_, facts| drop(facts.models.remove("barrier"))),
        refused(&|_, facts| {
            facts.switched_off.insert("igv-99".into());
        }),
        refused(&|_, facts| drop(facts.models.get_mut("barrier").unwrap().shows.insert("colour".into(), "red".into()))),
        refused(&|_, facts| facts.models.get_mut("barrier").unwrap().firmware = Some("ups-2.0.4".into())),
        refused(&|_, facts| {
            let factory = &mut facts.models.get_mut("barrier").unwrap().factory;
            factory.insert("holdOpenMillis".into(), 1.into());
        }),
    ];
    let names = [
        "unheard-of",
        "127.20.0.0/16",
        "tb-trad-1-front-plate",
        "tb-trad-1-plc",
        "`barrier`",
        "igv-99",
        "barrier.colour",
        "ups-2.0.4",
        "holdOpenMillis",
    ];
    for (text, name) in texts.iter().zip(names) {
        assert!(text.contains(name), "{text}: {name}");
    }
}
