//! Gathers what a decision about a LaneDrain needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::{Lane, LaneDrain};
use kalong_rules::SiteSnapshot;
use kalong_rules::claim::{Deadline, deadline, may_be_accepted};
use kube::ResourceExt;

use super::lane::{LaneObservation, observe_lane};
use super::request::{DrainRequest, OrderEvidence};
use super::terms::stored_acceptance;
use crate::kit::context::Context;
use crate::kit::drains::{Acceptance, Ledger};

/// Lanes that one claim may concern: as many as its status has room for.
pub(super) const MAX_LANES: usize = 64;

/// Everything that a decision about one LaneDrain rests on.
pub(super) struct Observed {
    pub(super) drain: Arc<LaneDrain>,
    pub(super) now: Timestamp,
    pub(super) deadline: Deadline,
    /// The lanes that the target stands for; none when it does not exist.
    pub(super) target: Option<Vec<LaneObservation>>,
    /// What the cache shows of an acceptance.
    pub(super) stored: Option<Acceptance>,
    /// The same, or what was decided and is not in the cache yet; without lanes that left the target.
    pub(super) acceptance: Option<Acceptance>,
    /// What is weighed; none when nothing is to be accepted.
    pub(super) request: Option<DrainRequest>,
}

/// Reads the snapshot and memory only, so that a decision is made at one moment.
pub(super) fn observe(ctx: &Context, drain: Arc<LaneDrain>, ledger: &Ledger) -> Observed {
    let namespace = drain.namespace().unwrap_or_default();
    let (site, name) = (ctx.site(&namespace), drain.name_any());
    gather(drain, ledger, &site, ctx.clock.now(), |lane| observe_lane(ctx, &site, lane, &name))
}

/// [`observe`] with its sources given. `look` is called for the lanes that the decision rests on.
pub(super) fn gather(
    drain: Arc<LaneDrain>,
    ledger: &Ledger,
    site: &SiteSnapshot,
    now: Timestamp,
    look: impl Fn(&Lane) -> LaneObservation,
) -> Observed {
    let lanes = site.has_target(&drain.spec.target).then(|| site.lanes_under(&drain.spec.target));
    let names = lanes.as_ref().map(|lanes| lanes.iter().map(|lane| lane.name_any()).collect::<BTreeSet<_>>());
    let target = lanes.map(|lanes| lanes.into_iter().map(|lane| look(lane)).collect());
    let stored = stored_acceptance(&drain);
    let decided = ledger.get(&drain.uid().unwrap_or_default()).cloned();
    let acceptance = decided.or_else(|| stored.clone()).zip(names.as_ref()).map(|(acceptance, names)| Acceptance {
        lanes: acceptance.lanes.intersection(names).cloned().collect(),
        ..acceptance
    });
    // A lane of the target was not decided on yet, and may be now.
    let wants = |names: &BTreeSet<String>| {
        let complete = acceptance.as_ref().is_some_and(|acceptance| acceptance.lanes.is_superset(names));
        !complete && names.len() <= MAX_LANES && may_be_accepted(&drain, now)
    };
    let evidence = OrderEvidence { now, ledger, look };
    let request = names.filter(wants).map(|names| DrainRequest::new(&drain, names, site, &evidence));
    Observed { now, deadline: deadline(&drain), target, stored, acceptance, request, drain }
}
