//! The status of a Device. Pure.

use std::time::Duration;

use kalong_crds::blocked::carry_since;
use kalong_crds::condition::settle;
use kalong_crds::device::DeviceStatus;
use kalong_crds::units::Name;

use super::blocked::blocked_by;
use super::conditions::conditions;
use super::credential::Credential;
use super::decide::Decision;
use super::disabling::is_released;
use super::observe::Observed;
use super::{firmware, readiness};
use crate::kit::blocked::distinct;
use crate::kit::link::{Holding, Liveness};
use crate::kit::readiness::Readiness;
use crate::kit::reconciler::{EventSource, ReconcileResult};

/// When to look again for a credential that cannot be used: Secrets may be read by name only, so no watch shows when it is right.
const SECRET_LOOK: Duration = Duration::from_secs(15);

pub(super) fn status(observed: &Observed, decision: &Decision) -> ReconcileResult<DeviceStatus> {
    let Observed { device, agent, now, .. } = observed;
    let result = match readiness::declared(observed) {
        Some(objection) => written(observed, decision, Some(&objection)),
        None => {
            let kept = agent.keeps_status(device.as_ref(), decision.placement.order(), *now).unwrap_or_else(|| {
                let objection = readiness::runtime_verdict(observed, decision);
                written(observed, decision, objection.as_ref())
            });
            // The agent found out what is wrong and makes the Event of it.
            ReconcileResult { event_source: EventSource::Agent, ..kept }
        }
    };
    decision.placement.finish(result)
}

fn written(observed: &Observed, decision: &Decision, objection: Option<&Readiness>) -> ReconcileResult<DeviceStatus> {
    let generation = observed.device.metadata.generation.unwrap_or_default();
    let old = observed.device.status.clone().unwrap_or_default();
    let (firmware, soon) = firmware::published(observed, decision, &old);
    let updates = conditions(observed, decision, objection);
    let facts = observed.live_facts();
    let (health, guards) = match observed.agent.liveness() {
        Liveness::Live => (facts.and_then(|device| device.health.clone()), facts.map(|device| device.guards.clone())),
        Liveness::Pending => (old.health.clone(), Some(old.guards.clone())),
        Liveness::Lost => (None, None),
    };
    let status = DeviceStatus {
        observed_generation: generation,
        conditions: settle(&old.conditions, &updates, generation, observed.now),
        agent: holder(observed, decision),
        applied: observed.agent.live_report().map_or(old.applied, |report| report.applied),
        health,
        firmware,
        guards: guards.unwrap_or_default(),
        blocked_by: carry_since(&old.blocked_by, distinct(blocked_by(observed, decision))),
    };
    let secret = matches!(observed.credential, Credential::Unusable(_)).then_some(SECRET_LOOK);
    ReconcileResult::of(status).sooner(soon.or(secret))
}

/// The agent whose order for the device was the last, for as long as it has not let go of it.
fn holder(observed: &Observed, decision: &Decision) -> Option<Name> {
    let old = observed.device.status.as_ref().and_then(|s| s.agent.clone());
    if observed.moving() {
        old.or_else(|| observed.previous_agents.first().map(|(id, _)| id.name().into()))
    } else if decision.placement.want.is_some() || observed.agent.holding == Holding::Held {
        Some(observed.device.spec.agent_ref.clone())
    } else if is_released(observed) && observed.agent.holding == Holding::NotHeld {
        None
    } else {
        old
    }
}
