//! How far the milestones of a Phase are, and what is late. Pure.

use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use kalong_crds::phase::{Inventory, Milestone, PhaseState, Progress};
use kalong_rules::gates::{self, Member, MemberKind};

use super::observe::Observed;

pub(super) fn milestones(observed: &Observed, state: PhaseState) -> Vec<Progress> {
    observed
        .phase
        .spec
        .milestones
        .iter()
        .map(|milestone| Progress {
            name: milestone.name.clone(),
            expects: milestone.expects,
            seen: count(observed, milestone.crossing_ref.as_str(), state),
        })
        .collect()
}

/// What is proven at a crossing. A device that fills no slot stands at none in particular, and counts for each.
fn count(observed: &Observed, crossing: &str, state: PhaseState) -> Inventory {
    let here = |member: &&Member| {
        member.crossing.as_ref().is_none_or(|at| at == crossing) && gates::missing(member, state).is_none()
    };
    let of = |kind: MemberKind| {
        i64::try_from(observed.members.iter().filter(|m| m.kind == kind).filter(here).count()).unwrap_or(i64::MAX)
    };
    Inventory {
        lanes: of(MemberKind::Lane),
        igvs: of(MemberKind::Igv),
        stations: of(MemberKind::InspectionStation),
        devices: of(MemberKind::Device),
    }
}

/// What has passed its day without what was expected, one sentence a milestone.
pub(super) fn late(observed: &Observed, progress: &[Progress]) -> Vec<String> {
    observed
        .phase
        .spec
        .milestones
        .iter()
        .zip(progress)
        .filter(|(milestone, _)| end_of(milestone, observed).is_some_and(|end| observed.now >= end))
        .filter_map(|(milestone, progress)| {
            let lacks = lacks(&progress.expects, &progress.seen);
            (!lacks.is_empty()).then(|| {
                format!(
                    "{} was due {} at {}: {}",
                    milestone.name,
                    milestone.due,
                    milestone.crossing_ref,
                    lacks.join(", ")
                )
            })
        })
        .collect()
}

fn lacks(expects: &Inventory, observed: &Inventory) -> Vec<String> {
    let Inventory { lanes, igvs, stations, devices } = expects;
    [
        (lanes, observed.lanes, "lanes"),
        (igvs, observed.igvs, "IGVs"),
        (stations, observed.stations, "stations"),
        (devices, observed.devices, "devices"),
    ]
    .into_iter()
    .filter(|(expected, observed, _)| observed < expected)
    .map(|(expected, observed, what)| format!("{observed} of {expected} {what}"))
    .collect()
}

/// The moment after the last day on which a milestone is in time. A day that no calendar has never passes.
fn end_of(milestone: &Milestone, observed: &Observed) -> Option<Timestamp> {
    end_of_day(&milestone.due, &observed.gate_facts().zone_of(milestone.crossing_ref.as_str()))
}

fn end_of_day(day: &str, zone: &jiff::tz::TimeZone) -> Option<Timestamp> {
    let next = day.parse::<Date>().ok()?.checked_add(1.day()).ok()?;
    next.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

/// How long until a day ends that changes a judgement by itself.
pub(super) fn next_end(observed: &Observed) -> Option<Duration> {
    let basis = observed.phase.spec.legal_basis.as_ref().and_then(|basis| basis.valid_until.as_ref());
    let ends = observed
        .phase
        .spec
        .milestones
        .iter()
        .filter_map(|milestone| end_of(milestone, observed))
        .chain(basis.and_then(|day| end_of_day(day, &observed.gate_facts().zone())));
    ends.filter(|end| *end > observed.now)
        .min()
        .and_then(|end| Duration::try_from(end.duration_since(observed.now)).ok())
}
