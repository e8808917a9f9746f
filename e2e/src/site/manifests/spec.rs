//! What is declared of each part of the site.

use std::collections::BTreeMap;

use kalong_crds::bilateral_link::{BilateralLinkSpec, Counterpart, LinkProfile, LinkTransport};
use kalong_crds::crossing::{Authority, CrossingSpec, Transport};
use kalong_crds::device::{Admin, Connection, DeviceSpec, Ownership, WantedFirmware};
use kalong_crds::device_model::DeviceClass;
use kalong_crds::edge_agent::{EdgeAgentSpec, Enrolment, Offline, OfflinePolicy};
use kalong_crds::igv::{ChangeAt, FleetBroker, IGVSpec, Vda5050, Vda5050Version, VehicleMap, ZoneSet};
use kalong_crds::inspection_station::{InspectionStationSpec, Licence, ServedLane, StationSlot};
use kalong_crds::lane::{Drain, LaneSpec, Need, Slot};
use kalong_crds::units::{Digest, Name, Value};

use super::{LOGIN_SECRET, ManifestError};
use crate::site::fleet::{self, yard};
use crate::site::layout::{Layout, Placed, PlacedSlot, broker_endpoint, peer_endpoint};
use crate::site::model::Login;
use crate::site::plan::{AgentPlan, CrossingPlan, LanePlan, LinkPlan, SitePlan, Stage, StationPlan, VehiclePlan};
use crate::site::release;

const TIME_ZONE: &str = "Asia/Ho_Chi_Minh";
/// Last day of the licence of a source of radiation, as the instruments' calibration.
const LICENSED_UNTIL: &str = "2030-06-30";
/// A lane empties within a minute of traffic; traffic here runs ten times as fast as time.
const DRAIN_SECONDS: i64 = 60;

fn phase_name(stage: Stage) -> Option<Name> {
    Some(stage.phase().into())
}

pub(super) fn crossing(plan: &SitePlan, crossing: &CrossingPlan) -> CrossingSpec {
    // The planned bridge needs an agreement of its own.
    let linked = plan.link.as_ref().filter(|_| crossing.phase == Stage::Live);
    CrossingSpec {
        traffic: crossing.traffic,
        transport: Transport::Road,
        time_zone: TIME_ZONE.into(),
        capacity_floors: crossing.floors.clone(),
        // The trial of smart gates ends with the year 2030; the document's number is an assumption.
        authority: Some(Authority {
            document: "Trial of the smart border gate (assumed title)".into(),
            valid_from: "2026-01-01".into(),
            valid_until: "2030-12-31".into(),
        }),
        change_calendars: vec![],
        link_ref: linked.map(|link| Name(link.name.clone())),
        fallback: None,
        phase: phase_name(crossing.phase),
    }
}

pub(super) fn lane(layout: &Layout, lane: &LanePlan, stage: Stage) -> LaneSpec {
    let slot = |(device, slot): (&Placed, &PlacedSlot)| Slot {
        name: slot.name.into(),
        role: slot.role,
        need: slot.need,
        device_ref: Name(device.name.clone()),
    };
    LaneSpec {
        crossing_ref: lane.crossing.as_str().into(),
        direction: lane.direction,
        service: lane.service,
        admission: lane.admission,
        slots: layout.members(&lane.name).map(slot).collect(),
        rated_passages_per_hour: lane.passages_per_hour,
        allowed_cargo_classes: lane.cargo.clone(),
        drain: Drain { timeout_seconds: DRAIN_SECONDS, ..Drain::default() },
        fallback: lane.fallback.iter().map(|f| Name(f.clone())).collect(),
        phase: phase_name(stage),
    }
}

pub(super) fn agent(agent: &AgentPlan) -> EdgeAgentSpec {
    EdgeAgentSpec {
        offline: Offline { policy: OfflinePolicy::Hold, ..Offline::default() },
        enrolment: Enrolment::default(),
        suspend: false,
        ownership: Ownership::State,
        phase: phase_name(agent.phase),
    }
}

pub(super) fn device(device: &Placed, network: u8) -> DeviceSpec {
    let model = device.model;
    let config = model.settings.iter().map(|s| (s.name.to_owned(), Value::from(s.declared))).collect();
    // Scanners came with the investor's money; everything else is the state's. An assumption, to have both.
    let investor =
        matches!(model.class, DeviceClass::XRayScanner | DeviceClass::IgvFleetController | DeviceClass::Charger);
    DeviceSpec {
        model_ref: model.name.into(),
        agent_ref: Name(device.agent.clone()),
        connection: Connection {
            endpoint: device.endpoint(network).to_string(),
            secret_ref: (model.login == Login::Password).then(|| LOGIN_SECRET.into()),
            parameters: BTreeMap::new(),
        },
        config,
        admin: Admin::Enabled,
        firmware: release::factory_name(model).map(|release| WantedFirmware { release: Name(release) }),
        ownership: if investor { Ownership::Investor } else { Ownership::State },
        phase: phase_name(device.phase),
    }
}

pub(super) fn station(station: &StationPlan) -> InspectionStationSpec {
    let slot = |(name, device): &(String, String)| StationSlot {
        name: Name(name.clone()),
        need: Need::Required,
        device_ref: Name(device.clone()),
    };
    InspectionStationSpec {
        crossing_ref: station.crossing.as_str().into(),
        kind: station.kind,
        slots: station.slots.iter().map(slot).collect(),
        serves_lanes: station
            .serves
            .iter()
            .map(|(lane, need)| ServedLane { name: Name(lane.clone()), need: *need })
            .collect(),
        capacity_per_hour: station.per_hour,
        fallback_ref: station.fallback.clone().map(Name),
        licence: station.licence.map(|number| Licence { number: number.into(), valid_until: LICENSED_UNTIL.into() }),
        suspend: false,
        ownership: station.ownership,
        phase: phase_name(Stage::Live),
    }
}

pub(super) fn vehicle(vehicle: &VehiclePlan, network: u8) -> Result<IGVSpec, ManifestError> {
    let zones = yard::zones();
    // The content of a set never changes under one name: the name is made from the content.
    let content = serde_json::to_vec(&zones).map_err(|e| ManifestError::Yaml(e.to_string()))?;
    let id: String = Digest::of(&content).hex().chars().take(12).collect();
    Ok(IGVSpec {
        crossing_ref: vehicle.crossing.as_str().into(),
        agent_ref: vehicle.agent.as_str().into(),
        broker: FleetBroker {
            endpoint: broker_endpoint(network).to_string(),
            interface_name: fleet::INTERFACE.to_owned(),
        },
        vda5050: Vda5050 {
            version: Vda5050Version::V2_1,
            manufacturer: fleet::MANUFACTURER.to_owned(),
            serial_number: vehicle.serial.clone(),
        },
        maps: vec![VehicleMap { name: yard::MAP.to_owned(), version: yard::MAP_VERSION.to_owned() }],
        zone_set: Some(ZoneSet { id: format!("{}-{id}", yard::MAP), zones }),
        firmware: None,
        change_at: ChangeAt { nodes: yard::SERVICE_NODES.map(str::to_owned).to_vec(), ..ChangeAt::default() },
        battery_watt_hours: Some(fleet::BATTERY_WATT_HOURS),
        suspend: false,
        ownership: Ownership::Investor,
        phase: phase_name(Stage::Live),
    })
}

pub(super) fn link(link: &LinkPlan, network: u8) -> BilateralLinkSpec {
    BilateralLinkSpec {
        crossing_ref: link.crossing.as_str().into(),
        agent_ref: link.agent.as_str().into(),
        counterpart: Counterpart {
            country: "CN".into(),
            authority: "Customs of the other side (simulated)".into(),
            crossing: link.other_side.into(),
        },
        transport: LinkTransport {
            profile: LinkProfile::Simulated,
            endpoint: Some(peer_endpoint(network).to_string()),
            tls_secret_ref: None,
        },
        agreements: vec![],
        suspend: false,
        phase: phase_name(Stage::Live),
    }
}
