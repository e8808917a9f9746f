//! What observing a Device gathers and what deciding rests on.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::{ConditionType, ConditionUpdate, Conditioned, Reason};
use kalong_crds::device::{Admin, Step};
use kalong_crds::units::{AgentId, AgentIdError};
use kalong_crds::wire::desired::Item;
use kalong_crds::wire::digest::CanonicalError;
use kalong_crds::wire::order::{Permit, Sealed};
use kalong_crds::wire::reported::ReportedItem;
use kalong_crds::{Device, DeviceModel, EdgeAgent, FirmwareRelease, Lane, LaneDrain};

use super::disabling;
use crate::kit::Error;
use crate::kit::life::LifecycleStage;
use crate::kit::link::{AgentFacts, Holding, Liveness};

/// Everything that a decision about a Device rests on.
pub(super) struct Observed {
    pub(super) device: Arc<Device>,
    pub(super) now: Timestamp,
    pub(super) life: LifecycleStage,
    pub(super) model: Option<Arc<DeviceModel>>,
    pub(super) agent: Option<Arc<EdgeAgent>>,
    pub(super) agent_id: Result<AgentId, AgentIdError>,
    /// Other agents that were told of the device and have not let go of it, and what can be concluded from their words.
    pub(super) previous_agents: Vec<(AgentId, Liveness)>,
    /// Of the agent that speaks for the device; none while the identity is impossible.
    pub(super) facts: Option<AgentFacts>,
    /// Lanes with a slot for this device; more than one is a contradiction.
    pub(super) lanes: Vec<Arc<Lane>>,
    /// LifecycleStage of the first of these lanes.
    pub(super) lane_life: Option<LifecycleStage>,
    /// What the operator claims for this device.
    pub(super) made: Vec<Made>,
    /// Another device of the lane that is at work, or may be.
    pub(super) busy: Option<String>,
    pub(super) release: Option<Arc<FirmwareRelease>>,
    pub(super) report: Option<Arc<ReportedItem>>,
    /// Agents that hold this device and should not.
    pub(super) wrong_holders: Vec<AgentId>,
    pub(super) holding: Holding,
    pub(super) credential: Credential,
    /// Leave to touch the device, if it asked and may.
    pub(super) permit: Leave,
    /// The order as it would be sent now; none while something that it needs is missing.
    pub(super) order: Option<Result<Item, CanonicalError>>,
    /// How much longer to wait for the confirmation of that order before the status says so.
    pub(super) debounce: Option<Duration>,
}

/// The credential that the declaration names.
#[derive(Debug)]
pub(super) enum Credential {
    /// None is named.
    NotNamed,
    /// Sealed to the agent.
    Sealed(Sealed),
    /// It cannot be used as it is, and what to do.
    Unusable(String),
    /// The agent has not given its sealing key yet.
    NoKeyYet,
    /// The API server could not be asked.
    Failed(Error),
}

/// Leave to touch the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It does not ask.
    NotAsked,
    /// It may.
    Given(Permit),
    /// It asked and has to wait, and on whom.
    Waits(BlockedBy),
}

/// A claim that the operator made for the device.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) drain: Arc<LaneDrain>,
    /// When it lets go of the lane at the latest; none before it was accepted.
    pub(super) until: Option<Timestamp>,
}

/// What can be said of the device.
#[derive(Clone, Copy)]
pub(super) enum Knowledge<'a> {
    /// Not yet, after a start: what was said before stands.
    Wait,
    /// Its agent has been silent for longer than the grace time.
    Silent,
    /// Its agent said this, or nothing yet of this device.
    Heard(Option<&'a ReportedItem>),
}

impl Observed {
    pub(super) fn knowledge(&self) -> Knowledge<'_> {
        match self.facts.as_ref().map(AgentFacts::liveness) {
            None | Some(Liveness::Pending) => Knowledge::Wait,
            Some(Liveness::Lost) => Knowledge::Silent,
            Some(Liveness::Live) => Knowledge::Heard(self.report.as_deref()),
        }
    }

    /// A condition as it was last written, while nothing new can be said.
    pub(super) fn carried(&self, kind: ConditionType) -> ConditionUpdate {
        let old = self.device.condition(kind);
        let reason = old.and_then(|c| Reason::parse(&c.reason));
        match (old, reason) {
            (Some(old), Some(reason)) if old.status == "True" => {
                ConditionUpdate { message: old.message.clone(), ..ConditionUpdate::yes(kind, reason) }
            }
            (Some(old), Some(reason)) if old.status == "False" => {
                ConditionUpdate::no(kind, reason, old.message.clone())
            }
            (Some(old), Some(reason)) => ConditionUpdate::unknown(kind, reason, old.message.clone()),
            _ => ConditionUpdate::unknown(kind, Reason::Initializing, ""),
        }
    }

    /// Whether the device is switched off on purpose, and may be by now.
    pub(super) fn disabled(&self) -> bool {
        self.device.spec.admin == Admin::Disabled && disabling::held_back(self).is_none()
    }

    /// Whether another agent still has the device and this one was not told of it yet: until the other let go, it alone speaks
    /// for the device.
    pub(super) fn moving(&self) -> bool {
        let told = self.device.status.as_ref().and_then(|s| s.agent.as_ref());
        let new = told != Some(&self.device.spec.agent_ref) && self.holding != Holding::Held;
        new && !self.previous_agents.is_empty()
    }

    /// Whether its agents have to let go of the device. One that is deleted as soon as it was disabled is still switched off first.
    pub(super) fn leaves(&self) -> bool {
        self.life == LifecycleStage::Planned || (self.deleting() && disabling::held_back(self).is_none())
    }

    /// Whether the device is being deleted.
    pub(super) fn deleting(&self) -> bool {
        self.device.metadata.deletion_timestamp.is_some()
    }

    /// Whether the agent holds exactly the order as it is now.
    pub(super) fn confirmed(&self) -> bool {
        matches!((&self.order, &self.report), (Some(Ok(item)), Some(report)) if item.hash == report.hash)
    }

    /// Whether its agent has no certificate yet.
    pub(super) fn not_enrolled(&self) -> bool {
        self.agent.as_ref().is_some_and(|a| a.status.as_ref().is_none_or(|s| s.certificate.is_none()))
    }

    /// How far the agent's attempt is.
    pub(super) fn step(&self) -> Option<Step> {
        Some(self.report.as_ref()?.device()?.firmware.as_ref()?.step)
    }
}
