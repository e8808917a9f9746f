//! Where the readiness of a Crossing is judged.

use jiff::tz::TimeZone;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_rules::lifecycle::{LifecycleStage, unknown_phase};
use kube::ResourceExt;

use super::observe::Observed;
use crate::kit::readiness::{Readiness, listed};

/// Objections that stand whatever its lanes and stations say.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    match observed.life {
        LifecycleStage::Planned => return Some(Readiness::Resting(Reason::Planned)),
        LifecycleStage::UnknownPhase => {
            let say = unknown_phase(observed.crossing.spec.phase.as_ref());
            return Some(Readiness::Stuck(Reason::UnknownPhase, say));
        }
        LifecycleStage::Commissioning | LifecycleStage::InService => {}
    }
    let zone = &observed.crossing.spec.time_zone;
    TimeZone::get(zone).is_err().then(|| {
        let say = format!("`spec.timeZone` {zone} is no IANA time zone: write for example Asia/Ho_Chi_Minh.");
        Readiness::Stuck(Reason::InvalidSpec, say)
    })
}

/// Its live lanes and stations are not all Ready.
pub(super) fn realised(observed: &Observed) -> Option<Readiness> {
    let lanes = unready(observed.lanes.iter().map(|(lane, life)| (lane.as_ref(), *life)));
    let stations = unready(observed.stations.iter().map(|(station, life)| (station.as_ref(), *life)));
    let unknown = lanes.iter().chain(&stations).any(|unready| unready.unknown);
    let (reason, say) = match (lanes.is_empty(), stations.is_empty()) {
        (true, true) => return None,
        (false, true) => (Reason::LaneNotReady, not_ready("Lanes", &lanes)),
        (true, false) => (Reason::StationNotReady, not_ready("Stations", &stations)),
        (false, false) => {
            let say = format!("{} {}", not_ready("Lanes", &lanes), not_ready("Stations", &stations));
            (Reason::LaneNotReady, say)
        }
    };
    Some(if unknown { Readiness::Unknown(reason, say) } else { Readiness::Converging(reason, say) })
}

/// A live object that is not Ready.
struct Unready {
    name: String,
    unknown: bool,
}

fn unready<'a, K: Conditioned + ResourceExt + 'a>(
    objects: impl Iterator<Item = (&'a K, LifecycleStage)>,
) -> Vec<Unready> {
    objects
        .filter(|(object, life)| *life != LifecycleStage::Planned && !object.is(ConditionType::Ready))
        .map(|(object, _)| Unready {
            name: object.name_any(),
            unknown: object.condition(ConditionType::Ready).is_some_and(|c| c.status == "Unknown"),
        })
        .collect()
}

fn not_ready(what: &str, unready: &[Unready]) -> String {
    format!("{what} not Ready: {}.", listed(unready.iter().map(|object| &object.name)))
}
