//! Everything that a decision about a Phase rests on, in one struct.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kalong_crds::Phase;
use kalong_crds::phase::PhaseState;
use kube::ResourceExt;

use super::members::{self, Member, MemberLane};
use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::life::in_force;

pub(super) struct Observed {
    pub(super) phase: Arc<Phase>,
    pub(super) now: Timestamp,
    /// The phases that have to come first, in the order of the spec.
    pub(super) before: Vec<(String, Before)>,
    /// The zones of the crossings that the spec names; none where the crossing does not exist.
    pub(super) zones: BTreeMap<String, Option<TimeZone>>,
    pub(super) members: Vec<Member>,
    pub(super) lanes: Vec<MemberLane>,
    /// Objects of other phases that this one changes, as `Kind/name`.
    pub(super) changes: Vec<String>,
    /// How long ago this process wrote the status; none before the first time.
    pub(super) since_write: Option<Duration>,
}

/// A phase that has to come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Absent,
    InForce(PhaseState),
}

pub(super) fn observe(ctx: &Context, phase: Arc<Phase>) -> Observed {
    let (namespace, name) = (phase.namespace().unwrap_or_default(), phase.name_any());
    let before = phase.spec.after.iter().map(|after| {
        let state = match caches::get(&ctx.caches.phases, &namespace, after.as_str()) {
            None => Before::Absent,
            Some(phase) => Before::InForce(in_force(&phase).unwrap_or_default()),
        };
        (after.0.clone(), state)
    });
    let named = phase.spec.crossings.iter().chain(phase.spec.milestones.iter().map(|m| &m.crossing_ref));
    let zones = named.map(|crossing| {
        let found = caches::get(&ctx.caches.crossings, &namespace, crossing.as_str());
        // A zone that is none is the crossing's own trouble, which says so itself.
        let zone = found.map(|c| TimeZone::get(&c.spec.time_zone).unwrap_or(TimeZone::UTC));
        (crossing.0.clone(), zone)
    });
    Observed {
        now: ctx.clock.now(),
        before: before.collect(),
        zones: zones.collect(),
        members: members::members(ctx, &namespace, &name),
        lanes: members::lanes(ctx, &namespace, &name),
        changes: members::changes(ctx, &namespace, &name),
        since_write: ctx.status.since_write(&phase.uid().unwrap_or_default()),
        phase,
    }
}
