//! The conditions of a BilateralLink. Pure.

use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Reason};
use kalong_crds::wire::order::LinkMode;
use kalong_crds::wire::reported::{LinkReport, PeerClock};
use kalong_rules::agreement::AgreementState;
use kalong_rules::lifecycle::LifecycleStage;

use super::decide::Decision;
use super::observe::Observed;
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, carried, commissioning, ready};

/// Conditions that are judged once messages are exchanged.
const OF_MESSAGES: [ConditionType; 4] = [
    ConditionType::MutuallyAuthenticated,
    ConditionType::SchemaCompatible,
    ConditionType::BacklogWithinLimit,
    ConditionType::ReceiptsTimely,
];

/// All conditions, in the order for readers.
pub(super) fn all(observed: &Observed, decision: &Decision, objection: Option<&Readiness>) -> Vec<ConditionUpdate> {
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning && !observed.link.spec.suspend {
            commissioning(objection)
        } else {
            ready(objection)
        };
    let mut all = vec![
        is_ready,
        available(observed, decision),
        agreement(&decision.agreement),
        reachable(observed, decision),
        clock(observed, decision),
    ];
    all.extend(OF_MESSAGES.map(|kind| ConditionUpdate::unknown(kind, Reason::NotExchanging, "")));
    all.extend([reconciling, stalled]);
    all
}

/// Why nothing is sent on purpose, other than for want of an agreement.
fn resting(observed: &Observed) -> Option<Reason> {
    match observed.life {
        LifecycleStage::Planned => Some(Reason::Planned),
        LifecycleStage::UnknownPhase => Some(Reason::UnknownPhase),
        _ if observed.link.spec.suspend => Some(Reason::Suspended),
        LifecycleStage::Commissioning => Some(Reason::Commissioning),
        LifecycleStage::InService => None,
    }
}

/// The contact of the gateway with the peer, or what to say while it is not known.
fn contact<'a>(
    observed: &'a Observed,
    decision: &Decision,
    kind: ConditionType,
) -> Result<&'a LinkReport, ConditionUpdate> {
    if let Some(reason) = resting(observed) {
        return Err(ConditionUpdate::unknown(kind, reason, ""));
    }
    if decision.mode == LinkMode::Cut {
        return Err(ConditionUpdate::unknown(kind, Reason::DryRun, "Nobody is asked while no agreement is in force."));
    }
    match observed.agent.liveness() {
        Liveness::Pending => Err(carried(observed.link.as_ref(), kind)),
        Liveness::Lost => Err(ConditionUpdate::unknown(kind, Reason::AgentUnreachable, "")),
        Liveness::Live => {
            observed.live_report().ok_or_else(|| ConditionUpdate::unknown(kind, Reason::Initializing, ""))
        }
    }
}

fn available(observed: &Observed, decision: &Decision) -> ConditionUpdate {
    let kind = ConditionType::Available;
    if let Some(reason) = resting(observed) {
        return ConditionUpdate::no(kind, reason, "");
    }
    if decision.mode == LinkMode::Cut {
        return ConditionUpdate::no(kind, Reason::DryRun, no_agreement(&decision.agreement));
    }
    let report = match contact(observed, decision, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    for judged in [reachable(observed, decision), clock(observed, decision)] {
        if judged.status == ConditionStatus::False && judged.reason != Reason::ClockSkewed {
            return ConditionUpdate { kind, ..judged };
        }
    }
    if report.clock == Some(PeerClock::Refused) {
        return ConditionUpdate { kind, ..clock(observed, decision) };
    }
    ConditionUpdate::no(
        kind,
        Reason::NotExchanging,
        "The peer is watched; messages are not exchanged over this profile yet.",
    )
}

/// Why no agreement is in force, and what would end that.
pub(super) fn no_agreement(agreement: &AgreementState) -> String {
    match agreement {
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

fn agreement(agreement: &AgreementState) -> ConditionUpdate {
    let kind = ConditionType::AgreementInForce;
    match agreement {
        AgreementState::InForce(_) => ConditionUpdate::yes(kind, Reason::AgreementValid),
        AgreementState::NoDay(_) => ConditionUpdate::no(kind, Reason::InvalidSpec, no_agreement(agreement)),
        AgreementState::NoZone => ConditionUpdate::unknown(kind, Reason::MissingReference, no_agreement(agreement)),
        AgreementState::NotDeclared | AgreementState::Begins(..) | AgreementState::Ended(..) => {
            ConditionUpdate::no(kind, Reason::NoAgreement, no_agreement(agreement))
        }
    }
}

fn reachable(observed: &Observed, decision: &Decision) -> ConditionUpdate {
    let kind = ConditionType::PeerReachable;
    // A gateway that reports no contact has answered: the link has been seen, and is cut on purpose.
    let no_contact = decision.is_confirmed(observed) && observed.live_report().is_some_and(|said| !said.contacting);
    if no_contact && decision.mode == LinkMode::Cut && observed.life.is_live() {
        let reason = resting(observed).unwrap_or(Reason::DryRun);
        return ConditionUpdate::no(kind, reason, "The gateway asks nobody while the link is cut.");
    }
    match contact(observed, decision, kind).map(|said| said.reachable) {
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

fn clock(observed: &Observed, decision: &Decision) -> ConditionUpdate {
    let kind = ConditionType::ClockSynchronised;
    match contact(observed, decision, kind).map(|said| said.clock) {
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
