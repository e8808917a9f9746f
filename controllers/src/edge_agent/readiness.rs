//! Where the readiness of an EdgeAgent is judged: an ordered chain of small checks.

use kalong_crds::condition::Reason;
use kalong_rules::lifecycle::{LifecycleStage, unknown_phase};
use kube::ResourceExt;

use super::observe::Observed;
use crate::kit::link::Presence;
use crate::kit::readiness::{Readiness, first};

pub(super) fn objection(observed: &Observed) -> Option<Readiness> {
    let name = observed.agent.name_any();
    let facts = observed.facts.as_ref();
    if observed.deleting() {
        return Some(Readiness::Converging(
            Reason::Terminating,
            format!("Being removed: {} devices, vehicles or links still name this agent.", observed.references),
        ));
    }
    first([
        observed.id.as_ref().err().map(|e| Readiness::Stuck(Reason::IdentityTooLong, e.to_string())),
        (observed.life == LifecycleStage::Planned).then_some(Readiness::Resting(Reason::Planned)),
        (observed.life == LifecycleStage::UnknownPhase)
            .then(|| Readiness::Stuck(Reason::UnknownPhase, unknown_phase(observed.agent.spec.phase.as_ref()))),
        observed.agent.spec.suspend.then_some(Readiness::Resting(Reason::Suspended)),
        facts.filter(|f| f.duplicate).map(|_| {
            Readiness::Stuck(
                Reason::DuplicateIdentity,
                "Two boxes use this identity: find the second one, then enrol the right one again.".to_owned(),
            )
        }),
        facts.filter(|f| f.term_implausible).map(|_| {
            Readiness::Stuck(
                Reason::TermImplausible,
                "The agent claims a term that cannot be true: look at the box, then enrol it again.".to_owned(),
            )
        }),
        (!observed.is_enrolled()).then(|| {
            Readiness::Converging(
                Reason::NotEnrolled,
                format!("Run `kubectl kalong enrol {name}` and the command that it prints on the box."),
            )
        }),
        facts.filter(|f| f.presence == Presence::Silent).map(|_| {
            Readiness::Unknown(
                Reason::AgentUnreachable,
                "Silent for longer than the grace time: look at the box, its power and its uplink.".to_owned(),
            )
        }),
        facts
            .filter(|f| f.presence != Presence::Present || !f.reported)
            .map(|_| Readiness::Converging(Reason::Applying, "Waiting to hear the agent.".to_owned())),
    ])
}
