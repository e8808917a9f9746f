//! How far a claim is, read from its status as the cache shows it.

use jiff::Timestamp;
use kalong_crds::LaneDrain;
use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::lane_drain::LaneDrainStatus;
use kalong_rules::claim::is_accepted;
use kube::ResourceExt;

use super::own::OwnClaim;

/// How far a claim is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClaimProgress {
    /// Not accepted yet; it waits for this.
    Waits(BlockedBy),
    /// Accepted, and its lanes are not all empty yet; it waits for this.
    Empties(BlockedBy),
    /// Every lane of the target is empty and held.
    Drained,
    /// It holds nothing any more, or is being deleted.
    Ended,
}

impl ClaimProgress {
    pub(crate) fn of(drain: &LaneDrain) -> Self {
        let nothing = LaneDrainStatus::default();
        let status = drain.status.as_ref().unwrap_or(&nothing);
        if drain.metadata.deletion_timestamp.is_some() || drain.is(ConditionType::Released) {
            return Self::Ended;
        }
        let first = |code, message: &str| {
            status.blocked_by.first().cloned().unwrap_or_else(|| BlockedBy {
                code,
                subject: format!("LaneDrain/{}", drain.name_any()),
                since: drain.creation_timestamp().map(|at| at.0.to_string()).unwrap_or_default(),
                until: None,
                message: message.to_owned(),
            })
        };
        if !is_accepted(drain) {
            return Self::Waits(first(BlockCode::LaneDrain, "The claim has not been looked at yet."));
        }
        if drain.is(ConditionType::Drained) {
            return Self::Drained;
        }
        Self::Empties(first(BlockCode::LaneNotEmpty, "The lane is being emptied."))
    }
}

impl OwnClaim {
    /// What the requester waits for; none once its lane is empty and held. `drain` is the object that stands for the claim, if there is one.
    pub(crate) fn blocked_by(&self, drain: Option<&LaneDrain>, now: Timestamp) -> Option<BlockedBy> {
        let subject = format!("LaneDrain/{}", self.name);
        match drain.map(ClaimProgress::of) {
            None | Some(ClaimProgress::Ended) => {
                let message = format!("Lane {} is asked to be empty; wait for the claim.", self.lane);
                Some(BlockedBy::new(BlockCode::LaneDrain, subject, message, now))
            }
            Some(ClaimProgress::Waits(block) | ClaimProgress::Empties(block)) => Some(match block.code {
                BlockCode::CapacityFloor | BlockCode::DrainInProgress | BlockCode::LaneNotEmpty => block,
                // Anything else is for the claim to solve: the requester waits for the claim.
                _ => BlockedBy { code: BlockCode::LaneDrain, subject, ..block },
            }),
            Some(ClaimProgress::Drained) => None,
        }
    }
}

/// The condition reason for a wait of a claim.
pub(crate) fn reason_of_wait(block: &BlockedBy, otherwise: Reason) -> Reason {
    match block.code {
        BlockCode::CapacityFloor => Reason::CapacityFloor,
        BlockCode::DrainInProgress => Reason::DrainInProgress,
        _ => otherwise,
    }
}
