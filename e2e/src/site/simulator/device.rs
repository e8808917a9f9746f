//! One simulated device: its state, which survives its restarts, and what may be done to it. Protocols only translate.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kalong_crds::property::{Access, MAX_TEXT, Property, PropertyType};
use kalong_crds::units::{Digest, Value};
use kalong_crds::well_known;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::lane_log::LaneLog;
use super::passage_counts::PassageCounts;
use super::slots::{ImageSlots, SlotImage};
use crate::site::facts::{SimulatorFacts, TimingFacts};
use crate::site::image::{self, Behaviour};
use crate::site::layout::Placed;
use crate::site::model::{ADMISSION_WORDS, Model};
use crate::site::report::{Counts, CutPoint, DeviceSnapshot, LaneSnapshot, Load, Power};
use crate::site::traffic::TouchKind;

/// A clock that is wrong by more is a clock that skews, in seconds.
const SKEW_SECONDS: i64 = 5;

/// A device of the simulated site.
#[derive(Debug)]
pub(super) struct Device {
    pub placed: Placed,
    pub endpoint: SocketAddrV4,
    pub timing: TimingFacts,
    pub serial: String,
    calibrated_until: String,
    state: Mutex<DeviceState>,
    link: watch::Sender<LinkState>,
    /// The notes of the lane in which it stands.
    lane_log: Option<Arc<LaneLog>>,
}

/// What a connection has to know: whether to stay, and whether to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkState {
    pub listening: bool,
    pub answering: bool,
    /// Rises whenever every connection is lost.
    pub session: u64,
}

#[derive(Debug)]
pub(super) struct DeviceState {
    pub slots: ImageSlots,
    pub upload: Option<Upload>,
    pub flashing: Option<(Digest, Instant)>,
    pub self_test: SelfTestState,
    pub boot_count: i64,
    pub settings: BTreeMap<String, Value>,
    pub admission: &'static str,
    /// Vehicles or people that somebody put into the lane by hand, and those of the traffic.
    pub occupancy: i64,
    pub inside: i64,
    pub passed: PassageCounts,
    /// Readings that somebody changed, by name.
    pub shown: BTreeMap<String, Value>,
    pub codes: BTreeSet<String>,
    /// Seconds that the device's clock is ahead.
    pub clock_ahead: i64,
    pub hostname: String,
    pub load: Load,
    pub faults: Faults,
    pub power: Power,
    /// It was told to start again and only finishes its answer.
    pub leaving: bool,
    session: u64,
    pub counts: Counts,
}

/// An image on its way to the device.
#[derive(Debug)]
pub(super) struct Upload {
    pub hex: String,
    pub size: usize,
    pub bytes: Vec<u8>,
    /// The image, once it was whole and good; its bytes are gone then.
    pub complete: Option<SlotImage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SelfTestState {
    NotRun,
    RunningUntil(Instant),
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub hang: bool,
    pub reboot_loop: bool,
    pub wrong_version: bool,
    pub flash_error: bool,
    pub unreachable: bool,
    pub slow: Duration,
    pub power_cut: Option<CutPoint>,
}

/// Why the device does not do it: what its protocol turns into an exception, a fault or a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeviceRefusal {
    /// There is no such thing, or it cannot be set.
    NotSettable(String),
    /// The value is of another kind or out of bounds.
    BadValue(String),
}

impl Device {
    pub fn new(placed: &Placed, network: u8, facts: &SimulatorFacts, lane_log: Option<Arc<LaneLog>>) -> Arc<Self> {
        let model = &placed.model;
        let number = image::seed(&format!("{} {}", facts.seed, placed.name));
        let state = DeviceState {
            slots: ImageSlots::of(model),
            upload: None,
            flashing: None,
            self_test: SelfTestState::NotRun,
            boot_count: i64::try_from(number % 40).unwrap_or(0) + 1,
            settings: model.factory.clone(),
            admission: "Closed",
            occupancy: 0,
            inside: 0,
            passed: PassageCounts::default(),
            shown: BTreeMap::new(),
            codes: BTreeSet::new(),
            clock_ahead: 0,
            hostname: placed.name.clone(),
            load: Load::default(),
            faults: Faults::default(),
            power: Power::On,
            leaving: false,
            session: 0,
            counts: Counts::default(),
        };
        let link = LinkState { listening: true, answering: true, session: 0 };
        Arc::new(Self {
            endpoint: placed.endpoint(network),
            serial: format!("SIM-{:08X}", number >> 32),
            placed: placed.clone(),
            timing: facts.timing,
            calibrated_until: facts.calibrated_until.clone(),
            state: Mutex::new(state),
            link: watch::Sender::new(link),
            lane_log,
        })
    }

    pub fn model(&self) -> &Model {
        &self.placed.model
    }

    pub fn state(&self) -> MutexGuard<'_, DeviceState> {
        self.state.lock()
    }

    pub fn lane_log(&self) -> Option<&Arc<LaneLog>> {
        self.lane_log.as_ref()
    }

    pub fn link(&self) -> watch::Receiver<LinkState> {
        self.link.subscribe()
    }

    /// Tells the connections what became of the state.
    pub fn publish(&self, state: &DeviceState) {
        let link = LinkState {
            listening: !state.faults.unreachable && state.power != Power::Starting,
            answering: state.power == Power::On && !state.leaving,
            session: state.session,
        };
        self.link.send_if_modified(|now| std::mem::replace(now, link) != link);
    }

    pub fn cut_connections(&self, state: &mut DeviceState) {
        state.session += 1;
        self.publish(state);
    }

    /// Waits while the device does not answer, and as long as it is told to be slow; counts the request.
    pub async fn answer_when_able(&self) {
        let mut link = self.link();
        // The sender lives as long as the device: there is nothing to miss.
        let _ = link.wait_for(|l| l.answering).await;
        let slow = {
            let mut state = self.state();
            state.counts.requests += 1;
            state.faults.slow
        };
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
    }

    pub fn report(&self) -> DeviceSnapshot {
        let state = self.state();
        let model = self.model();
        let lane = model.class().runs_lanes().then(|| LaneSnapshot {
            admission: state.admission.to_owned(),
            state: state.admission_state().to_owned(),
            occupancy: state.occupied(),
        });
        DeviceSnapshot {
            name: self.placed.name.clone(),
            model: model.name.clone(),
            agent: self.placed.agent.clone(),
            phase: self.placed.spec.phase.clone().map_or_else(String::new, |phase| phase.0),
            endpoint: self.endpoint.to_string(),
            serial: self.serial.clone(),
            version: state.slots.running.version.clone(),
            digest: state.slots.running.digest.clone(),
            written: state.slots.other.as_ref().and_then(|o| o.digest.clone()),
            committed: state.slots.committed,
            boot_count: state.boot_count,
            settings: state.settings.clone(),
            lane,
            health: self.health(&state),
            power: if state.faults.unreachable { Power::Unreachable } else { state.power },
            counts: state.counts,
        }
    }

    pub fn health(&self, state: &DeviceState) -> Vec<String> {
        let mut codes = state.codes.clone();
        let mut derive = |code: &str, active: bool| {
            if active && self.has_code(code) {
                codes.insert(code.to_owned());
            }
        };
        derive("ReadRateLow", state.slots.running.behaviour.contains(&Behaviour::LowReadRate));
        derive("ClockSkew", state.clock_ahead.abs() > SKEW_SECONDS);
        codes.into_iter().collect()
    }

    pub fn has_code(&self, code: &str) -> bool {
        self.model().spec.health_codes.iter().any(|known| known.name == code)
    }

    /// Makes exactly these codes active.
    pub fn set_health(&self, codes: &[String]) -> Result<(), String> {
        if let Some(unknown) = codes.iter().find(|c| !self.has_code(c)) {
            let known: Vec<_> = self.model().spec.health_codes.iter().map(|code| &code.name).collect();
            return Err(format!("{} has no health code `{unknown}`: use one of {known:?}", self.placed.name));
        }
        let mut state = self.state();
        state.codes = codes.iter().cloned().collect();
        // No instrument says that its clock is wrong: the agent finds out.
        let skewed = state.codes.remove("ClockSkew");
        state.clock_ahead = if skewed { 3600 } else { 0 };
        Ok(())
    }

    /// The value of a property, as the device shows it now.
    pub fn property(&self, state: &DeviceState, name: &str) -> Option<Value> {
        let text = |t: &str| Some(Value::from(t));
        match name {
            well_known::SERIAL_NUMBER => text(&self.serial),
            well_known::FIRMWARE_VERSION => text(&state.slots.running.version),
            well_known::IMAGE_DIGEST => state.slots.running.digest.as_ref().map(|d| Value::from(d.hex())),
            well_known::HEALTH_BITS => Some(Value::Integer(self.health_bits(state))),
            well_known::BOOT_COUNT => Some(Value::Integer(state.boot_count)),
            well_known::CALIBRATED_UNTIL => text(&self.calibrated_until),
            well_known::ADMISSION => text(state.admission),
            well_known::ADMISSION_STATE => text(state.admission_state()),
            well_known::OCCUPANCY => Some(Value::Integer(state.occupied())),
            well_known::SELF_TEST => text(if state.fails_self_test() { "Failed" } else { "Passed" }),
            _ => state
                .passed
                .property(name)
                .or_else(|| state.shown.get(name).cloned())
                .or_else(|| state.settings.get(name).cloned())
                .or_else(|| self.model().shows.get(name).cloned()),
        }
    }

    fn health_bits(&self, state: &DeviceState) -> i64 {
        let active = self.health(state);
        self.model().spec.health_codes.iter().filter(|c| active.contains(&c.name)).map(|c| 1_i64 << c.bit).sum()
    }

    pub fn declared(&self, name: &str) -> Option<&Property> {
        self.model().spec.properties.iter().find(|p| p.name == name)
    }

    /// Sets all of these or none, as one write.
    pub fn set(&self, values: &BTreeMap<String, Value>) -> Result<(), DeviceRefusal> {
        for (name, value) in values {
            self.check(name, value)?;
        }
        let mut state = self.state();
        state.counts.writes += 1;
        for (name, value) in values {
            if name == well_known::ADMISSION {
                state.counts.admission_writes += 1;
                let word = ADMISSION_WORDS.iter().find(|w| *value == Value::from(**w));
                state.admission = word.copied().unwrap_or("Closed");
                self.show_lane(&state);
            } else {
                state.counts.setting_writes += 1;
                self.touched(TouchKind::Setting);
                state.settings.insert(name.clone(), value.clone());
            }
        }
        Ok(())
    }

    /// Somebody changes settings on the device itself, past its protocol: no write is counted.
    pub fn tamper(&self, values: BTreeMap<String, Value>) {
        self.state().settings.extend(values);
    }

    /// Whether the property may be set to this value.
    fn check(&self, name: &str, value: &Value) -> Result<(), DeviceRefusal> {
        let property = self.declared(name).filter(|p| p.access == Access::ReadWrite).ok_or_else(|| {
            DeviceRefusal::NotSettable(format!("`{name}` is not a property that can be set: see the model"))
        })?;
        let bounds = || match property.kind {
            PropertyType::Integer => format!("a whole number from {:?} to {:?}", property.min, property.max),
            PropertyType::Text => format!("a text of at most {MAX_TEXT} characters"),
            PropertyType::Enumeration => format!("one of {:?}", property.values),
        };
        if property.misfit(value).is_none() {
            Ok(())
        } else {
            Err(DeviceRefusal::BadValue(format!("`{name}` is {value}: declare {}", bounds())))
        }
    }
}

impl DeviceState {
    pub fn fails_self_test(&self) -> bool {
        self.slots.running.behaviour.contains(&Behaviour::FailsSelfTest)
    }

    pub fn session(&self) -> u64 {
        self.session
    }
}
