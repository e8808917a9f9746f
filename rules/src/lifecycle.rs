//! Whether an object takes part in what its site does: the state in force of its phase decides.

use kalong_crds::Phase;
use kalong_crds::phase::PhaseState;
use kalong_crds::units::Name;

/// How far an object is between being planned and being in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleStage {
    /// Its phase is planned: no device is contacted.
    Planned,
    /// Its devices are contacted, configured and proven; its lanes stay closed.
    Commissioning,
    /// It is in service: changes need a claim.
    InService,
    /// It names a phase that does not exist or has no state in force yet. Nothing new is contacted, and what runs is left as it is:
    /// a phase that was lost and is declared again must not empty a gate meanwhile.
    UnknownPhase,
}

impl LifecycleStage {
    /// The stage of objects of a phase with this state in force.
    pub fn of(state: PhaseState) -> Self {
        match state {
            PhaseState::Planned => Self::Planned,
            PhaseState::Commissioning => Self::Commissioning,
            PhaseState::Open | PhaseState::Complete => Self::InService,
        }
    }

    /// Whether devices are contacted.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Commissioning | Self::InService)
    }
}

/// The state in force; none before the first reconcile, when the status holds only its default.
pub fn in_force(phase: &Phase) -> Option<PhaseState> {
    phase.status.as_ref().filter(|status| status.observed_generation >= 0).map(|status| status.state)
}

/// The message for an object whose phase does not exist.
pub fn unknown_phase(phase: Option<&Name>) -> String {
    let phase = phase.map(Name::as_str).unwrap_or_default();
    format!(
        "Phase {phase} does not exist in this namespace: declare it, or correct `spec.phase`; nothing is changed until then."
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn phase(status: serde_json::Value) -> Phase {
        serde_json::from_value(json!({
            "apiVersion": "kalong.dev/v1alpha1", "kind": "Phase", "metadata": {"name": "phase-2"},
            "spec": {"crossings": ["x"]}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn phase_that_nobody_looked_at_has_no_state_in_force() {
        assert_eq!(in_force(&phase(json!({"observedGeneration": -1}))), None);
        assert_eq!(in_force(&phase(json!({"observedGeneration": 1}))), Some(PhaseState::Planned));
        assert_eq!(in_force(&phase(json!({"observedGeneration": 1, "state": "Open"}))), Some(PhaseState::Open));
    }

    #[test]
    fn only_an_open_or_complete_phase_is_in_service() {
        assert_eq!(LifecycleStage::of(PhaseState::Planned), LifecycleStage::Planned);
        assert_eq!(LifecycleStage::of(PhaseState::Commissioning), LifecycleStage::Commissioning);
        assert!(matches!(
            (LifecycleStage::of(PhaseState::Open), LifecycleStage::of(PhaseState::Complete)),
            (LifecycleStage::InService, LifecycleStage::InService)
        ));
    }
}
