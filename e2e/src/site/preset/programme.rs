//! Phases, vehicles and the link of the presets. Days are those that the authorities made public; counts are our own.

use kalong_crds::phase::{Gate, GateType, Inventory, LegalBasis, Milestone, PhaseSpec, PhaseState};
use kalong_crds::units::Name;

use super::{Counts, Grouping, PLANNED_CROSSING, Station};
use crate::site::plan::{LIVE_PHASE, LinkPlan, PhasePlan, Stage, VehiclePlan};
use crate::site::report::Switch;

/// Phase 1 at the passenger bridge, on what was there already: the first quarter of 2026.
const PASSENGERS_DUE: &str = "2026-03-31";
/// Phase 1 at the bridge for goods: the year 2026.
const CARGO_DUE: &str = "2026-12-31";
/// The trial ends with the year 2030, and phase 2 with it.
pub(crate) const TRIAL_ENDS: &str = "2030-12-31";
const DECISION: &str = "Decision 164/QD-TTg of 26 January 2026";

impl Counts {
    pub(super) fn phase_plans(&self) -> Vec<PhasePlan> {
        let inventory = || vec![Gate { name: "inventory".into(), kind: GateType::Inventory }];
        let legal_basis = || Some(LegalBasis { document: DECISION.into(), valid_until: Some(TRIAL_ENDS.into()) });
        let mut phases = vec![PhasePlan {
            stage: Stage::Live,
            title: "The gate as it is in service; it was opened before Kalong came",
            spec: PhaseSpec {
                state: PhaseState::Open,
                crossings: vec![self.passenger_crossing.as_str().into(), self.cargo_crossing.as_str().into()],
                after: vec![],
                milestones: self.first_milestones(),
                entry_gates: vec![],
                exit_gates: inventory(),
                legal_basis: legal_basis(),
            },
        }];
        if self.planned_lanes > 0 {
            let expects = inventory_of(self.planned_lanes, 0, 0, 4 * self.planned_lanes);
            phases.push(PhasePlan {
                stage: Stage::Planned,
                title: "The second bridge, which is being built",
                spec: PhaseSpec {
                    state: PhaseState::Planned,
                    crossings: vec![PLANNED_CROSSING.into()],
                    after: vec![LIVE_PHASE.into()],
                    milestones: vec![milestone("steel-bridge", PLANNED_CROSSING, TRIAL_ENDS, expects)],
                    entry_gates: inventory(),
                    exit_gates: vec![],
                    legal_basis: legal_basis(),
                },
            });
        }
        phases
    }

    /// Only devices in lanes and stations are expected: of the others nobody can say to which crossing they belong.
    fn first_milestones(&self) -> Vec<Milestone> {
        let gates = inventory_of(self.e_gates, 0, 0, self.e_gates * (1 + self.gate_cameras));
        let lanes = self.traditional_lanes + self.igv_lanes;
        let devices = 15 * lanes + 4 * self.stations.len() + self.scanners;
        let cargo = inventory_of(lanes, self.vehicles, self.stations.len(), devices);
        vec![
            milestone("passenger-lanes", &self.passenger_crossing, PASSENGERS_DUE, gates),
            milestone("cargo-lanes", &self.cargo_crossing, CARGO_DUE, cargo),
        ]
    }

    pub(super) fn vehicle_plans(&self) -> Vec<VehiclePlan> {
        let heard = self.vehicles.saturating_sub(self.silent_vehicles);
        let vehicle = |n: usize| VehiclePlan {
            name: format!("igv-{n:02}"),
            crossing: self.cargo_crossing.clone(),
            agent: match self.grouping {
                Grouping::PerPlace => format!("{}-yard", self.cargo_stem),
                Grouping::Two => "gate".into(),
            },
            serial: format!("SIM-IGV-{n:02}"),
            at_start: if n <= heard { Switch::On } else { Switch::Off },
        };
        (1..=self.vehicles).map(vehicle).collect()
    }

    pub(super) fn link_plan(&self) -> Option<LinkPlan> {
        // Beside the customs officers, where the papers are; else in the hall.
        let agent = match self.grouping {
            Grouping::PerPlace if self.stations.contains(&Station::Inspection) => {
                format!("{}-inspection", self.cargo_stem)
            }
            Grouping::PerPlace => format!("{}-hall", self.passenger_stem),
            Grouping::Two => "hall".into(),
        };
        let crossing = self.cargo_crossing.clone();
        self.link.as_ref().map(|name| LinkPlan { name: name.clone(), crossing, agent, other_side: "Dongxing" })
    }
}

fn inventory_of(lanes: usize, igvs: usize, stations: usize, devices: usize) -> Inventory {
    let [lanes, igvs, stations, devices] =
        [lanes, igvs, stations, devices].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    Inventory { lanes, igvs, stations, devices }
}

fn milestone(name: &str, crossing: &str, due: &str, expects: Inventory) -> Milestone {
    Milestone { name: Name::from(name), crossing_ref: Name::from(crossing), due: due.into(), expects }
}
