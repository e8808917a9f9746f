//! Whether an object takes part: its phase decides.

use kalong_crds::phase::PhaseState;
use kalong_crds::units::Name;

use super::caches;
use super::world::World;

/// How far an object is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its phase is planned: no contact with a device.
    Planned,
    /// It is contacted, configured and proven; its lanes stay closed.
    Commissioning,
    /// It serves.
    InService,
    /// It names a phase that does not exist: nothing is contacted anew, and what runs is left as it is.
    UnknownPhase,
}

impl Life {
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

impl World {
    /// The life of an object that belongs to this phase, or to none: by the state in force, never by the one asked for.
    pub fn life(&self, namespace: &str, phase: Option<&Name>) -> Life {
        let Some(name) = phase else { return Life::InService };
        match caches::get(&self.caches.phases, namespace, name.as_str()) {
            None => Life::UnknownPhase,
            Some(phase) => Life::of(phase.status.as_ref().map(|status| status.state).unwrap_or_default()),
        }
    }
}
