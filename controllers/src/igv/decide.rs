//! Which vehicle the agent of an IGV is told to listen to. Pure.

use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::order::IgvOrder;

use super::observe::Observed;
use crate::kit::placement::{Assignment, Placement};

#[derive(Debug)]
pub(super) struct Decision {
    pub(super) placement: Placement,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    Decision { placement: Placement::of(observed.igv.as_ref(), &observed.agent, assignment(observed)) }
}

fn assignment(observed: &Observed) -> Assignment {
    let Observed { igv, now: _, life, crossing, agent, release: _, duplicates } = observed;
    if observed.is_released() {
        return Assignment::Release;
    }
    if !(life.is_live() && crossing.is_some() && agent.is_addressable() && duplicates.is_empty()) {
        return Assignment::Keep;
    }
    let order = IgvOrder {
        crossing: igv.spec.crossing_ref.0.clone(),
        broker: igv.spec.broker.clone(),
        vda5050: igv.spec.vda5050.clone(),
        maps: igv.spec.maps.clone(),
        zone_set: igv.spec.zone_set.clone(),
        change_at: igv.spec.change_at.clone(),
        battery_watt_hours: igv.spec.battery_watt_hours,
    };
    Assignment::realise(igv.as_ref(), ItemKind::Igv, &order)
}
