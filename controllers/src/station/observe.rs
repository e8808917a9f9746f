//! Everything that a decision about an InspectionStation rests on, in one struct.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::device::{Guard, GuardKind, GuardState};
use kalong_crds::inspection_station::StationSlot;
use kalong_crds::units::Name;
use kalong_crds::{Crossing, Device, DeviceModel, InspectionStation};
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use crate::kit::caches;
use crate::kit::context::Context;

pub(super) struct Observed {
    pub(super) station: Arc<InspectionStation>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) crossing: Option<Arc<Crossing>>,
    /// The devices of the slots, in their order.
    pub(super) slots: Vec<FilledSlot>,
    /// Devices that fill a slot of another station or of a lane too.
    pub(super) elsewhere: Vec<Name>,
    /// Served lanes that do not exist.
    pub(super) missing_lanes: Vec<Name>,
    pub(super) fallback: Fallback,
}

/// A slot and what fills it.
pub(super) struct FilledSlot {
    pub(super) slot: StationSlot,
    pub(super) device: Option<Arc<Device>>,
    pub(super) model: Option<Arc<DeviceModel>>,
}

/// The station that takes over while this one cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// The spec names no fallback.
    NotNamed,
    /// The station that the spec names does not exist.
    Missing,
    /// It is not Available itself.
    Idle,
    /// It is Available and takes over.
    Serves,
}

/// An interlock or a seal, and the device that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guarded {
    pub(super) device: Name,
    pub(super) guard: Guard,
    /// It cannot be read now, and was open when it last could: lanes stay closed until it was read to be safe.
    pub(super) was_open: bool,
}

impl Guarded {
    /// Whether the lanes that depend on it are closed.
    pub(super) fn closes(&self) -> bool {
        self.was_open || self.guard.state == GuardState::Unsafe
    }
}

impl Observed {
    /// The guards of this kind, of all slots in their order. One that the model lists and no agent reports cannot be read.
    pub(super) fn guards(&self, kind: GuardKind) -> Vec<Guarded> {
        let blocks = self.station.status.as_ref().map(|status| status.blocked_by.as_slice()).unwrap_or_default();
        let open = |device: &Name| {
            let subject = format!("Device/{device}");
            blocks.iter().any(|block| block.code == BlockCode::InterlockOpen && block.subject == subject)
        };
        let guards = self.slots.iter().flat_map(|filled| filled.guards(kind));
        guards
            .map(|guard| Guarded {
                was_open: kind == GuardKind::Interlock
                    && guard.guard.state == GuardState::Unknown
                    && open(&guard.device),
                ..guard
            })
            .collect()
    }

    /// Whether the station takes part in what lanes do.
    pub(super) fn acts(&self) -> bool {
        !self.station.spec.suspend && matches!(self.life, LifecycleStage::InService | LifecycleStage::UnknownPhase)
    }
}

impl FilledSlot {
    pub(super) fn is(&self, kind: ConditionType) -> bool {
        self.status(kind) == Some(ConditionStatus::True)
    }

    /// None while the condition of the device was not written yet.
    pub(super) fn status(&self, kind: ConditionType) -> Option<ConditionStatus> {
        let condition = self.device.as_ref()?.condition(kind)?;
        [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown]
            .into_iter()
            .find(|status| status.as_str() == condition.status)
    }

    pub(super) fn reason(&self, kind: ConditionType) -> Option<Reason> {
        Reason::parse(self.device.as_ref()?.reason(kind))
    }

    fn guards(&self, kind: GuardKind) -> Vec<Guarded> {
        let Some(device) = &self.device else { return Vec::new() };
        let reported = device.status.as_ref().map(|status| status.guards.as_slice()).unwrap_or_default();
        let names: Vec<&str> = match (&self.model, kind) {
            (Some(model), GuardKind::Interlock) => {
                model.spec.regulatory.interlocks.iter().map(|interlock| interlock.name.as_str()).collect()
            }
            (Some(model), GuardKind::Seal) => {
                model.spec.regulatory.seals.iter().map(|seal| seal.name.as_str()).collect()
            }
            (None, _) => reported.iter().filter(|guard| guard.kind == kind).map(|guard| guard.name.as_str()).collect(),
        };
        let state = |name: &str| {
            let found = reported.iter().find(|guard| guard.kind == kind && guard.name == name);
            found.map_or(GuardState::Unknown, |guard| guard.state)
        };
        names
            .into_iter()
            .map(|name| Guarded {
                device: self.slot.device_ref.clone(),
                guard: Guard { name: name.to_owned(), kind, state: state(name) },
                was_open: false,
            })
            .collect()
    }
}

pub(super) fn observe(ctx: &Context, station: Arc<InspectionStation>) -> Observed {
    let (namespace, name) = (station.namespace().unwrap_or_default(), station.name_any());
    let spec = &station.spec;
    let slots = spec
        .slots
        .iter()
        .map(|slot| {
            let device = caches::get(&ctx.caches.devices, &namespace, slot.device_ref.as_str());
            let model = device
                .as_ref()
                .and_then(|device| caches::get(&ctx.caches.models, &namespace, device.spec.model_ref.as_str()));
            FilledSlot { slot: slot.clone(), device, model }
        })
        .collect();
    let elsewhere = |device: &Name| {
        let stations = ctx.caches.stations_of(&namespace, device.as_str());
        stations.iter().any(|other| other.name_any() != name)
            || !ctx.caches.lanes_of(&namespace, device.as_str()).is_empty()
    };
    let fallback = match &spec.fallback_ref {
        None => Fallback::NotNamed,
        Some(fallback) => match caches::get(&ctx.caches.stations, &namespace, fallback.as_str()) {
            None => Fallback::Missing,
            Some(fallback) if fallback.is(ConditionType::Available) => Fallback::Serves,
            Some(_) => Fallback::Idle,
        },
    };
    let lane_exists = |lane: &Name| caches::get(&ctx.caches.lanes, &namespace, lane.as_str()).is_some();
    Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, spec.phase.as_ref()),
        crossing: caches::get(&ctx.caches.crossings, &namespace, spec.crossing_ref.as_str()),
        slots,
        elsewhere: spec.slots.iter().map(|slot| slot.device_ref.clone()).filter(elsewhere).collect(),
        missing_lanes: spec.serves_lanes.iter().map(|s| s.name.clone()).filter(|lane| !lane_exists(lane)).collect(),
        fallback,
        station,
    }
}
