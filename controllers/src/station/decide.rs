//! Which lanes an open interlock of an InspectionStation closes. Pure.

use kalong_crds::device::GuardKind;
use kalong_crds::lane::Need;
use kalong_crds::units::Name;

use super::observe::{Guarded, Observed};

pub(super) struct Decision {
    /// The lanes that cannot run past this station while one of its interlocks is open; sorted.
    pub(super) closed_lanes: Vec<Name>,
}

/// An interlock that cannot be read closes nothing, because the PLC of the lane holds the interlock itself; but what was open stays
/// open until it was read to be safe.
pub(super) fn decide(observed: &Observed) -> Decision {
    let open = observed.guards(GuardKind::Interlock).iter().any(Guarded::closes);
    if !(open && observed.acts()) {
        return Decision { closed_lanes: Vec::new() };
    }
    let served = observed.station.spec.serves_lanes.iter().filter(|served| served.need == Need::Required);
    let mut closed_lanes: Vec<Name> = served.map(|served| served.name.clone()).collect();
    closed_lanes.sort();
    closed_lanes.dedup();
    Decision { closed_lanes }
}
