//! Where the readiness of a BilateralLink is judged.

use jiff::tz::TimeZone;
use kalong_crds::BilateralLink;
use kalong_crds::condition::{ConditionType, Conditioned, Judgement, Reason, Truth};
use kalong_crds::wire::order::LinkMode;
use kalong_crds::wire::reported::{ItemState, LinkReport, PeerClock};
use kube::ResourceExt;

use super::agreement::Standing;
use super::observe::Seen;
use crate::kit::life::Life;
use crate::kit::link::Hearing;
use crate::kit::readiness::{Verdict, carried, commissioning, first, ready};

/// Conditions that are judged once messages are exchanged.
const OF_MESSAGES: [ConditionType; 4] = [
    ConditionType::MutuallyAuthenticated,
    ConditionType::SchemaCompatible,
    ConditionType::BacklogWithinLimit,
    ConditionType::ReceiptsTimely,
];

/// Objections that stand whatever an agent says.
pub(super) fn declared(seen: &Seen) -> Option<Verdict> {
    let spec = &seen.link.spec;
    let stuck = |reason, say: String| Some(Verdict::Stuck(reason, say));
    if seen.link.metadata.deletion_timestamp.is_some() {
        let say = format!("Being removed: agent {} has to let go of it first.", spec.agent_ref);
        return Some(Verdict::Converging(Reason::Terminating, say));
    }
    match seen.life {
        Life::Planned => return Some(Verdict::Resting(Reason::Planned)),
        Life::UnknownPhase => {
            let phase = spec.phase.as_ref().map(|phase| phase.as_str()).unwrap_or_default();
            return stuck(
                Reason::UnknownPhase,
                format!("Phase {phase} does not exist in this namespace: declare it; until then nothing is sent."),
            );
        }
        Life::Commissioning | Life::InService => {}
    }
    let missing = |kind: &str, name: &str, field: &str| {
        let say = format!("{kind} {name} does not exist in this namespace: declare it, or correct `{field}`.");
        Verdict::Stuck(Reason::MissingReference, say)
    };
    let zone = seen.crossing.as_ref().filter(|crossing| TimeZone::get(&crossing.spec.time_zone).is_err());
    first([
        seen.agent_id.as_ref().err().map(|error| Verdict::Stuck(Reason::IdentityTooLong, error.to_string())),
        seen.agent.is_none().then(|| missing("EdgeAgent", spec.agent_ref.as_str(), "spec.agentRef")),
        seen.crossing.is_none().then(|| missing("Crossing", spec.crossing_ref.as_str(), "spec.crossingRef")),
        zone.and_then(|crossing| {
            let zone = &crossing.spec.time_zone;
            let say =
                format!("`timeZone` {zone} of Crossing {} is no IANA time zone: correct it.", crossing.name_any());
            stuck(Reason::InvalidSpec, say)
        }),
        match seen.standing() {
            Standing::NoDay(name) => stuck(
                Reason::InvalidSpec,
                format!("The days of agreement {name} are no days of the calendar: correct them."),
            ),
            _ => None,
        },
    ])
}

/// Why nothing is sent, on purpose.
fn resting(seen: &Seen) -> Reason {
    if seen.link.spec.suspend { Reason::Suspended } else { Reason::DryRun }
}

/// Whether the last word of the status fits a link in this mode.
pub(super) fn speaks_of(link: &BilateralLink, mode: LinkMode) -> bool {
    let cut = [Reason::DryRun, Reason::Suspended, Reason::Commissioning, Reason::Planned];
    let said_cut = cut.iter().any(|reason| link.reason(ConditionType::Available) == reason.as_str());
    said_cut == (mode == LinkMode::Cut)
}

/// Objections that rest on what the agent says.
fn realised(seen: &Seen) -> Option<Verdict> {
    let agent = &seen.link.spec.agent_ref;
    // What is cut stays cut, whoever is silent: only an order that arrives could change it.
    if seen.is_cut() {
        return Some(Verdict::Resting(resting(seen)));
    }
    let cut = seen.mode() == LinkMode::Cut;
    if seen.not_enrolled() {
        let say = format!("Agent {agent} has not enrolled: run `kubectl kalong enrol {agent}`.");
        return Some(Verdict::Converging(Reason::NotEnrolled, say));
    }
    let report = match (seen.hearing(), &seen.report) {
        (Hearing::Silent, _) if cut => {
            let say = format!(
                "Agent {agent} is silent and has not confirmed that the link is cut: it is told as soon as it is heard; to be sure, cut its line."
            );
            return Some(Verdict::Unknown(Reason::AgentUnreachable, say));
        }
        (Hearing::Silent, _) => {
            let say = format!(
                "Agent {agent} has been silent for longer than the grace time: look at the box, its power and its uplink."
            );
            return Some(Verdict::Unknown(Reason::AgentUnreachable, say));
        }
        (Hearing::Wait, _) => {
            return Some(Verdict::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")));
        }
        (Hearing::Heard, None) => {
            return Some(Verdict::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
        }
        (Hearing::Heard, Some(report)) => report,
    };
    let reason = |otherwise| Reason::parse(&report.reason).unwrap_or(otherwise);
    first([
        (!seen.confirmed()).then(|| {
            let what = if cut { "that the link is cut" } else { "what it was told" };
            Verdict::Converging(Reason::Applying, format!("Waiting for agent {agent} to confirm {what}."))
        }),
        (report.state == ItemState::Rejected)
            .then(|| Verdict::Stuck(reason(Reason::RejectedByAgent), report.message.clone())),
        cut.then(|| {
            Verdict::Converging(Reason::Applying, format!("Agent {agent} still contacts the peer and is ending it."))
        }),
        (report.state == ItemState::Failed && report.link.is_none())
            .then(|| Verdict::Converging(reason(Reason::FailedOnDevice), report.message.clone())),
    ])
}

/// All conditions, in the order for readers.
pub(super) fn conditions(seen: &Seen, declared: Option<&Verdict>) -> Vec<Judgement> {
    let verdict = declared.cloned().or_else(|| realised(seen));
    let [is_ready, reconciling, stalled] = if seen.life == Life::Commissioning && !seen.link.spec.suspend {
        commissioning(verdict.as_ref())
    } else {
        ready(verdict.as_ref())
    };
    let mut all = vec![is_ready, available(seen), agreement(seen), reachable(seen), clock(seen)];
    all.extend(OF_MESSAGES.map(|kind| Judgement::unknown(kind, Reason::NotExchanging, "")));
    all.extend([reconciling, stalled]);
    all
}

/// A fact that rests on the gateway's contact with the peer, or what to say without one.
fn fact(seen: &Seen, kind: ConditionType) -> Result<&LinkReport, Judgement> {
    match seen.life {
        Life::Planned => return Err(Judgement::unknown(kind, Reason::Planned, "")),
        Life::UnknownPhase => return Err(Judgement::unknown(kind, Reason::UnknownPhase, "")),
        _ if seen.link.spec.suspend => return Err(Judgement::unknown(kind, Reason::Suspended, "")),
        Life::Commissioning => return Err(Judgement::unknown(kind, Reason::Commissioning, "")),
        Life::InService => {}
    }
    if seen.mode() == LinkMode::Cut {
        return Err(Judgement::unknown(kind, Reason::DryRun, "Nobody is asked while no agreement is in force."));
    }
    match seen.hearing() {
        Hearing::Wait => Err(carried(seen.link.as_ref(), kind)),
        Hearing::Silent => Err(Judgement::unknown(kind, Reason::AgentUnreachable, "")),
        Hearing::Heard => seen.heard().ok_or_else(|| Judgement::unknown(kind, Reason::Initializing, "")),
    }
}

fn available(seen: &Seen) -> Judgement {
    let kind = ConditionType::Available;
    let resting = match seen.life {
        Life::Planned => Some(Reason::Planned),
        Life::UnknownPhase => Some(Reason::UnknownPhase),
        _ if seen.link.spec.suspend => Some(Reason::Suspended),
        Life::Commissioning => Some(Reason::Commissioning),
        Life::InService => (seen.mode() == LinkMode::Cut).then_some(Reason::DryRun),
    };
    if let Some(reason) = resting {
        let say = if reason == Reason::DryRun { no_agreement(&seen.standing()) } else { String::new() };
        return Judgement::no(kind, reason, say);
    }
    if let Err(otherwise) = fact(seen, kind) {
        return otherwise;
    }
    for judged in [reachable(seen), clock(seen)] {
        if judged.status == Truth::False && judged.reason != Reason::ClockSkewed {
            return Judgement { kind, ..judged };
        }
    }
    if seen.heard().is_some_and(|said| said.clock == Some(PeerClock::Refused)) {
        return Judgement { kind, ..clock(seen) };
    }
    Judgement::no(kind, Reason::NotExchanging, "The peer is watched; messages are not exchanged over this profile yet.")
}

/// Why no agreement is in force, and what would end that.
pub(super) fn no_agreement(standing: &Standing) -> String {
    match standing {
        Standing::NotDeclared => {
            "No agreement is declared: record one in `spec.agreements` when it is signed.".to_owned()
        }
        Standing::Begins(name, day) => format!("Agreement {name} begins on {day}; until then nothing is sent."),
        Standing::Ended(name, day) => {
            format!("Agreement {name} ended after {day}: record the one that prolongs it; nothing is sent.")
        }
        Standing::NoDay(name) => format!("The days of agreement {name} are no days of the calendar: correct them."),
        Standing::NoZone => {
            "The zone of the crossing is not known, so nobody can tell which day it is there.".to_owned()
        }
        Standing::InForce(_) => String::new(),
    }
}

fn agreement(seen: &Seen) -> Judgement {
    let kind = ConditionType::AgreementInForce;
    let standing = seen.standing();
    match &standing {
        Standing::InForce(_) => Judgement::yes(kind, Reason::AgreementValid),
        Standing::NoDay(_) => Judgement::no(kind, Reason::InvalidSpec, no_agreement(&standing)),
        Standing::NoZone => Judgement::unknown(kind, Reason::MissingReference, no_agreement(&standing)),
        Standing::NotDeclared | Standing::Begins(..) | Standing::Ended(..) => {
            Judgement::no(kind, Reason::NoAgreement, no_agreement(&standing))
        }
    }
}

fn reachable(seen: &Seen) -> Judgement {
    let kind = ConditionType::PeerReachable;
    // A gateway that says that it asks nobody has said something: the link has been seen, and is cut on purpose.
    let asks_nobody = seen.confirmed() && seen.heard().is_some_and(|said| !said.contacting);
    if asks_nobody && seen.mode() == LinkMode::Cut && seen.life.is_live() {
        let reason = if seen.life == Life::Commissioning { Reason::Commissioning } else { Reason::DryRun };
        let reason = if seen.link.spec.suspend { Reason::Suspended } else { reason };
        return Judgement::no(kind, reason, "The gateway asks nobody while the link is cut.");
    }
    match fact(seen, kind).map(|said| said.reachable) {
        Err(otherwise) => otherwise,
        Ok(Some(true)) => Judgement::yes(kind, Reason::PeerAnswers),
        Ok(Some(false)) => Judgement::no(
            kind,
            Reason::PeerUnreachable,
            "The gateway of the other side does not answer: check the line, `transport.endpoint`, and call the other side.",
        ),
        Ok(None) => Judgement::unknown(kind, Reason::Initializing, ""),
    }
}

fn clock(seen: &Seen) -> Judgement {
    let kind = ConditionType::ClockSynchronised;
    match fact(seen, kind).map(|said| said.clock) {
        Err(otherwise) => otherwise,
        Ok(Some(PeerClock::Agrees)) => Judgement::yes(kind, Reason::ClocksAgree),
        Ok(Some(PeerClock::Differs)) => Judgement::no(
            kind,
            Reason::ClockSkewed,
            "The clocks of both sides differ by more than two seconds: compare time synchronisation with the other side.",
        ),
        Ok(Some(PeerClock::Refused)) => Judgement::no(
            kind,
            Reason::ClockSkewed,
            "The clocks of both sides differ by more than thirty seconds, at which messages are refused: compare time synchronisation with the other side.",
        ),
        Ok(None) => Judgement::unknown(kind, Reason::Initializing, ""),
    }
}
