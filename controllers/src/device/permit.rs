//! Whether the device may be touched: its lane has to be claimed and empty, and one device of a lane goes at a time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::device::Admin;
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::wire::order::Permit;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::disabling::is_released;
use super::observe::{ExistingClaim, Observed};
use super::stage::{AttemptStage, firmware};
use crate::claim::{Ensure, OwnClaim, WantedClaim};

/// A permit that needs no lane lasts this much longer than the model says that the change takes.
const MARGIN: Duration = Duration::from_secs(3600);

/// Whether the attempt that the agent reports may touch the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PermitState {
    /// Nothing is asked; a permit that the device had is over.
    NotAsked,
    /// It may, and no other device of the lane may meanwhile. The lane is `namespace/name`; none for a change that needs no lane.
    Granted { permit: Permit, lane: Option<String> },
    /// It asks and has to wait.
    Waits(BlockedBy),
}

impl AttemptStage {
    fn of_device(observed: &Observed) -> Self {
        Self::of(observed.agent.report.as_deref())
    }
}

/// A permit once granted stays until the attempt ended.
pub(super) fn permit(observed: &Observed) -> PermitState {
    let Some(attempt) = firmware(observed.agent.report.as_deref()).map(|f| f.attempt) else {
        return PermitState::NotAsked;
    };
    let claim = attempt_claim(observed);
    let existing = claim.as_ref().and_then(|claim| observed.own_claims.iter().find(|own| claim.is(&own.drain)));
    let granted = || grant(observed, attempt, claim.as_ref(), existing);
    match (AttemptStage::of_device(observed), &claim) {
        (AttemptStage::Idle, _) => PermitState::NotAsked,
        (AttemptStage::AtWork | AttemptStage::GivesBack, _) => granted(),
        (AttemptStage::Asks, _) if is_released(observed) || observed.moving() => PermitState::NotAsked,
        (AttemptStage::Asks, None) => granted(),
        (AttemptStage::Asks, Some(claim)) => {
            let wait = claim
                .blocked_by(existing.map(|own| own.drain.as_ref()), observed.now)
                .or_else(|| {
                    existing.filter(|own| has_lapsed(observed, own)).map(|_| lapsed_wait(observed, &claim.lane))
                })
                .or_else(|| {
                    observed.blocking_device.as_ref().map(|other| neighbour_wait(observed, &claim.lane, other))
                });
            wait.map_or_else(granted, PermitState::Waits)
        }
    }
}

fn grant(observed: &Observed, attempt: i64, claim: Option<&OwnClaim>, existing: Option<&ExistingClaim>) -> PermitState {
    let namespace = observed.device.namespace().unwrap_or_default();
    let lane = claim.map(|claim| format!("{namespace}/{}", claim.lane));
    if let Some(permit) = observed.held_permit.as_ref().filter(|held| held.attempt == attempt) {
        return PermitState::Granted { permit: permit.clone(), lane };
    }
    if let Some(claim) = claim.filter(|_| observed.lane_permit_taken) {
        let message =
            format!("Another device of lane {} is being changed; this one is next when that is done.", claim.lane);
        return PermitState::Waits(BlockedBy { message, ..lapsed_wait(observed, &claim.lane) });
    }
    let until = existing.and_then(|own| own.until).unwrap_or_else(|| own_end(observed));
    PermitState::Granted { permit: Permit { attempt, until: until.to_string() }, lane }
}

/// When a permit ends that needs no lane.
fn own_end(observed: &Observed) -> Timestamp {
    let takes = observed.model.as_ref().map_or(0, |m| m.spec.update.downtime_seconds * 4 + m.spec.update.soak_seconds);
    let end = observed.now.checked_add(SignedDuration::from_secs(takes)).and_then(|t| t.checked_add(MARGIN));
    end.and_then(|t| Timestamp::from_second(t.as_second())).unwrap_or(observed.now)
}

fn neighbour_wait(observed: &Observed, lane: &str, other: &str) -> BlockedBy {
    let message = format!("Device {other} of lane {lane} is being changed; this one is next when that is done.");
    BlockedBy::new(BlockCode::LaneDrain, format!("Device/{other}"), message, observed.now)
}

fn lapsed_wait(observed: &Observed, lane: &str) -> BlockedBy {
    let message = format!("The time of the claim on lane {lane} is over; it is asked for anew.");
    BlockedBy::new(BlockCode::LaneDrain, format!("Lane/{lane}"), message, observed.now)
}

/// Whether the time of the claim is over although nothing was begun: the lane opens again, and the attempt queues again.
pub(super) fn has_lapsed(observed: &Observed, own: &ExistingClaim) -> bool {
    let working = matches!(AttemptStage::of_device(observed), AttemptStage::AtWork | AttemptStage::GivesBack);
    own.until.is_some_and(|until| until <= observed.now) && !working
}

fn needs_lane(observed: &Observed) -> bool {
    observed.model.as_ref().is_none_or(|m| m.spec.update.lane_drain == LaneDrainNeed::Needed)
}

fn attempt_claim(observed: &Observed) -> Option<OwnClaim> {
    let lane = observed.lanes.first().filter(|_| needs_lane(observed))?;
    let attempt = firmware(observed.agent.report.as_deref())?.attempt;
    Some(OwnClaim::firmware(&observed.device, attempt, &lane.name_any()))
}

/// The claim that the reported attempt needs.
pub(super) fn wanted_claim(observed: &Observed) -> Option<WantedClaim> {
    let claim = attempt_claim(observed)?;
    let spec = &observed.device.spec;
    let may_begin = !observed.deleting()
        && observed.life != LifecycleStage::Planned
        && !observed.moving()
        && spec.firmware.is_some()
        && spec.admin == Admin::Enabled;
    let ensure = match (AttemptStage::of_device(observed), observed.life) {
        (AttemptStage::Idle, _) => return None,
        // A claim that somebody deleted under a device at work is created again: the lane must not open on it.
        (AttemptStage::AtWork, _) => Ensure::Create,
        (AttemptStage::GivesBack, _) | (AttemptStage::Asks, LifecycleStage::UnknownPhase) => Ensure::KeepIfPresent,
        (AttemptStage::Asks, _) if may_begin => Ensure::Create,
        (AttemptStage::Asks, _) => return None,
    };
    Some(WantedClaim { claim, ensure })
}
