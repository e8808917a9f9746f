//! Where the readiness of a BilateralLink is judged: ordered chains of small checks.

use jiff::tz::TimeZone;
use kalong_crds::condition::Reason;
use kalong_crds::wire::order::LinkMode;
use kalong_rules::agreement::AgreementState;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::conditions::no_agreement;
use super::decide::Decision;
use super::observe::Observed;
use crate::kit::agent_object::{failed, rejected};
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, first, missing};

/// Objections that stand whatever an agent says.
pub(super) fn declared(observed: &Observed, decision: &Decision) -> Option<Readiness> {
    let (spec, agent) = (&observed.link.spec, &observed.agent);
    if observed.link.metadata.deletion_timestamp.is_some() {
        return Some(agent.terminating());
    }
    if observed.life == LifecycleStage::Planned {
        return Some(Readiness::Resting(Reason::Planned));
    }
    first([
        unknown_phase(observed),
        agent.impossible(),
        agent.missing(),
        observed.crossing.is_none().then(|| missing("Crossing", spec.crossing_ref.as_str(), "spec.crossingRef")),
        no_zone(observed),
        no_day(&decision.agreement),
    ])
}

fn unknown_phase(observed: &Observed) -> Option<Readiness> {
    (observed.life == LifecycleStage::UnknownPhase).then(|| {
        let phase = observed.link.spec.phase.as_ref().map(|phase| phase.as_str()).unwrap_or_default();
        let say = format!("Phase {phase} does not exist in this namespace: declare it; until then nothing is sent.");
        Readiness::Stuck(Reason::UnknownPhase, say)
    })
}

fn no_zone(observed: &Observed) -> Option<Readiness> {
    let crossing = observed.crossing.as_ref()?;
    let zone = &crossing.spec.time_zone;
    TimeZone::get(zone).is_err().then(|| {
        let say = format!("`timeZone` {zone} of Crossing {} is no IANA time zone: correct it.", crossing.name_any());
        Readiness::Stuck(Reason::InvalidSpec, say)
    })
}

fn no_day(agreement: &AgreementState) -> Option<Readiness> {
    matches!(agreement, AgreementState::NoDay(_))
        .then(|| Readiness::Stuck(Reason::InvalidSpec, no_agreement(agreement)))
}

/// Objections that rest on what the gateway says.
pub(super) fn realised(observed: &Observed, decision: &Decision) -> Option<Readiness> {
    let agent = &observed.agent;
    // What is cut stays cut while its gateway is silent: only an order that arrives could change it.
    if decision.is_cut(observed) {
        let reason = if observed.link.spec.suspend { Reason::Suspended } else { Reason::DryRun };
        return Some(Readiness::Resting(reason));
    }
    let cut = decision.mode == LinkMode::Cut;
    if let Some(objection) = first([agent.unenrolled(), cut.then(|| silent_before_cut(observed)).flatten()]) {
        return Some(objection);
    }
    let report = match agent.report() {
        Ok(report) => report,
        Err(objection) => return Some(objection),
    };
    first([
        agent.awaiting(decision.placement.order(), if cut { "that the link is cut" } else { "what it was told" }),
        rejected(report),
        cut.then(|| {
            let say = format!("Agent {} still contacts the peer and is ending it.", agent.name);
            Readiness::Converging(Reason::Applying, say)
        }),
        failed(report).filter(|_| report.link().is_none()),
    ])
}

fn silent_before_cut(observed: &Observed) -> Option<Readiness> {
    (observed.agent.liveness() == Liveness::Lost).then(|| {
        let say = format!(
            "Agent {} is silent and has not confirmed that the link is cut: it is told as soon as it is heard; to be sure, cut its line.",
            observed.agent.name
        );
        Readiness::Unknown(Reason::AgentUnreachable, say)
    })
}
