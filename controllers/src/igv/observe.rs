//! Everything that a decision about an IGV rests on, in one struct.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::units::{AgentId, AgentIdError};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::digest::CanonicalError;
use kalong_crds::wire::order::IgvOrder;
use kalong_crds::wire::reported::{IgvReport, ReportedItem};
use kalong_crds::{Crossing, EdgeAgent, FirmwareRelease, IGV};
use kube::ResourceExt;

use crate::kit::caches;
use crate::kit::life::Life;
use crate::kit::link::{AgentFacts, Hearing, Holding};
use crate::kit::world::World;

/// The world as one IGV sees it.
pub(super) struct Seen {
    pub(super) igv: Arc<IGV>,
    pub(super) now: Timestamp,
    pub(super) life: Life,
    pub(super) crossing: Option<Arc<Crossing>>,
    pub(super) agent: Option<Arc<EdgeAgent>>,
    pub(super) agent_id: Result<AgentId, AgentIdError>,
    /// None while the identity is impossible.
    pub(super) facts: Option<AgentFacts>,
    pub(super) release: Option<Arc<FirmwareRelease>>,
    /// Other IGVs that declare the same vehicle.
    pub(super) twins: Vec<String>,
    pub(super) report: Option<Arc<ReportedItem>>,
    pub(super) holding: Holding,
    /// Agents that hold this vehicle and should not.
    pub(super) strays: Vec<AgentId>,
    /// The order as it would be sent now; none while something that it needs is missing.
    pub(super) order: Option<Result<Item, CanonicalError>>,
    /// How much longer to wait for the confirmation of that order before the status says so.
    pub(super) patience: Option<Duration>,
}

impl Seen {
    /// What can be said of the agent that listens.
    pub(super) fn hearing(&self) -> Hearing {
        self.facts.as_ref().map_or(Hearing::Wait, AgentFacts::hearing)
    }

    /// Whether no agent shall listen for it any more.
    pub(super) fn leaves(&self) -> bool {
        self.igv.metadata.deletion_timestamp.is_some() || self.life == Life::Planned || self.igv.spec.suspend
    }

    /// What the agent that is heard says of the vehicle.
    pub(super) fn heard(&self) -> Option<&IgvReport> {
        self.report.as_ref().filter(|_| self.hearing() == Hearing::Heard)?.igv.as_ref()
    }

    /// Whether the agent has no certificate yet.
    pub(super) fn not_enrolled(&self) -> bool {
        self.agent.as_ref().is_some_and(|a| a.status.as_ref().is_none_or(|s| s.certificate.is_none()))
    }
}

pub(super) fn observe(world: &World, igv: Arc<IGV>) -> Seen {
    let (namespace, name) = (igv.namespace().unwrap_or_default(), igv.name_any());
    let uid = igv.uid().unwrap_or_default();
    let spec = &igv.spec;
    let agent_id = AgentId::new(&namespace, spec.agent_ref.as_str());
    let same = |other: &IGV| {
        let (ours, theirs) = (&spec.vda5050, &other.spec.vda5050);
        other.name_any() != name
            && (&ours.manufacturer, &ours.serial_number) == (&theirs.manufacturer, &theirs.serial_number)
    };
    let mut seen = Seen {
        now: world.clock.now(),
        life: world.life(&namespace, spec.phase.as_ref()),
        crossing: caches::get(&world.caches.crossings, &namespace, spec.crossing_ref.as_str()),
        agent: caches::get(&world.caches.agents, &namespace, spec.agent_ref.as_str()),
        facts: agent_id.as_ref().ok().map(|id| world.link.facts(id)),
        release: spec
            .firmware
            .as_ref()
            .and_then(|f| caches::get(&world.caches.releases, &namespace, f.release.as_str())),
        twins: caches::select(&world.caches.igvs, &namespace, same).iter().map(|other| other.name_any()).collect(),
        report: agent_id.as_ref().ok().and_then(|id| world.link.report(id, &uid)),
        holding: agent_id.as_ref().map_or(Holding::NotHeld, |id| world.link.holding(id, &uid)),
        strays: world.link.holders(&uid).into_iter().filter(|h| agent_id.as_ref().ok() != Some(h)).collect(),
        agent_id,
        order: None,
        patience: None,
        igv,
    };
    seen.order = compose(&seen);
    if let Some(Ok(item)) = &seen.order {
        let confirmed = seen.report.as_ref().is_some_and(|r| r.hash == item.hash);
        if confirmed {
            world.patience.over(&uid);
        } else {
            seen.patience = world.patience.left(&uid, &item.hash);
        }
    }
    seen
}

/// What the agent is told; none while something that it needs is missing or contradicts: then it keeps what it has.
pub(super) fn compose(seen: &Seen) -> Option<Result<Item, CanonicalError>> {
    let (igv, spec) = (&seen.igv, &seen.igv.spec);
    let sound = !seen.leaves()
        && seen.life.is_live()
        && seen.crossing.is_some()
        && seen.agent.is_some()
        && seen.agent_id.is_ok()
        && seen.twins.is_empty();
    if !sound {
        return None;
    }
    let order = IgvOrder {
        crossing: spec.crossing_ref.0.clone(),
        broker: spec.broker.clone(),
        vda5050: spec.vda5050.clone(),
        maps: spec.maps.clone(),
        zone_set: spec.zone_set.clone(),
        change_at: spec.change_at.clone(),
        battery_watt_hours: spec.battery_watt_hours,
    };
    let namespace = igv.namespace().unwrap_or_default();
    let (name, uid) = (igv.name_any(), igv.uid().unwrap_or_default());
    Some(Item::new(ItemKind::Igv, &namespace, &name, &uid, igv.metadata.generation.unwrap_or_default(), &order))
}
