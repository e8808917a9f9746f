//! Everything that a decision about an IGV rests on, in one struct.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::wire::reported::IgvReport;
use kalong_crds::{Crossing, FirmwareRelease, IGV};
use kalong_rules::Relation;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use crate::kit::agent_object::AgentView;
use crate::kit::caches;
use crate::kit::context::Context;

pub(super) struct Observed {
    pub(super) igv: Arc<IGV>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) crossing: Option<Arc<Crossing>>,
    /// The agent that listens for the vehicle.
    pub(super) agent: AgentView,
    pub(super) release: Option<Arc<FirmwareRelease>>,
    /// Other IGVs that declare the same vehicle.
    pub(super) duplicates: Vec<String>,
}

impl Observed {
    /// Whether no agent shall listen for the vehicle any more.
    pub(super) fn is_released(&self) -> bool {
        self.igv.metadata.deletion_timestamp.is_some() || self.life == LifecycleStage::Planned || self.igv.spec.suspend
    }

    /// What a live agent says of the vehicle.
    pub(super) fn live_report(&self) -> Option<&IgvReport> {
        self.agent.live_report()?.igv()
    }
}

pub(super) fn observe(ctx: &Context, igv: Arc<IGV>) -> Observed {
    let (namespace, name) = (igv.namespace().unwrap_or_default(), igv.name_any());
    let spec = &igv.spec;
    let vehicle = &spec.vda5050;
    let same = |other: &&Arc<IGV>| other.name_any() != name && other.spec.vda5050.manufacturer == vehicle.manufacturer;
    let duplicates = {
        let site = ctx.site(&namespace);
        let others = site.igvs.by(Relation::SerialNumber, &vehicle.serial_number).filter(same);
        others.map(|other| other.name_any()).collect()
    };
    Observed {
        now: ctx.clock.now(),
        life: ctx.life(&namespace, spec.phase.as_ref()),
        crossing: caches::get(&ctx.caches.crossings, &namespace, spec.crossing_ref.as_str()),
        agent: AgentView::observe(ctx, igv.as_ref(), spec.agent_ref.as_str()),
        release: spec.firmware.as_ref().and_then(|f| caches::get(&ctx.caches.releases, &namespace, f.release.as_str())),
        duplicates,
        igv,
    }
}
