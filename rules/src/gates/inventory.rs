//! What the Inventory gate counts as proven: an agent has reported it, and it is as declared.
//!
//! Only the object's own conditions are read here; [`missing`](super::missing) adds whether the phase lets it be contacted at all. In
//! commissioning `Ready` is True whatever is missing, so proof rests on the conditions behind it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kalong_crds::bilateral_link::LinkProfile;
use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::lane::LaneAdmission;
use kalong_crds::{BilateralLink, Device, EdgeAgent, IGV, InspectionStation, Lane};

/// Why an object is not counted, as a few words; none when it is.
pub type Missing = Option<String>;

/// A device is proven once it is connected, its settings were read back and its firmware was proven.
pub fn device(device: &Device) -> Missing {
    let observed = device.status.as_ref().map(|s| s.observed_generation);
    stale(&device.metadata, observed).or_else(|| {
        not_true(
            device,
            &[ConditionType::Connected, ConditionType::ConfigApplied, ConditionType::FirmwareUpToDate],
            Generation::Of(&device.metadata),
        )
    })
}

/// An edge agent is proven while it is connected.
pub fn agent(agent: &EdgeAgent) -> Missing {
    let observed = agent.status.as_ref().map(|s| s.observed_generation);
    stale(&agent.metadata, observed).or_else(|| not_true(agent, &[ConditionType::Connected], Generation::Any))
}

/// A lane is proven once its devices are Ready and its controller has said what it does.
pub fn lane(lane: &Lane) -> Missing {
    let status = lane.status.as_ref();
    let admission = status.map(|s| s.admission).unwrap_or_default();
    stale(&lane.metadata, status.map(|s| s.observed_generation))
        .or_else(|| not_true(lane, &[ConditionType::DevicesReady], Generation::Any))
        .or_else(|| {
            (admission == LaneAdmission::Unknown).then(|| "its controller has not said what it does".to_owned())
        })
}

/// A station is proven while it is in use, its interlocks are safe and its licence is in force. Its devices count by themselves.
pub fn station(station: &InspectionStation) -> Missing {
    let observed = station.status.as_ref().map(|s| s.observed_generation);
    stale(&station.metadata, observed)
        .or_else(|| station.spec.suspend.then(|| Reason::Suspended.to_string()))
        .or_else(|| not_true(station, &[ConditionType::InterlocksSafe, ConditionType::Licensed], Generation::Any))
}

/// A vehicle is proven while it is heard.
pub fn igv(igv: &IGV) -> Missing {
    let observed = igv.status.as_ref().map(|s| s.observed_generation);
    stale(&igv.metadata, observed)
        .or_else(|| igv.spec.suspend.then(|| Reason::Suspended.to_string()))
        .or_else(|| not_true(igv, &[ConditionType::Connected], Generation::Any))
}

/// A link is proven once its gateway has said whether it reaches the other side. Whether it does, and whether an agreement is in
/// force, is decided by others and holds up no phase.
pub fn link(link: &BilateralLink) -> Missing {
    let observed = link.status.as_ref().map(|s| s.observed_generation);
    let told =
        link.condition(ConditionType::PeerReachable).is_some_and(|c| c.status != ConditionStatus::Unknown.as_str());
    stale(&link.metadata, observed)
        .or_else(|| link.spec.suspend.then(|| Reason::Suspended.to_string()))
        .or_else(|| not_true(link, &[ConditionType::Ready], Generation::Any))
        .or_else(|| {
            let silent = !told && link.spec.transport.profile != LinkProfile::FileDrop;
            silent.then(|| "its gateway has not said whether it reaches the other side".to_owned())
        })
}

fn stale(meta: &ObjectMeta, observed: Option<i64>) -> Missing {
    (observed.is_none() || observed != meta.generation).then(|| "its last change was not looked at yet".to_owned())
}

/// Which generation a condition has to speak of.
enum Generation<'a> {
    /// That of the object: the fact binds to what was declared.
    Of(&'a ObjectMeta),
    /// Any: that the status as a whole is current is enough.
    Any,
}

fn not_true<K: Conditioned>(object: &K, kinds: &[ConditionType], generation: Generation<'_>) -> Missing {
    let bad = |kind: ConditionType| match object.condition(kind) {
        None => Some(format!("{kind} is not known")),
        Some(condition) if condition.status != ConditionStatus::True.as_str() => {
            Some(format!("{kind}: {}", condition.reason))
        }
        Some(condition) => other_generation(condition, &generation).then(|| format!("{kind} is of an earlier change")),
    };
    kinds.iter().copied().find_map(bad)
}

fn other_generation(condition: &Condition, generation: &Generation<'_>) -> bool {
    match generation {
        Generation::Of(meta) => condition.observed_generation != meta.generation,
        Generation::Any => false,
    }
}
