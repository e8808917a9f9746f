//! The conditions of an EdgeAgent. Pure.

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Reason};
use kalong_crds::wire::envelope::Clock;
use kalong_rules::lifecycle::LifecycleStage;

use super::observe::Observed;
use crate::kit::link::{AgentFacts, Presence};
use crate::kit::readiness::{Readiness, commissioning, ready};

/// All conditions, in the order for readers.
pub(super) fn all(observed: &Observed, objection: Option<&Readiness>) -> Vec<ConditionUpdate> {
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning && !observed.agent.spec.suspend {
            commissioning(objection)
        } else {
            ready(objection)
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

/// A fact that only a live agent can tell.
fn fact(
    observed: &Observed,
    kind: ConditionType,
    judge: impl FnOnce(&AgentFacts) -> ConditionUpdate,
) -> ConditionUpdate {
    match observed.facts.as_ref() {
        _ if observed.life == LifecycleStage::Planned => ConditionUpdate::unknown(kind, Reason::Planned, ""),
        Some(facts) if facts.presence == Presence::Present && facts.reported => judge(facts),
        Some(facts) if facts.presence == Presence::Silent && observed.is_enrolled() => {
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
        Some(Presence::Silent) if observed.is_enrolled() => ConditionUpdate::no(
            kind,
            Reason::AgentUnreachable,
            "Look at the box, its power and its uplink; it goes on by itself meanwhile.",
        ),
        _ if !observed.is_enrolled() => ConditionUpdate::no(kind, Reason::NotEnrolled, "Enrol the agent."),
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
    if connected.status == ConditionStatus::True {
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

/// Whether a certificate was due to be renewed and was not. Renewal is due at two thirds of its validity.
fn ending(not_after: Timestamp, now: Timestamp, validity_hours: i64) -> bool {
    let margin = SignedDuration::from_hours(validity_hours / 6);
    not_after.duration_since(now) < margin
}
