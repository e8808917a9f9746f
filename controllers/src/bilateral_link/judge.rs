//! Where the readiness of a BilateralLink is judged.

use jiff::tz::TimeZone;
use kalong_crds::BilateralLink;
use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Conditioned, Reason};
use kalong_crds::wire::order::LinkMode;
use kalong_crds::wire::reported::{ItemState, LinkReport, PeerClock};
use kube::ResourceExt;

use super::agreement::AgreementState;
use super::observe::Observed;
use crate::kit::life::LifecycleStage;
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, carried, commissioning, first, ready};

/// Conditions that are judged once messages are exchanged.
const OF_MESSAGES: [ConditionType; 4] = [
    ConditionType::MutuallyAuthenticated,
    ConditionType::SchemaCompatible,
    ConditionType::BacklogWithinLimit,
    ConditionType::ReceiptsTimely,
];

/// Objections that stand whatever an agent says.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    let spec = &observed.link.spec;
    let stuck = |reason, say: String| Some(Readiness::Stuck(reason, say));
    if observed.link.metadata.deletion_timestamp.is_some() {
        let say = format!("Being removed: agent {} has to let go of it first.", spec.agent_ref);
        return Some(Readiness::Converging(Reason::Terminating, say));
    }
    match observed.life {
        LifecycleStage::Planned => return Some(Readiness::Resting(Reason::Planned)),
        LifecycleStage::UnknownPhase => {
            let phase = spec.phase.as_ref().map(|phase| phase.as_str()).unwrap_or_default();
            return stuck(
                Reason::UnknownPhase,
                format!("Phase {phase} does not exist in this namespace: declare it; until then nothing is sent."),
            );
        }
        LifecycleStage::Commissioning | LifecycleStage::InService => {}
    }
    let missing = |kind: &str, name: &str, field: &str| {
        let say = format!("{kind} {name} does not exist in this namespace: declare it, or correct `{field}`.");
        Readiness::Stuck(Reason::MissingReference, say)
    };
    let zone = observed.crossing.as_ref().filter(|crossing| TimeZone::get(&crossing.spec.time_zone).is_err());
    first([
        observed.agent_id.as_ref().err().map(|error| Readiness::Stuck(Reason::IdentityTooLong, error.to_string())),
        observed.agent.is_none().then(|| missing("EdgeAgent", spec.agent_ref.as_str(), "spec.agentRef")),
        observed.crossing.is_none().then(|| missing("Crossing", spec.crossing_ref.as_str(), "spec.crossingRef")),
        zone.and_then(|crossing| {
            let zone = &crossing.spec.time_zone;
            let say =
                format!("`timeZone` {zone} of Crossing {} is no IANA time zone: correct it.", crossing.name_any());
            stuck(Reason::InvalidSpec, say)
        }),
        match observed.agreement_state() {
            AgreementState::NoDay(name) => stuck(
                Reason::InvalidSpec,
                format!("The days of agreement {name} are no days of the calendar: correct them."),
            ),
            _ => None,
        },
    ])
}

/// Why nothing is sent, on purpose.
fn resting(observed: &Observed) -> Reason {
    if observed.link.spec.suspend { Reason::Suspended } else { Reason::DryRun }
}

/// Whether the last word of the status fits a link in this mode.
pub(super) fn speaks_of(link: &BilateralLink, mode: LinkMode) -> bool {
    let cut = [Reason::DryRun, Reason::Suspended, Reason::Commissioning, Reason::Planned];
    let said_cut = cut.iter().any(|reason| link.reason(ConditionType::Available) == reason.as_str());
    said_cut == (mode == LinkMode::Cut)
}

/// Objections that rest on what the agent says.
fn realised(observed: &Observed) -> Option<Readiness> {
    let agent = &observed.link.spec.agent_ref;
    // What is cut stays cut, whoever is silent: only an order that arrives could change it.
    if observed.is_cut() {
        return Some(Readiness::Resting(resting(observed)));
    }
    let cut = observed.mode() == LinkMode::Cut;
    if observed.not_enrolled() {
        let say = format!("Agent {agent} has not enrolled: run `kubectl kalong enrol {agent}`.");
        return Some(Readiness::Converging(Reason::NotEnrolled, say));
    }
    let report = match (observed.liveness(), &observed.report) {
        (Liveness::Lost, _) if cut => {
            let say = format!(
                "Agent {agent} is silent and has not confirmed that the link is cut: it is told as soon as it is heard; to be sure, cut its line."
            );
            return Some(Readiness::Unknown(Reason::AgentUnreachable, say));
        }
        (Liveness::Lost, _) => {
            let say = format!(
                "Agent {agent} has been silent for longer than the grace time: look at the box, its power and its uplink."
            );
            return Some(Readiness::Unknown(Reason::AgentUnreachable, say));
        }
        (Liveness::Pending, _) => {
            return Some(Readiness::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")));
        }
        (Liveness::Live, None) => {
            return Some(Readiness::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
        }
        (Liveness::Live, Some(report)) => report,
    };
    let reason = |otherwise| Reason::parse(&report.reason).unwrap_or(otherwise);
    first([
        (!observed.confirmed()).then(|| {
            let what = if cut { "that the link is cut" } else { "what it was told" };
            Readiness::Converging(Reason::Applying, format!("Waiting for agent {agent} to confirm {what}."))
        }),
        (report.state == ItemState::Rejected)
            .then(|| Readiness::Stuck(reason(Reason::RejectedByAgent), report.message.clone())),
        cut.then(|| {
            Readiness::Converging(Reason::Applying, format!("Agent {agent} still contacts the peer and is ending it."))
        }),
        (report.state == ItemState::Failed && report.link.is_none())
            .then(|| Readiness::Converging(reason(Reason::FailedOnDevice), report.message.clone())),
    ])
}

/// All conditions, in the order for readers.
pub(super) fn conditions(observed: &Observed, declared: Option<&Readiness>) -> Vec<ConditionUpdate> {
    let verdict = declared.cloned().or_else(|| realised(observed));
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning && !observed.link.spec.suspend {
            commissioning(verdict.as_ref())
        } else {
            ready(verdict.as_ref())
        };
    let mut all = vec![is_ready, available(observed), agreement(observed), reachable(observed), clock(observed)];
    all.extend(OF_MESSAGES.map(|kind| ConditionUpdate::unknown(kind, Reason::NotExchanging, "")));
    all.extend([reconciling, stalled]);
    all
}

/// A fact that rests on the gateway's contact with the peer, or what to say without one.
fn fact(observed: &Observed, kind: ConditionType) -> Result<&LinkReport, ConditionUpdate> {
    match observed.life {
        LifecycleStage::Planned => return Err(ConditionUpdate::unknown(kind, Reason::Planned, "")),
        LifecycleStage::UnknownPhase => return Err(ConditionUpdate::unknown(kind, Reason::UnknownPhase, "")),
        _ if observed.link.spec.suspend => return Err(ConditionUpdate::unknown(kind, Reason::Suspended, "")),
        LifecycleStage::Commissioning => return Err(ConditionUpdate::unknown(kind, Reason::Commissioning, "")),
        LifecycleStage::InService => {}
    }
    if observed.mode() == LinkMode::Cut {
        return Err(ConditionUpdate::unknown(kind, Reason::DryRun, "Nobody is asked while no agreement is in force."));
    }
    match observed.liveness() {
        Liveness::Pending => Err(carried(observed.link.as_ref(), kind)),
        Liveness::Lost => Err(ConditionUpdate::unknown(kind, Reason::AgentUnreachable, "")),
        Liveness::Live => observed.heard().ok_or_else(|| ConditionUpdate::unknown(kind, Reason::Initializing, "")),
    }
}

fn available(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Available;
    let resting = match observed.life {
        LifecycleStage::Planned => Some(Reason::Planned),
        LifecycleStage::UnknownPhase => Some(Reason::UnknownPhase),
        _ if observed.link.spec.suspend => Some(Reason::Suspended),
        LifecycleStage::Commissioning => Some(Reason::Commissioning),
        LifecycleStage::InService => (observed.mode() == LinkMode::Cut).then_some(Reason::DryRun),
    };
    if let Some(reason) = resting {
        let say = if reason == Reason::DryRun { no_agreement(&observed.agreement_state()) } else { String::new() };
        return ConditionUpdate::no(kind, reason, say);
    }
    if let Err(otherwise) = fact(observed, kind) {
        return otherwise;
    }
    for judged in [reachable(observed), clock(observed)] {
        if judged.status == ConditionStatus::False && judged.reason != Reason::ClockSkewed {
            return ConditionUpdate { kind, ..judged };
        }
    }
    if observed.heard().is_some_and(|said| said.clock == Some(PeerClock::Refused)) {
        return ConditionUpdate { kind, ..clock(observed) };
    }
    ConditionUpdate::no(
        kind,
        Reason::NotExchanging,
        "The peer is watched; messages are not exchanged over this profile yet.",
    )
}

/// Why no agreement is in force, and what would end that.
pub(super) fn no_agreement(state: &AgreementState) -> String {
    match state {
        AgreementState::NotDeclared => {
            "No agreement is declared: record one in `spec.agreements` when it is signed.".to_owned()
        }
        AgreementState::Begins(name, day) => format!("Agreement {name} begins on {day}; until then nothing is sent."),
        AgreementState::Ended(name, day) => {
            format!("Agreement {name} ended after {day}: record the one that prolongs it; nothing is sent.")
        }
        AgreementState::NoDay(name) => {
            format!("The days of agreement {name} are no days of the calendar: correct them.")
        }
        AgreementState::NoZone => {
            "The zone of the crossing is not known, so nobody can tell which day it is there.".to_owned()
        }
        AgreementState::InForce(_) => String::new(),
    }
}

fn agreement(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::AgreementInForce;
    let agreement_state = observed.agreement_state();
    match &agreement_state {
        AgreementState::InForce(_) => ConditionUpdate::yes(kind, Reason::AgreementValid),
        AgreementState::NoDay(_) => ConditionUpdate::no(kind, Reason::InvalidSpec, no_agreement(&agreement_state)),
        AgreementState::NoZone => {
            ConditionUpdate::unknown(kind, Reason::MissingReference, no_agreement(&agreement_state))
        }
        AgreementState::NotDeclared | AgreementState::Begins(..) | AgreementState::Ended(..) => {
            ConditionUpdate::no(kind, Reason::NoAgreement, no_agreement(&agreement_state))
        }
    }
}

fn reachable(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::PeerReachable;
    // A gateway that says that it asks nobody has said something: the link has been seen, and is cut on purpose.
    let asks_nobody = observed.confirmed() && observed.heard().is_some_and(|said| !said.contacting);
    if asks_nobody && observed.mode() == LinkMode::Cut && observed.life.is_live() {
        let reason =
            if observed.life == LifecycleStage::Commissioning { Reason::Commissioning } else { Reason::DryRun };
        let reason = if observed.link.spec.suspend { Reason::Suspended } else { reason };
        return ConditionUpdate::no(kind, reason, "The gateway asks nobody while the link is cut.");
    }
    match fact(observed, kind).map(|said| said.reachable) {
        Err(otherwise) => otherwise,
        Ok(Some(true)) => ConditionUpdate::yes(kind, Reason::PeerAnswers),
        Ok(Some(false)) => ConditionUpdate::no(
            kind,
            Reason::PeerUnreachable,
            "The gateway of the other side does not answer: check the line, `transport.endpoint`, and call the other side.",
        ),
        Ok(None) => ConditionUpdate::unknown(kind, Reason::Initializing, ""),
    }
}

fn clock(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::ClockSynchronised;
    match fact(observed, kind).map(|said| said.clock) {
        Err(otherwise) => otherwise,
        Ok(Some(PeerClock::Agrees)) => ConditionUpdate::yes(kind, Reason::ClocksAgree),
        Ok(Some(PeerClock::Differs)) => ConditionUpdate::no(
            kind,
            Reason::ClockSkewed,
            "The clocks of both sides differ by more than two seconds: compare time synchronisation with the other side.",
        ),
        Ok(Some(PeerClock::Refused)) => ConditionUpdate::no(
            kind,
            Reason::ClockSkewed,
            "The clocks of both sides differ by more than thirty seconds, at which messages are refused: compare time synchronisation with the other side.",
        ),
        Ok(None) => ConditionUpdate::unknown(kind, Reason::Initializing, ""),
    }
}
