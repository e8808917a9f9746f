//! Where the readiness of an IGV is judged: ordered chains of small checks.

use kalong_crds::condition::{ConditionStatus, ConditionUpdate, Reason};
use kalong_crds::wire::desired::Item;
use kalong_crds::wire::reported::ReportedItem;
use kalong_rules::lifecycle::LifecycleStage;

use super::conditions;
use super::observe::Observed;
use crate::kit::agent_object::{failed, rejected};
use crate::kit::readiness::{Readiness, first, listed, missing};

/// Objections that stand whatever an agent says.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    let (spec, agent) = (&observed.igv.spec, &observed.agent);
    if observed.igv.metadata.deletion_timestamp.is_some() {
        return Some(agent.terminating());
    }
    if observed.life == LifecycleStage::Planned {
        return Some(Readiness::Resting(Reason::Planned));
    }
    if spec.suspend {
        return Some(Readiness::Resting(Reason::Suspended));
    }
    first([
        unknown_phase(observed),
        agent.impossible(),
        duplicated(observed),
        observed.crossing.is_none().then(|| missing("Crossing", spec.crossing_ref.as_str(), "spec.crossingRef")),
        agent.missing(),
        spec.firmware
            .as_ref()
            .filter(|_| observed.release.is_none())
            .map(|firmware| missing("FirmwareRelease", firmware.release.as_str(), "spec.firmware.release")),
        agent.unenrolled(),
    ])
}

fn unknown_phase(observed: &Observed) -> Option<Readiness> {
    (observed.life == LifecycleStage::UnknownPhase).then(|| {
        let phase = observed.igv.spec.phase.as_ref().map(|phase| phase.as_str()).unwrap_or_default();
        let say = format!(
            "Phase {phase} does not exist in this namespace: declare it; until then everything stays as it is."
        );
        Readiness::Stuck(Reason::UnknownPhase, say)
    })
}

fn duplicated(observed: &Observed) -> Option<Readiness> {
    let vehicle = &observed.igv.spec.vda5050;
    (!observed.duplicates.is_empty()).then(|| {
        let say = format!(
            "IGV {} declares the vehicle {} {} too: one vehicle is one IGV; remove all but one.",
            listed(&observed.duplicates),
            vehicle.manufacturer,
            vehicle.serial_number
        );
        Readiness::Stuck(Reason::InvalidSpec, say)
    })
}

/// Objections that rest on what the agent says. That the vehicle is away is none: what is declared is in force at its agent.
pub(super) fn realised(observed: &Observed, order: Option<&Item>) -> Option<Readiness> {
    let report = match observed.agent.report() {
        Ok(report) => report,
        Err(objection) => return Some(objection),
    };
    first([
        observed.agent.awaiting(order, "what it was told"),
        rejected(report),
        broker_unreachable(observed, report),
        failed(report),
        differs(conditions::maps(observed)),
        differs(conditions::firmware(observed)),
    ])
}

fn broker_unreachable(observed: &Observed, report: &ReportedItem) -> Option<Readiness> {
    let reached = report.igv().is_some_and(|igv| igv.broker);
    (!reached).then(|| Readiness::Converging(Reason::FleetUnreachable, conditions::unreachable_broker(observed)))
}

fn differs(judged: ConditionUpdate) -> Option<Readiness> {
    (judged.status == ConditionStatus::False).then_some(Readiness::Stuck(judged.reason, judged.message))
}
