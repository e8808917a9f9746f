//! Interlocks of stations that a lane depends on: while one is open the lane is closed, without any drain.

use std::sync::Arc;

use kalong_crds::blocked::BlockCode;
use kalong_crds::device::{GuardKind, GuardState};
use kalong_crds::wire::order::LaneInterlock;
use kalong_crds::{Device, DeviceModel, InspectionStation, Lane};
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use crate::kit::context::Context;

/// An interlock as the lane sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InterlockView {
    /// Its part in the order of the lane.
    pub(super) order: LaneInterlock,
    pub(super) station: String,
    pub(super) device: String,
    /// Whether it keeps the lane closed.
    pub(super) open: bool,
}

impl InterlockView {
    /// Its name among all of the site.
    pub(super) fn name(&self) -> String {
        format!("{}/{}.{}", self.station, self.device, self.order.name)
    }

    /// The device that shows it, as the subject of a wait.
    pub(super) fn subject(&self) -> String {
        subject(&self.device)
    }
}

fn subject(device: &str) -> String {
    format!("Device/{device}")
}

/// The interlocks that this lane depends on, sorted by name.
pub(super) fn of(ctx: &Context, lane: &Lane) -> Vec<InterlockView> {
    let (namespace, name) = (lane.namespace().unwrap_or_default(), lane.name_any());
    let site = ctx.site(&namespace);
    // A station whose phase is not known still guards people.
    let in_use = |station: &&Arc<InspectionStation>| {
        let life = site.life(station.spec.phase.as_ref());
        !station.spec.suspend && matches!(life, LifecycleStage::InService | LifecycleStage::UnknownPhase)
    };
    let mut found = Vec::new();
    for station in site.stations_required_by(&name).filter(in_use) {
        for slot in &station.spec.slots {
            let device = site.devices.get(slot.device_ref.as_str());
            let model = device.and_then(|device| site.models.get(device.spec.model_ref.as_str()));
            if let (Some(device), Some(model)) = (device, model) {
                found.extend(shown_by(lane, station, device, model));
            }
        }
    }
    found.sort_by_key(InterlockView::name);
    found.dedup_by_key(|interlock| interlock.name());
    found
}

/// The interlocks that this device of the station shows.
pub(super) fn shown_by(
    lane: &Lane,
    station: &InspectionStation,
    device: &Device,
    model: &DeviceModel,
) -> Vec<InterlockView> {
    let guards = device.status.as_ref().map(|s| s.guards.as_slice()).unwrap_or_default();
    let state = |name: &str| {
        let guard = guards.iter().find(|guard| guard.kind == GuardKind::Interlock && guard.name == name);
        guard.map(|guard| guard.state).unwrap_or_default()
    };
    let closed_by_it = lane.status.as_ref().is_some_and(|status| {
        let subject = subject(&device.name_any());
        status.blocked_by.iter().any(|block| block.code == BlockCode::InterlockOpen && block.subject == subject)
    });
    let interlock = |name: &String| InterlockView {
        order: LaneInterlock { device: device.uid().unwrap_or_default(), name: name.clone() },
        station: station.name_any(),
        device: device.name_any(),
        open: match state(name) {
            GuardState::Unsafe => true,
            GuardState::Safe => false,
            // What cannot be read closes nothing. But what was open stays open until it was read to be safe.
            GuardState::Unknown => closed_by_it,
        },
    };
    model.spec.regulatory.interlocks.iter().map(|shown| interlock(&shown.name)).collect()
}
