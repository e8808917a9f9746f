//! What an object is looked up by: the names that stand in it.

use kalong_crds::kinds::ApiObject;
use kalong_crds::lane_drain::TargetKind;
use kalong_crds::units::Name;
use kalong_crds::{
    BilateralLink, CHANGED_FOR_PHASE, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV,
    InspectionStation, Lane, LaneDrain, Phase,
};

use crate::claim::has_ended;

/// How one object names another, or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// It has a slot for this Device.
    Device,
    /// It stands at this Crossing.
    Crossing,
    /// It belongs to this Phase.
    Phase,
    /// It is changed for this later Phase.
    ChangedForPhase,
    /// This EdgeAgent realises it.
    EdgeAgent,
    /// It is of this DeviceModel, or made for it.
    DeviceModel,
    /// It is to run this FirmwareRelease.
    FirmwareRelease,
    /// It serves this Lane.
    ServedLane,
    /// This InspectionStation takes over from it.
    Fallback,
    /// It claims this Lane, and no other.
    TargetLane,
    /// It claims every Lane that needs this InspectionStation.
    TargetStation,
    /// It claims every Lane of this Crossing.
    TargetCrossing,
    /// Its status counts this Lane among those that it was accepted for.
    Responder,
    /// This one asks, as `Kind/name` or as a role.
    Requester,
    /// It is the vehicle with this serial number, of whatever manufacturer.
    SerialNumber,
    /// It has this uid.
    Uid,
}

impl From<TargetKind> for Relation {
    fn from(kind: TargetKind) -> Self {
        match kind {
            TargetKind::Lane => Self::TargetLane,
            TargetKind::InspectionStation => Self::TargetStation,
            TargetKind::Crossing => Self::TargetCrossing,
        }
    }
}

/// An object that a [`SiteSnapshot`](super::SiteSnapshot) holds.
pub trait SiteObject: ApiObject {
    /// Its name in the namespace.
    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// What it is looked up by. Rests on this object alone, so that a change of one object never touches the keys of another.
    fn keys(&self) -> Vec<(Relation, &str)>;
}

/// The phase that the object belongs to, and the one that it is changed for.
fn phases<K: ApiObject>(object: &K) -> impl Iterator<Item = (Relation, &str)> {
    let changed = object.meta().annotations.as_ref().and_then(|annotations| annotations.get(CHANGED_FOR_PHASE));
    let changed = changed.map(|phase| (Relation::ChangedForPhase, phase.as_str()));
    named(Relation::Phase, object.phase()).chain(changed)
}

fn named<'a>(
    relation: Relation,
    names: impl IntoIterator<Item = &'a Name>,
) -> impl Iterator<Item = (Relation, &'a str)> {
    names.into_iter().map(move |name| (relation, name.as_str()))
}

impl SiteObject for Phase {
    fn keys(&self) -> Vec<(Relation, &str)> {
        Vec::new()
    }
}

impl SiteObject for Crossing {
    fn keys(&self) -> Vec<(Relation, &str)> {
        phases(self).collect()
    }
}

impl SiteObject for Lane {
    fn keys(&self) -> Vec<(Relation, &str)> {
        let devices = named(Relation::Device, self.spec.slots.iter().map(|slot| &slot.device_ref));
        phases(self).chain(named(Relation::Crossing, [&self.spec.crossing_ref])).chain(devices).collect()
    }
}

impl SiteObject for LaneDrain {
    fn keys(&self) -> Vec<(Relation, &str)> {
        let mut keys = vec![(Relation::Requester, self.spec.requester.as_str())];
        keys.extend(self.metadata.uid.as_deref().map(|uid| (Relation::Uid, uid)));
        // A claim that has ended claims nothing: it is found by its requester alone.
        if !has_ended(self) {
            let responders = self.status.iter().flat_map(|status| &status.responders);
            keys.push((self.spec.target.kind.into(), self.spec.target.name.as_str()));
            keys.extend(named(Relation::Responder, responders.map(|responder| &responder.name)));
        }
        keys
    }
}

impl SiteObject for InspectionStation {
    fn keys(&self) -> Vec<(Relation, &str)> {
        let spec = &self.spec;
        phases(self)
            .chain(named(Relation::Crossing, [&spec.crossing_ref]))
            .chain(named(Relation::Device, spec.slots.iter().map(|slot| &slot.device_ref)))
            .chain(named(Relation::ServedLane, spec.serves_lanes.iter().map(|served| &served.name)))
            .chain(named(Relation::Fallback, &spec.fallback_ref))
            .collect()
    }
}

impl SiteObject for IGV {
    fn keys(&self) -> Vec<(Relation, &str)> {
        let spec = &self.spec;
        phases(self)
            .chain(named(Relation::Crossing, [&spec.crossing_ref]))
            .chain(named(Relation::EdgeAgent, [&spec.agent_ref]))
            .chain([(Relation::SerialNumber, spec.vda5050.serial_number.as_str())])
            .collect()
    }
}

impl SiteObject for BilateralLink {
    fn keys(&self) -> Vec<(Relation, &str)> {
        phases(self)
            .chain(named(Relation::Crossing, [&self.spec.crossing_ref]))
            .chain(named(Relation::EdgeAgent, [&self.spec.agent_ref]))
            .collect()
    }
}

impl SiteObject for EdgeAgent {
    fn keys(&self) -> Vec<(Relation, &str)> {
        phases(self).collect()
    }
}

impl SiteObject for Device {
    fn keys(&self) -> Vec<(Relation, &str)> {
        let spec = &self.spec;
        phases(self)
            .chain(named(Relation::EdgeAgent, [&spec.agent_ref]))
            .chain(named(Relation::DeviceModel, [&spec.model_ref]))
            .chain(named(Relation::FirmwareRelease, spec.firmware.as_ref().map(|firmware| &firmware.release)))
            .collect()
    }
}

impl SiteObject for DeviceModel {
    fn keys(&self) -> Vec<(Relation, &str)> {
        Vec::new()
    }
}

impl SiteObject for FirmwareRelease {
    fn keys(&self) -> Vec<(Relation, &str)> {
        named(Relation::DeviceModel, &self.spec.models).collect()
    }
}
