//! Changes that flow while something breaks: configuration down by patches, health up from the devices, each device in a known
//! order, so that afterwards a loss, a reversal or a ghost shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kalong_crds::Device;
use kalong_crds::device::HealthState;
use kalong_crds::device_model::Severity;
use kalong_crds::property::PropertyType;
use kalong_crds::units::Value;
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use tokio::sync::{Mutex as OrderedMutex, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::failure::ScenarioError;
use super::live::LiveSite;
use crate::site::ControlClient;
use crate::site::layout::Placed;

/// Twenty a second, of each of the two kinds.
const TICK: Duration = Duration::from_millis(50);
/// One patch; while the API server is away it is tried again until it is there. A patch that is given up may still be in work there,
/// so this is long: what is given up early and asked again keeps an API server that has just begun from ever catching up.
const PATCH_DEADLINE: Duration = Duration::from_secs(30);
const PATCH_AGAIN: Duration = Duration::from_millis(300);
/// Patches under way at once, as of a GitOps tool that applies a few objects side by side. The rest wait their turn.
const PATCHES_AT_ONCE: usize = 8;
/// How long patches may go on after the last change was asked for: seconds, or as long as a busy machine needs.
const DRAIN_DEADLINE: Duration = Duration::from_secs(180);
/// A range that no run exhausts: a device's turn comes every quarter of a minute.
const ROOM: i64 = 20;

/// What was done to one device, in order.
#[derive(Clone, Debug, Default)]
pub struct ChangesDone {
    /// Health codes, with the moments between which they were set.
    pub health: Vec<Set>,
    /// Numbers of the setting that were accepted by the API server, always rising.
    pub numbers: Vec<i64>,
}

/// One change of a device's health.
#[derive(Clone, Debug)]
pub struct Set {
    /// Codes that are active from then on, sorted.
    pub codes: Vec<String>,
    /// Before it was asked for.
    pub from: Instant,
}

/// A device that takes part.
#[derive(Clone, Debug)]
pub struct FaultActor {
    pub name: String,
    pub agent: String,
    /// The setting that rises, where it has one.
    pub dial: Option<Dial>,
    /// Its codes of the two severities, as far as it has them.
    mild: Option<String>,
    grave: Option<String>,
}

/// A setting with an order.
#[derive(Clone, Debug)]
pub struct Dial {
    pub setting: String,
    kind: DialKind,
}

#[derive(Clone, Copy, Debug)]
enum DialKind {
    Number,
    /// The last number of an address.
    Address,
}

impl Dial {
    /// The value for a number.
    #[must_use]
    pub fn value(&self, number: i64) -> Value {
        match self.kind {
            DialKind::Number => Value::Integer(number),
            DialKind::Address => Value::from(format!("192.0.2.{number}").as_str()),
        }
    }

    /// The number of a value.
    #[must_use]
    pub fn number(&self, value: &Value) -> Option<i64> {
        match (self.kind, value) {
            (DialKind::Number, Value::Integer(number)) => Some(*number),
            (DialKind::Address, Value::Text(text)) => text.rsplit('.').next()?.parse().ok(),
            _ => None,
        }
    }
}

impl FaultActor {
    /// The devices of a site that take part: all whose health can be switched. What a weighbridge complains of follows from its
    /// load, so those do not.
    #[must_use]
    pub fn all(site: &LiveSite) -> Vec<Self> {
        let able = site.layout.live().filter(|device| !device.model.is_weighbridge());
        able.map(Self::of).filter(|actor| actor.mild.is_some() || actor.grave.is_some()).collect()
    }

    fn of(device: &Placed) -> Self {
        let dial = device.model.settings().find_map(|property| {
            let kind = match (property.kind, device.spec.config.get(&property.name)?) {
                (PropertyType::Integer, Value::Integer(now)) if property.max.unwrap_or(i64::MAX) - now >= ROOM => {
                    DialKind::Number
                }
                (PropertyType::Text, Value::Text(_)) => DialKind::Address,
                _ => return None,
            };
            Some(Dial { setting: property.name.clone(), kind })
        });
        let code = |severity| device.model.code(severity).map(str::to_owned);
        let (name, agent) = (device.name.clone(), device.agent.clone());
        Self { name, agent, dial, mild: code(Severity::Degraded), grave: code(Severity::Faulty) }
    }

    /// The number that its dial shows in these settings.
    #[must_use]
    pub fn number(&self, settings: &BTreeMap<String, Value>) -> Option<i64> {
        let dial = self.dial.as_ref()?;
        dial.number(settings.get(&dial.setting)?)
    }

    /// How well the device is with these codes.
    #[must_use]
    pub fn state(&self, codes: &[String]) -> HealthState {
        match codes {
            [] => HealthState::OK,
            codes if self.grave.as_ref().is_some_and(|grave| codes.contains(grave)) => HealthState::Faulty,
            _ => HealthState::Degraded,
        }
    }

    /// The codes of step `n`: none, the mild one, both. With three states a step back is another change than a step on.
    fn codes(&self, step: usize) -> Vec<String> {
        let (mild, grave) = (self.mild.clone(), self.grave.clone());
        let states = [mild.clone().into_iter().collect(), mild.into_iter().chain(grave).collect()];
        let mut states: Vec<Vec<String>> = std::iter::once(Vec::new()).chain(states).collect();
        states.dedup();
        let mut codes = states.get(step % states.len().max(1)).cloned().unwrap_or_default();
        codes.sort_unstable();
        codes
    }
}

pub struct ChangeTraffic {
    done: Arc<Mutex<BTreeMap<String, ChangesDone>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct ChangeWorker {
    actors: Vec<FaultActor>,
    /// Those of them that have a dial.
    dials: Vec<FaultActor>,
    control: ControlClient,
    devices: Api<Device>,
    done: Arc<Mutex<BTreeMap<String, ChangesDone>>>,
    /// A device's patches are made in order, also when the first has to wait.
    turns: BTreeMap<String, Arc<OrderedMutex<i64>>>,
    places: Arc<Semaphore>,
}

impl ChangeTraffic {
    /// Starts twenty changes of health and twenty of configuration a second, in turn over these devices.
    ///
    /// # Errors
    /// There is no client for the cluster.
    pub fn start(site: &LiveSite, actors: Vec<FaultActor>) -> Result<Self, ScenarioError> {
        let declared = site.devices.present();
        let turn = |actor: &FaultActor| {
            let now = actor.number(&declared.get(&actor.name)?.spec.config)?;
            Some((actor.name.clone(), Arc::new(OrderedMutex::new(now))))
        };
        let done: Arc<Mutex<BTreeMap<String, ChangesDone>>> = Arc::default();
        let worker = ChangeWorker {
            turns: actors.iter().filter_map(turn).collect(),
            control: site.simulated.control(),
            devices: Api::namespaced(site.cluster.client()?, site.namespace()),
            done: Arc::clone(&done),
            places: Arc::new(Semaphore::new(PATCHES_AT_ONCE)),
            dials: actors.iter().filter(|actor| actor.dial.is_some()).cloned().collect(),
            actors,
        };
        let (stop, stopping) = watch::channel(false);
        Ok(Self { done, stop, task: tokio::spawn(worker.run(stopping)) })
    }

    /// Ends it; what was done to each device, once the last patch is in.
    ///
    /// # Errors
    /// Patches go on for ever: the API server is away.
    pub async fn stop(self) -> Result<BTreeMap<String, ChangesDone>, ScenarioError> {
        let _ = self.stop.send(true);
        if timeout(DRAIN_DEADLINE, self.task).await.is_err() {
            let what = "the last patches".to_owned();
            return Err(ScenarioError::Deadline { what, within: DRAIN_DEADLINE, seen: "they are refused".into() });
        }
        Ok(self.done.lock().clone())
    }
}

impl ChangeWorker {
    async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut patches = JoinSet::new();
        let (count, dials) = (self.actors.len().max(1), self.dials.len().max(1));
        for step in 0_usize.. {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopping.wait_for(|stop| *stop) => break,
            }
            while patches.try_join_next().is_some() {}
            // Half a round apart, so that the two changes of a device do not meet.
            if let Some(actor) = self.actors.get(step % count) {
                self.ail(actor, step / count + 1).await;
            }
            if let Some(actor) = self.dials.get((step + dials / 2) % dials) {
                self.turn(actor, &mut patches);
            }
        }
        while patches.join_next().await.is_some() {}
    }

    async fn ail(&self, actor: &FaultActor, step: usize) {
        let codes = actor.codes(step);
        let from = Instant::now();
        // The control port is on this machine and has no reason to refuse; a change that was not made is not noted.
        let words: Vec<&str> = codes.iter().map(String::as_str).collect();
        if self.control.health(&actor.name, &words).await.is_ok() {
            self.done.lock().entry(actor.name.clone()).or_default().health.push(Set { codes, from });
        }
    }

    /// Raises the setting by one, as soon as the earlier patches of this device are in.
    fn turn(&self, actor: &FaultActor, patches: &mut JoinSet<()>) {
        let (Some(turn), Some(dial)) = (self.turns.get(&actor.name).cloned(), actor.dial.clone()) else { return };
        let (actor, devices, done) = (actor.clone(), self.devices.clone(), Arc::clone(&self.done));
        let places = Arc::clone(&self.places);
        patches.spawn(async move {
            let mut number = turn.lock().await;
            let Ok(_place) = places.acquire().await else { return };
            let next = *number + 1;
            let patch = serde_json::json!({"spec": {"config": {&dial.setting: dial.value(next)}}});
            let (patch, params) = (Patch::Merge(patch), PatchParams::default());
            while !matches!(timeout(PATCH_DEADLINE, devices.patch(&actor.name, &params, &patch)).await, Ok(Ok(_))) {
                sleep(PATCH_AGAIN).await;
            }
            *number = next;
            done.lock().entry(actor.name).or_default().numbers.push(next);
        });
    }
}
