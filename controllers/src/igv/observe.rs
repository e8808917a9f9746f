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
use crate::kit::context::Context;
use crate::kit::life::LifecycleStage;
use crate::kit::link::{AgentFacts, Holding, Liveness};

/// Everything that a decision about one IGV rests on.
pub(super) struct Observed {
    pub(super) igv: Arc<IGV>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
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
    pub(super) wrong_holders: Vec<AgentId>,
    /// The order as it would be sent now; none while something that it needs is missing.
    pub(super) order: Option<Result<Item, CanonicalError>>,
    /// How much longer to wait for the confirmation of that order before the status says so.
    pub(super) debounce: Option<Duration>,
}

impl Observed {
    /// What can be said of the agent that listens.
    pub(super) fn liveness(&self) -> Liveness {
        self.facts.as_ref().map_or(Liveness::Pending, AgentFacts::liveness)
    }

    /// Whether no agent shall listen for it any more.
    pub(super) fn leaves(&self) -> bool {
        self.igv.metadata.deletion_timestamp.is_some() || self.life == LifecycleStage::Planned || self.igv.spec.suspend
    }

    /// What the agent that is heard says of the vehicle.
    pub(super) fn heard(&self) -> Option<&IgvReport> {
        self.report.as_ref().filter(|_| self.liveness() == Liveness::Live)?.igv.as_ref()
    }

    /// Whether the agent has no certificate yet.
    pub(super) fn not_enrolled(&self) -> bool {
        self.agent.as_ref().is_some_and(|a| a.status.as_ref().is_none_or(|s| s.certificate.is_none()))
    }
}

pub(super) fn observe(ctx: &Context, igv: Arc<IGV>) -> Observed {
    let (namespace, name) = (igv.namespace().unwrap_or_default(), igv.name_any());
    let uid = igv.uid().unwrap_or_default();
    let spec = &igv.spec;
    let agent_id = AgentId::new(&namespace, spec.agent_ref.as_str());
    let same = |other: &IGV| {
        let (ours, theirs) = (&spec.vda5050, &other.spec.vda5050);
        other.name_any() != name
            && (&ours.manufacturer, &ours.serial_number) == (&theirs.manufacturer, &theirs.serial_number)
    };
    let mut observed = Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, spec.phase.as_ref()),
        crossing: caches::get(&ctx.caches.crossings, &namespace, spec.crossing_ref.as_str()),
        agent: caches::get(&ctx.caches.agents, &namespace, spec.agent_ref.as_str()),
        facts: agent_id.as_ref().ok().map(|id| ctx.link.facts(id)),
        release: spec.firmware.as_ref().and_then(|f| caches::get(&ctx.caches.releases, &namespace, f.release.as_str())),
        twins: caches::select(&ctx.caches.igvs, &namespace, same).iter().map(|other| other.name_any()).collect(),
        report: agent_id.as_ref().ok().and_then(|id| ctx.link.report(id, &uid)),
        holding: agent_id.as_ref().map_or(Holding::NotHeld, |id| ctx.link.holding(id, &uid)),
        wrong_holders: ctx.link.holders(&uid).into_iter().filter(|h| agent_id.as_ref().ok() != Some(h)).collect(),
        agent_id,
        order: None,
        debounce: None,
        igv,
    };
    observed.order = compose(&observed);
    if let Some(Ok(item)) = &observed.order {
        let confirmed = observed.report.as_ref().is_some_and(|r| r.hash == item.hash);
        if confirmed {
            ctx.debounce.over(&uid);
        } else {
            observed.debounce = ctx.debounce.left(&uid, &item.hash);
        }
    }
    observed
}

/// What the agent is told; none while something that it needs is missing or contradicts: then it keeps what it has.
pub(super) fn compose(observed: &Observed) -> Option<Result<Item, CanonicalError>> {
    let (igv, spec) = (&observed.igv, &observed.igv.spec);
    let sound = !observed.leaves()
        && observed.life.is_live()
        && observed.crossing.is_some()
        && observed.agent.is_some()
        && observed.agent_id.is_ok()
        && observed.twins.is_empty();
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
