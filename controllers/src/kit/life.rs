//! Whether an object takes part: its phase decides.

use kalong_crds::Phase;
use kalong_crds::phase::PhaseState;
use kalong_crds::units::Name;

use super::caches;
use super::context::Context;

/// How far an object is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleStage {
    /// Its phase is planned: no contact with a device.
    Planned,
    /// It is contacted, configured and proven; its lanes stay closed.
    Commissioning,
    /// It serves.
    InService,
    /// It names a phase that does not exist, or that nobody has looked at yet: nothing is contacted anew, and what runs is
    /// left as it is. A phase that was lost and is declared again must not empty a gate meanwhile.
    UnknownPhase,
}

impl LifecycleStage {
    /// The life of objects of a phase in this state.
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

impl Context {
    /// The life of an object that belongs to this phase, or to none: by the state in force, never by the one asked for.
    pub fn life(&self, namespace: &str, phase: Option<&Name>) -> LifecycleStage {
        let Some(name) = phase else { return LifecycleStage::InService };
        match caches::get(&self.caches.phases, namespace, name.as_str()) {
            None => LifecycleStage::UnknownPhase,
            Some(phase) => in_force(&phase).map_or(LifecycleStage::UnknownPhase, LifecycleStage::of),
        }
    }
}

/// The state in force; none before the first visit, when the status holds only its default.
pub fn in_force(phase: &Phase) -> Option<PhaseState> {
    phase.status.as_ref().filter(|status| status.observed_generation >= 0).map(|status| status.state)
}

/// What to say of an object whose phase is not there.
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
