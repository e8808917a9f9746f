//! Inspection stations of the presets: what stands in each, whom it serves, and what it can do in an hour.

use kalong_crds::device::Ownership;
use kalong_crds::inspection_station::StationType;
use kalong_crds::lane::{Need, Service};
use serde::{Deserialize, Serialize};

use super::{Counts, Grouping, equipment, rack};
use crate::site::plan::{AgentPlan, LanePlan, Stage, StationPlan};

/// Kinds of inspection stations, with what stands in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Station {
    /// Where containers are looked through.
    XRay,
    /// Where goods are weighed again.
    Weighing,
    /// Where vehicles are disinfected.
    Quarantine,
    /// Where goods are opened.
    Inspection,
    /// Where samples are tested.
    Laboratory,
    /// Where goods go from one container to another.
    Transload,
}

/// What stands in a station and how much it can do.
struct Facts {
    name: &'static str,
    kind: StationType,
    /// Model and stem of its four devices.
    devices: [(&'static str, &'static str); 4],
    /// Inspections an hour: 90 s a scan, 25 s a weighing, 20 min of quarantine in two bays, two hours for goods in eight docks.
    per_hour: i64,
}

impl Station {
    fn facts(self) -> Facts {
        let (name, kind, per_hour) = match self {
            Self::XRay => ("xray", StationType::XRay, 40),
            Self::Weighing => ("weighing", StationType::Weighing, 144),
            Self::Quarantine => ("quarantine", StationType::Quarantine, 6),
            Self::Inspection => ("inspection", StationType::Inspection, 4),
            Self::Laboratory => ("laboratory", StationType::Laboratory, 2),
            Self::Transload => ("transload", StationType::Transload, 6),
        };
        Facts { name, kind, per_hour, devices: self.devices() }
    }

    fn devices(self) -> [(&'static str, &'static str); 4] {
        match self {
            Self::XRay => [
                ("barrier", "barrier-entry"),
                ("barrier", "barrier-exit"),
                ("radiation-portal", "radiation"),
                ("code-reader", "reader"),
            ],
            Self::Weighing => [
                ("weighbridge", "weighbridge-a"),
                ("weighbridge", "weighbridge-b"),
                ("barrier", "barrier"),
                ("code-reader", "reader"),
            ],
            Self::Quarantine => [
                ("disinfection", "spray-entry"),
                ("disinfection", "spray-exit"),
                ("power-meter", "power"),
                ("code-reader", "reader"),
            ],
            Self::Inspection => [
                ("code-reader", "reader-a"),
                ("code-reader", "reader-b"),
                ("driver-reader", "driver"),
                ("power-meter", "power"),
            ],
            Self::Laboratory => [
                ("code-reader", "reader-a"),
                ("code-reader", "reader-b"),
                ("power-meter", "power-a"),
                ("power-meter", "power-b"),
            ],
            Self::Transload => [
                ("conveyor", "conveyor-a"),
                ("conveyor", "conveyor-b"),
                ("weighbridge", "weighbridge"),
                ("code-reader", "reader"),
            ],
        }
    }

    /// The station whose interlock closes lanes: the one that the unmanned vehicles cannot do without. Every unmanned load is
    /// looked through; where nothing looks through, every unmanned vehicle is disinfected.
    fn leads(self, all: &[Self]) -> bool {
        match self {
            Self::XRay => true,
            Self::Quarantine => !all.contains(&Self::XRay),
            Self::Weighing | Self::Inspection | Self::Laboratory | Self::Transload => false,
        }
    }

    /// Whether the lane sends traffic here at all, and whether it can do without.
    fn serves(self, lane: &LanePlan, all: &[Self]) -> Option<Need> {
        let unmanned = lane.service == Service::Igv;
        match self {
            _ if self.leads(all) => Some(if unmanned { Need::Required } else { Need::Optional }),
            // Drivers drive round to the second weighing; goods change vehicles where no driver is.
            Self::Weighing => (!unmanned).then_some(Need::Optional),
            Self::Transload => unmanned.then_some(Need::Optional),
            Self::XRay | Self::Quarantine | Self::Inspection | Self::Laboratory => Some(Need::Optional),
        }
    }
}

/// Licence of everything with a source of radiation, under an assumed number.
const LICENCE: &str = "ASSUMED-NII-2026-001";

impl Counts {
    pub(super) fn station_places(&self) -> Vec<AgentPlan> {
        let place = |(index, station): (usize, &Station)| {
            let facts = station.facts();
            let name = format!("{}-{}", self.cargo_stem, facts.name);
            let mut list: Vec<_> = facts.devices.iter().map(|(model, what)| equipment(&name, what, model, 1)).collect();
            if index == 0 {
                list.push(equipment(&name, "scanner", "x-ray-scanner", self.scanners));
            }
            list.push(equipment(&name, "camera", "dome-camera", self.station_cameras));
            list.extend(rack(&name, self.station_equipment));
            AgentPlan {
                title: format!("{} station", facts.name),
                name,
                lanes: vec![],
                equipment: list,
                phase: Stage::Live,
            }
        };
        self.stations.iter().enumerate().map(place).collect()
    }

    pub(super) fn station_plans(&self) -> Vec<StationPlan> {
        let lanes = self.cargo_lanes();
        let plan = |(index, station): (usize, &Station)| {
            let facts = station.facts();
            let name = format!("{}-{}", self.cargo_stem, facts.name);
            let mut places: Vec<String> = facts.devices.iter().map(|(_, what)| (*what).to_owned()).collect();
            if index == 0 {
                match self.scanners {
                    1 => places.push("scanner".into()),
                    many => places.extend((1..=many).map(|n| format!("scanner-{n:02}"))),
                }
            }
            let agent = match self.grouping {
                Grouping::PerPlace => name.clone(),
                Grouping::Two => "hall".into(),
            };
            // What cannot be looked through is opened by hand.
            let by_hand = *station == Station::XRay && self.stations.contains(&Station::Inspection);
            StationPlan {
                slots: places.into_iter().map(|place| (place.clone(), format!("{name}-{place}"))).collect(),
                serves: lanes
                    .iter()
                    .filter_map(|lane| Some((lane.name.clone(), station.serves(lane, &self.stations)?)))
                    .collect(),
                crossing: self.cargo_crossing.clone(),
                kind: facts.kind,
                per_hour: facts.per_hour,
                fallback: by_hand.then(|| format!("{}-{}", self.cargo_stem, Station::Inspection.facts().name)),
                licence: (*station == Station::XRay).then_some(LICENCE),
                // The state paid for what looks and weighs, the investor for the houses.
                ownership: match station {
                    Station::XRay | Station::Weighing => Ownership::State,
                    _ => Ownership::Investor,
                },
                agent,
                name,
            }
        };
        self.stations.iter().enumerate().map(plan).collect()
    }
}
