//! Whether everything is as declared: what every expectation waits for before it begins, and most of them at their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::phase::PhaseState;
use kalong_crds::units::Name;
use kalong_crds::{Crossing, Device, EdgeAgent, InspectionStation, Lane};
use kube::ResourceExt;

use crate::scenario::{LiveSite, Present, ScenarioError};

/// A few seconds on an idle machine; a person's laptop under load takes longer.
const SETTLE_DEADLINE: Duration = Duration::from_secs(180);

/// How many there are of everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    pub(super) devices: usize,
    pub(super) lanes: usize,
    pub(super) crossings: usize,
    pub(super) boxes: usize,
    pub(super) planned: usize,
}

/// Waits until the operator hears every box, every live object is Ready, and every planned one Ready for the reason Planned.
pub(super) async fn settled(site: &LiveSite) -> Result<Settled, ScenarioError> {
    // First: what was written before the operator was gone says Ready of boxes that it has not heard since.
    site.heard_since(site.operator.started()).await?;
    let (layout, opened) = (&site.layout, opened(site));
    let live = |phase: &Option<Name>| opened || layout.is_live(phase.as_ref());
    let devices = layout.devices.iter().map(|d| (d.name.clone(), opened || d.is_live())).collect();
    let lanes = layout.objects.lanes.iter().map(|l| (l.name_any(), live(&l.spec.phase))).collect();
    let crossings = layout.objects.crossings.iter().map(|c| (c.name_any(), live(&c.spec.phase))).collect();
    let boxes = layout.objects.agents.iter().map(|a| (a.name_any(), live(&a.spec.phase))).collect();
    let stations = layout.objects.stations.iter().map(|s| (s.name_any(), live(&s.spec.phase))).collect();
    let within = SETTLE_DEADLINE;
    site.boxes.until("edge agents", within, &site.progress, |seen: &Present<EdgeAgent>| ready(seen, &boxes)).await?;
    site.devices.until("devices", within, &site.progress, |seen: &Present<Device>| ready(seen, &devices)).await?;
    site.lanes.until("lanes", within, &site.progress, |seen: &Present<Lane>| ready(seen, &lanes)).await?;
    site.crossings
        .until("crossings", within, &site.progress, |seen: &Present<Crossing>| ready(seen, &crossings))
        .await?;
    site.stations
        .until("stations", within, &site.progress, |seen: &Present<InspectionStation>| ready(seen, &stations))
        .await?;
    let live = |all: &BTreeMap<String, bool>| all.values().filter(|live| **live).count();
    let planned = |all: &BTreeMap<String, bool>| all.len() - live(all);
    Ok(Settled {
        devices: live(&devices),
        lanes: live(&lanes),
        crossings: live(&crossings),
        boxes: live(&boxes),
        planned: planned(&devices) + planned(&lanes) + planned(&crossings) + planned(&boxes),
    })
}

/// Whether the phase that is only planned in Git was opened meanwhile: then all is live.
fn opened(site: &LiveSite) -> bool {
    let phase = site.layout.planned_phase().and_then(|name| site.phases.get(&name));
    phase.and_then(|phase| phase.status.as_ref().map(|status| status.state)).is_some_and(PhaseState::is_in_service)
}

/// Each of these is Ready, for the reason Planned where it is not live.
fn ready<K: Conditioned + ResourceExt>(seen: &Present<K>, wanted: &BTreeMap<String, bool>) -> Result<(), String> {
    let holds = |name: &String, live: &bool| {
        seen.get(name).is_some_and(|object| {
            let planned = object.reason(ConditionType::Ready) == Reason::Planned.as_str();
            is_ready(object.as_ref()) && planned != *live
        })
    };
    let missing: Vec<&String> = wanted.iter().filter(|(name, live)| !holds(name, live)).map(|(name, _)| name).collect();
    match missing.first() {
        None => Ok(()),
        Some(first) => {
            let done = wanted.len() - missing.len();
            Err(format!("{done} of {} Ready, {first} {}", wanted.len(), why(seen.get(*first))))
        }
    }
}

/// Ready of the generation that is declared now: an old True says nothing of a new spec.
pub(super) fn is_ready<K: Conditioned + ResourceExt>(object: &K) -> bool {
    let current = object.condition(ConditionType::Ready).and_then(|c| c.observed_generation);
    object.is(ConditionType::Ready) && current == object.meta().generation
}

fn why<K: Conditioned>(object: Option<&Arc<K>>) -> String {
    let Some(object) = object else { return "is not there".to_owned() };
    match object.condition(ConditionType::Ready) {
        Some(ready) if ready.message.is_empty() => format!("has {}={}", ready.reason, ready.status),
        Some(ready) => format!("is {}: {}", ready.reason, ready.message),
        None => "was not visited yet".to_owned(),
    }
}
