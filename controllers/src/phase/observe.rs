//! Everything that a decision about a Phase rests on, in one struct.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kalong_crds::Phase;
use kalong_rules::gates::{GateFacts, Member, MemberLane, Predecessor, changes, member_lanes, members};
use kalong_rules::lifecycle::in_force;
use kube::ResourceExt;

use crate::kit::context::Context;

pub(super) struct Observed {
    pub(super) phase: Arc<Phase>,
    pub(super) now: Timestamp,
    /// The phases that have to come first, in the order of the spec.
    pub(super) before: Vec<(String, Predecessor)>,
    /// The zones of the crossings that the spec names; none where the crossing does not exist.
    pub(super) zones: BTreeMap<String, Option<TimeZone>>,
    pub(super) members: Vec<Member>,
    pub(super) lanes: Vec<MemberLane>,
    /// Objects of other phases that this one changes, as `Kind/name`.
    pub(super) changes: Vec<String>,
    /// How long ago this process wrote the status; none before the first time.
    pub(super) since_write: Option<Duration>,
}

impl Observed {
    pub(super) fn gate_facts(&self) -> GateFacts<'_> {
        GateFacts {
            phase: &self.phase,
            now: self.now,
            before: &self.before,
            zones: &self.zones,
            members: &self.members,
        }
    }
}

pub(super) fn observe(ctx: &Context, phase: Arc<Phase>) -> Observed {
    let (namespace, name) = (phase.namespace().unwrap_or_default(), phase.name_any());
    let site = ctx.site(&namespace);
    let before = phase.spec.after.iter().map(|after| {
        let state = match site.phases.get(after.as_str()) {
            None => Predecessor::Absent,
            Some(phase) => Predecessor::InForce(in_force(phase).unwrap_or_default()),
        };
        (after.0.clone(), state)
    });
    let named = phase.spec.crossings.iter().chain(phase.spec.milestones.iter().map(|m| &m.crossing_ref));
    let zones = named.map(|crossing| {
        // A zone that does not exist is an error of the crossing, which says so itself.
        let zone = |time_zone: &str| TimeZone::get(time_zone).unwrap_or(TimeZone::UTC);
        (crossing.0.clone(), site.crossings.get(crossing.as_str()).map(|crossing| zone(&crossing.spec.time_zone)))
    });
    Observed {
        now: ctx.clock.now(),
        before: before.collect(),
        zones: zones.collect(),
        members: members(&site, &name),
        lanes: member_lanes(&site, &name),
        changes: changes(&site, &name),
        since_write: ctx.status.since_write(phase.as_ref()),
        phase,
    }
}
