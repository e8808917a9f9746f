//! Traffic on the simulated lanes: each lane's controller lets in and counts by itself, and nobody else is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kalong_crds::lane::{Slot, SlotRole};
use kalong_crds::units::Value;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::device::{Device, DeviceState};
use super::lane_log::{LaneLog, now_millis};
use crate::site::layout::Layout;
use crate::site::report::Power;
use crate::site::traffic::{Flow, LaneDemand, LaneEntry, LaneTraffic, Left, TrafficOrder, TrafficReport, due};

/// Between two looks at the lanes.
const TICK: Duration = Duration::from_millis(50);
const FASTEST: u32 = 100;
const ARM: &str = "arm";
/// Slots whose arms follow the traffic, where a lane has them.
const ENTRY: &str = "entry-barrier";
const EXIT: &str = "exit-barrier";

/// The lanes of the site with their traffic.
#[derive(Debug)]
pub(super) struct SiteTraffic {
    lanes: Vec<Lane>,
    run: Mutex<Option<TrafficRun>>,
    started: Notify,
}

#[derive(Debug)]
struct Lane {
    demand: LaneDemand,
    controller: Arc<Device>,
    lane_log: Arc<LaneLog>,
    /// The arms that stop and let go, where it has them.
    entry: Option<Arc<Device>>,
    exit: Option<Arc<Device>>,
}

#[derive(Debug)]
struct TrafficRun {
    order: TrafficOrder,
    began: Instant,
    /// When the traffic ended, on its own clock.
    stopped: Option<Duration>,
    flows: BTreeMap<String, Flow>,
    /// Who had passed before, by lane.
    before: BTreeMap<String, u64>,
}

impl TrafficRun {
    fn clock(&self) -> Duration {
        // In whole milliseconds: what is told is what was judged by.
        let millis = (self.began.elapsed() * self.order.speed).as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    fn last(&self, now: Duration) -> Duration {
        self.stopped.unwrap_or(now)
    }

    fn is_over(&self) -> bool {
        self.stopped.is_some() && self.flows.values().all(|flow| flow.inside() == 0)
    }
}

impl SiteTraffic {
    pub fn new(layout: &Layout, devices: &BTreeMap<String, Arc<Device>>) -> Self {
        let lane = |declared: &kalong_crds::Lane| {
            let member = |fits: &dyn Fn(&Slot) -> bool| {
                let slot = declared.spec.slots.iter().find(|slot| fits(slot))?;
                devices.get(slot.device_ref.as_str()).cloned()
            };
            let controller = member(&|slot| slot.role == SlotRole::Controller)?;
            let lane_log = Arc::clone(controller.lane_log()?);
            let (entry, exit) =
                (member(&|slot| slot.name.as_str() == ENTRY), member(&|slot| slot.name.as_str() == EXIT));
            Some(Lane { demand: layout.demand(declared)?, controller, lane_log, entry, exit })
        };
        let mut lanes: Vec<Lane> = layout.objects.lanes.iter().filter_map(lane).collect();
        lanes.sort_by(|a, b| a.demand.name.cmp(&b.demand.name));
        Self { lanes, run: Mutex::new(None), started: Notify::new() }
    }

    fn run(&self) -> MutexGuard<'_, Option<TrafficRun>> {
        self.run.lock()
    }

    /// Moves the traffic for as long as the process runs; sleeps while there is none.
    pub async fn flow(self: Arc<Self>) {
        loop {
            let moving = self.run().as_ref().is_some_and(|run| !run.is_over());
            if moving {
                self.advance();
                tokio::time::sleep(TICK).await;
            } else {
                self.started.notified().await;
            }
        }
    }

    /// Lets traffic come.
    ///
    /// # Errors
    /// It is there already, or the order is no good, and why.
    pub fn start(&self, order: TrafficOrder) -> Result<(), String> {
        if !(1..=FASTEST).contains(&order.speed) {
            return Err(format!("speed {} is not possible: 1 to {FASTEST}", order.speed));
        }
        let mut run = self.run();
        if run.as_ref().is_some_and(|run| !run.is_over()) {
            return Err("there is traffic already: stop it, and wait until nobody is inside".into());
        }
        let passed = |lane: &Lane| u64::try_from(lane.controller.state().passed.passages).unwrap_or_default();
        *run = Some(TrafficRun {
            order,
            began: Instant::now(),
            stopped: None,
            flows: self.lanes.iter().map(|l| (l.demand.name.clone(), Flow::new(order.seed, &l.demand))).collect(),
            before: self.lanes.iter().map(|l| (l.demand.name.clone(), passed(l))).collect(),
        });
        self.started.notify_one();
        Ok(())
    }

    /// Nobody comes or goes in any more.
    pub fn stop(&self) {
        self.advance();
        if let Some(run) = self.run().as_mut() {
            run.stopped = run.stopped.or(Some(run.clock()));
        }
        // Whoever came between the last look and the end waits, and is counted as waiting.
        self.advance();
    }

    fn advance(&self) {
        if let Some(run) = self.run().as_mut() {
            let now = run.clock();
            let last = run.last(now);
            for lane in &self.lanes {
                if let Some(flow) = run.flows.get_mut(&lane.demand.name) {
                    lane.advance(flow, now, last);
                }
            }
        }
    }

    pub fn report(&self) -> TrafficReport {
        let mut guard = self.run();
        let now = guard.as_ref().map(TrafficRun::clock).unwrap_or_default();
        let last = guard.as_ref().map(|run| run.last(now)).unwrap_or_default();
        let mut lanes = Vec::new();
        for lane in &self.lanes {
            let flow = guard.as_mut().and_then(|run| run.flows.get_mut(&lane.demand.name));
            let mut told = lane.report();
            if let Some(flow) = flow {
                lane.advance(flow, now, last);
                told = lane.report();
                told.waiting = count(flow.waiting());
            }
            if let Some(run) = guard.as_ref() {
                let came = count(due(run.order.seed, &lane.demand, Duration::ZERO, last).len());
                told.due = came + run.before.get(&lane.demand.name).copied().unwrap_or_default();
            }
            lanes.push(told);
        }
        TrafficReport {
            traffic_millis: u64::try_from(last.as_millis()).unwrap_or_default(),
            now_millis: now_millis(),
            order: guard.as_ref().map(|run| run.order),
            lanes,
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

impl Lane {
    fn advance(&self, flow: &mut Flow, now: Duration, last: Duration) {
        let mut state = self.controller.state();
        let entry = match state.power {
            // Who starts holds its arms and counts nobody.
            Power::Starting => LaneEntry::Still,
            Power::On | Power::Hung | Power::Unreachable if last == now && state.admission == "Open" => LaneEntry::Open,
            Power::On | Power::Hung | Power::Unreachable => LaneEntry::Shut,
        };
        for left in flow.advance(now, last, entry) {
            passed(&mut state, &left);
        }
        state.inside = i64::try_from(flow.inside()).unwrap_or_default();
        self.controller.show_lane(&state);
        drop(state);
        raise(self.entry.as_ref(), flow.is_entering());
        raise(self.exit.as_ref(), flow.is_leaving());
    }

    fn report(&self) -> LaneTraffic {
        let (admission, touched) = self.lane_log.read();
        let state = self.controller.state();
        let number = |n: i64| u64::try_from(n).unwrap_or_default();
        LaneTraffic {
            name: self.demand.name.clone(),
            controller: self.controller.placed.name.clone(),
            due: number(state.passed.passages),
            waiting: 0,
            inside: number(state.inside),
            passed: state.passed.by_class.iter().map(|(class, n)| (*class, number(*n))).collect(),
            gate_tenths: number(state.passed.gate_tenths),
            clearance_seconds: number(state.passed.clearance_seconds),
            admission,
            touched,
        }
    }
}

fn passed(state: &mut DeviceState, left: &Left) {
    let whole = |n: u128| i64::try_from(n).unwrap_or_default();
    state.passed.passages += 1;
    *state.passed.by_class.entry(left.passage.class).or_default() += 1;
    state.passed.gate_tenths += whole(left.passage.gate.as_millis() / 100);
    state.passed.clearance_seconds += i64::try_from(left.clearance.as_secs()).unwrap_or_default();
}

/// Lets the arm of a barrier follow.
fn raise(barrier: Option<&Arc<Device>>, up: bool) {
    if let Some(barrier) = barrier {
        barrier.state().shown.insert(ARM.to_owned(), Value::from(if up { "Up" } else { "Down" }));
    }
}
