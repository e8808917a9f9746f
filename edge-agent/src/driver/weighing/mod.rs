//! Toledo continuous output of a weighing indicator over TCP. The driver listens and never sends a byte.
//!
//! Frames that arrive between two readings wait in the socket and all of them are judged, in order, by the next.

mod frame;
mod plate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use kalong_crds::property::Property;
use kalong_crds::units::{Digest, Value};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{DeviceConnection, DeviceIdentity, Driver, DriverError, Reading, SelfTest, Slots, shape};
use frame::{Checksum, Frame, Frames, Mass, MassUnit, Mode};
use plate::Plate;

/// Longest time without a good frame until the indicator counts as silent. It sends about seven a second.
const SILENCE: Duration = Duration::from_secs(2);
/// Most bytes that one reading takes, so that a peer that floods cannot hold the agent.
const MAX_DRAINED: usize = 256 * 1024;
/// Kilograms around zero that count as an empty plate, unless the parameter `zeroBand` says otherwise.
const DEFAULT_ZERO_BAND: i64 = 20;
/// Frames that the judgement of the line looks back on.
const NOISE_WINDOW: u32 = 50;
/// Dropped frames among them that make the line noisy.
const NOISE_LIMIT: u32 = 5;

/// Connected, and no good frame came for two seconds.
const NO_SIGNAL: &str = "NoSignal";
/// Health code: out of range, with a positive sign.
const OVER_CAPACITY: &str = "OverCapacity";
/// Health code: out of range, with a negative sign.
const UNDER_ZERO: &str = "UnderZero";
/// The indicator has not captured zero since it was switched on.
const ZERO_NOT_CAPTURED: &str = "ZeroNotCaptured";
/// More than one frame in ten is dropped.
const LINE_NOISE: &str = "LineNoise";

pub(super) struct Weighing {
    endpoint: String,
    stream: Option<TcpStream>,
    checksum: Checksum,
    frames: Frames,
    plate: Plate,
    last: Option<Frame>,
    noise: Noise,
    properties: Vec<Property>,
    codes: BTreeSet<String>,
}

/// The fate of the last frames, one bit each, 1 for dropped.
#[derive(Default)]
struct Noise(u64);

impl Noise {
    fn push(&mut self, dropped: bool) {
        self.0 = (self.0 << 1 | u64::from(dropped)) & ((1 << NOISE_WINDOW) - 1);
    }

    fn is_noisy(&self) -> bool {
        self.0.count_ones() > NOISE_LIMIT
    }
}

impl Weighing {
    pub(super) fn new(connect: &DeviceConnection<'_>) -> Result<Self, DriverError> {
        let checksum = match connect.text("checksum", "On") {
            "On" => Checksum::On,
            "Off" => Checksum::Off,
            _ => return Err(DriverError::Invalid("`connection.parameters.checksum` must be On or Off".to_owned())),
        };
        let zero_band: u32 = connect.integer("zeroBand", u32::try_from(DEFAULT_ZERO_BAND).unwrap_or_default())?;
        Ok(Self {
            endpoint: connect.endpoint()?,
            stream: None,
            checksum,
            frames: Frames::new(checksum),
            plate: Plate::new(Mass::kilograms(i64::from(zero_band))),
            last: None,
            noise: Noise::default(),
            properties: connect.order.properties.clone(),
            codes: connect.order.health_codes.iter().map(|code| code.name.clone()).collect(),
        })
    }

    fn hang_up(&mut self) {
        self.stream = None;
        self.frames = Frames::new(self.checksum);
        self.plate.interrupted();
        self.last = None;
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let step = self.frames.take(*byte);
            for _ in 0..step.dropped {
                self.noise.push(true);
            }
            if let Some(frame) = step.frame {
                self.noise.push(false);
                self.plate.take(&frame);
                self.last = Some(frame);
            }
        }
    }

    /// Takes all that has arrived, and waits for a frame where none did. Leaves `last` empty where none came in time.
    async fn listen(&mut self) -> Result<(), DriverError> {
        self.last = None;
        let until = Instant::now() + SILENCE;
        let mut taken = 0;
        let mut kept = self.stream.is_some();
        while taken < MAX_DRAINED {
            if self.stream.is_none() {
                self.stream = Some(super::http::dial(&self.endpoint).await?);
            }
            let Some(stream) = &self.stream else { break };
            let mut bytes = [0_u8; 512];
            match stream.try_read(&mut bytes) {
                // A connection that ended between two readings is re-established once.
                Ok(0) if kept => {
                    kept = false;
                    self.hang_up();
                }
                Ok(0) => {
                    self.hang_up();
                    return Err(DriverError::Unreachable(self.endpoint.clone(), None));
                }
                Ok(count) => {
                    taken += count;
                    self.take(bytes.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.last.is_some() || timeout_at(until, stream.readable()).await.is_err() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    self.hang_up();
                    return Err(DriverError::Unreachable(self.endpoint.clone(), Some(Box::new(error))));
                }
            }
        }
        // Either a flood or a backlog of hours: what comes next is old, so reconnect.
        self.hang_up();
        Ok(())
    }

    fn unit_of(&self, name: &str) -> Option<MassUnit> {
        let property = self.properties.iter().find(|property| property.name == name)?;
        match property.unit.as_deref() {
            None | Some("kg") => Some(MassUnit::Kilogram),
            Some("g") => Some(MassUnit::Gram),
            Some("t") => Some(MassUnit::Tonne),
            Some("[lb_av]") => Some(MassUnit::Pound),
            Some(_) => None,
        }
    }

    fn values(&self, frame: &Frame) -> BTreeMap<String, Value> {
        let believed = !frame.out_of_range && frame.zero_captured;
        let masses = [
            ("weight", frame.weight.filter(|_| believed)),
            ("tare", frame.tare),
            ("validWeight", self.plate.valid_weight()),
        ];
        let words = [
            ("weightMode", if frame.mode == Mode::Gross { "Gross" } else { "Net" }),
            ("motion", if frame.motion { "Moving" } else { "Stable" }),
            ("weightState", self.plate.state().word()),
        ];
        let masses = masses
            .into_iter()
            .filter_map(|(name, mass)| Some((name.to_owned(), Value::Integer(mass?.rounded(self.unit_of(name)?)))));
        masses.chain(words.map(|(name, word)| (name.to_owned(), word.into()))).collect()
    }

    fn active(&self, frame: Option<&Frame>) -> BTreeSet<String> {
        let codes = [
            (NO_SIGNAL, frame.is_none()),
            (OVER_CAPACITY, frame.is_some_and(|frame| frame.out_of_range && !frame.negative)),
            (UNDER_ZERO, frame.is_some_and(|frame| frame.out_of_range && frame.negative)),
            (ZERO_NOT_CAPTURED, frame.is_some_and(|frame| !frame.zero_captured)),
            (LINE_NOISE, self.noise.is_noisy()),
        ];
        let active = codes.into_iter().filter(|(name, active)| *active && self.codes.contains(*name));
        active.map(|(name, _)| name.to_owned()).collect()
    }

    fn silent(&self) -> DriverError {
        DriverError::Timeout(self.endpoint.clone(), SILENCE)
    }
}

#[async_trait]
impl Driver for Weighing {
    /// The protocol has no identity: this only sees that an indicator is there.
    async fn identify(&mut self) -> Result<DeviceIdentity, DriverError> {
        self.listen().await?;
        if self.last.is_none() && !self.codes.contains(NO_SIGNAL) {
            return Err(self.silent());
        }
        Ok(DeviceIdentity::default())
    }

    async fn read(&mut self) -> Result<Reading, DriverError> {
        self.listen().await?;
        let frame = self.last;
        if frame.is_none() {
            self.plate.interrupted();
            if !self.codes.contains(NO_SIGNAL) {
                return Err(self.silent());
            }
        }
        let values = frame.map(|frame| self.values(&frame)).unwrap_or_default();
        Ok(shape::reading(&self.properties, |_| false, values, |_| true, self.active(frame.as_ref())))
    }

    async fn set(&mut self, values: &BTreeMap<String, Value>) -> Result<(), DriverError> {
        match values.keys().next() {
            None => Ok(()),
            Some(name) => Err(DriverError::Invalid(format!("`{name}` cannot be set: a Toledo stream only tells"))),
        }
    }

    async fn slots(&mut self) -> Result<Slots, DriverError> {
        Ok(Slots { running: None, written: None, committed: true })
    }

    async fn transfer(&mut self, _: &Path, _: &Digest, _: u64) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("take an image"))
    }

    async fn install(&mut self, _: &Digest) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("install an image"))
    }

    async fn activate(&mut self) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("start another image"))
    }

    async fn self_test(&mut self) -> Result<SelfTest, DriverError> {
        Err(DriverError::Unsupported("test themselves"))
    }

    async fn commit(&mut self) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("make an image permanent"))
    }

    async fn roll_back(&mut self) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("go back to another image"))
    }
}
