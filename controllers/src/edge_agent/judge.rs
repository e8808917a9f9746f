//! Where the readiness of an EdgeAgent is judged.

use jiff::Timestamp;
use kalong_crds::condition::{ConditionType, ConditionUpdate, Reason};
use kalong_crds::wire::envelope::Clock;
use kube::ResourceExt;

use super::{Observed, ending, enrolled};
use crate::kit::life::{LifecycleStage, unknown_phase};
use crate::kit::link::{AgentFacts, Presence};
use crate::kit::readiness::{Readiness, commissioning, first, ready};

pub(super) fn conditions(observed: &Observed) -> Vec<ConditionUpdate> {
    let verdict = verdict(observed);
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning && !observed.agent.spec.suspend {
            commissioning(verdict.as_ref())
        } else {
            ready(verdict.as_ref())
        };
    vec![
        is_ready,
        available(observed),
        connected(observed),
        fact(observed, ConditionType::Synced, |f| {
            if f.synced {
                ConditionUpdate::yes(ConditionType::Synced, Reason::InSync)
            } else {
                ConditionUpdate::no(ConditionType::Synced, Reason::OutOfSync, "The agent is being told what changed.")
            }
        }),
        fact(observed, ConditionType::ClockTrusted, |f| match f.clock {
            Clock::Synced => ConditionUpdate::yes(ConditionType::ClockTrusted, Reason::ClockSynchronised),
            Clock::Unsynced => ConditionUpdate::no(
                ConditionType::ClockTrusted,
                Reason::ClockUnsynchronised,
                "Set up time synchronisation on the box: no firmware is begun before.",
            ),
        }),
        certificate(observed),
        fact(observed, ConditionType::OutboxHealthy, |f| {
            if f.outbox_full {
                ConditionUpdate::no(
                    ConditionType::OutboxHealthy,
                    Reason::OutboxFull,
                    "Restore the uplink: the agent keeps back what must not be lost.",
                )
            } else {
                ConditionUpdate::yes(ConditionType::OutboxHealthy, Reason::OutboxDraining)
            }
        }),
        reconciling,
        stalled,
    ]
}

fn verdict(observed: &Observed) -> Option<Readiness> {
    let name = observed.agent.name_any();
    let facts = observed.facts.as_ref();
    if observed.agent.metadata.deletion_timestamp.is_some() {
        return Some(Readiness::Converging(
            Reason::Terminating,
            format!("Being removed: {} devices, vehicles or links still name this agent.", observed.named),
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
        (!enrolled(observed)).then(|| {
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

/// A fact that rests on liveness the agent.
fn fact(
    observed: &Observed,
    kind: ConditionType,
    judge: impl FnOnce(&AgentFacts) -> ConditionUpdate,
) -> ConditionUpdate {
    match observed.facts.as_ref() {
        _ if observed.life == LifecycleStage::Planned => ConditionUpdate::unknown(kind, Reason::Planned, ""),
        Some(facts) if facts.presence == Presence::Present && facts.reported => judge(facts),
        Some(facts) if facts.presence == Presence::Silent && enrolled(observed) => {
            ConditionUpdate::unknown(kind, Reason::AgentUnreachable, "")
        }
        _ => ConditionUpdate::unknown(kind, Reason::Initializing, ""),
    }
}

fn connected(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Connected;
    match observed.facts.as_ref().map(|f| f.presence) {
        _ if observed.life == LifecycleStage::Planned => ConditionUpdate::unknown(kind, Reason::Planned, ""),
        _ if observed.agent.spec.suspend => {
            ConditionUpdate::no(kind, Reason::Suspended, "Set `spec.suspend` to false to let the box in again.")
        }
        Some(Presence::Present) => ConditionUpdate::yes(kind, Reason::AgentConnected),
        Some(Presence::Silent) if enrolled(observed) => ConditionUpdate::no(
            kind,
            Reason::AgentUnreachable,
            "Look at the box, its power and its uplink; it goes on by itself meanwhile.",
        ),
        _ if !enrolled(observed) => ConditionUpdate::no(kind, Reason::NotEnrolled, "Enrol the agent."),
        _ => ConditionUpdate::unknown(kind, Reason::Initializing, ""),
    }
}

fn available(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Available;
    if observed.life == LifecycleStage::Planned {
        return ConditionUpdate::no(kind, Reason::Planned, "");
    }
    if observed.agent.spec.suspend {
        return ConditionUpdate::no(kind, Reason::Suspended, "Set `spec.suspend` to false to let the box in again.");
    }
    if observed.life == LifecycleStage::Commissioning {
        return ConditionUpdate::no(kind, Reason::Commissioning, "");
    }
    let connected = connected(observed);
    if connected.status == kalong_crds::condition::ConditionStatus::True {
        ConditionUpdate::yes(kind, Reason::Serving)
    } else {
        ConditionUpdate { kind, ..connected }
    }
}

fn certificate(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::CertificateValid;
    let Some(certificate) = observed.agent.status.as_ref().and_then(|s| s.certificate.as_ref()) else {
        return ConditionUpdate::unknown(kind, Reason::NotEnrolled, "Enrol the agent.");
    };
    match certificate.not_after.parse::<Timestamp>() {
        Ok(end) if !ending(end, observed.now, observed.agent.spec.enrolment.validity_hours) => {
            ConditionUpdate::yes(kind, Reason::CertificateCurrent)
        }
        _ => {
            let say = format!(
                "The certificate ends at {} and was not renewed: look at the agent's log, or enrol it again.",
                certificate.not_after
            );
            ConditionUpdate::no(kind, Reason::CertificateEnding, say)
        }
    }
}
