//! Where the readiness of an EdgeAgent is judged.

use jiff::Timestamp;
use kalong_crds::condition::{ConditionType, Judgement, Reason};
use kalong_crds::wire::envelope::Clock;
use kube::ResourceExt;

use super::{Seen, ending, enrolled};
use crate::kit::life::{Life, unknown_phase};
use crate::kit::link::{AgentFacts, Presence};
use crate::kit::readiness::{Verdict, commissioning, first, ready};

pub(super) fn conditions(seen: &Seen) -> Vec<Judgement> {
    let verdict = verdict(seen);
    let [is_ready, reconciling, stalled] = if seen.life == Life::Commissioning && !seen.agent.spec.suspend {
        commissioning(verdict.as_ref())
    } else {
        ready(verdict.as_ref())
    };
    vec![
        is_ready,
        available(seen),
        connected(seen),
        fact(seen, ConditionType::Synced, |f| {
            if f.synced {
                Judgement::yes(ConditionType::Synced, Reason::InSync)
            } else {
                Judgement::no(ConditionType::Synced, Reason::OutOfSync, "The agent is being told what changed.")
            }
        }),
        fact(seen, ConditionType::ClockTrusted, |f| match f.clock {
            Clock::Synced => Judgement::yes(ConditionType::ClockTrusted, Reason::ClockSynchronised),
            Clock::Unsynced => Judgement::no(
                ConditionType::ClockTrusted,
                Reason::ClockUnsynchronised,
                "Set up time synchronisation on the box: no firmware is begun before.",
            ),
        }),
        certificate(seen),
        fact(seen, ConditionType::OutboxHealthy, |f| {
            if f.outbox_full {
                Judgement::no(
                    ConditionType::OutboxHealthy,
                    Reason::OutboxFull,
                    "Restore the uplink: the agent keeps back what must not be lost.",
                )
            } else {
                Judgement::yes(ConditionType::OutboxHealthy, Reason::OutboxDraining)
            }
        }),
        reconciling,
        stalled,
    ]
}

fn verdict(seen: &Seen) -> Option<Verdict> {
    let name = seen.agent.name_any();
    let facts = seen.facts.as_ref();
    if seen.agent.metadata.deletion_timestamp.is_some() {
        return Some(Verdict::Converging(
            Reason::Terminating,
            format!("Being removed: {} devices, vehicles or links still name this agent.", seen.named),
        ));
    }
    first([
        seen.id.as_ref().err().map(|e| Verdict::Stuck(Reason::IdentityTooLong, e.to_string())),
        (seen.life == Life::Planned).then_some(Verdict::Resting(Reason::Planned)),
        (seen.life == Life::UnknownPhase)
            .then(|| Verdict::Stuck(Reason::UnknownPhase, unknown_phase(seen.agent.spec.phase.as_ref()))),
        seen.agent.spec.suspend.then_some(Verdict::Resting(Reason::Suspended)),
        facts.filter(|f| f.duplicate).map(|_| {
            Verdict::Stuck(
                Reason::DuplicateIdentity,
                "Two boxes use this identity: find the second one, then enrol the right one again.".to_owned(),
            )
        }),
        facts.filter(|f| f.term_implausible).map(|_| {
            Verdict::Stuck(
                Reason::TermImplausible,
                "The agent claims a term that cannot be true: look at the box, then enrol it again.".to_owned(),
            )
        }),
        (!enrolled(seen)).then(|| {
            Verdict::Converging(
                Reason::NotEnrolled,
                format!("Run `kubectl kalong enrol {name}` and the command that it prints on the box."),
            )
        }),
        facts.filter(|f| f.presence == Presence::Silent).map(|_| {
            Verdict::Unknown(
                Reason::AgentUnreachable,
                "Silent for longer than the grace time: look at the box, its power and its uplink.".to_owned(),
            )
        }),
        facts
            .filter(|f| f.presence != Presence::Present || !f.reported)
            .map(|_| Verdict::Converging(Reason::Applying, "Waiting to hear the agent.".to_owned())),
    ])
}

/// A fact that rests on hearing the agent.
fn fact(seen: &Seen, kind: ConditionType, judge: impl FnOnce(&AgentFacts) -> Judgement) -> Judgement {
    match seen.facts.as_ref() {
        _ if seen.life == Life::Planned => Judgement::unknown(kind, Reason::Planned, ""),
        Some(facts) if facts.presence == Presence::Present && facts.reported => judge(facts),
        Some(facts) if facts.presence == Presence::Silent && enrolled(seen) => {
            Judgement::unknown(kind, Reason::AgentUnreachable, "")
        }
        _ => Judgement::unknown(kind, Reason::Initializing, ""),
    }
}

fn connected(seen: &Seen) -> Judgement {
    let kind = ConditionType::Connected;
    match seen.facts.as_ref().map(|f| f.presence) {
        _ if seen.life == Life::Planned => Judgement::unknown(kind, Reason::Planned, ""),
        _ if seen.agent.spec.suspend => {
            Judgement::no(kind, Reason::Suspended, "Set `spec.suspend` to false to let the box in again.")
        }
        Some(Presence::Present) => Judgement::yes(kind, Reason::AgentConnected),
        Some(Presence::Silent) if enrolled(seen) => Judgement::no(
            kind,
            Reason::AgentUnreachable,
            "Look at the box, its power and its uplink; it goes on by itself meanwhile.",
        ),
        _ if !enrolled(seen) => Judgement::no(kind, Reason::NotEnrolled, "Enrol the agent."),
        _ => Judgement::unknown(kind, Reason::Initializing, ""),
    }
}

fn available(seen: &Seen) -> Judgement {
    let kind = ConditionType::Available;
    if seen.life == Life::Planned {
        return Judgement::no(kind, Reason::Planned, "");
    }
    if seen.agent.spec.suspend {
        return Judgement::no(kind, Reason::Suspended, "Set `spec.suspend` to false to let the box in again.");
    }
    if seen.life == Life::Commissioning {
        return Judgement::no(kind, Reason::Commissioning, "");
    }
    let connected = connected(seen);
    if connected.status == kalong_crds::condition::Truth::True {
        Judgement::yes(kind, Reason::Serving)
    } else {
        Judgement { kind, ..connected }
    }
}

fn certificate(seen: &Seen) -> Judgement {
    let kind = ConditionType::CertificateValid;
    let Some(certificate) = seen.agent.status.as_ref().and_then(|s| s.certificate.as_ref()) else {
        return Judgement::unknown(kind, Reason::NotEnrolled, "Enrol the agent.");
    };
    match certificate.not_after.parse::<Timestamp>() {
        Ok(end) if !ending(end, seen.now, seen.agent.spec.enrolment.validity_hours) => {
            Judgement::yes(kind, Reason::CertificateCurrent)
        }
        _ => {
            let say = format!(
                "The certificate ends at {} and was not renewed: look at the agent's log, or enrol it again.",
                certificate.not_after
            );
            Judgement::no(kind, Reason::CertificateEnding, say)
        }
    }
}
