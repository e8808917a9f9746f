//! The conditions of a Phase. Pure.

use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Reason};
use kalong_crds::phase::PhaseState;
use kalong_rules::gates::{Gates, JudgedGate};

use crate::kit::readiness::{Readiness, ready};

/// All conditions, in the order for readers.
pub(super) fn all(
    state: PhaseState,
    gates: &Gates,
    late: &[String],
    objection: Option<&Readiness>,
) -> Vec<ConditionUpdate> {
    let [is_ready, reconciling, stalled] = ready(objection);
    let voided = if state.is_in_service() { Reason::GateVoided } else { Reason::GateFailed };
    let spent = if state == PhaseState::Complete { Reason::GateVoided } else { Reason::GateFailed };
    vec![
        is_ready,
        all_met(ConditionType::EntryMet, &gates.entry, voided),
        open(state),
        all_met(ConditionType::ExitMet, &gates.exit, spent),
        lateness(state, late),
        reconciling,
        stalled,
    ]
}

fn all_met(kind: ConditionType, gates: &[JudgedGate], failed: Reason) -> ConditionUpdate {
    let says: Vec<String> = gates
        .iter()
        .filter(|judged| !judged.is_met())
        .map(|judged| format!("{}: {}", judged.result.name, judged.result.message))
        .collect();
    if says.is_empty() {
        ConditionUpdate::yes(kind, Reason::GatesMet)
    } else {
        ConditionUpdate::no(kind, failed, says.join(" "))
    }
}

fn open(state: PhaseState) -> ConditionUpdate {
    match state {
        PhaseState::Open => ConditionUpdate::yes(ConditionType::Open, Reason::PhaseOpen),
        PhaseState::Complete => ConditionUpdate::yes(ConditionType::Open, Reason::PhaseComplete),
        PhaseState::Planned | PhaseState::Commissioning => {
            ConditionUpdate::no(ConditionType::Open, Reason::PhaseNotOpen, "")
        }
    }
}

/// Of a complete phase nothing more is expected, so what breaks later makes it late no more.
fn lateness(state: PhaseState, late: &[String]) -> ConditionUpdate {
    if late.is_empty() || state == PhaseState::Complete {
        return ConditionUpdate::no(ConditionType::Late, Reason::OnTime, "");
    }
    ConditionUpdate {
        kind: ConditionType::Late,
        status: ConditionStatus::True,
        reason: Reason::MilestonePassed,
        message: format!("{}.", late.join("; ")),
    }
}
